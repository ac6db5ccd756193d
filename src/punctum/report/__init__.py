"""One self-contained HTML page from what a run, a comparison or a diagnosis left behind."""
