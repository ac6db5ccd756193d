"""Image files in, RGB arrays out: any bit depth, upright, or an error that names the file."""

import math
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from punctum.data.jpeg import is_cut
from punctum.data.limits import VARIABLE, max_pixels
from punctum.data.picture_header import size_in_header

Intensity = Literal["range", "percentile"]
Image = NDArray[Any]

# Not IMREAD_COLOR: it refuses gray float TIFF. Not IMREAD_UNCHANGED: it ignores EXIF rotation and keeps alpha.
_FLAGS = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
_DEPTHS = (np.uint8, np.uint16, np.float32)
_COUNTED = 2**22
_PERCENTILES = (0.1, 99.9)


class ImageError(ValueError):
    """An image file that cannot be used; the message names it and says why."""


def read_image(path: str | Path) -> Image:
    """An image file as RGB, turned upright as its EXIF orientation says.

    PNG, JPEG, TIFF, BMP and whatever else OpenCV decodes; gray and palette images become RGB, alpha is
    dropped (an 8-bit TIFF that is half transparent comes out over black), a file with several pages gives its first.

    Args:
        path: the file.
    Returns:
        (H, W, 3), uint8, uint16 or float32: values as they stand in the file.
    Raises:
        ImageError: the file is missing, empty, truncated, no image, too large, or of a type without a
            known range (signed or 32-bit integers).
    """
    return decode_image(read_bytes(path), path)


def read_bytes(path: str | Path) -> bytes:
    """The contents of an image file.

    Raises:
        ImageError: the file is missing or empty.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not data:
        raise ImageError(f"{path}: the file is empty")
    return data


def decode_image(data: bytes, path: str | Path, reduction: int = 1) -> Image:
    """What `read_image` returns, from the file's contents; a JPEG also at a part of its size.

    Args:
        data: the file's contents.
        path: of the file, for messages.
        reduction: 1, or 2, 4, 8: a JPEG whose header says `reducible` is decoded at this part of its size, rounded
            up. Its pixels then lie where `ops.coords.cells_matrix(reduction)` says.
    Raises:
        ImageError: as `read_image`.
    """
    path = Path(path)
    size = size_in_header(data)
    if size is not None:
        check_size(size, path)
    if is_cut(data):
        raise ImageError(f"{path}: the file is truncated: the JPEG has no end")
    return _as_rgb(_decode(data, path, _REDUCED.get(reduction, _FLAGS)), path)


def check_size(size: tuple[int, int], path: Path) -> None:
    """Refuse a picture of (H, W) that has more pixels than are allowed, before any is decoded.

    Raises:
        ImageError: it has.
    """
    if math.prod(size) > max_pixels():
        raise ImageError(
            f"{path}: {size[1]:,} x {size[0]:,} px are more than the {max_pixels():,} pixels that are allowed; "
            f"{VARIABLE} allows more"
        )


def image_size(path: str | Path) -> tuple[int, int]:
    """(H, W) of an image file, after EXIF rotation. It decodes the file, so a damaged one is found."""
    height, width = read_image(path).shape[:2]
    return height, width


def _decode(data: bytes, path: Path, flags: int) -> Image:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"{path}: cannot be decoded: {error.err or error}") from None
    if image is None:
        raise ImageError(f"{path}: not an image, or a damaged or truncated one")
    return image


def _as_rgb(image: Image, path: Path) -> Image:
    if image.dtype == np.float64:
        image = image.astype(np.float32)
    if image.dtype not in _DEPTHS:
        raise ImageError(
            f"{path}: {image.dtype} pixels; convert the image to 8 or 16 bits without a sign, or float32"
        )
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)


def as_image(array: Image, name: str) -> Image:
    """An array that a user holds, in the form that `read_image` returns; `name` is for messages.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), RGB; uint8, uint16, or float in [0, 1].
    Returns:
        (H, W, 3) uint8, uint16 or float32.
    Raises:
        ValueError: another shape, type or range.
    Example:
        >>> as_image(np.zeros((4, 6), np.uint8), "mine").shape
        (4, 6, 3)
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}: expected (H, W), (H, W, 3) or (H, W, 4)")
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ValueError(f"{name} is of floating type: its values must lie in [0, 1]")
    elif array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{name} is {array.dtype}: expected uint8, uint16 or float in [0, 1]")
    return np.ascontiguousarray(np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3])


def intensity_range(image: Image, intensity: Intensity = "range") -> tuple[float, float]:
    """The pixel values that become 0 and 1.

    Args:
        image: (*S, C), uint8, uint16, int16 or float32.
        intensity: "range": 0 and the type's maximum (1 for float). "percentile": the image's own 0.1 and
            99.9 percentiles, for instance for 12-bit microscopy stored in 16 bits, or CT.
    Returns:
        low, high, with low < high.
    Raises:
        ValueError: an unknown intensity; a float image that is not finite, or with "range" leaves [0, 1]; int16
            with "range".
    Example:
        >>> intensity_range(np.zeros((2, 2, 3), np.uint16))
        (0.0, 65535.0)
    """
    if intensity not in ("range", "percentile"):
        raise ValueError(f"intensity must be 'range' or 'percentile', got {intensity!r}")
    if image.dtype == np.float32:
        least, most = float(image.min()), float(image.max())
        if not (np.isfinite(least) and np.isfinite(most)):
            raise ValueError("the float image holds values that are not finite")
        if intensity == "range" and not (least >= 0 and most <= 1):
            raise ValueError(f"the float image spans [{least:g}, {most:g}], not [0, 1]: use intensity 'percentile'")
    if image.dtype == np.int16 and intensity == "range":
        raise ValueError("int16 has no known range (Hounsfield units, say): use intensity 'percentile'")
    if intensity == "range":
        return 0.0, 1.0 if image.dtype == np.float32 else float(np.iinfo(image.dtype).max)
    low, high = _percentiles(image)
    return low, high if high > low else low + 1.0


def _percentiles(image: Image) -> tuple[float, float]:
    if image.dtype == np.float32:
        low, high = np.percentile(image, _PERCENTILES)
        return float(low), float(high)
    # Counting integers is exact and many times faster than sorting them.
    least = int(image.min()) if image.dtype.kind == "i" else 0
    counted = image.astype(np.int32) - least if least else image
    values, largest = counted.reshape(-1), int(counted.max())
    # NumPy makes eight bytes of each value that it counts: of a slide or a volume, not of all at once.
    parts = (np.bincount(values[i : i + _COUNTED], minlength=largest + 1) for i in range(0, len(values), _COUNTED))
    cumulative = np.cumsum(sum(parts, np.zeros(largest + 1, dtype=np.int64)))
    low, high = np.searchsorted(cumulative, np.array(_PERCENTILES) / 100 * cumulative[-1])
    return float(low) + least, float(high) + least


def scale_intensity(image: Image, low: float, high: float) -> NDArray[np.float32]:
    """Pixel values to [0, 1], (v - low) / (high - low), clipped, as float32."""
    unit = image.astype(np.float32)
    unit -= np.float32(low)
    unit *= np.float32(1 / (high - low))
    return np.clip(unit, 0, 1, out=unit)


def to_unit(image: Image, intensity: Intensity = "range") -> NDArray[np.float32]:
    """An image with values in [0, 1].

    Args:
        image: (H, W, 3), uint8, uint16 or float32.
        intensity: what becomes 0 and 1; see `intensity_range`.
    Returns:
        (H, W, 3) float32.
    Raises:
        ValueError: as `intensity_range`.
    Example:
        >>> to_unit(np.full((1, 1, 3), 51, np.uint8)).round(3)
        array([[[0.2, 0.2, 0.2]]], dtype=float32)
    """
    return scale_intensity(image, *intensity_range(image, intensity))
