"""Sigmas from several people's files: instances are matched, spread is found again, what is written can be used."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from punctum import cli
from punctum.data import read
from punctum.sigmas import align, estimate

NAMES = ["tip", "end"]


def person(
    folder: Path, name: str, seed: int | None, *, n: int = 60, change: Callable[[Any], None] | None = None
) -> Path:
    """One person's file: 100 x 50 boxes, points labelled with spreads of 0.05 and 0.1 of the area's root."""
    content: dict[str, Any] = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(n)],
        "categories": [{"id": 1, "name": "pin", "keypoints": NAMES}],
        "annotations": [],
    }
    rng = np.random.default_rng(seed)
    per_axis = np.array([0.05, 0.1]) * np.sqrt(0.53 * 100 * 50 / 2)
    for i in range(n):
        points = (
            np.array([[30.0, 30.0], [90.0, 40.0]])
            + (0 if seed is None else rng.normal(size=(2, 2))) * per_axis[:, None]
        )
        keypoints = np.column_stack([points, [2, 2]]).flatten().tolist()
        row = {"id": i + 1, "image_id": i, "category_id": 1, "keypoints": keypoints, "bbox": [10, 10, 100, 50]}
        content["annotations"].append(row)
    if change is not None:
        change(content)
    (folder / name).write_text(json.dumps(content))
    return folder / name


def test_spread_is_found_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [person(tmp_path, f"{i}.json", i) for i in range(3)]
    assert cli.main(["sigmas", *map(str, files), "--out", str(tmp_path / "sigmas.json")]) == 0
    assert "repeated labels" in capsys.readouterr().out
    written = json.loads((tmp_path / "sigmas.json").read_text())
    assert written["keypoints"] == NAMES
    assert written["n"] == [120, 120]
    # Four standard errors of 1 / sqrt(4 x 120).
    assert np.array(written["sigmas"]) / [0.05, 0.1] == pytest.approx(1, abs=4 / np.sqrt(480))


def test_instances_are_matched_by_image_and_where_it_has_several_by_id(tmp_path: Path) -> None:
    def another(content: Any) -> None:
        second = {**content["annotations"][0], "id": 77, "bbox": [0, 0, 10, 10]}
        content["annotations"] = [second, *content["annotations"][::-1]]

    def renumbered(content: Any) -> None:
        del content["annotations"][2]
        content["annotations"][1]["id"] = 500

    files = [
        person(tmp_path, "a.json", None, n=4, change=another),
        person(tmp_path, "b.json", None, n=4, change=renumbered),
    ]
    keypoints, labelled, areas = align([read(f, labels_only=True) for f in files])
    # Image 0 by its id, image 1 though its id differs, image 2 has gone, image 3; 77 stands in one file alone.
    assert keypoints.shape == (2, 3, 2, 2)
    assert labelled.all()
    assert (keypoints[0] == keypoints[1]).all()
    assert areas.tolist() == pytest.approx([2650.0] * 3)


def test_what_was_labelled_once_has_no_sigma(tmp_path: Path) -> None:
    def without_end(content: Any) -> None:
        for row in content["annotations"]:
            row["keypoints"][5] = 0

    files = [person(tmp_path, "a.json", 0, n=3), person(tmp_path, "b.json", 1, n=3, change=without_end)]
    found = estimate(files, out=tmp_path / "s.json")
    assert found.sigmas[1].isnan()
    assert json.loads((tmp_path / "s.json").read_text())["sigmas"][1] is None


def test_mistakes(tmp_path: Path) -> None:
    def renamed(content: Any) -> None:
        content["categories"][0]["keypoints"] = ["tip", "top"]

    def elsewhere(content: Any) -> None:
        for row in content["annotations"]:
            row["image_id"] = 2
        content["annotations"] = content["annotations"][:1]

    one = person(tmp_path, "a.json", 0, n=2)
    with pytest.raises(ValueError, match="two or more annotation files"):
        estimate([one], out=tmp_path / "s.json")
    with pytest.raises(ValueError, match=r"c\.json names other keypoints than .*a\.json"):
        estimate([one, person(tmp_path, "c.json", 0, n=2, change=renamed)], out=tmp_path / "s.json")
    with pytest.raises(ValueError, match="no instance stands in two of the files"):
        estimate([one, person(tmp_path, "d.json", 0, n=3, change=elsewhere)], out=tmp_path / "s.json")
    assert not (tmp_path / "s.json").exists()
