"""What a crop is made from: an image, a smaller copy of it, or a window, each with its map to the image's pixels."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from punctum.data.crop import CropSettings, ImageSize, Matrix, crop_image, warp
from punctum.data.images import Image, ImageError, Intensity, decode_image, intensity_range, read_bytes
from punctum.data.jpeg import read_header
from punctum.data.volumes import is_volume, read_picture
from punctum.ops.coords import cells_matrix

# What is left to average after a JPEG was decoded small: its own low-pass is a little softer than an average.
_LEFT_TO_SHRINK = 1.5


@dataclass(frozen=True, eq=False)
class View:
    """Pixels, and where in the image they lie.

    Args:
        pixels: (*S, C).
        to_image: (D + 1, D + 1), indices of these pixels to pixels of the image.
        image_size: (H, W) or (D, H, W) of the image.
        levels: the values that become 0 and 1.
    """

    pixels: Image
    to_image: Matrix
    image_size: ImageSize
    levels: tuple[float, float]

    @property
    def is_plain(self) -> bool:
        """Whether a value divided by 255 is what the network sees: then its bytes can travel as they are."""
        return self.pixels.dtype == np.uint8 and self.levels == (0.0, 255.0)

    def crop(self, matrix: Matrix, settings: CropSettings) -> Image:
        """`crop_image`, (C, *input_size) in [0, 1], by a matrix from the image's pixels."""
        return crop_image(self.pixels, matrix @ self.to_image, settings, self.levels)

    def crop_bytes(self, matrix: Matrix, size: ImageSize) -> Image:
        """The same of a plain view as bytes, (H, W, C), rounded; times 255."""
        return warp(self.pixels, matrix @ self.to_image, size, as_stored=True)


def _view_of(path: Path, image: Image, intensity: Intensity) -> View:
    try:
        return whole_view(image, intensity)
    except ValueError as error:
        raise ImageError(f"{path}: {error}") from None


def whole_view(image: Image, intensity: Intensity) -> View:
    """The image itself.

    Raises:
        ValueError: as `intensity_range`.
    """
    axes = image.ndim - 1
    return View(image, np.eye(axes + 1), image.shape[:axes], intensity_range(image, intensity))


def read_view(path: Path, zoom_of_size: Callable[[ImageSize], float], intensity: Intensity) -> View:
    """An image that is about to be cropped: a large JPEG that will shrink is not decoded in full.

    Percentiles are those of all pixels, so images that need them are decoded in full.

    Args:
        path: of the image, or of a volume.
        zoom_of_size: how long a pixel becomes in the crop, given the image's (H, W).
        intensity: which pixel values become 0 and 1.
    Raises:
        ImageError: as `read_picture`, or its values have no range; see `intensity_range`.
    """
    if intensity != "range" or is_volume(path):
        return _view_of(path, read_picture(path), intensity)
    data = read_bytes(path)
    header = read_header(data)
    reduction = reduction_for(zoom_of_size(header.size)) if header and header.reducible else 1
    image = decode_image(data, path, reduction)
    if header is None or reduction == 1:
        return _view_of(path, image, intensity)
    _darken_beyond(image, header.size, reduction)
    return View(image, cells_matrix(reduction).numpy(), header.size, intensity_range(image, intensity))


def _darken_beyond(image: Image, size: ImageSize, reduction: int) -> None:
    """The last row and column may reach beyond the image, where JPEG repeats it: there it is black, as in `warp`."""
    for edge, length in zip((image[-1], image[:, -1]), size, strict=True):
        if part := length % reduction:
            edge[...] = np.rint(edge * (part / reduction))


def reduction_for(zoom: float) -> int:
    """The strongest of JPEG's reductions that leaves the rest of the shrinking to an average over areas.

    Example:
        >>> [reduction_for(zoom) for zoom in (1.0, 0.4, 0.3, 0.1, 0.01)]
        [1, 1, 2, 4, 8]
    """
    return max((n for n in (2, 4, 8) if n * _LEFT_TO_SHRINK * zoom <= 1), default=1)


def zoom_of(matrix: Matrix) -> float:
    """How long a pixel of an image becomes under an affine map."""
    return math.sqrt(abs(float(np.linalg.det(matrix[:-1, :-1]))))
