"""Files against files: figures worked by hand, what is missing, what is refused."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy.io import savemat
from scipy.stats import spearmanr

from punctum.cli import main
from punctum.data import DataError
from punctum.predict_files import predict_files
from punctum.score import METRICS, score

NAMES = ["right_wrist", "left_wrist", "tail"]
# Two images, a box of 20 x 10 and one of 40 x 40; the second instance's tail is not labelled.
LABELS = {"1": [(10, 10), (20, 10), (30, 10)], "2": [(50, 50), (60, 50)]}
ERRORS = {"1": [1, 5, 2.5], "2": [4, 21]}
SCORES = {"1": [0.9, 0.3, 0.8], "2": [0.7, 0.2]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    content = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in (1, 2)],
        "categories": [{"id": 1, "name": "thing", "keypoints": NAMES, "sigmas": [0.05] * 3}],
        "annotations": [
            {
                "id": int(n),
                "image_id": int(n),
                "category_id": 1,
                "bbox": [0, 0, 20, 10] if n == "1" else [0, 0, 40, 40],
                "keypoints": [v for k in range(3) for v in ((*places[k], 2) if k < len(places) else (0, 0, 0))],
            }
            for n, places in LABELS.items()
        ],
    }
    (tmp_path / "labels.json").write_text(json.dumps(content))
    return tmp_path / "labels.json"


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Every error points down."""
    rows = [
        (f"{n}.png", n, NAMES[k], x, y + ERRORS[n][k], SCORES[n][k])
        for n, places in LABELS.items()
        for k, (x, y) in enumerate(places)
    ]
    return write(tmp_path / "p.csv", rows)


def write(path: Path, rows: list[Any]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "instance", "keypoint", "x", "y", "score"), *rows])
    return path


def values(result: dict[str, Any]) -> dict[str, float]:
    return {column: figure["value"] for column, figure in result["total"].items()}


def test_epe(data: Path, predictions: Path) -> None:
    result = score(predictions, data, metric="epe")
    errors = [1, 5, 2.5, 4, 21]
    assert values(result) == pytest.approx(
        {"mean": 6.7, "median": 4, "p90": np.quantile(errors, 0.9), "p95": np.quantile(errors, 0.95)}
    )
    assert (result["n"], result["n_instances"], result["n_images"]) == (5, 2, 2)
    assert [row["n"] for row in result["per_keypoint"]] == [2, 2, 1]
    assert result["per_keypoint"][1]["mean"] == 13
    low, high = result["total"]["mean"]["interval_95"]
    assert (low, high) == pytest.approx((8.5 / 3, 12.5))  # An image's two or three points alone.
    scores = [0.9, 0.3, 0.8, 0.7, 0.2]
    theirs = spearmanr(scores, [-e for e in errors]).statistic
    assert result["score_error_correlation"]["value"] == pytest.approx(theirs)


def test_pck_and_nme(data: Path, predictions: Path) -> None:
    # Over the longer sides 20 and 40: 0.05, 0.25, 0.125 and 0.1, 0.525.
    result = score(predictions, data, metric="pck", thresholds=[0.1, 0.25])
    assert values(result) == pytest.approx(
        {"pck@0.1": 2 / 5, "pck@0.25": 4 / 5, "auc": (0.8 + 0 + 0.5 + 0.6 + 0) / 5}
    )
    assert result["normalizer"].startswith("bbox")
    assert values(score(predictions, data, metric="pck", normalizer="pixels", thresholds=[4])) == pytest.approx(
        {"pck@4": 3 / 5, "auc": (0.75 + 0 + 0.375 + 0 + 0) / 5}
    )
    by_length = score(predictions, data, metric="nme")
    assert values(by_length) == pytest.approx({"nme": ((0.05 + 0.25 + 0.125) / 3 + (0.1 + 0.525) / 2) / 2})
    by_points = score(predictions, data, metric="pck", normalizer="keypoints:right_wrist,tail", thresholds=[0.1])
    assert by_points["n"] == 3  # The second has no tail.
    assert by_points["left_out"]["instances_without_length"] == 1
    assert by_points["left_out"]["points_without_length"] == 2
    assert "tail is not labelled" in by_points["left_out"]["why_without_length"]


def test_missing_predictions(data: Path, predictions: Path, tmp_path: Path) -> None:
    lines = predictions.read_text().splitlines()
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join([*lines[:2], *lines[3:4]]) + "\n")
    with pytest.raises(DataError) as caught:
        score(fewer, data, metric="pck")
    assert caught.value.mistakes == (
        "labels.json: instance 1 (image 1.png): no prediction of left_wrist; --allow-missing counts it as a miss",
        "labels.json: instance 2 (image 2.png): no prediction of any keypoint; --allow-missing counts it as a miss",
    )
    result = score(fewer, data, metric="pck", thresholds=[0.125, 9], allow_missing=True)
    assert values(result) == pytest.approx({"pck@0.125": 2 / 5, "pck@9": 2 / 5, "auc": (2 - (0.05 + 0.125) / 9) / 5})
    assert result["missing"] == {"points": 3, "instances": 2}
    for metric in ("epe", "nme"):
        with pytest.raises(ValueError, match=rf"3 labelled points without a prediction: .*for {metric}"):
            score(fewer, data, metric=metric, allow_missing=True)


def test_unmatched_predictions_are_told(data: Path, predictions: Path) -> None:
    with predictions.open("a") as file:
        file.write("7.png,,tail,1,2,0.5\n")
    result = score(predictions, data, metric="epe")
    assert result["notes"][-1] == "1 predicted instance without a labelled instance in labels.json: 7.png"
    assert result["n"] == 5


def test_pckh_of_mpii(tmp_path: Path) -> None:
    """Two people, heads of 30 and 10 px, every error to the right: 15 px is half a head for the first."""
    import h5py

    part = np.full((2, 16, 2), 100.0)
    part[1, 10] = 0  # The second's right wrist is missing.
    preds = part.copy()
    preds[:, :, 0] += 3
    preds[0, 9, 0] += 12  # head_top: 15 px, half a head, still in.
    preds[0, 15, 0] += 13  # left_wrist: 16 px.
    preds[:, 6:8] = 0  # Pelvis and thorax do not count.
    with h5py.File(tmp_path / "valid.h5", "w") as file:
        file["part"], file["visible"] = part, np.ones((2, 16))
        file["center"], file["scale"] = np.full((2, 2), 100.0), np.ones(2)
        file["imgname"], file["normalize"] = np.array([b"a.jpg", b"b.jpg"]), np.array([30.0, 10.0])
    savemat(tmp_path / "preds.mat", {"preds": preds})
    result = score(tmp_path / "preds.mat", tmp_path / "valid.h5", metric="pckh")
    # 14 + 13 points; of the first's, two are beyond 0.1, and all of the second's, whose 3 px are 0.3.
    assert values(result) == pytest.approx(
        {"pckh@0.5": 26 / 27, "pckh@0.1": 12 / 27, "auc": (12 * 0.8 + 0 + 0 + 13 * 0.4) / 27}
    )
    assert result["groups"]["wrist"] == pytest.approx({"pckh@0.5": 0.75, "pckh@0.1": 0.5, "auc": (0.8 + 0.2) / 2})
    assert result["per_keypoint"][6] == {"name": "pelvis", "n": 0, "pckh@0.5": None, "pckh@0.1": None, "auc": None}
    assert result["left_out"]["keypoints"] == ["pelvis", "thorax"]
    assert "score_error_correlation" not in result
    assert score(tmp_path / "preds.mat", tmp_path / "valid.h5", metric="pck")["normalizer"].startswith("head")


def test_refusals(data: Path, predictions: Path) -> None:
    for options, message in [
        ({"metric": "pdj"}, "unknown metric 'pdj': choose one of pckh, pck, nme, epe"),
        ({"metric": "pckh"}, r"labels\.json has no head sizes"),
        ({"metric": "pckh", "normalizer": "bbox"}, "pckh is always by the head"),
        ({"metric": "epe", "normalizer": "bbox"}, "epe is in pixels"),
        ({"metric": "epe", "thresholds": [1]}, "epe has no thresholds"),
        ({"metric": "nme", "thresholds": [1]}, "nme has no thresholds"),
        ({"metric": "nme", "normalizer": "image"}, "needs the images, which score does not read"),
    ]:
        with pytest.raises(ValueError, match=message):
            score(predictions, data, **options)
    content = json.loads(data.read_text())
    del content["annotations"][0]["bbox"]
    data.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"instances without a box: choose a --normalizer"):
        score(predictions, data, metric="pck")


@pytest.mark.parametrize("metric", [m for m in METRICS if m != "pckh"])
def test_the_command(
    metric: str, data: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    assert main(["score", str(predictions), str(data), "--metric", metric, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "5 points, 2 instances, 2 images" in shown
    assert json.loads(out.read_text()) == score(predictions, data, metric=metric)
    assert "NaN" not in out.read_text()
    if metric == "epe":
        assert "6.70" in shown


def test_shares_are_shown_in_per_cent(data: Path, predictions: Path) -> None:
    console = Console(width=120, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    score(predictions, data, metric="pck", thresholds=[0.1, 0.26], console=console)
    console.file.close()
    shown = console.export_text()
    assert "pck@0.1 %" in shown
    assert "40.00" in shown
    assert "rank correlation of score and closeness: 0." in shown


def test_what_predict_writes_is_measured_alike(trained: Path, scenes: Path, tmp_path: Path) -> None:
    errors = []
    for name in ("a.csv", "a.json", "a.coco.json"):
        predict_files(trained, [scenes / "test.json"], tmp_path / name, device="cpu")
        errors.append(score(tmp_path / name, scenes / "test.json", metric="epe")["total"]["mean"]["value"])
    assert errors[0] == errors[1] > 0
    assert errors[2] == pytest.approx(errors[0], abs=1e-3)
