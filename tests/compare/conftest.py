"""Comparisons that tests can afford: workers run in the tests' own process, one after the other."""

import importlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from punctum.cli_compare import parse_compare
from punctum.compare import cells, cost, run, speed, worker


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of all work that was done."""
    done: list[Path] = []

    def run_workers(module: str, folders: list[Path], jobs: int = 0) -> Iterator[tuple[Path, str]]:
        for folder in folders:
            monkeypatch.setattr(sys, "argv", [module, str(folder)])
            said = io.StringIO()
            with redirect_stdout(said):
                code = importlib.import_module(module).main()
            done.append(folder)
            yield folder, said.getvalue().strip().splitlines()[-1] if code else ""

    for module in (cells, cost, speed):
        monkeypatch.setattr(module, "run_workers", run_workers)
    for module in (worker, cost, speed):
        monkeypatch.setattr(module, "end_with_parent", lambda: None)
    monkeypatch.setattr(cost, "SECONDS", 0.02)
    return done


@pytest.fixture
def compare(scenes: Path, tiny: list[str], in_process: list[Path]) -> Callable[..., dict[str, Any]]:
    """`punctum compare` on the small scenes, in this process; what comparison.json holds."""

    def call(
        out: Path, *words: str, data: Path = scenes / "train.json", options: Sequence[str] = tiny
    ) -> dict[str, Any]:
        request, folder, _ = parse_compare([str(data), "--out", str(out), *words, *options])
        return run.compare(request, folder, jobs=2, command="punctum compare ...")

    return call
