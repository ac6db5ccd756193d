"""What a model costs: counts by hand, times that are there, memory that holds at least the weights."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from rich.console import Console

from punctum import benchmark_run
from punctum.benchmark_run import _macs, _stages, benchmark, in_turns
from punctum.model import KeypointModel, ModelConfig
from punctum.predict_network import Network
from punctum.schema import Schema


def check(found: dict[str, Any], peak: float) -> None:
    assert list(found["variants"]) == ["2"]
    rows = found["variants"]["2"]
    assert list(rows) == ["plain", "fused", "fused, bf16"]
    for row in rows.values():
        assert row["ms"] > 0
        assert row["peak_mib"] >= peak
    assert rows["plain"]["speed"] == 1
    assert found["folded"] == [20, 20]
    assert found["stages"]["read_ms"] > 0
    assert all(found["stages"]["2"][key] > 0 for key in ("backbone_ms", "head_ms"))


def test_a_trained_run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> CompletedProcess[str]:
        if command[0] == sys.executable:  # `platform` asks for the processor's name.
            asked.append(command[-3:])
        return CompletedProcess(command, 0, "12.5\n", "")

    monkeypatch.setattr(benchmark_run, "SECONDS", 0.02)
    monkeypatch.setattr("punctum.benchmark_run.subprocess.run", run)
    text = io.StringIO()
    found = benchmark(trained, (2,), device="cpu", out=tmp_path / "cost.json", console=Console(file=text, width=120))
    check(found, 12.5)
    assert json.loads((tmp_path / "cost.json").read_text()) == found
    assert asked == [[str(trained), name, "2"] for name in ("plain", "fused", "fused, bf16")]
    assert "20 of 20 batch normalizations folded" in text.getvalue()


@pytest.mark.slow
def test_it_is_a_command(trained: Path, tmp_path: Path, cli: Callable[..., CompletedProcess[str]]) -> None:
    out = tmp_path / "cost.json"
    done = cli(["info", "--benchmark", trained, "--batch-size", "2", "--device", "cpu", "--json", out])
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    check(found, 0.5 * 4 * found["parameters"] / 2**20)
    assert "fused, bf16" in done.stdout


def test_macs_are_those_of_the_layers() -> None:
    config = ModelConfig(
        Schema(("a", "b")), (32, 32), {"name": "resnet18", "width": 0.125, "output_stride": 32}, {"name": "dsnt"}
    )
    model = KeypointModel(config).eval()
    total = 0

    def add(module: torch.nn.Conv2d, _: object, result: torch.Tensor) -> None:
        nonlocal total
        total += result.numel() * module.weight[0].numel()

    handles = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    for handle in handles:
        handle.remove()
    # Nearly all of it is convolutions; the head's few sums are products of matrices that count too.
    assert _macs(model, torch.device("cpu")) == pytest.approx(total, rel=0.01)


def test_volumes_and_layers_have_stages_too() -> None:
    backbone = {"name": "columns", "width": 0.125, "depth": 2}
    model = KeypointModel(ModelConfig(Schema(("a",)), (16, 8), backbone, {"name": "dsnt"})).eval()
    assert set(_stages(Network(model, "cpu"), 2)) == {"backbone_ms", "head_ms"}


def test_works_take_turns() -> None:
    done: list[str] = []
    works = {name: lambda n=name: done.append(n) for name in "ab"}
    times = in_turns(works, 0.0)
    assert done == ["a", "b"] * 5
    assert [len(t) for t in times.values()] == [3, 3]


def test_mistakes(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1, got 4, 0"):
        benchmark(trained, (4, 0), device="cpu")
    with pytest.raises(FileNotFoundError, match="no model in"):
        benchmark(tmp_path, (1,), device="cpu")
