"""From the original image to the network's input: ONE affine matrix, for the pixels and for the points."""

import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from punctum.data.grid import cells_matrix, pixels_matrix
from punctum.data.images import Image, Intensity, intensity_range, scale_intensity

Matrix = NDArray[np.float64]
ImageSize = tuple[int, ...]


@dataclass(frozen=True)
class CropSettings:
    """What part of an image the network sees, and how: the same in training and in prediction.

    Args:
        input_size: (H, W) of the network's input; (D, H, W) for volumes.
        region: "box": the instance's box, or the whole image where it has none. "image": always the whole image.
        padding: the box is made this many times larger; a whole image is not.
        intensity: which pixel values become 0 and 1; see `images.intensity_range`.
    Raises:
        ValueError: a value is out of its range.
    """

    input_size: tuple[int, ...] = (128, 128)
    region: Literal["box", "image"] = "box"
    padding: float = 1.25
    intensity: Intensity = "range"

    def __post_init__(self) -> None:
        if len(self.input_size) not in (2, 3) or min(self.input_size) < 1:
            raise ValueError(
                f"input_size must be two positive numbers (H, W), or three (D, H, W), got {self.input_size}"
            )
        if self.region not in ("box", "image"):
            raise ValueError(f"region must be 'box' or 'image', got {self.region!r}")
        # Python's integers go on beyond the largest float.
        if not 0 < self.padding <= sys.float_info.max:
            raise ValueError(f"padding must be a positive number, got {self.padding}")
        if self.intensity not in ("range", "percentile"):
            raise ValueError(f"intensity must be 'range' or 'percentile', got {self.intensity!r}")

    @classmethod
    def of_model(cls, input_size: tuple[int, ...], preprocessing: Mapping[str, Any]) -> "CropSettings":
        """Those that a model was saved with.

        Raises:
            ValueError: they are malformed.
        """
        try:
            return cls(input_size=input_size, **preprocessing)
        except TypeError as error:
            raise ValueError(f"preprocessing is malformed: {error}") from None


def crop_matrix(
    box: NDArray[np.float64] | None,
    image_size: ImageSize,
    settings: CropSettings,
    *,
    scale: float = 1.0,
    rotation: float = 0.0,
    axis: Sequence[float] = (0.0, 0.0, 1.0),
    shift: Sequence[float] | None = None,
    flip: bool = False,
    spacing: NDArray[np.float64] | None = None,
) -> Matrix:
    """The affine map from original-image pixels to crop pixels, of images or volumes.

    The region's centre comes to the crop's centre, and the region as large as it fits: its aspect is kept, and
    what the crop shows beside it is the image around it, or black beyond the image. With a spacing, aspect and
    rotation are those of millimetres: the crop's pixels are as long on every axis.

        crop = pixels(input_size) . flip . 1 / extent . rotation . spacing . (image - centre)

    Args:
        box: (2 D,) as (x, y[, z], width, height[, depth]) in the keypoints' pixels; None, or a NaN in it: the
            whole image.
        image_size: (H, W) or (D, H, W) of the original.
        settings: which region, and the crop's size.
        scale: above 1 the object becomes larger.
        rotation: degrees; above 0 the content turns clockwise, as seen along the axis.
        axis: unit vector (x, y, z) that a volume is turned about, in millimetres; an image turns about z.
        shift: of the window, as a fraction of the padded region's (width, height[, depth]).
        flip: mirror left and right (x). The points must trade names too: `Schema.flip_order`.
        spacing: millimetres per pixel, (D,) as (x, y[, z]); None: as long on every axis.
    Returns:
        (D + 1, D + 1) float64, homogeneous.
    Raises:
        ValueError: the scale is not positive, or image and crop differ in the number of axes.
    Example:
        >>> settings = CropSettings(input_size=(32, 32), padding=1.0)
        >>> crop_matrix(np.array([10.0, 20.0, 64.0, 64.0]), (480, 640), settings) @ [42, 52, 1]
        array([15.5, 15.5,  1. ])
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    dims = len(settings.input_size)
    if len(image_size) != dims:
        raise ValueError(f"an image of size {tuple(image_size)} cannot become an input of {settings.input_size}")
    centre, extent = region_of(box, image_size, settings)
    length = np.ones(dims) if spacing is None else np.asarray(spacing, dtype=np.float64)
    sides = np.array(settings.input_size[::-1])
    zoom = np.min(sides / (extent * length)) * scale
    to_origin = np.diag([*length, 1.0])
    to_origin[:-1, -1] = -length * (centre if shift is None else centre + np.asarray(shift) * extent)
    turn = np.eye(dims + 1)
    turn[:-1, :-1] = _rotation(rotation, axis)[:dims, :dims]
    normalize = np.diag([*(2 * zoom / sides), 1.0])
    normalize[0, 0] *= -1 if flip else 1
    return _pixels(settings.input_size) @ normalize @ turn @ to_origin


def _rotation(degrees: float, axis: Sequence[float]) -> NDArray[np.float64]:
    """(3, 3), Rodrigues' formula c I + s [a] + (1 - c) a a^T; the axis z comes first to the others' plane."""
    x, y, z = axis
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return c * np.eye(3) + s * cross + (1 - c) * np.outer(axis, axis)


@lru_cache(maxsize=64)
def _pixels(size: ImageSize) -> Matrix:
    """`pixels_matrix` of a size that every sample asks for."""
    matrix = pixels_matrix(size)
    matrix.setflags(write=False)
    return matrix


def region_of(
    box: NDArray[np.float64] | None, image_size: ImageSize, settings: CropSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre (x, y[, z]) and extent (width, height[, depth]) of what is to be seen, padding included."""
    if box is None or settings.region == "image" or np.isnan(box).any():
        return pixels_matrix(image_size)[:-1, -1], np.array(image_size[::-1], dtype=np.float64)
    box, dims = np.asarray(box, dtype=np.float64), len(image_size)
    if box.shape != (2 * dims,):
        raise ValueError(f"a box here is {2 * dims} numbers, its corner and its extent, got {box.tolist()}")
    return box[:dims] + box[dims:] / 2, box[dims:] * settings.padding


def to_image_matrix(matrix: Matrix, input_size: ImageSize) -> Matrix:
    """The way back: normalized crop coordinates to original-image pixels.

    Args:
        matrix: (D + 1, D + 1) from `crop_matrix`, or (B, D + 1, D + 1).
        input_size: (H, W) or (D, H, W) of the crop.
    Returns:
        The same shape, float64.
    Example:
        >>> to_image_matrix(np.eye(3), (32, 64)) @ [-1, -1, 1]
        array([-0.5, -0.5,  1. ])
    """
    return np.linalg.inv(matrix) @ _pixels(tuple(input_size))


def inside(points: NDArray[np.float64], size: ImageSize) -> NDArray[np.bool_]:
    """Whether pixel coordinates (..., D) lie in an image of size (H, W) or (D, H, W), edges included; NaN does not.

    Example:
        >>> inside(np.array([[-0.5, 0.0], [-0.6, 0.0], [np.nan, 0.0]]), (48, 64))
        array([ True, False, False])
    """
    return np.all(np.abs((2 * points + 1) / np.array(size[::-1]) - 1) <= 1, axis=-1)


def warp(image: Image, matrix: Matrix, size: ImageSize, *, as_stored: bool = False) -> Image:
    """An image under an affine map, without aliasing, and without shifting by a fraction of a pixel.

    Where the map shrinks, the image is first averaged over areas down to the result's scale, and the affine map
    of that step is taken out of the matrix exactly. Beyond the image is black (0), so that a network can tell it
    from content; a repeated border would draw streaks that it might learn.

    OpenCV 4 rounds places in images to 1/32 px of the (averaged) image, OpenCV 5 does not; volumes are PyTorch's.

    Args:
        image: (H, W, C) or (D, H, W, C); uint8, uint16, int16 or float32.
        matrix: (D + 1, D + 1), its pixels to the result's pixels.
        size: (H, W) or (D, H, W) of the result.
        as_stored: of images, not of volumes: the result has the image's own type, rounded.
    Returns:
        (*size, C) float32 in the image's own units, linearly interpolated.
    Raises:
        ValueError: the matrix cannot be inverted.
    """
    dims = len(size)
    determinant = abs(float(np.linalg.det(matrix[:-1, :-1])))
    if not (0 < determinant < math.inf):
        raise ValueError(f"the matrix cannot be inverted: {matrix.tolist()}")
    # How long a pixel becomes: in an image as long on both axes, in a volume by each axis's own spacing.
    zoom = np.linalg.norm(matrix[:-1, :-1], axis=0) if dims == 3 else np.full(dims, math.sqrt(determinant))
    low, high = _source_window(matrix, size, image.shape[:dims], zoom)
    if (low >= high).any():
        return np.zeros((*size, *image.shape[dims:]), image.dtype if as_stored and dims == 2 else np.float32)
    part = image[tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))]
    to_window = np.eye(dims + 1)
    to_window[:-1, -1] = low
    matrix = matrix @ to_window
    if dims == 3:
        # Volumes are PyTorch's; images are cropped without it too.
        from punctum.data.resample import warp_volume

        return warp_volume(part, matrix, size, zoom)
    if zoom[0] < 1:
        part, to_part = _shrink(part, float(zoom[0]))
        matrix = matrix @ to_part
    if not as_stored:
        part = part.astype(np.float32)
    return np.asarray(cv2.warpAffine(part, matrix[:2], size[::-1], flags=cv2.INTER_LINEAR))


def _source_window(
    matrix: Matrix, size: ImageSize, image_size: ImageSize, zoom: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and behind-the-last (x, y[, z]) of the pixels that the result depends on: the rest is not touched."""
    corners = np.array([*zip(*itertools.product((-1, 1), repeat=len(size)), strict=True), (1,) * 2 ** len(size)])
    reached = (to_image_matrix(matrix, size) @ corners)[:-1]
    # Twice what one result pixel covers: one to average, one to interpolate.
    margin = 2 * np.maximum(1.0, 1 / zoom) + 1
    limits = np.array(image_size[::-1])
    low = np.clip(np.floor(reached.min(1) - margin), 0, limits).astype(int)
    high = np.clip(np.ceil(reached.max(1) + margin) + 1, 0, limits).astype(int)
    return low, high


def _shrink(image: Image, zoom: float) -> tuple[Image, Matrix]:
    """Averages over squares of 1 / zoom pixels, and the map from their indices to the image's pixels."""
    side = min(1 / zoom, float(max(image.shape[:2])))
    # OpenCV rounds the number of squares: black behind the last one keeps it from being dropped.
    pad = math.ceil(side)
    image = cv2.copyMakeBorder(image, 0, pad, 0, pad, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    small = cv2.resize(image, None, fx=1 / side, fy=1 / side, interpolation=cv2.INTER_AREA)
    return small, cells_matrix(side)


def crop_image(
    image: Image, matrix: Matrix, settings: CropSettings, levels: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    """The network's input from an image: warped, scaled to [0, 1], channels first.

    Args:
        image: (*S, C) from `read_picture`: (H, W, 3), or (D, H, W, 1) of a volume.
        matrix: (D + 1, D + 1) from `crop_matrix`.
        settings: the crop's size, and the intensities (percentiles are those of the whole image).
        levels: the values that become 0 and 1, where they are known already.
    Returns:
        (C, *input_size) float32 in [0, 1].
    Raises:
        ValueError: as `images.intensity_range`.
    """
    low, high = levels or intensity_range(image, settings.intensity)
    crop = warp(image, matrix, settings.input_size)
    return np.ascontiguousarray(np.moveaxis(scale_intensity(crop, low, high), -1, 0))
