"""`punctum check` finds the rows that were spoilt on purpose, and draws them."""

import json
from pathlib import Path
from typing import Any

import pytest

from punctum.check import check
from punctum.data.images import read_image


def spoil(scenes: Path, name: str, change: Any) -> Path:
    content = json.loads((scenes / "train.json").read_text())
    change(content["annotations"])
    path = scenes / name
    path.write_text(json.dumps(content))
    return path


def test_a_clean_set_has_nothing_suspicious(scenes: Path, tmp_path: Path) -> None:
    found = check(scenes / "train.json", out=tmp_path)
    assert (found.n_images, found.n_instances) == (24, 24)
    assert found.suspicious == {}
    assert sum(found.labelled.values()) > 24 * 12
    assert [path.name for path in found.figures] == ["labels.png"]
    assert read_image(found.figures[0]).shape[1] > 1000


def test_spoilt_rows_are_found_and_drawn(scenes: Path, tmp_path: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[2]["keypoints"][0:3] = [0, 0, 2]
        rows[5]["keypoints"][3:6] = rows[5]["keypoints"][6:9] = [20.0, 21.0, 2]
        rows[9]["keypoints"][0:3] = [500.0, 12.0, 2]

    found = check(spoil(scenes, "spoilt.json", change), out=tmp_path)
    reasons = {row: "; ".join(said) for row, said in found.suspicious.items()}
    assert "head_top is at exactly (0, 0)" in reasons[2]
    assert "are at the same place" in reasons[5]
    assert "(500.0, 12.0) lies outside the image" in reasons[9]
    assert set(reasons) == {2, 5, 9}
    assert [path.name for path in found.figures] == ["labels.png", "suspicious.png"]


def test_a_swapped_label_far_from_its_place_is_found(scenes: Path, tmp_path: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:  # Faces, say: every point close to its usual place in the box.
            row["bbox"] = [0, 0, 64, 64]
            row["keypoints"][0:3] = [30.0 + row["id"] % 5, 10.0 + row["id"] % 3, 2]
        rows[4]["keypoints"][0:2] = [33.0, 60.0]  # A head at the foot of the picture.

    found = check(spoil(scenes, "far.json", change), out=tmp_path)
    assert any("head_top lies far from its usual place" in said for said in found.suspicious.get(4, []))


def test_mistakes_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.json"):
        check(tmp_path / "nothing.json", out=tmp_path)


def test_what_many_rows_have_is_a_note(scenes: Path, tmp_path: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows[:12]:
            row["keypoints"][3:6] = row["keypoints"][6:9] = [20.0, 21.0, 2]

    found = check(spoil(scenes, "common.json", change), out=tmp_path)
    assert not any("same place" in reason for said in found.suspicious.values() for reason in said)
    assert any("are at the same place in 12 of 24 instances" in note for note in found.notes)
