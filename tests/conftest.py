"""Shared by all tests: one thread per worker, a fixed seed, small scenes and what it takes to train on them."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from processes import environment
from punctum.data.synthetic import write_scenes

# Before any test starts a process: several of them on few cores must not fight for threads.
os.environ["OMP_NUM_THREADS"] = "1"

TINY = ["--input-size", "64", "--crop.region", "image", "--backbone.width", "0.125", "--batch-size", "8"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.json (24 scenes) and test.json (12), 64 px."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, 24, seed=0, size=64, split="train")
    write_scenes(folder, 12, seed=0, size=64, split="test")
    return folder


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Options of a network that trains in a moment."""
    return [*TINY, "--hardware.workers", "0", "--hardware.accelerator", "cpu"]


@pytest.fixture(scope="session")
def cli() -> Callable[[Sequence[str]], subprocess.CompletedProcess[str]]:
    """Run `punctum` as a user does, in a process of its own."""

    def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "punctum.cli", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)

    return run


@pytest.fixture(scope="session")
def trained(scenes: Path, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, three epochs old."""
    from punctum.cli_train import parse_train
    from punctum.train import train

    run = tmp_path_factory.mktemp("trained") / "run"
    settings, _ = parse_train([str(scenes / "train.json"), "--out", str(run), "--max-epochs", "3", *tiny])
    return train(settings).run
