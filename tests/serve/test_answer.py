"""Answers against what `punctum predict` writes, which is made point by point elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest

from punctum.image_prediction import ImagePrediction
from punctum.points import Trust
from punctum.predict_write import write_predictions
from punctum.serve.answer import picture_values, point_values, to_json
from punctum.serve.answer_models import Answer
from punctum.serve.engine import Crop, Found
from punctum.serve.heatmap_png import heatmap_values

NAMES = ("nose", "left_eye", "right_eye")
CROP = Crop(np.zeros((3, 8, 8), np.float32), np.array([[16.0, 0, 15.5], [0, 12, 11.5], [0, 0, 1]]), (24, 32), None)


def prediction(*, trust: bool = True, area: bool = True, places: bool = True) -> ImagePrediction:
    rng = np.random.default_rng(0)
    sizes = rng.random((3, 3, 2))
    sizes[2, 1, 1] = np.inf
    flags = {"wide": np.array([True, False, True]), "two": np.zeros(3, bool), "flat": np.array([True, False, False])}
    found = rng.random((3, 2, 2))
    found[1, 1] = np.nan
    mass = np.array([[0.5, 0.25], [0.75, 0.0], [0.5, 0.5]])
    return ImagePrediction(
        "a.png",
        "",
        NAMES,
        100 * rng.random((3, 2)),
        rng.random(3),
        rng.random((3, 2, 2)),
        present=rng.random(3),
        trust=Trust((0.9, 0.95), sizes[0], sizes[1], sizes[2] if area else None, flags, np.float64(0.25))
        if trust
        else None,
        places=(found, mass) if places else None,
    )


@pytest.mark.parametrize("options", [{}, {"trust": False}, {"area": False}, {"places": False}], ids=str)
def test_points_are_those_of_the_file(options: dict[str, bool], tmp_path: Path) -> None:
    one = prediction(**options)
    (written,) = json.loads(write_predictions([one], tmp_path / "p.json").read_text())
    assert json.loads(to_json(point_values(one))) == written["keypoints"]
    answer = json.loads(to_json({"images": [picture_values("a.png", [CROP], [Found(one)])]}))
    assert answer["images"][0]["instances"][0].get("typical") == written.get("typical")
    Answer.model_validate(answer)


def test_json_has_no_nan() -> None:
    one = prediction()
    broken = ImagePrediction("a", "", NAMES, np.full((3, 2), np.nan), np.full(3, np.inf), np.full((3, 2, 2), -np.inf))
    for each in (one, broken):
        text = to_json({"images": [picture_values("a", [CROP], [Found(each)])]})
        json.loads(text, parse_constant=lambda word: pytest.fail(word))
        Answer.model_validate_json(text)


def test_heatmaps_come_back_from_their_picture() -> None:
    import base64

    import cv2

    maps = np.zeros((2, 4, 8), np.float32)
    maps[0, 1, 6], maps[1, 3, 0] = 0.5, 0.002
    values = heatmap_values(maps, CROP)
    gray = cv2.imdecode(np.frombuffer(base64.b64decode(values["png"]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert gray.shape == (8, 8)
    np.testing.assert_array_equal(gray.reshape(2, 4, 8), np.sign(maps) * 255)
    assert values["peaks"] == pytest.approx([0.5, 0.002])
    # Cells of 4 x 6 px over a picture of 32 x 24: that of column 6, row 1 has its centre at (25.5, 8.5).
    np.testing.assert_allclose(np.array(values["to_image"]) @ [6, 1, 1], [25.5, 8.5])
    flat = heatmap_values(np.full((1, 2, 2), np.nan, np.float32), CROP)
    assert flat["peaks"] == [0.0]
