"""A cache of decoded windows: what any variation of a sample can show, near the resolution that the network needs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from punctum.data.augment import Augmentation
from punctum.data.crop import CropSettings, ImageSize, crop_matrix, region_of
from punctum.data.views import View, zoom_of
from punctum.ops.coords import cells_matrix

# One row for each sample: where its pixels are kept, and where in the image they lie.
ROW = np.dtype(
    [
        ("segment", "i8"), ("start", "i8"), ("height", "i8"), ("width", "i8"), ("deep", "?"),
        ("side", "i8"), ("first", "i8", 2), ("image_size", "i8", 2), ("levels", "f8", 2),
    ]
)  # fmt: skip


class Windows:
    """A window for each sample, in memory that all loading processes share.

    Args:
        segments: the windows' bytes: shared tensors, or the path of a file to map.
        rows: (N,) what `ROW` says.
    """

    def __init__(self, segments: list[Tensor] | Path, rows: NDArray[Any]) -> None:
        self._kept = segments
        self.rows = rows
        self._maps = _mapped(segments)

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> tuple[list[Tensor] | Path, NDArray[Any]]:
        # To a process that was not forked: tensors travel by their shared memory, a file is mapped anew.
        return self._kept, self.rows

    def __setstate__(self, state: tuple[list[Tensor] | Path, NDArray[Any]]) -> None:
        self._kept, self.rows = state
        self._maps = _mapped(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes of pixels that are kept."""
        return int((self.rows["height"] * self.rows["width"] * 3 * (1 + self.rows["deep"])).sum())

    def view(self, i: int) -> View:
        """The window of a sample."""
        row = self.rows[i]
        shape = (int(row["height"]), int(row["width"]), 3)
        kind = np.uint16 if row["deep"] else np.uint8
        start, count = int(row["start"]), math.prod(shape) * (2 if row["deep"] else 1)
        pixels = self._maps[int(row["segment"])][start : start + count].view(kind).reshape(shape)
        height, width = row["image_size"].tolist()
        low, high = row["levels"].tolist()
        return View(
            pixels, cells_matrix(int(row["side"]), row["first"].tolist()).numpy(), (height, width), (low, high)
        )


def _mapped(segments: list[Tensor] | Path) -> list[NDArray[np.uint8]]:
    if isinstance(segments, Path):
        return [np.memmap(segments, np.uint8, mode="r")]
    return [segment.numpy() for segment in segments]


def window_of_sample(
    box: NDArray[np.float64] | None, size: ImageSize, crop: CropSettings, augmentation: Augmentation | None
) -> tuple[tuple[int, int], tuple[int, int], int]:
    """What variations of a sample can show, and how far it may shrink.

    Args:
        box: of the sample; None: the whole image.
        size: (H, W) of the image.
        crop: what the network sees.
        augmentation: how samples vary; None: not at all.
    Returns:
        First and behind-the-last (x, y) of the pixels, and the whole number of pixels that squares may have which are
        averaged: where a sample is zoomed in most, they are still no larger than a pixel of the network's input.
    Example:
        >>> box = np.array([10.0, 20.0, 64.0, 64.0])
        >>> window_of_sample(box, (480, 640), CropSettings((32, 32), padding=1.0), None)
        ((4, 14), (82, 92), 2)
    """
    smallest, largest, turn = (1.0, 1.0, 0.0) if augmentation is None else augmentation.reach
    zoom = zoom_of(crop_matrix(box, size, crop))
    centre, extent = region_of(box, size, crop)
    half = np.array(crop.input_size[::-1]) / (2 * zoom * smallest)
    # A turned rectangle reaches furthest along an axis where its diagonal lies on it, or at the largest turn.
    angles = np.minimum(np.radians(turn), np.arctan2(half[::-1], half))
    reach = half * np.cos(angles) + half[::-1] * np.sin(angles)
    reach = reach + extent * (0.0 if augmentation is None else augmentation.shift)
    # What `warp` reads beside the pixels of the crop: it averages, and it interpolates.
    reach = reach + 2 * max(1.0, 1 / (zoom * smallest)) + 2
    side = max(1, math.floor(1 / (zoom * largest) + 1e-9))
    limits = np.array(size[::-1])
    low = np.clip(np.floor(centre - reach), 0, limits).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, 0, limits).astype(int)
    high = np.minimum(low + side * -(-(high - low) // side), limits)
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1])), side
