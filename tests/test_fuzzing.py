"""Damaged files of every kind are read or refused with one message; benchmarks/fuzz.py tries it for minutes."""

import importlib.util
from pathlib import Path
from random import Random

import pytest

from fuzzing.judge import damaged, try_case
from fuzzing.mutate import mutate
from fuzzing.targets import targets, write_samples

ROOT = Path(__file__).parents[1]
CASES = 12
# Of a run folder, which costs a training, and what a process is started for.
LEFT_OUT = ("run/", "release.mat")
TARGETS = [target for target in targets() if not any(part in target.file for part in LEFT_OUT)]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return folder


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_damage_ends_in_a_traceback(target, samples: Path) -> None:
    target.call(samples / target.file)
    outcomes = [(seed, try_case(target, samples, seed)) for seed in range(CASES)]
    assert [(seed, outcome) for seed, outcome in outcomes if outcome.is_crash] == []
    assert any(outcome.word != "read" for _, outcome in outcomes)


def test_damage_is_a_function_of_the_seed() -> None:
    data = b'{"a": [1, 2, 3]}' * 10
    assert damaged(data, "coco", 3) == damaged(data, "coco", 3)
    assert len({mutate(data, Random(seed)) for seed in range(20)}) > 15


def test_the_list_of_messages_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("list_errors", ROOT / "docs" / "list_errors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == module.page(), "python docs/list_errors.py"
