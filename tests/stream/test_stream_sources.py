"""What is named on the command line, and where its instances are."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from films import film, picture
from punctum.data import Annotations
from punctum.data.errors import DataError
from punctum.draw import write_png
from punctum.stream.boxes import BoxFile, detected
from punctum.stream.gather import gather, gather_stills
from punctum.stream.items import Item
from punctum.stream.video import Video


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.png", "in/c.png", "in/deep/d.png"):
        write_png(tmp_path / name, picture(0))
    film(tmp_path / "in" / "z.mp4", [picture(0)])
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def names(found: list[object]) -> list[object]:
    return [
        source.path.name
        if isinstance(source, Video)
        else [p.name for p in source]
        if isinstance(source, list)
        else "?"
        for source in found
    ]


def test_folders_patterns_and_videos_keep_their_order(folder: Path, scenes: Path) -> None:
    found = gather([folder / "in", folder / "a.png", f"{folder}/**/*.png", scenes / "test.json"])
    assert names(found) == [["c.png"], "z.mp4", ["a.png", "a.png", "b.png", "c.png", "d.png"], "?"]
    assert isinstance(found[-1], Annotations)
    with pytest.raises(ValueError, match=r"z\.mp4: a video; only pictures"):
        gather_stills([folder / "in"])


def test_a_list_on_standard_input_is_as_if_typed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{folder}/b.png\n\n{folder}/in\n"))
    assert names(gather(["-"])) == [["b.png", "c.png"], "z.mp4"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(ValueError, match="standard input is empty"):
        gather(["-"])


def test_what_is_missing_is_named_together(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"one\.png, .*two\.mp4"):
        gather([folder / "one.png", folder / "two.mp4"])
    with pytest.raises(ValueError, match="no file matches"):
        gather([f"{folder}/*.tif"])
    (folder / "x[1].png").write_bytes((folder / "a.png").read_bytes())
    assert names(gather([folder / "x[1].png"])) == [["x[1].png"]]


def boxes_of(path: Path, image: str) -> list[tuple[str, list[float]]]:
    return [(name, box.tolist()) for name, box in BoxFile(path)(Item(image, None), np.zeros((1, 1, 3)))]


def test_boxes_of_a_csv_and_of_json(tmp_path: Path) -> None:
    text = "image,frame,x,y,width,height,instance\nin/a.png,,1,2,3,4,\nin/a.png,,5,6,7,8,left\nv.mp4,12,0,0,9,9,\n"
    (tmp_path / "b.csv").write_text(text)
    rows = [
        {"image": "in/a.png", "x": 1, "y": 2, "width": 3, "height": 4},
        {"image": "in/a.png", "x": 5, "y": 6, "width": 7, "height": 8, "instance": "left"},
        {"image": "v.mp4#12", "x": 0, "y": 0, "width": 9, "height": 9},
    ]
    (tmp_path / "b.json").write_text(json.dumps(rows))
    for path in (tmp_path / "b.csv", tmp_path / "b.json"):
        assert boxes_of(path, "/data/in/a.png") == [("0", [1, 2, 3, 4]), ("left", [5, 6, 7, 8])]
        assert boxes_of(path, "films/v.mp4#12") == [("0", [0, 0, 9, 9])]
        assert boxes_of(path, "films/v.mp4#13") == []
        assert BoxFile(path).unused(["in/a.png"]) == 1
        BoxFile(path).check(["x/v.mp4"])
        with pytest.raises(ValueError, match="boxes of none of the pictures"):
            BoxFile(path).check(["x/other.png"])


def test_all_mistakes_of_a_box_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_text("image,x,y,width,height\na.png,1,2,3,zero\na.png,1,2,-3,4\n,1,2,3,4\na.png,nan,2,3,4\n")
    with pytest.raises(DataError) as told:
        BoxFile(path)
    assert len(told.value.mistakes) == 4
    assert "line 2: height should be a number, got 'zero'" in str(told.value)
    path.write_text("image,x,y\n")
    with pytest.raises(DataError, match="no width, height"):
        BoxFile(path)
    path.write_text("image,x,y,width,height\nl/a.png,1,2,3,4\nr/a.png,1,2,3,4\n")
    with pytest.raises(ValueError, match=r"a\.png may be any of l/a\.png, r/a\.png"):
        boxes_of(path, "a.png")


def test_a_detector_says_where_instances_are() -> None:
    item, image = Item("a.png", None), np.zeros((4, 4, 3))
    assert detected(lambda _: np.zeros((0, 4)))(item, image) == []
    assert [name for name, _ in detected(lambda _: [[0, 0, 1, 1], [1, 1, 2, 2]])(item, image)] == ["0", "1"]
    for wrong in ([0, 0, 1, 1], [[0, 0, 1]], [[0, 0, 1, float("nan")]], [[0, 0, 0, 1]]):
        with pytest.raises(TypeError, match=r"a\.png: a detector returns boxes"):
            detected(lambda _, wrong=wrong: wrong)(item, image)
