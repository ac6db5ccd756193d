"""Evaluation against errors that were put there by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from punctum.data import read
from punctum.evaluate import Protocol, evaluate, image_numbers, measure


def test_errors_put_there_are_found(scenes: Path) -> None:
    annotations = read(scenes / "test.json")
    keypoints = np.where(annotations.labelled[..., None], annotations.keypoints, 7.0)
    keypoints[:, 0] += (3.0, 4.0)  # Five pixels on the first keypoint alone.
    sizes = np.full((len(annotations), 2), 64)
    metrics = measure(keypoints, annotations, sizes, Protocol("pixels", (4.9, 5.1)))
    n, first = int(annotations.labelled.sum()), int(annotations.labelled[:, 0].sum())
    assert metrics["n"] == n
    assert metrics["epe_px"]["mean"] == pytest.approx(5 * first / n)
    assert metrics["pck"]["4.9"]["value"] == pytest.approx(1 - first / n)
    assert metrics["pck"]["5.1"]["value"] == pytest.approx(1.0)
    assert metrics["per_keypoint"][0]["epe_px_median"] == pytest.approx(5.0)
    assert metrics["per_keypoint"][1]["epe_px_median"] == pytest.approx(0.0)
    in_mm = measure(keypoints, annotations, sizes, Protocol("pixels", spacing=0.5))
    assert in_mm["mre_mm"]["value"] == pytest.approx(2.5 * first / n)
    assert in_mm["sdr_mm"]["2"]["value"] == pytest.approx(1 - first / n)


def test_the_normalizer_of_two_keypoints(scenes: Path) -> None:
    annotations = read(scenes / "test.json")
    a, b = (annotations.schema.index(name) for name in ("neck", "head_top"))
    length = np.linalg.norm(annotations.keypoints[:, a] - annotations.keypoints[:, b], axis=-1)
    keypoints = np.nan_to_num(annotations.keypoints)
    keypoints[..., 0] += np.nan_to_num(length, nan=1.0)[:, None] * 0.25
    sizes = np.full((len(annotations), 2), 64)
    metrics = measure(keypoints, annotations, sizes, Protocol("keypoints:neck,head_top", (0.2, 0.3)))
    assert metrics["nme"]["value"] == pytest.approx(0.25)
    assert [metrics["pck"][t]["value"] for t in ("0.2", "0.3")] == [0.0, 1.0]
    strict = measure(
        keypoints, annotations, sizes, Protocol("keypoints:neck,head_top", min_length=float(np.nanmax(length)))
    )
    assert strict["left_out"]["instances_without_length"] == len(annotations) - 1  # The longest is kept.


def test_the_normalizer_that_the_file_gives_and_the_scores(scenes: Path) -> None:
    annotations = read(scenes / "test.json")
    heads = np.geomspace(5, 16, len(annotations))
    heads[3] = np.nan
    keypoints = np.nan_to_num(annotations.keypoints)
    error = np.linspace(0, 10, keypoints.shape[1])  # In px; a head of 10 px makes it 0 to 1.
    keypoints[..., 0] += error
    sizes = np.full((len(annotations), 2), 64)
    score = -error / np.nan_to_num(heads, nan=1.0)[:, None]
    metrics = measure(keypoints, replace(annotations, lengths=heads), sizes, Protocol("head", (0.5,)), score)
    expected = (error / heads[:, None])[annotations.labelled]
    expected = expected[~np.isnan(expected)]
    assert metrics["pck"]["0.5"]["value"] == pytest.approx((expected <= 0.5).mean())
    assert metrics["left_out"]["instances_without_length"] == 1
    assert metrics["score_error_correlation"]["value"] == pytest.approx(1, abs=1e-3)  # Rounding breaks ties.
    with pytest.raises(ValueError, match="needs head sizes"):
        measure(keypoints, annotations, sizes, Protocol("head"))


def test_evaluate_writes_what_it_returns(trained: Path, scenes: Path, tmp_path: Path) -> None:
    metrics = evaluate(trained, scenes / "test.json", out=tmp_path, device="cpu")
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["data"] == str(scenes / "test.json")
    assert metrics["normalizer"].startswith("bbox")
    assert metrics["constant_predictor"]["epe_px"]["median"] > 0
    assert -1 <= metrics["score_error_correlation"]["value"] <= 1
    assert "NaN" not in (tmp_path / "metrics.json").read_text()


def test_mistakes(trained: Path, scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neck"):
        evaluate(trained, scenes / "test.json", out=tmp_path, protocol=Protocol("keypoints:neck,hat"))
    with pytest.raises(ValueError, match="thresholds must be positive"):
        Protocol(thresholds=(0.0,))
    with pytest.raises(ValueError, match="spacing must be positive"):
        Protocol(spacing=-1.0)
    content = json.loads((scenes / "test.json").read_text())
    content["categories"][0]["keypoints"][3] = "tail"
    (scenes / "renamed.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="finds other keypoints"):
        evaluate(trained, scenes / "renamed.json", out=tmp_path)
    assert not (tmp_path / "metrics.json").exists()


def test_images_are_numbered_by_path() -> None:
    assert image_numbers([Path("b"), Path("a"), Path("b")]).tolist() == [0, 1, 0]
