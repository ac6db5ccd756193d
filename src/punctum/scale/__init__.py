"""Many pictures on many machines: cut into shards, each predicted once, each a file."""
