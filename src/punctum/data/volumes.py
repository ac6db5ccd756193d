"""Volumes as NumPy files: `.npy`, or `.npz` with the voxels' size. Nothing here unpickles.

The two orders, once and for all: an array is (D, H, W), its axes z, y, x; coordinates, spacing and boxes are
(x, y, z). What nibabel loads is (x, y, z) and must be transposed before it is saved.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.images import Image, ImageError, read_image
from punctum.data.limits import VARIABLE, max_pixels
from punctum.json_file import number
from punctum.numpy_file import DAMAGED

VOLUME_ENDINGS = (".npy", ".npz")
_DEPTHS = (np.uint8, np.uint16, np.int16, np.float32, np.float64)


def read_picture(path: str | Path) -> Image:
    """An image as (H, W, 3), or a volume as (D, H, W, 1), by the file's ending.

    Raises:
        ImageError: as `read_image` and `read_volume`.
    """
    return read_volume(path) if is_volume(path) else read_image(path)


def is_volume(path: str | Path) -> bool:
    """Whether a file is a volume, by its ending.

    Example:
        >>> is_volume("scans/a.NPZ"), is_volume("a.png")
        (True, False)
    """
    return Path(path).suffix.lower() in VOLUME_ENDINGS


def read_volume(path: str | Path) -> Image:
    """The voxels of a `.npy` file, or of the entry `volume` of an `.npz` file.

    Args:
        path: the file.
    Returns:
        (D, H, W, 1), uint8, uint16, int16 or float32: values as they stand in the file.
    Raises:
        ImageError: the file is missing, no NumPy file, holds pickled objects, an array that is not (D, H, W),
            or one of another type.
    """
    return as_volume(_entry(Path(path), "volume"), str(path))


def as_volume(array: Any, name: str) -> Image:
    """An array (D, H, W) or (D, H, W, 1) in the form that `read_volume` returns; `name` is for messages.

    Raises:
        ImageError: another shape or type, or no voxel.
    """
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 or array.size == 0:
        raise ImageError(f"{name}: a volume is an array (D, H, W), its axes z, y, x; got shape {array.shape}")
    if array.dtype.newbyteorder("=") not in _DEPTHS:
        raise ImageError(
            f"{name}: {array.dtype} voxels; convert them to uint8, uint16, int16 or float32 (labels of a CT or MR "
            f"scan read as 32 or 64 bits usually fit into int16)"
        )
    # OpenCV's and PyTorch's types are the machine's own byte order, and single precision.
    depth = np.dtype(np.float32) if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    return np.ascontiguousarray(array, dtype=depth)[..., None]


def read_spacing(path: str | Path) -> NDArray[np.float64] | None:
    """The entry `spacing` of an `.npz` file: millimetres per voxel as (x, y, z). None where there is none.

    Raises:
        ImageError: the file cannot be read, or its spacing is not three positive numbers.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        return None
    array = _entry(path, "spacing", optional=True)
    if array is None:
        return None
    try:
        return as_spacing(array.tolist())
    except ValueError as error:
        raise ImageError(f"{path}: {error}") from None


def as_spacing(values: Any) -> NDArray[np.float64]:
    """Three positive numbers as an array.

    Raises:
        ValueError: they are not.
    Example:
        >>> as_spacing([0.5, 0.5, 3])
        array([0.5, 0.5, 3. ])
    """
    sound = isinstance(values, Sequence) and len(values) == 3
    if not sound or not all(0 < number(v) < math.inf for v in values):
        raise ValueError(f"spacing should be three positive numbers, millimetres along x, y and z, got {values!r}")
    return np.array(values, dtype=np.float64)


def _entry(path: Path, name: str, *, optional: bool = False) -> Any:
    """The array of an .npy file, or the one called `name` of an .npz file."""
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return content
            if name in content.files:
                _check_size(path, content.zip.getinfo(f"{name}.npy").file_size)
                # What does not begin as an array comes out as bytes.
                if isinstance(found := content[name], np.ndarray):
                    return found
                raise ImageError(f"{path}: its entry {name!r} is no NumPy array")
            if optional:
                return None
            there_are = ", ".join(content.files) or "nothing"
            raise ImageError(f"{path}: it has no entry {name!r}; there are: {there_are}")
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file") from None
    except ImageError:
        raise
    except EOFError:
        raise ImageError(f"{path}: the file is empty or cut short") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except DAMAGED as error:
        raise ImageError(f"{path}: a damaged NumPy file: {error or type(error).__name__}") from None
    except ValueError as error:
        pickled = "pickle" in str(error).lower()
        reason = "no NumPy file, or one of Python objects, which are not read" if pickled else error
        raise ImageError(f"{path}: {reason}") from None


def _check_size(path: Path, size: int) -> None:
    """Refuse an entry that unpacks to more than any voxels need."""
    if size > 8 * max_pixels():
        raise ImageError(
            f"{path}: it unpacks to {size:,} bytes, and {8 * max_pixels():,} are allowed: {VARIABLE} allows more"
        )
