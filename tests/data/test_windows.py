"""The cache shows what the images show, holds all that a variation can reach, and is found again."""

import os
import pickle
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from smooth import SIZE, blob, misplaced, pictures

from punctum.data import (
    Augmentation,
    CropSettings,
    ImageError,
    KeypointDataset,
    Windows,
    crop_matrix,
    develop,
    inspect,
    window_fill,
)
from punctum.data.images import Intensity
from punctum.data.window_fill import fill_file, fill_memory, key_of, open_file, planned_bytes
from punctum.data.windows import window_of_sample

# Colour factors would make rounding larger than it is.
WIDE = Augmentation(rotation=60, scale=0.4, shift=0.2, flip=0, colour=0)
COMPARED = ("coords", "visible", "absent", "to_image", "ids")


def epochs(dataset: KeypointDataset, count: int = 8) -> list:
    size = dataset.crop.input_size
    order = range(len(dataset))
    return [develop(dataset.__getitems__([(epoch, i) for i in order]), size) for epoch in range(count)]


def filled(annotations, crop, augmentation=WIDE) -> Windows:
    return fill_memory(annotations, crop, augmentation, planned=0)


@pytest.mark.parametrize("intensity", ["range", "percentile"])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("size", "box"), [((96, 128), 300), ((96, 96), 60)])
def test_crops_from_windows_are_crops_from_images(
    tmp_path: Path, size: tuple[int, int], box: float, deep: bool, intensity: Intensity
) -> None:
    """Shrunk beforehand by a whole number, or kept as they were: the same picture, and the very same points."""
    annotations = pictures(tmp_path, box=box, deep=deep)
    crop = CropSettings(size, intensity=intensity)
    windows = filled(annotations, crop)
    assert bool(windows.rows["deep"].all()) is deep
    assert (int(windows.rows["side"].max()) > 1) is (box == 300)
    plain = epochs(KeypointDataset(annotations, crop, WIDE, seed=1))
    checked = 0
    for hand_over in ("finished", "bytes"):
        cached = epochs(KeypointDataset(annotations, crop, WIDE, seed=1, windows=windows, hand_over=hand_over))
        for one, other in zip(plain, cached, strict=True):
            # Percentiles stretch the pictures' 60 % of the range to all of it, and what 8 bits round with it.
            assert float((one.images - other.images).abs().max()) < (2 if intensity == "range" else 2 / 0.6) / 255
            assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in COMPARED)
            assert not misplaced(other) > 0.05
            checked += misplaced(other) >= 0
    assert checked > 8 or box == 60


def test_without_shrinking_not_a_bit_changes(tmp_path: Path) -> None:
    annotations, crop = pictures(tmp_path, box=60), CropSettings((96, 96))
    one, other = (
        epochs(KeypointDataset(annotations, crop, WIDE, windows=windows))
        for windows in (None, filled(annotations, crop))
    )
    assert all(torch.equal(a.images, b.images) for a, b in zip(one, other, strict=True))


@settings(deadline=None, max_examples=60)
@given(
    box=st.tuples(st.floats(-60, 300), st.floats(-60, 300), st.floats(4, 500), st.floats(4, 500)),
    size=st.tuples(st.integers(8, 96), st.integers(8, 96)),
    rotation=st.floats(0, 180),
    shift=st.floats(0, 0.5),
    scale=st.floats(0, 0.6),
    normal=st.booleans(),
    drawn=st.integers(0, 1000),
)
def test_windows_hold_all_that_a_variation_reaches(box, size, rotation, shift, scale, normal, drawn) -> None:
    """The corners of any drawn crop, within the image, lie in the window; its squares fit into the crop's pixels."""
    augmentation = Augmentation(
        rotation=rotation, shift=shift, scale=scale, distribution="normal" if normal else "uniform"
    )
    crop = CropSettings(size)
    low, high, side = window_of_sample(np.array(box), SIZE, crop, augmentation)
    draw = augmentation.draw(np.random.default_rng(drawn))
    matrix = crop_matrix(
        np.array(box), SIZE, crop, scale=draw.scale, rotation=draw.rotation, shift=draw.shift[:2], flip=draw.flip
    )
    ends = [(x, y, 1) for x in (-0.5, size[1] - 0.5) for y in (-0.5, size[0] - 0.5)]
    reached = (np.linalg.inv(matrix) @ np.array(ends).T)[:2]
    seen_low = np.clip(reached.min(1), -0.5, np.array(SIZE[::-1]) - 0.5)
    seen_high = np.clip(reached.max(1), -0.5, np.array(SIZE[::-1]) - 0.5)
    if (seen_low < seen_high).all():
        assert (np.array(low) - 0.5 <= seen_low).all()
        assert (seen_high <= np.array(high) - 0.5).all()
    zoom = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    assert side == 1 or side * zoom <= 1 + 1e-6


def test_an_instance_outside_its_image_is_black(tmp_path: Path) -> None:
    annotations = pictures(tmp_path, count=1)
    annotations.boxes[0] = [5000, 5000, 50, 50]
    crop = CropSettings((16, 16))
    windows = filled(annotations, crop)
    assert windows.nbytes == 0
    for hand_over in ("finished", "bytes", "windows"):
        dataset = KeypointDataset(annotations, crop, WIDE, windows=windows, hand_over=hand_over)
        assert not develop(dataset[0], (16, 16)).images.any()


def test_files_are_written_whole_and_hold_the_same(tmp_path: Path) -> None:
    annotations, crop = pictures(tmp_path, count=3), CropSettings((48, 48))
    path = tmp_path / "cache" / "windows.bin"
    told: list[int] = []
    windows = fill_file(path, annotations, crop, WIDE, told.append)
    assert sum(told) == 3
    in_memory = filled(annotations, crop)
    for found in (
        windows,
        open_file(path),
        pickle.loads(pickle.dumps(windows)),
        pickle.loads(pickle.dumps(in_memory)),
    ):
        for i in range(3):
            assert np.array_equal(found.view(i).pixels, in_memory.view(i).pixels)
    assert isinstance(open_file(path)._maps[0], np.memmap)
    assert windows.nbytes == planned_bytes(annotations, inspect(annotations), crop, WIDE)
    annotations.images[1].write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"1\.png"):
        fill_file(tmp_path / "cache" / "other.bin", annotations, crop, WIDE)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["windows.bin"]
    whole = path.read_bytes()
    path.write_bytes(whole[1000:])
    with pytest.raises(ValueError, match=r"windows\.bin is damaged: delete it"):
        open_file(path)
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="no cache of windows"):
        open_file(path)


def test_a_full_disk_is_said_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(window_fill._File, "put", full)
    with pytest.raises(OSError, match=r"windows\.bin cannot be written: No space left on device"):
        fill_file(tmp_path / "windows.bin", pictures(tmp_path, count=1), CropSettings((48, 48)), WIDE)
    assert not list(tmp_path.glob("*.bin"))


@pytest.mark.parametrize(("kind", "scale"), [(np.uint16, 257), (np.float32, 1 / 255)])
def test_deep_images_are_planned_at_two_bytes(tmp_path: Path, kind: type, scale: float) -> None:
    annotations, crop = pictures(tmp_path, count=2, suffix=".tiff"), CropSettings((48, 48))
    for path in annotations.images:
        cv2.imwrite(str(path), (cv2.imread(str(path)).astype(np.float64) * scale).astype(kind))
    inspected = inspect(annotations)
    assert inspected.deep.all()
    windows = filled(annotations, crop)
    assert windows.nbytes == planned_bytes(annotations, inspected, crop, WIDE)


def test_the_key_changes_with_all_that_matters(tmp_path: Path) -> None:
    annotations, crop = pictures(tmp_path, count=2), CropSettings((48, 48))
    key = key_of(annotations, crop, WIDE)
    assert key == key_of(annotations, crop, replace(WIDE, colour=0.1, flip=0.5))
    moved = replace(annotations, boxes=annotations.boxes + 1)
    others = [
        key_of(moved, crop, WIDE),
        key_of(annotations, replace(crop, padding=1.3), WIDE),
        key_of(annotations, replace(crop, intensity="percentile"), WIDE),
        key_of(annotations, crop, replace(WIDE, scale=0.41)),
        key_of(annotations, crop, None),
        key_of(annotations.subset([1, 0]), crop, WIDE),
    ]
    os.utime(annotations.images[0], ns=(1, 1))
    assert len({key, key_of(annotations, crop, WIDE), *others}) == 8


def test_float_images_are_kept_in_sixteen_bits(tmp_path: Path) -> None:
    annotations = pictures(tmp_path, count=1)
    path = tmp_path / "0.tiff"
    image = (100 + 800 * blob(annotations.keypoints[0, 0], 40)).astype(np.float32)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    annotations = replace(annotations, images=(path,))
    crop = CropSettings((96, 96), padding=0.8, intensity="percentile")
    one, other = (
        KeypointDataset(annotations, crop, WIDE, windows=windows)[0] for windows in (None, filled(annotations, crop))
    )
    assert float((one.images - other.images).abs().max()) < 2 / 255
    with pytest.raises(ImageError, match=r"0.tiff: the float image spans"):
        filled(annotations, CropSettings((48, 48)))


def test_windows_of_other_samples_are_refused(tmp_path: Path) -> None:
    annotations, crop = pictures(tmp_path, count=2), CropSettings((48, 48))
    with pytest.raises(ValueError, match="1 windows, and 2 samples"):
        KeypointDataset(annotations, crop, windows=filled(annotations.subset([0]), crop))
    with pytest.raises(ValueError, match="give a cache"):
        KeypointDataset(annotations, crop, hand_over="windows")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_all_workers_see_the_same_windows(tmp_path: Path) -> None:
    from torch.utils.data import DataLoader

    from punctum.data import EpochSampler, collate

    annotations, crop = pictures(tmp_path), CropSettings((24, 24))
    dataset = KeypointDataset(annotations, crop, WIDE, windows=filled(annotations, crop), hand_over="windows")
    batches = [
        list(
            DataLoader(
                dataset, batch_size=2, sampler=EpochSampler(3), num_workers=workers, collate_fn=collate
            )
        )
        for workers in (0, 1)
    ]  # fmt: skip
    for one, other in zip(*batches, strict=True):
        for f in fields(one):
            a, b = getattr(one, f.name), getattr(other, f.name)
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
