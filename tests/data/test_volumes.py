"""Volume files: what is read, in which order, and what is refused and why."""

from pathlib import Path

import numpy as np
import pytest

from punctum.data.images import ImageError, intensity_range, to_unit
from punctum.data.volumes import as_spacing, is_volume, read_picture, read_spacing, read_volume


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64", ">i2", ">f4"])
def test_values_come_back_as_they_stand(dtype: str, tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "b.npz", volume=array, spacing=[1, 2, 3])
    for name in ("a.npy", "b.npz"):
        volume = read_volume(tmp_path / name)
        assert volume.shape == (2, 3, 4, 1)
        assert np.array_equal(volume[..., 0], array)
        assert volume.dtype == np.dtype(dtype.replace("float64", "float32").lstrip(">"))
    assert read_spacing(tmp_path / "b.npz").tolist() == [1.0, 2.0, 3.0]
    assert read_spacing(tmp_path / "a.npy") is None
    assert read_picture(tmp_path / "a.npy").ndim == 4


def test_a_fortran_array_and_a_channel_of_one(tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", array[..., None])
    assert np.array_equal(read_volume(tmp_path / "a.npy"), read_volume(tmp_path / "b.npy"))
    assert read_volume(tmp_path / "a.npy").flags["C_CONTIGUOUS"]


def test_what_is_no_volume(tmp_path: Path) -> None:
    good = np.zeros((2, 3, 4), np.uint8)
    np.save(tmp_path / "flat.npy", good[0])
    np.save(tmp_path / "empty.npy", good[:0])
    np.save(tmp_path / "wide.npy", good.astype(np.int64))
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "other.npz", data=good)
    np.savez(tmp_path / "spaced.npz", volume=good, spacing=[1.0, 2.0])
    (tmp_path / "text.npy").write_text("not an array")
    (tmp_path / "nothing.npy").touch()
    np.savez(tmp_path / "cut.npz", volume=np.random.default_rng(0).random((9, 9, 9)))
    content = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    np.save(tmp_path / "short.npy", good)
    (tmp_path / "short.npy").write_bytes((tmp_path / "short.npy").read_bytes()[:-3])
    reasons = {
        "flat.npy": r"an array \(D, H, W\).*got shape \(3, 4\)",
        "empty.npy": r"got shape \(0, 3, 4\)",
        "wide.npy": "int64 voxels; convert",
        "objects.npy": "Python objects",
        "other.npz": "it has no entry 'volume'; there are: data",
        "text.npy": "no NumPy file",
        "nothing.npy": "the file is empty",
        "cut.npz": "no NumPy file|damaged",
        "short.npy": "",
        "missing.npy": "there is no such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(ImageError, match=f"{name}: .*({reason})"):
            read_volume(tmp_path / name)
    with pytest.raises(ImageError, match=r"spaced.npz: spacing should be three positive numbers"):
        read_spacing(tmp_path / "spaced.npz")


@pytest.mark.parametrize("values", [[1, 2], [1, 2, 0], [1, 2, -3], [1, 2, float("inf")], "123", None, [1, 2, True]])
def test_spacing_is_three_positive_numbers(values: object) -> None:
    with pytest.raises(ValueError, match="millimetres along x, y and z"):
        as_spacing(values)


def test_signed_volumes_are_stretched_by_their_percentiles() -> None:
    """Hounsfield units: air at -1000, and one voxel of metal that must not set the scale."""
    rng = np.random.default_rng(0)
    volume = rng.integers(-1000, 1001, (20, 30, 40, 1)).astype(np.int16)
    volume[0, 0, 0] = 32767
    low, high = intensity_range(volume, "percentile")
    assert np.allclose([low, high], np.percentile(volume, [0.1, 99.9]), atol=2)
    unit = to_unit(volume, "percentile")
    assert (unit.min(), unit.max()) == (0, 1)
    assert unit[volume == 0].mean() == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ValueError, match=r"int16 has no known range.*percentile"):
        intensity_range(volume, "range")


def test_extremes_of_int16_do_not_overflow() -> None:
    volume = np.array([[[[-32768], [32767]]]], np.int16)
    assert intensity_range(volume, "percentile") == (-32768.0, 32767.0)


def test_the_ending_decides() -> None:
    assert [is_volume(n) for n in ("a.npy", "b/c.NPZ", "a.png", "npz")] == [True, True, False, False]
