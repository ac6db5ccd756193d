"""Predictions come to the instance they are of, whatever the file; what fits nowhere is told."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mpii_files
import numpy as np
import pytest
from scipy.io import savemat

from punctum.data import Annotations, DataError, Predictions, read, read_predictions
from punctum.image_prediction import ImagePrediction
from punctum.predict_write import write_predictions

NAMES = ("nose", "left_eye", "right_eye")
Write = Callable[..., Path]


@pytest.fixture
def people(write_coco: Write) -> Annotations:
    """Annotations 1 and 2 on a.png, 3 on b.png; 2 lacks its left eye."""
    return read(write_coco(), labels_only=True)


def table(path: Path, *rows: tuple[Any, ...]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "instance", "keypoint", "x", "y", "score"), *rows])
    return path


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_what_predict_writes(people: Annotations, tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(0)
    written = [
        ImagePrediction(name, label, NAMES, rng.random((3, 2)).round(3), rng.random(3).round(3), None)
        for name, label in zip(people.image_names, people.ids, strict=True)
    ]
    path = write_predictions(written[::-1], tmp_path / f"p.{ending}")
    found = read_predictions(path, people)
    np.testing.assert_allclose(found.keypoints, np.stack([p.keypoints for p in written]))
    np.testing.assert_allclose(found.score, np.stack([p.score for p in written]))
    assert found.notes == found.unmatched == ()


def test_paths_and_single_instances(people: Annotations, tmp_path: Path) -> None:
    path = table(
        tmp_path / "p.csv", ("some/data/b.png", "", "nose", 1, 2, ""), (".\\a.png", "2", "right_eye", 3, 4, 0.5)
    )
    found = read_predictions(path, people)
    assert np.argwhere(np.isfinite(found.keypoints).all(-1)).tolist() == [[1, 2], [2, 0]]
    assert found.keypoints[2, 0].tolist() == [1, 2]
    assert np.isnan(found.score[2, 0])
    assert found.score[1, 2] == 0.5


def test_what_fits_nowhere_is_told(people: Annotations, tmp_path: Path) -> None:
    path = table(
        tmp_path / "p.csv",
        ("c.png", "", "nose", 1, 2, 1),
        ("a.png", "9", "nose", 1, 2, 1),
        ("b.png", "3", "tail", 1, 2, 1),
        ("b.png", "3", "nose", "", "nan", 1),
    )
    found = read_predictions(path, people)
    assert np.isnan(found.keypoints).all()
    assert found.unmatched == (
        "1 prediction of 'tail', which train.json does not name",
        "2 predicted instances without a labelled instance in train.json: c.png, a.png 9",
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("b.png", "3", "nose", "two", 2, 1)], r"p\.csv, line 2: keypoint nose: x is 'two', not a finite number"),
        ([("b.png", "3", "nose", 1, "inf", 1)], r"p\.csv, line 2: keypoint nose: y is 'inf'"),
        ([("b.png", "3", "nose", 1, 2, 1)] * 2, r"p\.csv, line 3: keypoint nose stands in p\.csv, line 2 already"),
        ([("a.png", "", "nose", 1, 2, 1)], r"line 2: image a\.png has 2 labelled instances: .*instance: 1, 2\)"),
    ],
)
def test_csv_mistakes(people: Annotations, tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_predictions(table(tmp_path / "p.csv", *rows), people)


def test_an_image_name_that_may_be_two(write_coco: Write, tmp_path: Path) -> None:
    def rename(content: dict[str, Any]) -> None:
        content["images"][0]["file_name"], content["images"][1]["file_name"] = "x/a.png", "y/a.png"

    people = read(write_coco(rename), labels_only=True)
    with pytest.raises(DataError, match=r"image a\.png may be any of x/a\.png, y/a\.png: write more of its path"):
        read_predictions(table(tmp_path / "p.csv", ("a.png", "", "nose", 1, 2, 1)), people)
    found = read_predictions(table(tmp_path / "p.csv", ("y/a.png", "", "nose", 1, 2, 1)), people)
    assert np.isfinite(found.keypoints[2, 0]).all()


def coco(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text(json.dumps([{"category_id": 1, "score": 0.9, **row} for row in rows]))
    return path


def test_coco_results(people: Annotations, tmp_path: Path) -> None:
    points = [1, 2, 0.5, 3, 4, 0.6, 5, 6, 0.7]
    found = read_predictions(coco(tmp_path / "r.json", {"image_id": 11, "keypoints": points}), people)
    assert found.keypoints[2].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert found.score[2].tolist() == [0.5, 0.6, 0.7]
    assert np.isnan(found.keypoints[:2]).all()
    rows = [{"image_id": 10, "annotation_id": n, "keypoints": points} for n in (2, 1, 7)]
    found = read_predictions(coco(tmp_path / "r.json", *rows), people)
    assert np.isfinite(found.keypoints[:2]).all()
    assert found.unmatched == ("1 predicted instance without a labelled instance in train.json: annotation_id 7",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image_id": 10}], r"r\.json: result 0 \(image_id 10\): 1 result for 2 labelled instances in the image"),
        ([{"image_id": 11}] * 2, r"r\.json: result 0 \(image_id 11\): 2 results for 1 labelled"),
        ([{"image_id": 11, "keypoints": [1, 2]}], r"result 0 .*: keypoints should be 3 numbers for each of 3"),
        ([{"image_id": 11, "keypoints": None}], r"result 0 .*: keypoints should be 3 numbers for each of 3"),
    ],
)
def test_coco_mistakes(people: Annotations, tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_predictions(coco(tmp_path / "r.json", *({"keypoints": [0] * 9, **row} for row in rows)), people)


def test_coco_results_need_coco_annotations(tmp_path: Path) -> None:
    people = read(mpii_files.h5(tmp_path / "a.h5"), labels_only=True)
    with pytest.raises(DataError, match="so the annotations must be COCO JSON"):
        read_predictions(coco(tmp_path / "r.json", {"image_id": 1, "keypoints": []}), people)


@pytest.mark.parametrize("ending", ["h5", "mat"])
@pytest.mark.parametrize("turned", [False, True])
def test_preds_row_by_row(tmp_path: Path, ending: str, turned: bool) -> None:
    people = read(mpii_files.h5(tmp_path / "a.h5"), labels_only=True).subset([0, 1, 0, 1])
    preds = np.random.default_rng(0).random((4, 16, 2)) * 90 + 1
    preds[1, 3] = 0
    values = preds.transpose(2, 1, 0) if turned else preds
    path = tmp_path / f"preds.{ending}"
    if ending == "h5":
        with h5py.File(path, "w") as file:
            file["preds"] = values
    else:
        savemat(path, {"preds": values})
    found = read_predictions(path, people)
    np.testing.assert_allclose(found.keypoints, preds - 1)
    assert found.notes[1] == "1 predicted point at exactly (0, 0): counted as they stand"


def test_preds_mistakes(tmp_path: Path) -> None:
    people = read(mpii_files.h5(tmp_path / "a.h5"), labels_only=True)
    savemat(tmp_path / "p.mat", {"preds": np.zeros((4, 16, 2))})
    with pytest.raises(
        DataError, match=r"preds are \(4, 16, 2\), but should be \(2, 16, 2\), a row for each of the 2"
    ):
        read_predictions(tmp_path / "p.mat", people)
    with pytest.raises(DataError, match=r"a\.h5: no predictions: no preds in it, but center"):
        read_predictions(tmp_path / "a.h5", people)
    savemat(tmp_path / "p.mat", {"preds": np.full((2, 16, 2), np.inf)})
    with pytest.raises(DataError, match=r"p\.mat: row 0: keypoint right_ankle is infinite"):
        read_predictions(tmp_path / "p.mat", people)


def test_two_rows_may_be_two_axes(tmp_path: Path) -> None:
    people = read(mpii_files.h5(tmp_path / "a.h5"), labels_only=True)
    preds = np.random.default_rng(0).random((2, 16, 2)) + 1
    savemat(tmp_path / "p.mat", {"preds": preds})
    found = read_predictions(tmp_path / "p.mat", people)
    np.testing.assert_allclose(found.keypoints, preds - 1)
    assert found.notes[1] == "preds of that shape might also be (2, 16, 2) in MATLAB's order: taken as a row each"


def test_preds_of_one_person(tmp_path: Path, write_coco: Write) -> None:
    people = read(write_coco(), labels_only=True).subset([2])
    savemat(tmp_path / "p.mat", {"preds": np.arange(6.0).reshape(1, 3, 2)})
    assert read_predictions(tmp_path / "p.mat", people).keypoints[0, 2].tolist() == [3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n", r"p: a csv of predictions has the columns image, .*; here is no image, instance, keypoint"),
        ("[1, 2]", "these are no predictions that can be read"),
        ("{}", "these are no predictions that can be read"),
        ('[{"image": "a.png", "keypoints": [1]}]', "entry 0: keypoints should be objects with name, x and y, got 1"),
        ("[", "neither JSON nor csv"),
    ],
)
def test_other_files(people: Annotations, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p").write_text(text)
    with pytest.raises(DataError, match=message):
        read_predictions(tmp_path / "p", people)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_predictions(tmp_path / "none", people)


def test_predictions_are_plain() -> None:
    assert Predictions(np.zeros((1, 2, 2)), np.zeros((1, 2))).unmatched == ()


def coco_file(path: Path, *rows: dict[str, Any]) -> Path:
    """As `punctum predict --format coco` writes it."""
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    category = {"id": 1, "name": "instance", "keypoints": ["right_eye", "left_eye", "nose"]}
    plain = {"category_id": 1, "image_id": 2, "keypoints": [1, 2, 2, 3, 4, 2, 5, 6, 2]}
    annotations = [{**plain, "id": n, "keypoint_scores": [0.5, 0.6, 0.7], **row} for n, row in enumerate(rows)]
    path.write_text(json.dumps({"images": images, "categories": [category], "annotations": annotations}))
    return path


def test_a_coco_file_of_predictions(people: Annotations, tmp_path: Path) -> None:
    rows = [
        {"image_id": 1, "instance": "2"},
        {"image_id": 1, "instance": "1"},
        {"keypoints": [1, 2, 2, 3, 4, 0, 5, 6, 2]},
    ]
    found = read_predictions(coco_file(tmp_path / "p.coco.json", *rows), people)
    assert found.keypoints[0].tolist() == [[5, 6], [3, 4], [1, 2]]
    assert found.score.tolist() == [[0.7, 0.6, 0.5]] * 3
    assert np.isnan(found.keypoints[2, 1]).all()
    assert found.unmatched == ()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image_id": 9}, r"annotations\[0\]: its image_id or category_id stands nowhere in the file"),
        ({"image_id": [9]}, r"its image_id or category_id stands nowhere"),
        ({"category_id": 2}, r"its image_id or category_id stands nowhere"),
        ({"keypoints": [1, 2]}, r"expected 9 numbers as keypoints, and 3 as keypoint_scores, for its 3 names"),
        ({"keypoint_scores": [1, 2, "x"]}, r"expected 9 numbers as keypoints"),
        ({"keypoints": None}, r"expected 9 numbers as keypoints"),
    ],
)
def test_mistakes_of_a_coco_file(people: Annotations, tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_predictions(coco_file(tmp_path / "p.coco.json", row), people)


def test_a_cell_without_end_is_told(people: Annotations, tmp_path: Path) -> None:
    path = table(tmp_path / "p.csv", ("b.png", "3", "nose", 1, 2, 1), ("b.png", "3", "x" * 200_000, 1, 2, 1))
    with pytest.raises(DataError, match=r"p\.csv, line 2: not a csv file: field larger than field limit"):
        read_predictions(path, people)
