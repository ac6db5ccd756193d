"""Free maps against what can be worked out by hand; bins; marks; one whole run, tiny."""

import json
import sys

import borders
import numpy as np
import pytest
from scipy import stats


def test_free_maps_do_what_can_be_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(borders, "DISTANCES", (0.25, 1.5))
    # The weights on the two neighbouring cells have the truth as their mean, but none lies within half a cell.
    assert borders.fit(borders.HEADS["density"], 8, 300, 0) == pytest.approx([0.25, 0.0], abs=0.01)
    # The prior alone: the fitted map is the Gaussian on the cells, and its mean lies where this sum says.
    cells = np.arange(8)
    weights = [stats.norm.pdf(cells, d - 0.5, 1.0) for d in (0.25, 1.5)]
    wanted = [(w * cells).sum() / w.sum() - (d - 0.5) for w, d in zip(weights, (0.25, 1.5), strict=True)]
    alone = {"name": "integral", "prior": "kl", "coord_weight": 0.0}
    assert borders.fit(alone, 8, 300, 0) == pytest.approx(wanted, abs=0.01)


def test_errors_are_binned_by_the_nearest_edge() -> None:
    # 0.25 cells from the left edge, off by 2 px inwards; 1.5 from the bottom one, 1 outwards; the middle, off by 3.
    target = np.array([[[0.5, 30.0], [20.0, 57.5], [32.0, 31.0]]])
    keypoints = target + np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    found = borders.by_distance(keypoints, target, 64)
    assert found["n"] == [1, 0, 1, 0, 1]
    assert np.array(found["error"])[[0, 2, 4]] == pytest.approx([0.5, 0.25, 0.75])
    assert np.array(found["inward"])[[0, 2]] == pytest.approx([0.5, -0.25])


def test_a_mark_lies_where_its_label_says() -> None:
    rng = np.random.default_rng(0)
    marks = np.array([[10.3, 12.7], [40.0, 50.2], [60.0, 5.0]])
    picture = borders.mark_picture(marks, 64, rng).astype(float)
    red = np.clip(picture[..., 0] - picture[..., 1] - 60, 0, None)[4:22, 2:20]
    y, x = np.mgrid[4:22, 2:20]
    assert [(red * x).sum() / red.sum(), (red * y).sum() / red.sum()] == pytest.approx(marks[0], abs=0.5)


@pytest.mark.slow
def test_a_tiny_run(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--heads",
        "dsnt",
        "--seeds",
        "1",
        "--steps",
        "3",
        "--train",
        "24",
        "--test",
        "24",
        "--epochs",
        "1",
        "--jobs",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", ["borders.py", "--out", str(tmp_path), *words])
    borders.main()
    found = json.loads((tmp_path / "borders.json").read_text())
    assert found["maps"]["16"]["dsnt"]["inward"]["0.02"]["half_width"] is None
    assert sum(found["training"]["dsnt"]["n"][0]) == 72
    assert (tmp_path / "borders.png").stat().st_size > 10_000
    assert "| dsnt |" in capsys.readouterr().out
