"""SLEAP and DeepLabCut's .h5: their own packages write the files, and read ours."""

import inspect
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import sleap_io as sio
from tool_files import labels, write_images

from punctum.data import DataError, read, read_deeplabcut_h5, read_sleap
from punctum.data.deeplabcut_h5 import _lines
from punctum.data.formats import write
from punctum.data.sleap import write_frames
from punctum.schema import Schema

NAN4 = np.full(4, np.nan)
SCHEMA = Schema(("nose", "ear_l", "ear_r"), skeleton=((0, 1), (0, 2)), flip_pairs=((1, 2),))
POINTS = np.array([[1.25, 2.5], [3.0, 4.0], [5.5, 39.25]])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A file of sleap-io: two animals in a picture, one in the next, a prediction, a node that is not visible."""
    write_images(tmp_path / "pics")
    skeleton = sio.Skeleton(["nose", "ear_l", "ear_r"], edges=[("nose", "ear_l")], symmetries=[("ear_l", "ear_r")])
    video = sio.Video.from_filename([str(tmp_path / "pics" / name) for name in ("a.png", "b.png")])
    hidden = sio.Instance.from_numpy(POINTS + 2, skeleton)
    hidden.points["visible"][1] = False
    missing = np.where([[True], [False], [True]], POINTS, np.nan)
    one = [sio.Instance.from_numpy(POINTS, skeleton), hidden]
    guess = sio.PredictedInstance.from_numpy(POINTS, skeleton=skeleton, score=0.5)
    two = [sio.Instance.from_numpy(missing, skeleton), guess]
    frames = [sio.LabeledFrame(video=video, frame_idx=i, instances=found) for i, found in enumerate((one, two))]
    sio.Labels(frames).save(str(tmp_path / "project.slp"), verbose=False)
    return tmp_path / "project.slp"


def test_a_project_of_pictures(project: Path) -> None:
    found = read(project)
    assert found.schema.names == SCHEMA.names
    assert found.schema.skeleton == ((0, 1),)
    assert found.schema.flip_pairs == ((1, 2),)
    assert found.image_names == ("pics/a.png", "pics/a.png", "pics/b.png")
    assert found.visibility.tolist() == [[2, 2, 2], [2, 0, 2], [2, 0, 2]]
    np.testing.assert_array_equal(found.keypoints[0], POINTS)
    assert "1 predicted instance left out: only what people labelled counts" in found.notes
    assert any(note.startswith("1 node marked as not visible") for note in found.notes)


def test_sleap_io_reads_ours(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images")
    rows = [
        ("a.png", POINTS, np.array([2, 1, 0], np.int8), NAN4),
        ("a.png", POINTS + 1, np.array([2, 2, 2], np.int8), NAN4),
    ]
    lost = write(labels(folder, rows, SCHEMA), tmp_path / "ours.slp")
    assert "1 occluded flag: SLEAP has none, and these points come out as visible" in lost
    found = sio.load_slp(str(tmp_path / "ours.slp"))
    assert found.skeleton.node_names == list(SCHEMA.names)
    assert found.skeleton.edge_inds == [(0, 1), (0, 2)]
    assert found.skeleton.symmetry_inds == [(1, 2)]
    first, second = (instance.numpy() for instance in found[0].instances)
    np.testing.assert_array_equal(first[:2], POINTS[:2])
    assert np.isnan(first[2]).all()
    np.testing.assert_array_equal(second, POINTS + 1)
    # The picture itself is found and read by it.
    assert found.video[0].shape[:2] == (40, 60)


def test_frames_that_are_no_pictures(project: Path, tmp_path: Path) -> None:
    """A package with its frames inside: refused with the way out, and read once they are written."""
    package = tmp_path / "inside" / "labels.v001.pkg.slp"
    package.parent.mkdir()
    sio.load_slp(str(project)).save(str(package), embed="user", verbose=False)
    with pytest.raises(DataError, match=r"frames are in the file itself.*punctum convert labels.v001.pkg.slp"):
        read_sleap(package)
    assert write_frames(package, tmp_path / "frames") == 2
    found = read_sleap(package, tmp_path / "frames")
    np.testing.assert_array_equal(found.keypoints[0], POINTS)
    assert found.image_names[0].endswith("/000000.png")


def test_a_damaged_project(project: Path) -> None:
    content = project.read_bytes()
    project.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"project.slp: "):
        read(project)


# --- DeepLabCut ----------------------------------------------------------------------------------------------------


def dlc(index: Any = (("labeled-data", "vid", "img0.png"), ("labeled-data", "vid", "img1.png"))) -> pd.DataFrame:
    """The table as DeepLabCut makes it."""
    columns = pd.MultiIndex.from_product(
        [["me"], ["nose", "tail"], ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    rows = pd.MultiIndex.from_tuples(index) if isinstance(index[0], tuple) else list(index)
    return pd.DataFrame([[1.5, 2, 3, 4], [5, 6, np.nan, np.nan]], columns=columns, index=rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_images(tmp_path, ("labeled-data/vid/img0.png", "labeled-data/vid/img1.png"))
    return tmp_path / "labeled-data" / "vid"


@pytest.mark.parametrize("index", [None, ("labeled-data/vid/img0.png", "labeled-data/vid/img1.png")])
def test_h5_of_pandas(folder: Path, index: Any) -> None:
    table = dlc() if index is None else dlc(index)
    table.to_hdf(folder / "CollectedData_me.h5", key="df_with_missing", mode="w")
    found = read(folder / "CollectedData_me.h5")
    assert found.schema.names == ("nose", "tail")
    assert found.image_names == ("labeled-data/vid/img0.png", "labeled-data/vid/img1.png")
    assert found.keypoints[0].tolist() == [[1.5, 2], [3, 4]]
    assert found.visibility.tolist() == [[2, 2], [2, 0]]


def test_pandas_reads_ours(folder: Path, tmp_path: Path) -> None:
    names = ("labeled-data/vid/img0.png", "labeled-data/vid/img1.png")
    rows = [(name, POINTS, np.array([2, 2, 0], np.int8), NAN4) for name in (names[0], names[0], names[1])]
    for name in ("CollectedData_me.h5", "CollectedData_me.csv"):
        write(labels(tmp_path, rows, SCHEMA), folder / name)
    table = pd.read_hdf(folder / "CollectedData_me.h5", key="df_with_missing")
    assert table.columns.names == ["scorer", "individuals", "bodyparts", "coords"]
    assert table.index[1] == ("labeled-data", "vid", "img1.png")
    second = table.xs("animal2", axis=1, level="individuals")
    np.testing.assert_array_equal(second.to_numpy()[0], [1.25, 2.5, 3, 4, np.nan, np.nan])
    assert second.iloc[1].isna().all()
    plain = pd.read_csv(folder / "CollectedData_me.csv", header=[0, 1, 2, 3], index_col=0)
    np.testing.assert_array_equal(plain.to_numpy(), table.to_numpy())


def test_pickles_are_not_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pandas pickles columns of objects, and the header of its other form; neither is unpickled."""
    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("unpickled"))
    read_here = inspect.unwrap(_lines)
    path = folder / "CollectedData_me.h5"
    with pytest.warns(pd.errors.PerformanceWarning):
        dlc().astype(object).to_hdf(path, key="df_with_missing", mode="w")
    with pytest.raises(
        DataError, match=r"but a pickle, which is not opened; DeepLabCut writes a csv of the same name"
    ):
        read_here(path)
    dlc(("a.png", "b.png")).to_hdf(path, key="df_with_missing", mode="w", format="table")
    with pytest.raises(DataError, match=r"whose header is pickled; DeepLabCut writes a csv"):
        read_here(path)


def test_links_to_other_files_are_not_followed(folder: Path) -> None:
    path = folder / "CollectedData_me.h5"
    dlc().to_hdf(path, key="df_with_missing", mode="w")
    path.rename(folder / "other.h5")
    with h5py.File(path, "w") as file:
        file["df_with_missing"] = h5py.ExternalLink("other.h5", "/df_with_missing")
    for reader in (read, read_deeplabcut_h5):
        with pytest.raises(DataError):
            reader(path)
    with h5py.File(folder / "other.h5", "r") as theirs, h5py.File(path, "w") as file:
        theirs.copy("df_with_missing", file)
        del file["df_with_missing/block0_values"]
        file["df_with_missing/block0_values"] = h5py.ExternalLink("other.h5", "/df_with_missing/block0_values")
    with pytest.raises(DataError, match=r"block0_values is a link"):
        read(path)


def test_codes_out_of_range(folder: Path) -> None:
    path = folder / "CollectedData_me.h5"
    dlc().to_hdf(path, key="df_with_missing", mode="w")
    with h5py.File(path, "a") as file:
        file["df_with_missing/axis0_label1"][0] = 9
    with pytest.raises(DataError, match=r"points outside its 2 texts"):
        read(path)
