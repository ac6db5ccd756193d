"""Counts against the published networks; ratios by hand; one whole run on the smallest of them."""

import json
import sys

import pytest

import efficiency
from processes import environment


def test_sizes_are_the_published_ones() -> None:
    size = efficiency.measure_size("resnet50-28px-js")
    # torchvision's ResNet-50 without its classifier, and 16 maps of 2048 weights.
    assert size["parameters"] == 25_557_032 - 2_049_000 + 16 * 2048
    # At a stride of 32 it is known to take 4.1 GMAC, of which the classifier is 0.002.
    at_stride_32 = efficiency.measure_size("resnet50-7px-js")["flops"] / 2e9
    assert at_stride_32 == pytest.approx(4.09, abs=0.03)
    assert size["convolutions"] == 54


def test_simple_baseline_is_the_published_one() -> None:
    size = efficiency.measure_size(efficiency.SIMPLE_BASELINE)
    # ResNet-50 without its classifier; 4 x 4 taps from 2048 and twice 256 channels to 256, each with a batch norm.
    neck = 16 * 256 * (2048 + 2 * 256) + 3 * 2 * 256
    assert size["parameters"] == 25_557_032 - 2_049_000 + neck + 256 * 16 + 16
    assert efficiency.settings_of(efficiency.SIMPLE_BASELINE).crop.input_size == (256, 256)


def test_ratios_are_against_the_base_turn_by_turn() -> None:
    def cells(scale: float) -> dict[str, list[dict[str, float]]]:
        size = {"parameters": 10 * scale, "flops": 4 * scale, "convolutions": 3}
        memory = {"peak_mib": 8 * scale, "kept_mib": 2 * scale}
        return {"size": [size], "predict": [memory], "train": [memory] * 2}

    def times(*medians: float) -> list[dict[str, float]]:
        return [{"median": m, "mad": 0.1, "wall": m} for m in medians]

    found = efficiency.summarize(cells(0.5), times(1, 2, 4), cells(1.0), times(2, 6, 16))
    assert found["ratios"]["speed"]["values"] == [2, 3, 4]
    assert found["ratios"]["train"]["values"] == [0.5, 0.5]
    assert found["ratios"]["parameters"] == 0.5


@pytest.mark.slow
@pytest.mark.thorough
def test_a_tiny_run(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(efficiency, "BASE", "hourglass1-hm")
    monkeypatch.setattr(efficiency, "MEMORY_ROUNDS", 1)
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    words = ["--models", "resnet18-7px-js", "--rounds", "1", "--repetitions", "1", "--batch", "1"]
    monkeypatch.setattr(sys, "argv", ["efficiency.py", "--out", str(tmp_path), *words])
    efficiency.main()
    found = json.loads((tmp_path / "efficiency-cpu.json").read_text())["results"]
    row = found["resnet18-7px-js"]
    # At least the weights; in training also their gradients and the optimizer's squares.
    weights = 4 * row["parameters"] / efficiency.MIB
    assert row["predict_mib"]["mean"] > 0.9 * weights
    assert row["train_mib"]["mean"] > 2.5 * weights
    assert found["hourglass1-hm"]["ratios"]["speed"]["mean"] == 1
    assert "| resnet18-7px-js |" in capsys.readouterr().out
