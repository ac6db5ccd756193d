"""The content of a file, not its name, tells its format."""

from collections.abc import Callable
from pathlib import Path

import pytest

from punctum.data import DataError, read

ROWS = [
    ["scorer", "me", "me"],
    ["bodyparts", "a", "a"],
    ["coords", "x", "y"],
    ["labeled-data/vid/img0.png", "1", "2"],
]
Write = Callable[..., Path]


def test_both_formats_by_content(write_coco: Write, write_dlc: Write, tmp_path: Path) -> None:
    coco, dlc = write_coco(), write_dlc(ROWS)
    assert len(read(coco)) == 3
    assert len(read(dlc)) == 1
    assert len(read(coco.rename(coco.with_suffix(".txt")))) == 3
    assert len(read(dlc.rename(tmp_path / "x.dat"), images=tmp_path / "project")) == 1


def test_a_folder_with_one_annotation_file(write_coco: Write, write_dlc: Write) -> None:
    path = write_coco()
    (path.parent / "settings.json").write_text('{"lr": 1}')
    (path.parent / "._train.json").write_bytes(b"\x00\x05")
    (path.parent / "table.csv").write_text("a,b\n1,2\n")
    assert read(path.parent).source == path
    assert read(str(write_dlc(ROWS).parent)).schema.names == ("a",)


def test_a_folder_with_several_or_none(write_coco: Write) -> None:
    path = write_coco()
    write_coco(name="val.json")
    with pytest.raises(DataError, match=r"several annotation files, name one: train.json, val.json"):
        read(path.parent)
    with pytest.raises(DataError, match=r"images: this folder holds no annotation file; formats: COCO .*DeepLabCut"):
        read(path.parent / "images")


def test_unknown_content(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(
        DataError, match=r"a.csv: this is no annotation file that can be read; formats: COCO keypoints"
    ):
        read(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"cannot be read: No such file"):
        read(tmp_path / "none.json")
