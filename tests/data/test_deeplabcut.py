"""DeepLabCut's csv in all its shapes, and its mistakes by line and column."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from punctum.data import DataError, read_deeplabcut

Write = Callable[..., Path]

ONE = [
    ["scorer", "me", "me", "me", "me"],
    ["bodyparts", "nose", "nose", "tail", "tail"],
    ["coords", "x", "y", "x", "y"],
    ["labeled-data/vid/img0.png", "1.5", "2.25", "", ""],
    ["labeled-data/vid/img1.png", "3", "4", "5", "6"],
]


def spread(rows: list[list[str]], header: int = 3) -> list[list[str]]:
    """The same with the image's path in three columns."""
    head = [[r[0], "", "", *r[1:]] for r in rows[:header]]
    return head + [[*r[0].split("/"), *r[1:]] for r in rows[header:]]


@pytest.mark.parametrize("shape", [lambda rows: rows, spread])
def test_one_animal(write_dlc: Write, shape: Callable) -> None:
    path = write_dlc(shape(ONE))
    found = read_deeplabcut(path)
    assert found.schema.names == ("nose", "tail")
    assert found.schema.flip_pairs == ()
    assert found.image_names == ("labeled-data/vid/img0.png", "labeled-data/vid/img1.png")
    assert found.images[0].samefile(path.parent / "img0.png")
    assert found.keypoints[1].tolist() == [[3, 4], [5, 6]]
    assert found.keypoints[0, 0].tolist() == [1.5, 2.25]
    assert np.isnan(found.keypoints[0, 1]).all()
    assert found.visibility.tolist() == [[2, 0], [2, 2]]
    assert np.isnan(found.boxes).all()
    assert found.ids == found.image_names


def test_backslashes_and_spaces(write_dlc: Write) -> None:
    rows = [*ONE[:3], ["labeled-data\\vid\\img0.png", " 1", "2 ", "NaN", "nan"]]
    found = read_deeplabcut(write_dlc(rows))
    assert found.image_names == ("labeled-data/vid/img0.png",)
    assert found.visibility.tolist() == [[2, 0]]


def test_likelihoods_are_ignored_and_empty_rows_counted(write_dlc: Write) -> None:
    rows = [
        ["scorer", *["net"] * 3],
        ["bodyparts", *["nose"] * 3],
        ["coords", "x", "y", "likelihood"],
        ["labeled-data/vid/img0.png", "1", "2", "0.9"],
        ["labeled-data/vid/img1.png", "", "", ""],
        [],
    ]
    found = read_deeplabcut(write_dlc(rows))
    assert len(found) == 1
    assert found.notes == ("1 likelihood column ignored", "1 instance without a labelled keypoint left out")


def several(animals: list[str], parts: list[list[str]], cells: list[list[str]]) -> list[list[str]]:
    columns = [(a, p, c) for a, ps in zip(animals, parts, strict=True) for p in ps for c in "xy"]
    head = [["scorer", *["me"] * len(columns)]]
    head += [[n, *[c[i] for c in columns]] for i, n in enumerate(("individuals", "bodyparts", "coords"))]
    return head + [[f"labeled-data/vid/img{i}.png", *row] for i, row in enumerate(cells)]


@pytest.mark.parametrize("shape", [lambda rows: rows, lambda rows: spread(rows, 4)])
def test_several_animals(write_dlc: Write, shape: Callable) -> None:
    rows = several(
        ["m1", "m2"],
        [["nose", "tail"], ["tail", "nose"]],  # the order need not agree
        [["1", "2", "3", "4", "5", "6", "7", "8"], ["", "", "9", "9", "", "", "", ""], [""] * 8],
    )
    found = read_deeplabcut(write_dlc(shape(rows)))
    assert found.ids == tuple(f"labeled-data/vid/{i}" for i in ("img0.png:m1", "img0.png:m2", "img1.png:m1"))
    assert found.keypoints[:2].tolist() == [[[1, 2], [3, 4]], [[7, 8], [5, 6]]]
    assert "1 instance without a labelled keypoint left out" in found.notes
    assert any("several instances that have no box" in n for n in found.notes)


def test_parts_that_an_image_has_once(write_dlc: Write) -> None:
    rows = several(["m1", "single"], [["nose"], ["corner"]], [["1", "2", "3", "4"]])
    found = read_deeplabcut(write_dlc(rows))
    assert found.schema.names == ("nose",)
    assert found.notes == ("individual 'single' left out: its body parts (corner) are not those of the others",)


def test_only_single(write_dlc: Write) -> None:
    found = read_deeplabcut(write_dlc(several(["single"], [["a", "b"]], [["1", "2", "3", "4"]])))
    assert found.schema.names == ("a", "b")


def with_cell(line: int, column: int, value: str) -> list[list[str]]:
    rows = [list(r) for r in ONE]
    rows[line - 1][column] = value
    return rows


MISTAKES = {
    "text": (with_cell(5, 1, "abc"), r"CollectedData.csv, line 5, column nose_x: 'abc' is not a number"),
    "infinite": (with_cell(5, 2, "inf"), r"line 5, column nose_y: 'inf' is not finite"),
    "half": (with_cell(5, 4, ""), r"line 5, column tail_y: it is empty, but the point's other coordinate is not"),
    "image": (with_cell(5, 0, "labeled-data/vid/no.png"), r"CollectedData.csv, line 5: there is no image .*no.png"),
    "outside": (with_cell(5, 0, "../../../x.png"), r"line 5: image name '../../../x.png' leads out"),
    "absolute": (with_cell(5, 0, "/home/x.png"), r"line 5: image name '/home/x.png' leads out"),
    "twice": (with_cell(5, 0, ONE[3][0]), r"line 5: image labeled-data/vid/img0.png stands in line 4 already"),
    "nameless": (with_cell(5, 0, ""), r"line 5: it names no image"),
    "short row": ([*ONE[:4], ONE[4][:-1]], r"line 5: 4 cells, but the header has 5"),
    "coords": (with_cell(3, 3, "z"), r"column tail_z: coords should be x, y or likelihood, got 'z'"),
    "part": (with_cell(2, 3, ""), r"column 4: it has no body part"),
    "column": (with_cell(2, 3, "nose"), r"column nose_x: it stands twice"),
    "header": (
        ONE[1:],
        r"CollectedData.csv: the first lines should begin with scorer, bodyparts, coords, got 'bodyp",
    ),
    "no parts": ([["scorer"], ["bodyparts"], ["coords"]], r"there is no body part"),
    "nothing": ([*ONE[:3], [ONE[3][0], "", "", "", ""]], r"nothing to learn from: 1 instance, none with a labelled"),
    "no rows": (ONE[:3], r"nothing to learn from: no instance"),
    "differing": (
        several(["m1", "m2"], [["nose"], ["tail"]], [["1", "2", "3", "4"]]),
        r"individual 'm2': its body parts \(tail\) are not those of 'm1' \(nose\)",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_names_line_and_column(write_dlc: Write, case: str) -> None:
    rows, message = MISTAKES[case]
    with pytest.raises(DataError, match=message):
        read_deeplabcut(write_dlc(rows))


def test_all_mistakes_at_once(write_dlc: Write) -> None:
    rows = with_cell(5, 1, "abc")
    rows[3][4] = "7"
    rows.append(["labeled-data/vid/no.png", "1", "2", "3", "4"])
    with pytest.raises(DataError, match=r"3 mistakes") as caught:
        read_deeplabcut(write_dlc(rows))
    assert "line 4, column tail_x" in str(caught.value)
    assert "line 6: there is no image" in str(caught.value)


def test_a_project_moved_elsewhere(write_dlc: Write, tmp_path: Path) -> None:
    path = write_dlc(ONE).rename(tmp_path / "labels.csv")
    with pytest.raises(DataError, match=r"labels.csv: no image is found"):
        read_deeplabcut(path)
    assert len(read_deeplabcut(path, images=tmp_path / "project")) == 2


def test_binary_rubbish(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match=r"a.csv: not a csv file"):
        read_deeplabcut(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"b.csv: cannot be read"):
        read_deeplabcut(tmp_path / "b.csv")
