"""The experiments are scripts beside the package: their folder is made importable, as running one does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
