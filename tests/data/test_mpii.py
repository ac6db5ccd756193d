"""MPII's three kinds of file: the same people in each become the same points, boxes and lengths."""

import sys
from pathlib import Path
from typing import Any

import cv2
import mpii_files
import numpy as np
import pytest

from punctum.data import CropSettings, DataError, crop_matrix, read
from punctum.data.mpii import SCHEMA

WRITERS = {"h5": mpii_files.h5, "mat": mpii_files.mat, "hrnet": mpii_files.hrnet}


@pytest.fixture(params=WRITERS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return WRITERS[request.param](tmp_path / f"people.{request.param}")


def test_every_file_tells_the_same(file: Path) -> None:
    people = read(file, labels_only=True)
    assert len(people) == 2
    assert people.schema == SCHEMA
    np.testing.assert_array_equal(people.keypoints, mpii_files.expected())
    # Centre (101, 86) is (100, 85) from 0; 15 px lower, (100, 100); 100 px to each side.
    np.testing.assert_allclose(people.boxes[0], [0, 0, 200, 200])
    assert np.isnan(people.boxes[1]).all()
    assert people.image_names == ("a.jpg", "a.jpg")
    assert people.labelled.sum() == 15 + 2
    if file.suffix == ".hrnet":
        assert people.lengths is None
        assert people.visibility[0, mpii_files.HIDDEN] == 2
    else:
        np.testing.assert_allclose(people.lengths, [30, 30])
        assert people.visibility[0].tolist() == [2, 2, 2, 0, *[2] * 11, 1]
        np.testing.assert_allclose(people.subset([1]).lengths, [30])


def test_the_usual_crop_is_that_of_the_papers(file: Path) -> None:
    box = read(file, labels_only=True).boxes[0]
    matrix = crop_matrix(box, (480, 640), CropSettings(input_size=(256, 256)))
    # A side of 1.25 * 200 * 1 = 250 px around (100, 100) becomes 256.
    np.testing.assert_allclose(matrix @ [100, 100, 1], [127.5, 127.5, 1])
    np.testing.assert_allclose(matrix @ [-25, 225, 1], [-0.5, 255.5, 1])


def test_images_are_found_beside_annot(tmp_path: Path) -> None:
    (tmp_path / "annot").mkdir()
    (tmp_path / "images").mkdir()
    path = mpii_files.h5(tmp_path / "annot" / "valid.h5")
    with pytest.raises(DataError, match=r"valid\.h5: no image is found; looked for 'a\.jpg'"):
        read(path)
    cv2.imwrite(str(tmp_path / "images" / "a.jpg"), np.zeros((20, 20, 3), np.uint8))
    assert read(path).images == (tmp_path / "images" / "a.jpg",) * 2


def test_flip_pairs_trade_left_and_right() -> None:
    def mirrored(name: str) -> str:
        side, _, joint = name.partition("_")
        return {"left": f"right_{joint}", "right": f"left_{joint}"}.get(side, name)

    assert [SCHEMA.names[i] for i in SCHEMA.flip_order] == [mirrored(name) for name in SCHEMA.names]


def test_labels_alone_keep_rows_without_labels(tmp_path: Path) -> None:
    part = np.zeros((2, 16, 2))
    part[1, 0] = 5.0, 6.0
    path = mpii_files.h5(tmp_path / "a.h5", part=part)
    assert read(path, labels_only=True).ids == ("0", "1")
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((20, 20, 3), np.uint8))
    people = read(path)
    assert people.ids == ("1",)
    assert people.notes[0] == "1 instance without a labelled keypoint left out"


def test_h5_joints_at_the_edge_are_missing_and_told(tmp_path: Path) -> None:
    part = np.full((2, 16, 2), 50.0)
    part[0, 2] = 30.0, 1.0  # As the hourglass code: greater than 1 counts.
    part[0, 3] = 1.5, 1.5
    part[1, 4] = -3.0, 20.0
    part[1, 5] = 0.0, 0.0
    people = read(mpii_files.h5(tmp_path / "a.h5", part=part, visible=np.ones((2, 16))), labels_only=True)
    assert np.argwhere(~people.labelled).tolist() == [[0, 2], [1, 4], [1, 5]]
    assert people.notes[0].startswith("2 joints with a coordinate of 1 or less taken as missing")


def test_h5_without_head_sizes(tmp_path: Path) -> None:
    assert read(mpii_files.h5(tmp_path / "a.h5", normalize=None), labels_only=True).lengths is None
    some = read(mpii_files.h5(tmp_path / "b.h5", normalize=np.array([-1.0, 30.0])), labels_only=True).lengths
    np.testing.assert_array_equal(some, [np.nan, 30])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"part": None, "preds": np.zeros((2, 16, 2))}, r"no part, but .*preds.*: these are predictions"),
        ({"part": np.zeros((2, 14, 2))}, r"part should be \(2, 16, 2\), is \(2, 14, 2\)"),
        ({"scale": np.ones(3)}, r"scale should be \(2,\), is \(3,\)"),
        ({"imgname": np.ones(2)}, r"imgname should be 2 texts, is float64"),
        ({"imgname": np.bytes_(b"a.jpg")}, r"imgname should be 0 texts"),
        ({"scale": np.array([b"1", b"2"])}, r"scale should be numbers, is \|S1"),
        ({"normalize": np.ones(3)}, r"normalize should be \(2,\), is \(3,\)"),
        ({"part": np.full((2, 16, 2), np.nan)}, r"a\.h5: row 0: keypoint right_ankle: its place \[nan, nan\]"),
    ],
)
def test_h5_mistakes(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(mpii_files.h5(tmp_path / "a.h5", **changes), labels_only=True)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("joints", [[1, 2]], r"entry 1: joints should be 16 pairs of numbers, and joints_vis 16 numbers"),
        ("joints", [[None, 2]] * 16, r"entry 1: keypoint upper_neck: it is labelled, but its place \[None, 2\]"),
        ("joints", "none", r"entry 1: joints should be"),
        ("center", [1], r"entry 1: center should be two numbers and scale one"),
        ("image", "", r"entry 1: expected an object with image, joints"),
    ],
)
def test_json_mistakes(tmp_path: Path, key: str, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(mpii_files.hrnet(tmp_path / "a.json", lambda rows: rows[1].update({key: value})), labels_only=True)


def test_mat_tells_of_the_test_set_and_of_mistakes(tmp_path: Path) -> None:
    people = read(mpii_files.mat(tmp_path / "a.mat"), labels_only=True)
    assert people.ids == ("2:1", "2:2")
    assert people.notes[0] == "1 image of the test set skipped: it has no joints"

    def spoil(annolist: list[dict[str, Any]]) -> list[dict[str, Any]]:
        points = annolist[1]["annorect"][0]["annopoints"][0]["point"]
        points[0]["id"], points[1]["x"] = 16, np.nan
        return annolist

    def without_name(annolist: list[dict[str, Any]]) -> list[dict[str, Any]]:
        annolist[1]["image"] = 3.0
        return annolist

    with pytest.raises(DataError, match=r"c\.mat: image 2: image\.name should be a text"):
        read(mpii_files.mat(tmp_path / "c.mat", without_name), labels_only=True)
    with pytest.raises(DataError) as caught:
        read(mpii_files.mat(tmp_path / "b.mat", spoil), labels_only=True)
    assert caught.value.mistakes == (
        "b.mat: image 2, person 1: a point's id is 16, not one of 0 to 15",
        "b.mat: image 2, person 1: keypoint right_knee: its place (nan, 36.0) is not two finite numbers",
    )


def test_other_matlab_and_broken_files(tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "other.mat", {"x": 1})
    with pytest.raises(DataError, match=r"other\.mat: no MPII annotations: no RELEASE\.annolist in it, but x"):
        read(tmp_path / "other.mat")
    for name in ("h5", "mat"):
        whole = WRITERS[name](tmp_path / f"whole.{name}").read_bytes()
        (tmp_path / f"cut.{name}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=rf"cut\.{name}: the .* file cannot be read"):
            read(tmp_path / f"cut.{name}")


@pytest.mark.parametrize(("name", "module"), [("h5", "h5py"), ("mat", "scipy.io")])
def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    path = WRITERS[name](tmp_path / f"a.{name}")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install 'punctum\[mpii\]'"):
        read(path)
