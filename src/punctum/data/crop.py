"""From the original image to the network's input: ONE affine matrix, for the pixels and for the points."""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from punctum.data.images import Image, Intensity, intensity_range, scale_intensity
from punctum.ops import pixels_matrix, to_normalized

Matrix = NDArray[np.float64]
ImageSize = tuple[int, int]


@dataclass(frozen=True)
class CropSettings:
    """What part of an image the network sees, and how: the same in training and in prediction.

    Args:
        input_size: (H, W) of the network's input.
        region: "box": the instance's box, or the whole image where it has none. "image": always the whole image.
        padding: the box is made this many times larger; a whole image is not.
        intensity: which pixel values become 0 and 1; see `images.intensity_range`.
    Raises:
        ValueError: a value is out of its range.
    """

    input_size: tuple[int, int] = (128, 128)
    region: Literal["box", "image"] = "box"
    padding: float = 1.25
    intensity: Intensity = "range"

    def __post_init__(self) -> None:
        if len(self.input_size) != 2 or min(self.input_size) < 1:
            raise ValueError(f"input_size must be two positive numbers (H, W), got {self.input_size}")
        if self.region not in ("box", "image"):
            raise ValueError(f"region must be 'box' or 'image', got {self.region!r}")
        if not (math.isfinite(self.padding) and self.padding > 0):
            raise ValueError(f"padding must be a positive number, got {self.padding}")
        if self.intensity not in ("range", "percentile"):
            raise ValueError(f"intensity must be 'range' or 'percentile', got {self.intensity!r}")


def crop_matrix(
    box: NDArray[np.float64] | None,
    image_size: ImageSize,
    settings: CropSettings,
    *,
    scale: float = 1.0,
    rotation: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    flip: bool = False,
) -> Matrix:
    """The affine map from original-image pixels to crop pixels.

    The region's centre comes to the crop's centre, and the region as large as it fits: its aspect is kept, and
    what the crop shows beside it is the image around it, or black beyond the image.

        crop = pixels(input_size) . flip . 1 / extent . rotation . (image - centre)

    Args:
        box: (4,) as (x, y, width, height) in the keypoints' pixels; None, or a NaN in it: the whole image.
        image_size: (H, W) of the original.
        settings: which region, and the crop's size.
        scale: above 1 the object becomes larger.
        rotation: degrees; above 0 the content turns clockwise, as seen.
        shift: of the window, as a fraction of the padded region's (width, height).
        flip: mirror left and right. The points must trade names too: `Schema.flip_order`.
    Returns:
        (3, 3) float64, homogeneous.
    Raises:
        ValueError: the scale is not positive.
    Example:
        >>> settings = CropSettings(input_size=(32, 32), padding=1.0)
        >>> crop_matrix(np.array([10.0, 20.0, 64.0, 64.0]), (480, 640), settings) @ [42, 52, 1]
        array([15.5, 15.5,  1. ])
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    centre, extent = _region(box, image_size, settings)
    height, width = settings.input_size
    zoom = min(width / extent[0], height / extent[1]) * scale
    angle = math.radians(rotation)
    c, s = math.cos(angle), math.sin(angle)
    x, y = centre + np.asarray(shift) * extent
    to_origin = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]])
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    normalize = np.diag([2 * zoom / width * (-1 if flip else 1), 2 * zoom / height, 1])
    return pixels_matrix(settings.input_size).numpy() @ normalize @ turn @ to_origin


def _region(
    box: NDArray[np.float64] | None, image_size: ImageSize, settings: CropSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre (x, y) and extent (width, height) of what is to be seen."""
    if box is None or settings.region == "image" or np.isnan(box).any():
        return pixels_matrix(image_size).numpy()[:2, 2], np.array(image_size[::-1], dtype=np.float64)
    box = np.asarray(box, dtype=np.float64)
    return box[:2] + box[2:] / 2, box[2:] * settings.padding


def to_image_matrix(matrix: Matrix, input_size: ImageSize) -> Matrix:
    """The way back: normalized crop coordinates to original-image pixels.

    Args:
        matrix: (3, 3) from `crop_matrix`.
        input_size: (H, W) of the crop.
    Returns:
        (3, 3) float64.
    Example:
        >>> to_image_matrix(np.eye(3), (32, 64)) @ [-1, -1, 1]
        array([-0.5, -0.5,  1. ])
    """
    return np.linalg.inv(matrix) @ pixels_matrix(input_size).numpy()


def inside(points: NDArray[np.float64], size: ImageSize) -> NDArray[np.bool_]:
    """Whether pixel coordinates (..., 2) lie in an image of size (H, W), edges included; NaN does not.

    Example:
        >>> inside(np.array([[-0.5, 0.0], [-0.6, 0.0], [np.nan, 0.0]]), (48, 64))
        array([ True, False, False])
    """
    return (to_normalized(torch.from_numpy(points), size).abs() <= 1).all(-1).numpy()


def warp(image: Image, matrix: Matrix, size: ImageSize) -> NDArray[np.float32]:
    """An image under an affine map, without aliasing, and without shifting by a fraction of a pixel.

    Where the map shrinks, the image is first averaged over areas down to the result's scale, and the affine map
    of that step is taken out of the matrix exactly. Beyond the image is black (0), so that a network can tell it
    from content; a repeated border would draw streaks that it might learn.

    OpenCV 4 rounds places to 1/32 px of the (averaged) image, OpenCV 5 does not.

    Args:
        image: (H, W, C), uint8, uint16 or float32.
        matrix: (3, 3), its pixels to the result's pixels.
        size: (H, W) of the result.
    Returns:
        (*size, C) float32 in the image's own units, bilinearly interpolated.
    Raises:
        ValueError: the matrix cannot be inverted.
    """
    determinant = abs(float(np.linalg.det(matrix[:2, :2])))
    if not (0 < determinant < math.inf):
        raise ValueError(f"the matrix cannot be inverted: {matrix.tolist()}")
    zoom = math.sqrt(determinant)
    left, top, right, bottom = _source_window(matrix, size, image.shape[:2], zoom)
    if left >= right or top >= bottom:
        return np.zeros((*size, *image.shape[2:]), np.float32)
    part = image[top:bottom, left:right]
    matrix = matrix @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]])
    if zoom < 1:
        part, to_part = _shrink(part, zoom)
        matrix = matrix @ to_part
    result = cv2.warpAffine(part.astype(np.float32), matrix[:2], size[::-1], flags=cv2.INTER_LINEAR)
    return np.asarray(result, np.float32)


def _source_window(matrix: Matrix, size: ImageSize, image_size: ImageSize, zoom: float) -> tuple[int, int, int, int]:
    """left, top, right, bottom of the pixels that the result depends on: the rest need not be touched."""
    corners = np.array([[-1, -1, 1, 1], [-1, 1, -1, 1], [1, 1, 1, 1]])
    reached = (to_image_matrix(matrix, size) @ corners)[:2]
    # Twice what one result pixel covers: one to average, one to interpolate.
    margin = 2 * max(1.0, 1 / zoom) + 1
    limits = np.array(image_size[::-1])
    low = np.clip(np.floor(reached.min(1) - margin), 0, limits).astype(int)
    high = np.clip(np.ceil(reached.max(1) + margin) + 1, 0, limits).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _shrink(image: Image, zoom: float) -> tuple[Image, Matrix]:
    """Averages over squares of 1 / zoom pixels, and the map from their indices to the image's pixels."""
    side = min(1 / zoom, float(max(image.shape[:2])))
    # OpenCV rounds the number of squares: black behind the last one keeps it from being dropped.
    pad = math.ceil(side)
    image = cv2.copyMakeBorder(image, 0, pad, 0, pad, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    small = cv2.resize(image, None, fx=1 / side, fy=1 / side, interpolation=cv2.INTER_AREA)
    first = (side - 1) / 2
    return small, np.array([[side, 0, first], [0, side, first], [0, 0, 1]])


def crop_image(image: Image, matrix: Matrix, settings: CropSettings) -> NDArray[np.float32]:
    """The network's input from an image: warped, scaled to [0, 1], channels first.

    Args:
        image: (H, W, 3) from `read_image`.
        matrix: (3, 3) from `crop_matrix`.
        settings: the crop's size, and the intensities (percentiles are those of the whole image).
    Returns:
        (3, H, W) float32 in [0, 1].
    Raises:
        ValueError: as `images.intensity_range`.
    """
    low, high = intensity_range(image, settings.intensity)
    crop = warp(image, matrix, settings.input_size)
    return np.ascontiguousarray(scale_intensity(crop, low, high).transpose(2, 0, 1))
