"""How tests start `punctum` in a process of its own."""

import os
from pathlib import Path


def environment() -> dict[str, str]:
    """The tests' own environment, with this checkout's sources first, one thread and a wide terminal."""
    source = str(Path(__file__).parent.parent / "src")
    return {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
