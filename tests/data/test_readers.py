"""The content of a file, not its name, tells its format."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
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


def test_a_folder_with_an_mpii_file(tmp_path: Path) -> None:
    """MPII's `annot` is such a folder; predictions beside the annotations are not meant."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["imgname"] = np.array([b"1.jpg"])
        file["part"], file["visible"] = np.full((1, 16, 2), 9.0), np.ones((1, 16))
        file["center"], file["scale"] = np.array([[9.0, 9.0]]), np.array([1.0])
    with h5py.File(tmp_path / "preds.h5", "w") as file:
        file["preds"] = np.zeros((1, 16, 2))
    assert read(tmp_path, labels_only=True).source == tmp_path / "train.h5"


def test_folders_with_layers_or_volumes(tmp_path: Path) -> None:
    for name, content in {
        "layers": {"layers": ["top"], "scans": [{"image": "s.png", "rows": [[1.0, 2.0]]}]},
        "volumes": {"keypoints": ["a"], "volumes": [{"file": "1.npz", "points": {"a": [1, 2, 3]}}]},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "labels.json").write_text(json.dumps(content))
        (tmp_path / name / "settings.json").write_text('{"lr": 1}')
        assert read(tmp_path / name, labels_only=True).source.name == "labels.json"
