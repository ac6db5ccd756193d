"""Shared by all tests: one thread per worker, a fixed seed, small scenes and what it takes to train on them."""

import importlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from processes import environment
from punctum.data.synthetic import write_scenes

# Before any test starts a process: several of them on few cores must not fight for threads.
os.environ["OMP_NUM_THREADS"] = "1"

TINY = ["--input-size", "64", "--crop.region", "image", "--backbone.width", "0.125", "--batch-size", "8"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Before the session's other fixtures: what two threads have trained, one does not train again to the bit."""
    torch.set_num_threads(1)


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


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Workers of comparisons run in the tests' own process, one after the other: the folders of all that was done."""
    from punctum.compare import cells, cost, speed, worker

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
    from punctum.cli_compare import parse_compare
    from punctum.compare import run

    def call(
        out: Path, *words: str, data: Path = scenes / "train.json", options: Sequence[str] = tiny
    ) -> dict[str, Any]:
        request, folder, _ = parse_compare([str(data), "--out", str(out), *words, *options])
        return run.compare(request, folder, jobs=2, command="punctum compare ...")

    return call


@pytest.fixture(scope="session")
def untrained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a density head that has learned nothing, calibrated at 50 and 80 %: all that an export asks."""
    from punctum.calibrate import calibrate
    from punctum.data import read
    from punctum.model import KeypointModel, ModelConfig

    torch.manual_seed(0)
    backbone = {"name": "resnet18", "width": 0.125, "output_stride": 8}
    crop = {"region": "image", "padding": 1.0}
    config = ModelConfig(read(scenes / "train.json").schema, (64, 64), backbone, {"name": "density"}, crop)
    model = KeypointModel(config).eval()
    with torch.no_grad():
        model.heads[0].conv.weight.mul_(30)  # Hills and valleys, as of a network that has learned.
    run = tmp_path_factory.mktemp("untrained") / "run"
    model.save(run / "model")
    calibrate(run, scenes / "train.json", levels=(0.5, 0.8), within=0.2, device="cpu")
    return run


@pytest.fixture(scope="session")
def onnx_file(untrained: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export."""
    pytest.importorskip("onnxscript")
    from punctum.export.run import Request, export

    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export(untrained, path, Request(samples=str(scenes / "test.json")))
    return path
