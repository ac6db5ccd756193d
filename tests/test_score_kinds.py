"""Predictions of volumes and layers, scored file against file."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from punctum.data import DataError
from punctum.image_prediction import ImagePrediction
from punctum.predict_layers import ScanPrediction
from punctum.predict_write import write_predictions
from punctum.score import score
from punctum.write_layers import write_layers

SPACING = [0.5, 1.0, 4.0]
# Voxels off, along one axis each: 3 along x is 1.5 mm, 2 along z is 8 mm.
OFFSETS = [(3.0, 0, 0), (0, 0, 2.0)]
POINTS = [(10.0, 12.0, 5.0), (20.25, 8.5, 6.0)]


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    points = dict(zip(("a", "b"), map(list, POINTS), strict=True))
    content = {"keypoints": ["a", "b"], "volumes": [{"file": "v/1.npz", "spacing": SPACING, "points": points}]}
    (tmp_path / "volumes.json").write_text(json.dumps(content))
    return tmp_path / "volumes.json"


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    content = {"layers": ["top", "base"], "scans": [{"image": "s.png", "rows": [[1.0, 2.0, None], [5.0, 6.0, 7.0]]}]}
    (tmp_path / "layers.json").write_text(json.dumps(content))
    return tmp_path / "layers.json"


def found_points(image: str = "v/1.npz") -> ImagePrediction:
    places = np.array(POINTS) + np.array(OFFSETS)
    return ImagePrediction(image, "", ("a", "b"), places, np.array([0.9, 0.1]), None)


def found_layers() -> ScanPrediction:
    rows = np.array([[1.5, 2.0, 9.0], [5.0, 8.0, 7.0]])
    maps = np.tile(np.eye(2), (3, 1, 1))
    return ScanPrediction("there/s.png", ("top", "base"), rows, np.full((2, 3), 0.5), None, maps, (9, 3))


def totals(result: dict[str, Any]) -> dict[str, float]:
    return {name: figure["value"] for name, figure in result["total"].items()}


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_landmarks_in_volumes(volumes: Path, tmp_path: Path, ending: str) -> None:
    path = write_predictions([found_points()], tmp_path / f"p.{ending}")
    result = score(path, volumes, metric="epe")
    assert totals(result)["mean"] == pytest.approx(2.5)
    assert totals(result)["mean_mm"] == pytest.approx((1.5 + 8) / 2)
    assert [row["mean_mm"] for row in result["per_keypoint"]] == pytest.approx([1.5, 8])
    shares = totals(score(path, volumes, metric="pck", normalizer="pixels", thresholds=[2, 3.5]))
    assert (shares["pck@2"], shares["pck@3.5"]) == (0.5, 1.0)


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_layers_in_scans(layers: Path, tmp_path: Path, ending: str) -> None:
    path = write_layers([found_layers()], tmp_path / f"l.{ending}", ("top", "base"))
    result = score(path, layers, metric="epe")
    # Five labelled rows; of the third column's upper layer nobody knows.
    assert (result["n"], result["n_instances"], result["n_images"]) == (5, 3, 1)
    assert totals(result)["mean"] == pytest.approx((0.5 + 0 + 0 + 2 + 0) / 5)


def test_files_of_another_kind_are_refused(volumes: Path, layers: Path, tmp_path: Path) -> None:
    points = write_predictions([found_points()], tmp_path / "p.csv")
    as_json = write_predictions([found_points("1.png")], tmp_path / "p.json")
    with pytest.raises(DataError, match="here is no layer, column, row"):
        score(points, layers, metric="epe")
    with pytest.raises(DataError, match="which has layers"):
        score(as_json, layers, metric="epe")
    with pytest.raises(DataError, match="here is no instance, keypoint, x, y, z"):
        score(write_layers([found_layers()], tmp_path / "l.csv", ("top", "base")), volumes, metric="epe")
    with pytest.raises(ValueError, match="oks is of points in pictures"):
        score(points, volumes, metric="oks", sigmas=[0.1, 0.1])
    category = {"id": 1, "name": "thing", "keypoints": ["a", "b"]}
    row = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1, 1, 2, 5, 5, 2]}
    flat = {"images": [{"id": 1, "file_name": "1.png"}], "categories": [category], "annotations": [row]}
    (tmp_path / "flat.json").write_text(json.dumps(flat))
    for path in (points, as_json):
        with pytest.raises(DataError, match="points in volumes, the annotated ones are not"):
            score(path, tmp_path / "flat.json", metric="epe")


def test_places_are_as_exact_in_large_pictures(tmp_path: Path) -> None:
    """Six digits in all would be half a hundredth of a pixel at 1,000: enough to change a printed figure."""
    large = ImagePrediction("1.png", "", ("a",), np.array([[12345.6789, 3.00004]]), np.array([0.5]), None)
    with write_predictions([large], tmp_path / "p.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["x"], row["y"]) == ("12345.6789", "3.0000")
