"""Other packages' names for what punctum does, so that code written for them runs unchanged."""
