"""Free maps against what can be worked out by hand; bins; marks; one whole run, tiny."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import borders
from processes import environment


def test_free_maps_do_what_can_be_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(borders, "DISTANCES", (0.25, 1.5))
    # The weights on the two neighbouring cells have the truth as their mean, but none lies within half a cell.
    found = borders.fit(borders.HEADS["density"], 8, 1500, 2)
    assert np.array(found) == pytest.approx(np.array([[0.25, 0.25], [0.0, 0.0]]), abs=0.01)
    # The prior alone: the fitted map is the Gaussian on the cells, and its mean lies where this sum says.
    cells = np.arange(8)
    weights = [stats.norm.pdf(cells, d - 0.5, 1.0) for d in (0.25, 1.5)]
    wanted = [(w * cells).sum() / w.sum() - (d - 0.5) for w, d in zip(weights, (0.25, 1.5), strict=True)]
    alone = {"name": "integral", "prior": "kl", "coord_weight": 0.0}
    found = borders.fit(alone, 8, 1500, 1)
    assert [value for (value,) in found] == pytest.approx(wanted, abs=0.01)


def test_errors_are_binned_by_the_nearest_edge() -> None:
    # 0.25 cells from the left edge, off by 2 px inwards; 1.5 from the bottom one, 1 outwards; the middle, off by 3.
    target = np.array([[[0.5, 30.0], [20.0, 57.5], [32.0, 31.0]]])
    keypoints = target + np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    found = borders.by_distance(keypoints, target, 64)
    assert found["n"] == [1, 0, 1, 0, 1]
    assert np.array(found["error"])[[0, 2, 4]] == pytest.approx([0.5, 0.25, 0.75])
    assert np.array(found["inward"])[[0, 2]] == pytest.approx([0.5, -0.25])


def test_a_mark_lies_where_its_label_says() -> None:
    marks = np.array([[10.3, 12.7], [40.0, 50.2], [60.0, 5.0]])
    # The mean of many noises leaves the marks alone.
    pictures = [borders.mark_picture(marks, 64, np.random.default_rng(seed)).astype(float) for seed in range(40)]
    picture = np.mean(pictures, 0)
    y, x = np.mgrid[:64, :64]
    for i, mark in enumerate(marks[:2]):
        others = picture[..., [j for j in range(3) if j != i]].mean(-1)
        near = np.hypot(x - mark[0], y - mark[1]) < 5
        weight = np.where(near, np.clip(picture[..., i] - others - 60, 0, None), 0)
        assert [(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()] == pytest.approx(mark, abs=0.2)


@pytest.mark.slow
def test_a_tiny_run(tmp_path: Path) -> None:
    options = {"heads": "dsnt", "seeds": 1, "steps": 3, "train": 24, "test": 24, "epochs": 1, "jobs": 1}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, borders.__file__, "--out", str(tmp_path), *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "borders.json").read_text())
    assert found["maps"]["16"]["dsnt"]["inward"]["0.02"]["half_width"] is None
    assert sum(found["training"]["dsnt"]["n"][0]) == 72
    assert (tmp_path / "borders.png").stat().st_size > 10_000
    assert "| dsnt |" in done.stdout
