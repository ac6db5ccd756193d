"""Landmarks of volumes in JSON and csv: what is read, and every mistake at once."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from punctum.data import DataError, KeypointDataset, inspect, read
from punctum.data.augment import Augmentation
from punctum.data.crop import CropSettings
from punctum.data.landmarks import read_volumes_csv, read_volumes_json

GOOD = {
    "keypoints": ["left", "right", "tip"],
    "flip_pairs": [["left", "right"]],
    "skeleton": [["left", "tip"]],
    "volumes": [
        {"file": "a.npz", "points": {"left": [9.5, 3, 2.25], "right": [1, 3, 2], "tip": None}},
        {"file": "sub/b.npy", "spacing": [0.5, 0.5, 2], "points": {"tip": [4, 4, 1]}, "box": [1, 1, 0, 6, 5, 4]},
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    volume = np.random.default_rng(0).integers(0, 255, (6, 8, 12)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", volume=volume, spacing=[0.5, 0.5, 3.0])
    np.save(tmp_path / "sub" / "b.npy", volume)
    return tmp_path


def write(folder: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> Path:
    content = json.loads(json.dumps(GOOD))
    change(content)
    (folder / "volumes.json").write_text(json.dumps(content))
    return folder / "volumes.json"


def write_rows(folder: Path, header: str, *rows: str) -> Path:
    (folder / "points.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "points.csv"


def test_json(folder: Path) -> None:
    found = read(write(folder))
    assert found.schema.names == ("left", "right", "tip")
    assert (found.schema.flip_pairs, found.schema.skeleton) == (((0, 1),), ((0, 2),))
    assert (found.dims, found.picture_axes, len(found)) == (3, 3, 2)
    assert found.keypoints[0, :2].tolist() == [[9.5, 3, 2.25], [1, 3, 2]]
    assert found.visibility.tolist() == [[2, 2, 0], [0, 0, 2]]
    assert np.isnan(found.keypoints[0, 2]).all()
    assert found.spacing is not None
    assert found.spacing.tolist() == [[0.5, 0.5, 3], [0.5, 0.5, 2]]  # of the file, of the annotation
    assert np.isnan(found.boxes[0]).all()
    assert found.boxes[1].tolist() == [1, 1, 0, 6, 5, 4]
    assert found.subset([1]).spacing.tolist() == [[0.5, 0.5, 2]]  # type: ignore[union-attr]
    assert inspect(found).sizes.tolist() == [[6, 8, 12], [6, 8, 12]]
    assert read(folder).image_names == found.image_names  # the only annotation file of its folder


def test_csv_says_the_same(folder: Path) -> None:
    path = write_rows(
        folder,
        "keypoint,volume,z,y,x,visible,spacing_x,spacing_y,spacing_z",
        "tip,sub/b.npy,1,4,4,1,0.5,0.5,2",
        "right,a.npz,2,3,1,2,,,",
        "left,a.npz,2.25,3,9.5,,,,",
        "tip,a.npz,,,,,,,",
    )
    found, wanted = read(path), read(write(folder))
    order = [wanted.image_names.index(name) for name in found.image_names]
    assert found.schema.names == wanted.schema.names
    assert np.array_equal(found.keypoints, wanted.keypoints[order], equal_nan=True)
    assert found.visibility.tolist() == [[0, 0, 1], [2, 2, 0]]
    assert np.array_equal(found.spacing, wanted.spacing[order])  # type: ignore[index, arg-type]


def test_every_mistake_of_a_json_at_once(folder: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["flip_pairs"] = [["left", "rihgt"]]
        content["volumes"] += [
            {"file": "a.npz", "points": {"left": [1, 2], "nose": [1, 2, 3]}},
            {"file": "a.npz", "points": [], "spacing": [1, 1, 0], "box": [0, 0, 0, -1, 2, 2], "spacings": 1},
            {"file": "c.png", "points": {"tip": [1, 1, 1]}},
            {"file": "none.npy", "points": {"tip": [1, 1, 1]}},
            {"file": "../x.npy", "points": {"tip": [1, 1, 1]}},
            {"points": {}},
        ]

    with pytest.raises(DataError) as caught:
        read(write(folder, spoil))
    text = str(caught.value)
    for part in (
        "flip_pairs should be pairs of keypoint names",
        "volumes[2] (a.npz): keypoint left: its place should be [x, y, z] in voxels, got [1, 2]",
        "volumes[3] (a.npz): points should be an object",
        "volumes[3] (a.npz): spacing should be three positive numbers, millimetres along x, y and z, got [1, 1, 0]",
        "volumes[3] (a.npz): box should be",
        "volumes[3] (a.npz): unknown entry 'spacings'",
        "volumes[4] (c.png): 'c.png' is no volume: it should end in .npy or .npz",
        "none.npy",
        "leads out of the image folder",
        "volumes[7]: expected an object with a file",
    ):
        assert part in text, part


def test_a_name_that_is_no_keypoint(folder: Path) -> None:
    with pytest.raises(DataError, match=r"'nose' is none of the keypoints: left, right, tip"):
        read(write(folder, lambda c: c["volumes"][0]["points"].update(nose=[1, 2, 3])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("keypoints"), "'keypoints' should be a list, and is missing"),
        (lambda c: c.update(keypoints=["a", "a"]), "stands twice"),
        (lambda c: c.update(version=2), "unknown entry 'version'"),
        (lambda c: c["volumes"][0].update(spacing=[0.5, 0.5, 1.0]), r"is not the one in a.npz, \[0.5, 0.5, 3.0\]"),
        (lambda c: c["volumes"][1].pop("spacing"), "sub/b.npy has no spacing, but other volumes do"),
        (lambda c: [row.update(id="x") for row in c["volumes"]], r"volumes\[1\] .*id 'x' stands twice"),
        (lambda c: c["volumes"].clear(), "nothing to learn from"),
    ],
)
def test_mistakes_of_the_whole_file(folder: Path, change: Callable[..., object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_volumes_json(write(folder, change))


def test_mistakes_of_a_csv(folder: Path) -> None:
    header = "volume,keypoint,x,y,z,visible"
    rows = [
        "a.npz,left,1,2,3,2",
        "a.npz,left,1,2,3,2",
        "a.npz,tip,1,,3,2",
        "a.npz,right,1,2,3,7",
        ",tip,1,2,3,2",
        "a,b",
    ]
    with pytest.raises(DataError) as caught:
        read(write_rows(folder, header, *rows))
    text = str(caught.value)
    for part in (
        "points.csv, line 3: left of a.npz stands twice",
        "points.csv, line 4: the place of tip should be three numbers, got '1', '', '3'",
        "points.csv, line 5: visible should be 0, 1 or 2, got '7'",
        "points.csv, line 6: it names no volume",
        "points.csv, line 7: 2 cells, but the header has 6",
    ):
        assert part in text, part
    with pytest.raises(DataError, match="it lacks 'y', 'z'; it has unknown 'colour'"):
        read(write_rows(folder, "volume,keypoint,x,colour", "a.npz,tip,1,2"))
    rows = ["a.npz,left,1,2,3,1,1,1", "a.npz,tip,1,2,3,1,1,2"]
    with pytest.raises(DataError, match="in an earlier line of"):
        read_volumes_csv(write_rows(folder, "volume,keypoint,x,y,z,spacing_x,spacing_y,spacing_z", *rows))


def test_without_any_spacing_it_is_said(folder: Path) -> None:
    found = read(write_rows(folder, "volume,keypoint,x,y,z", "sub/b.npy,tip,4,4,1"))
    assert found.spacing is None
    assert any("no volume has a spacing" in note for note in found.notes)


def test_images_where_volumes_should_be_are_refused(folder: Path) -> None:
    """A COCO file that names volumes: what is wrong is said before anything is computed."""
    coco = {
        "images": [{"id": 1, "file_name": "a.npz"}],
        "categories": [{"id": 1, "name": "thing", "keypoints": ["tip"]}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1, 2, 2]}],
    }
    (folder / "coco.json").write_text(json.dumps(coco))
    with pytest.raises(DataError, match=r"a.npz is a volume \(D, H, W\), expected an image"):
        inspect(read(folder / "coco.json"))


def test_samples_of_volumes(folder: Path) -> None:
    """Points, crop and way back fit together under augmentation; a mirrored volume trades its names."""
    found = read(write(folder))
    dataset = KeypointDataset(found, CropSettings((8, 12, 16), region="image"), Augmentation(flip=1.0), seed=1)
    batch = dataset[(3, 0)]
    assert batch.images.shape == (1, 1, 8, 12, 16)
    assert batch.to_image.shape == (1, 4, 4)
    back = batch.to_image[0, :3, :3] @ batch.coords[0].double().T + batch.to_image[0, :3, 3:]
    assert np.allclose(back.T[:2], found.keypoints[0][[1, 0]], atol=1e-4)  # left and right have traded places
    assert batch.visible.tolist()[0][2] is False
    again = dataset[(3, 0)]
    assert np.array_equal(batch.images, again.images)
    assert not np.array_equal(batch.images, dataset[(4, 0)].images)


def test_rows_of_a_csv_are_read_as_spreadsheets_write_them(folder: Path) -> None:
    path = folder / "points.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([["Volume", "Keypoint", "X", "Y", "Z"], ["sub\\b.npy", "tip", "4", "4", "1"]])
    assert read(path).keypoints.tolist() == [[[4, 4, 1]]]
