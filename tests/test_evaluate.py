"""Evaluation against errors that were put there by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from punctum import cli
from punctum.data import read
from punctum.evaluate import evaluate
from punctum.judging import Protocol, by_difficulty, image_numbers, measure


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


def test_oks_of_errors_put_there(scenes: Path) -> None:
    annotations = read(scenes / "test.json")
    schema = replace(annotations.schema, sigmas=(0.05,) * len(annotations.schema.names))
    areas = np.arange(1.0, 13.0) * 100
    keypoints = np.nan_to_num(annotations.keypoints)
    # By one labelling sigma: exp(-1/8), whatever the size.
    keypoints[..., 0] += 0.05 * np.sqrt(areas)[:, None]
    sizes = np.full((len(annotations), 2), 64)
    metrics = measure(keypoints, replace(annotations, schema=schema, areas=areas), sizes, Protocol("pixels"))
    assert metrics["oks"] == {"value": pytest.approx(np.exp(-1 / 8)), "interval_95": None, "n_instances": 12}
    assert "oks" not in measure(keypoints, replace(annotations, areas=areas), sizes, Protocol("pixels"))


def test_by_difficulty_measures_each_class_alone(scenes: Path) -> None:
    annotations = read(scenes / "test.json")
    k = len(annotations.schema.names)
    visibility = np.zeros_like(annotations.visibility)
    visibility[:, 0] = 2
    visibility[4:9, : k // 2], visibility[9:] = 2, 2
    annotations = replace(annotations, visibility=visibility, keypoints=np.zeros_like(annotations.keypoints))
    keypoints = np.zeros_like(annotations.keypoints)
    keypoints[:4, :, 0], keypoints[4:9, :, 0], keypoints[9:, :, 0] = 30.0, 20.0, 10.0
    sizes = np.full((12, 2), 64)
    assert by_difficulty(keypoints, annotations, sizes, Protocol("pixels")) is None
    by = by_difficulty(keypoints, annotations, sizes, Protocol("pixels", (15.0,), by="joints"))
    assert by is not None
    assert [by[level]["n_instances"] for level in ("easy", "medium", "hard")] == [3, 5, 4]
    assert [by[level]["epe_px"]["mean"] for level in ("easy", "medium", "hard")] == pytest.approx([10, 20, 30])
    assert [by[level]["pck"]["15"]["value"] for level in ("easy", "medium", "hard")] == [1.0, 0.0, 0.0]
    boxes = annotations.boxes.copy()
    boxes[:, 2:] = 200
    boxes[0], boxes[1, 2:] = np.nan, 31
    by = by_difficulty(keypoints, replace(annotations, boxes=boxes), sizes, Protocol(by="size"))
    assert by is not None
    assert by["instances_in_no_class"] == 2
    assert by["easy"]["n_instances"] == 10
    assert by["hard"] == {"n": 0, "n_instances": 0, "n_images": 0}
    # Not every instance has a box, so all classes are measured by the image, also the one where all have.
    assert by["easy"]["nme"]["value"] < 0.5


def test_evaluate_by_difficulty_and_with_a_flip_test(
    trained: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(trained), str(scenes / "test.json"), "--device", "cpu"]
    assert cli.main([*words, "--by", "occlusion", "--flip-test", "--out", str(tmp_path / "flip")]) == 0
    shown = capsys.readouterr().out
    header = next(line for line in shown.splitlines() if "by occlusion" in line)
    easy = next(line for line in shown.splitlines() if "easy" in line)
    assert [cell.strip() for cell in header.split("┃")][2:5] == ["instances", "points", "median px"]
    assert header.count("┃") == easy.count("│")
    assert "OKS" not in header  # These keypoints have no sigmas.
    flipped = json.loads((tmp_path / "flip" / "metrics.json").read_text())
    parts = [flipped["by_difficulty"][level] for level in ("easy", "medium", "hard")]
    assert sum(part["n"] for part in parts) == flipped["n"]
    plain = evaluate(trained, scenes / "test.json", out=tmp_path, device="cpu")
    assert (plain["flip_test"], flipped["flip_test"]) == (False, True)
    assert plain["epe_px"]["mean"] != flipped["epe_px"]["mean"]
    with pytest.raises(ValueError, match="by must be joints, occlusion, size, got 'age'"):
        Protocol(by="age")  # type: ignore[arg-type]


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
