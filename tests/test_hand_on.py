"""Predictions in other tools' hands: pandas, COCO's evaluation, supervision's annotators."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faster_coco_eval import COCO

from punctum.hand_on import to_coco, to_dataframe, to_supervision
from punctum.image_prediction import ImagePrediction
from punctum.points import Trust
from punctum.predict_write import write_predictions

COVARIANCE = np.array([[[9.0, 3.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 2.0]]])


def prediction(image: str = "a.png", instance: str = "7", shift: float = 0.0) -> ImagePrediction:
    flags = {name: np.array([True, False]) for name in ("wide", "two", "flat")}
    sizes = np.arange(4.0).reshape(2, 2)
    trust = Trust((0.5, 0.95), sizes + 1, sizes + 2, sizes + 3, flags, np.array(0.25))
    points = np.array([[10.123456789, 20.5], [40.0, 30.25]]) + shift
    return ImagePrediction(image, instance, ("nose", "tail"), points, np.array([0.75, 0.25]), COVARIANCE, trust=trust)


def test_a_table_is_the_csv_unrounded(tmp_path: Path) -> None:
    table = to_dataframe([prediction(), prediction("b.png")])
    written = pd.read_csv(write_predictions([prediction(), prediction("b.png")], tmp_path / "p.csv", 1))
    assert len(table) == 4
    shared = [name for name in written.columns if name != "flags"]
    assert set(shared) <= set(table.columns)
    for name in shared:
        if table[name].dtype.kind == "f":
            np.testing.assert_allclose(table[name], written[name], atol=5e-5)
    assert table["x"][0] == 10.123456789
    assert table["radius_50"].tolist() == [1, 3, 1, 3]
    assert table["wide"].tolist() == [True, False, True, False]
    assert len(prediction().to_dataframe()) == 2
    assert list(to_dataframe([]).columns)[:3] == ["image", "instance", "keypoint"]


def test_cocos_evaluation_takes_results() -> None:
    truth = {
        "images": [{"id": 5, "file_name": "a.png", "width": 60, "height": 40}],
        "categories": [{"id": 1, "name": "m", "keypoints": ["nose", "tail"]}],
        "annotations": [],
    }
    results = json.loads(json.dumps(to_coco([prediction("images/a.png")], image_ids={"a.png": 5})))
    coco = COCO(truth, print_function=lambda *_: None)
    loaded = coco.loadRes(results)
    (row,) = loaded.loadAnns(loaded.getAnnIds(imgIds=[5]))
    assert row["keypoints"] == [10.123456789, 20.5, 0.75, 40, 30.25, 0.25]
    assert row["score"] == 0.5
    assert row["annotation_id"] == 7
    with pytest.raises(ValueError, match=r"no number for 'b.png'"):
        to_coco([prediction("b.png")], image_ids={"a.png": 5})
    assert [r["image_id"] for r in to_coco([prediction(), prediction("b.png"), prediction()])] == [1, 2, 1]
    assert prediction().to_coco(image_id=9)["image_id"] == 9


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_supervision_draws_ellipses_where_the_covariance_lies() -> None:
    """The pixels that its annotator fills have the moments of the ellipse: within two sigma, covariance as given."""
    import supervision as sv

    wide = replace(prediction(), covariance=COVARIANCE * 25, keypoints=np.array([[80.0, 60.0], [250.0, 60.0]]))
    points = to_supervision([wide, replace(wide, instance="8", keypoints=wide.keypoints + 120)])
    assert points.xy.shape == (2, 2, 2)
    assert points.keypoint_confidence.tolist() == [[0.75, 0.25]] * 2
    assert points.data["instance"].tolist() == ["7", "8"]
    annotator = sv.VertexEllipseAreaAnnotator(sigma=2.0, color=sv.Color.WHITE, opacity=1.0)
    drawn = annotator.annotate(np.zeros((300, 400, 3), np.uint8), points)[:110, :160, 0] > 127
    y, x = np.nonzero(drawn)
    np.testing.assert_allclose([x.mean(), y.mean()], [80, 60], atol=0.1)
    # The moments of a filled ellipse of two sigma are the covariance itself: r^2 / 4.
    np.testing.assert_allclose(np.cov(x, y), COVARIANCE[0] * 25, rtol=0.06)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_supervision_takes_one_picture() -> None:
    assert prediction().to_supervision().xy.shape == (1, 2, 2)
    assert "covariance" not in replace(prediction(), covariance=None).to_supervision().data
    with pytest.raises(ValueError, match="got 2 pictures"):
        to_supervision([prediction(), prediction("b.png")])
    with pytest.raises(ValueError, match="got 0 pictures"):
        to_supervision([])
    with pytest.raises(ValueError, match="these have 3 coordinates"):
        to_supervision([replace(prediction(), keypoints=np.zeros((2, 3)))])


def test_a_prediction_stays_light() -> None:
    code = "import sys, punctum.hand_on; print([m for m in ('torch', 'pandas', 'supervision') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
