"""Scans as training samples: a window of columns, each column's depths, and one affine for both."""

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from punctum.data.annotations import Annotations, Batch
from punctum.data.augment import Augmentation, Variation
from punctum.data.crop import CropSettings, inside
from punctum.data.images import Image, ImageError, intensity_range, read_image, scale_intensity
from punctum.ops import pixels_matrix, to_normalized, transform_points


@dataclass(frozen=True)
class Window:
    """From a scan's pixels to the network's: columns stay columns, rows are scaled, shifted and tilted.

        column' = (column - first) * direction,     row' = zoom row + tilt column + offset

    Args:
        first: the scan's column that comes to the window's first.
        direction: -1 where the window is mirrored, then `first` counts down.
        zoom, tilt, offset: of the rows.
    """

    first: int
    direction: int
    zoom: float
    tilt: float
    offset: float

    def columns(self, width: int) -> NDArray[np.int64]:
        """The scan's column at each of the window's; it may lie outside the scan."""
        return self.first + self.direction * np.arange(width)

    def from_rows(self, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """(W, 2, 2): each column's map from the scan's rows to the window's."""
        maps = np.tile(np.eye(2), (len(columns), 1, 1))
        maps[:, 0, 0], maps[:, 0, 1] = self.zoom, self.tilt * columns + self.offset
        return maps

    def to_rows(self, columns: NDArray[np.int64], height: int) -> NDArray[np.float64]:
        """(W, 2, 2): from a depth, normalized in the window of this height, back to the scan's row."""
        return np.linalg.inv(self.from_rows(columns)) @ pixels_matrix((height,)).numpy()


def window_of(
    scan_size: tuple[int, int],
    size: tuple[int, int],
    drawn: Variation | None = None,
    *,
    place: float = 0.5,
    flip: bool = False,
) -> Window:
    """The window of a scan (H, W): all rows, and as many columns as `size` says, the middle ones unless varied.

    Args:
        scan_size: (H, W) of the scan.
        size: (H, W) of the window; H is what the scan's rows are scaled to.
        drawn: the variation: `scale` zooms the rows, `shift` moves them, `rotation` tilts them; columns stay columns.
        place: of the window among all it can have, from 0 (leftmost) to 1.
        flip: mirror left and right.
    Example:
        >>> window_of((100, 40), (50, 20)).columns(20)[[0, -1]], window_of((100, 40), (50, 20)).zoom
        (array([10, 29]), 0.5)
    """
    (height, width), (rows, columns) = scan_size, size
    scale, shift, angle = (1.0, (0.0, 0.0), 0.0) if drawn is None else (drawn.scale, drawn.shift, drawn.rotation)
    zoom = rows / height * scale
    # Below zero where the scan is narrower than the window: black on both sides.
    first = math.floor(place * (width - columns) + 0.5)
    middle = first + (columns - 1) / 2
    tilt = math.tan(math.radians(angle)) * rows / height
    scan_middle, window_middle = (float(pixels_matrix((n,))[0, 1]) for n in (height, rows))
    centre = scan_middle + shift[1] * height
    offset = window_middle - zoom * centre - tilt * middle
    return Window(first + columns - 1 if flip else first, -1 if flip else 1, zoom, tilt, offset)


def cut(image: Image, window: Window, size: tuple[int, int]) -> NDArray[np.float32]:
    """What the window shows of a scan (H, W, C), (*size, C): interpolated along rows, black beyond the scan."""
    columns = window.columns(size[1])
    known = (columns >= 0) & (columns < image.shape[1])
    part = image[:, np.clip(columns, 0, image.shape[1] - 1)].astype(np.float32)
    part[:, ~known] = 0
    places = (np.arange(size[0])[:, None] - window.tilt * columns - window.offset) / window.zoom
    if window.zoom < 1:
        part, places = _shrink_rows(part, places, 1 / window.zoom)
    return _interpolate_rows(part, places)


def _shrink_rows(
    part: NDArray[np.float32], places: NDArray[np.float64], side: float
) -> tuple[Image, NDArray[np.float64]]:
    """Averages over `side` rows, without aliasing, and where the places lie among them."""
    pad = math.ceil(side)
    # OpenCV rounds the number of averages: black behind the last row keeps it from being dropped.
    padded = cv2.copyMakeBorder(part, 0, pad, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    small = cv2.resize(padded, None, fx=1, fy=1 / side, interpolation=cv2.INTER_AREA)
    return small, (places - (side - 1) / 2) / side


def _interpolate_rows(part: Image, places: NDArray[np.float64]) -> NDArray[np.float32]:
    # A black row on either side: beyond the scan is black, with half a pixel's ramp as everywhere else.
    part = np.pad(part, ((1, 1), (0, 0), (0, 0)))
    places = np.clip(places + 1, 0, len(part) - 1)
    low = np.minimum(np.floor(places).astype(np.int64), len(part) - 2)
    weight = (places - low).astype(np.float32)[..., None]
    at = np.arange(part.shape[1])
    return np.asarray(part[low, at] * (1 - weight) + part[low + 1, at] * weight, np.float32)


class ColumnsDataset(Dataset[Batch]):
    """Windows of scans: a `Batch` of one picture, whose W columns are its W samples.

    As in `KeypointDataset`, (seed, epoch, position) decides all; a position is a scan's. Mirrored scans are always
    as good: layers have no left and right.

    Args:
        annotations: from `read_layers`.
        crop: `input_size` (H, W) is the window's: the scans' rows are scaled to H, and W columns taken.
        augmentation: how samples vary, or None for evaluation.
        seed: of the variation.
    """

    def __init__(
        self, annotations: Annotations, crop: CropSettings, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        self.annotations, self.crop, self.augmentation, self.seed = annotations, crop, augmentation, seed
        self.scans = scans_of(annotations)

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int | tuple[int, int]) -> Batch:
        epoch, i = index if isinstance(index, tuple) else (0, index)
        instances = self.scans[i]
        path = self.annotations.images[instances.start]
        image = read_image(path)
        check_width(image, len(instances), path)
        window, colour = self._draw(epoch, i, (image.shape[0], image.shape[1]))
        try:
            pixels = scan_pixels(image, window, self.crop)
        except ValueError as error:
            raise ImageError(f"{path}: {error}") from None
        pixels = np.clip(pixels * colour[:, None, None], 0, 1, out=pixels)
        height, width = _size(self.crop)
        columns = window.columns(width)
        known = (columns >= 0) & (columns < len(instances))
        ids = instances.start + np.clip(columns, 0, len(instances) - 1)
        rows, labelled = self.annotations.keypoints[ids], self.annotations.labelled[ids] & known[:, None]
        placed = transform_points(torch.from_numpy(rows), torch.from_numpy(window.from_rows(columns)))
        seen = labelled & inside(rows, image.shape[:1]) & inside(placed.numpy(), (height,))
        return Batch(
            images=torch.from_numpy(pixels)[None],
            coords=to_normalized(placed, (height,)).float(),
            visible=torch.from_numpy(seen),
            absent=torch.from_numpy(labelled & ~seen),
            to_image=torch.from_numpy(window.to_rows(columns, height)),
            ids=torch.from_numpy(ids),
        )

    def _draw(self, epoch: int, i: int, size: tuple[int, int]) -> tuple[Window, NDArray[np.float32]]:
        if self.augmentation is None:
            return window_of(size, _size(self.crop)), np.ones(3, np.float32)
        drawn = self.augmentation.draw(np.random.default_rng((self.seed, epoch, i)))
        place = float(np.random.default_rng((self.seed, epoch, i, 1)).random())
        return window_of(size, _size(self.crop), drawn, place=place, flip=drawn.flip), drawn.colour


def scan_pixels(image: Image, window: Window, crop: CropSettings, width: int | None = None) -> NDArray[np.float32]:
    """The network's input (3, H, W) in [0, 1]; `width` is another than the crop's own where a whole scan is seen."""
    low, high = intensity_range(image, crop.intensity)
    height, columns = _size(crop)
    pixels = cut(image, window, (height, columns if width is None else width))
    return np.ascontiguousarray(scale_intensity(pixels, low, high).transpose(2, 0, 1))


def _size(crop: CropSettings) -> tuple[int, int]:
    height, width = crop.input_size
    return height, width


def scans_of(annotations: Annotations) -> list[range]:
    """The instances of each scan, in order: its columns.

    Raises:
        ValueError: a scan's columns don't stand together, as after a subset of single columns.
    """
    columns = np.rint(annotations.boxes[:, 0] + 0.5).astype(np.int64)
    starts = np.flatnonzero(columns == 0).tolist()
    scans = [range(a, b) for a, b in itertools.pairwise([*starts, len(annotations)])]
    expected = np.concatenate([np.arange(len(scan)) for scan in scans]) if scans else np.empty(0, np.int64)
    broken = not scans or not np.array_equal(columns, expected)
    if broken or any(len({annotations.images[i] for i in (s.start, s.stop - 1)}) > 1 for s in scans):
        raise ValueError(f"{annotations.source}: the columns of each scan must all be there, in order")
    return scans


def check_width(image: Image, columns: int, path: object) -> None:
    """Refuse a scan that has not as many columns as its labels."""
    if image.shape[1] != columns:
        raise ImageError(f"{path}: {width_mistake(image.shape[1], columns)}")


def width_mistake(width: int, columns: int) -> str:
    """What is wrong with a scan that has not as many columns as its labels."""
    return f"the picture has {width} columns, its layers have {columns}"
