"""Plain csv files of points."""

from pathlib import Path

import numpy as np
import pytest
from tool_files import write_images

from punctum.data import DataError, read, read_point_csv

LONG = """image,instance,keypoint,x,y,visible,box_x,box_y,box_width,box_height
a.png,1,nose,3.25,4,2,1,2,30,20
a.png,1,"tail, end",5,6,1,1,2,30,20
a.png,2,nose,,,0,,,,
a.png,2,"tail, end",7,8,2,,,,
b.png,,nose,9,10,,,,,
"""
WIDE = """image,nose_x,nose_y,x_tail,y_tail,visible_tail,comment
a.png,3.25,4,5,6,1,good
b.png,9,10,,,,
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_images(tmp_path)
    return tmp_path


def test_a_row_per_point(folder: Path) -> None:
    (folder / "l.csv").write_text(LONG)
    found = read(folder / "l.csv")
    assert found.schema.names == ("nose", "tail, end")
    assert found.ids == ("1", "2", "b.png")
    assert found.visibility.tolist() == [[2, 1], [0, 2], [2, 0]]
    assert found.keypoints[0].tolist() == [[3.25, 4], [5, 6]]
    assert found.boxes[0].tolist() == [1, 2, 30, 20]
    assert np.isnan(found.boxes[1:]).all()


def test_a_row_per_instance(folder: Path) -> None:
    (folder / "w.csv").write_text(WIDE)
    found = read(folder / "w.csv")
    assert found.schema.names == ("nose", "tail")
    assert found.visibility.tolist() == [[2, 1], [2, 0]]
    assert found.keypoints[0].tolist() == [[3.25, 4], [5, 6]]
    assert "1 column ignored: comment" in found.notes


def test_predictions_as_labels_are_told(folder: Path) -> None:
    (folder / "p.csv").write_text("image,instance,keypoint,x,y,score,cov_xx\na.png,,nose,1,2,0.5,1\n")
    assert any("these are predictions" in note for note in read(folder / "p.csv").notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LONG.replace("3.25", "left"), r"l.csv, line 2, keypoint nose: its place should be two numbers"),
        (LONG.replace("3.25", ""), r"line 2, keypoint nose: its place should be two numbers, got '', '4'"),
        (LONG.replace("3.25,4,2", "3.25,4,7"), r"line 2, keypoint nose: visible should be 0, 1 or 2"),
        (LONG.replace("a.png,2,nose", "a.png,1,nose"), r"line 4: keypoint nose of a.png 1 stands twice"),
        (LONG.replace("1,2,30,20\na.png,1", "1,2,-30,20\na.png,1"), r"line 2: box_x, box_y, box_width, box_height"),
        (LONG.replace("b.png,,nose,9,10,,,,,", "b.png,,nose,9"), r"line 6: 4 cells, but the header has 10"),
        (LONG.replace("b.png", "../b.png"), r"leads out of the image folder"),
        (LONG.replace("b.png", ""), r"line 6: it names no image"),
        (WIDE.replace("b.png", "a.png"), r"line 3: a.png  ?stands twice"),
        (WIDE.replace("nose_x", "x_tail"), r"it has twice 'x_tail'"),
    ],
)
def test_mistakes_name_line_and_keypoint(folder: Path, text: str, message: str) -> None:
    (folder / "l.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_point_csv(folder / "l.csv")
