"""Whatever is in a file, a reader answers with labels or one clear error; benchmarks/fuzz.py tries for longer."""

import importlib.util
from pathlib import Path


def test_no_reader_crashes() -> None:
    source = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", source)
    fuzzing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzzing)
    found = fuzzing.fuzz(seconds=30, seed=1, most=6)
    assert found["crashes"] == []
    assert found["executions"] > 0
