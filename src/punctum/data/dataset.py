"""Annotations as training samples: the same for any number of workers and wherever training resumes."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler, get_worker_info

from punctum.data.annotations import Annotations, Batch
from punctum.data.augment import Augmentation, Variation, flip_notes
from punctum.data.columns import ColumnsDataset
from punctum.data.crop import CropSettings, ImageSize, Matrix, crop_matrix, inside, to_image_matrix
from punctum.data.drafts import Draft
from punctum.data.images import Image, ImageError, scale_intensity
from punctum.data.views import View, read_view, whole_view, zoom_of
from punctum.data.volumes import read_picture
from punctum.data.windows import Windows
from punctum.ops import pixels_matrix, to_normalized, transform_points

Index = int | tuple[int, int]
HandOver = Literal["finished", "bytes", "windows"]


@dataclass(frozen=True, eq=False)
class _Sample:
    """One sample before it is part of a batch."""

    i: int
    pixels: Image
    to_image: Matrix
    image_size: ImageSize
    matrix: Matrix
    flip: bool
    colour: NDArray[np.float32] | None


class KeypointDataset(Dataset[Batch]):
    """Crops and their points, one `Batch` of one for each instance; a list of indices gives one `Batch` of all.

    A sample is decided by (seed, epoch, position) alone. The epoch travels in the index, (epoch, position), as
    `EpochSampler` yields it: workers that live on from epoch to epoch need not be told. A plain position
    means epoch 0.

    Args:
        annotations: what to learn.
        crop: what the network sees.
        augmentation: how samples vary, or None for evaluation.
        seed: of the variation.
        windows: decoded before, one for each instance; None decodes an image for each sample.
        hand_over: "finished" pictures; or a `Draft` for `develop` on the device, with crops as "bytes" where the
            images have 8 bits (a quarter of the memory to move), or with "windows" that are not even cropped.
        reduced: decode a large JPEG at a part of its size where the crop shrinks it further still.
    Raises:
        ValueError: windows are to be handed over, and there are none; or they are of other samples.
    """

    def __init__(
        self,
        annotations: Annotations,
        crop: CropSettings,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        *,
        windows: Windows | None = None,
        hand_over: HandOver = "finished",
        reduced: bool = False,
    ) -> None:
        if hand_over == "windows" and windows is None:
            raise ValueError("windows are warped on the device where there are some: give a cache of windows")
        if windows is not None and len(windows) != len(annotations):
            raise ValueError(f"there are {len(windows)} windows, and {len(annotations)} samples")
        self.annotations = annotations
        self.crop = crop
        self.augmentation = augmentation
        self.seed = seed
        self.windows = windows
        # Volumes have one channel and three axes: their pictures are finished here.
        self.hand_over: HandOver = hand_over if annotations.picture_axes == 2 else "finished"
        self.reduced = reduced
        self.notes = tuple(flip_notes(annotations.schema)) if augmentation and augmentation.flip else ()
        self._flip_order = annotations.schema.flip_order if annotations.schema.flip_pairs else None

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: Index) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[Index]) -> Batch:
        """The samples as one batch: `DataLoader` asks for this where there is such a method."""
        _one_thread_in_workers()
        samples = [self._sample(*(index if isinstance(index, tuple) else (0, index))) for index in indices]
        keypoints = np.stack([self._ordered(self.annotations.keypoints, s) for s in samples])
        labelled = np.stack([self._ordered(self.annotations.labelled, s) for s in samples])
        matrices = np.stack([s.matrix for s in samples])
        placed = transform_points(torch.from_numpy(keypoints), torch.from_numpy(matrices))
        seen = (
            labelled
            & _in_images(keypoints, [s.image_size for s in samples])
            & inside(placed.numpy(), self.crop.input_size)
        )
        rest = {
            "coords": to_normalized(placed, self.crop.input_size).float(),
            "visible": torch.from_numpy(seen),
            "absent": torch.from_numpy(labelled & ~seen),
            "to_image": torch.from_numpy(to_image_matrix(matrices, self.crop.input_size)),
            "ids": torch.tensor([s.i for s in samples]),
        }
        if self.hand_over == "finished":
            return Batch(images=torch.from_numpy(np.stack([s.pixels for s in samples])), **rest)
        return self._draft(samples, rest)

    def _draft(self, samples: Sequence[_Sample], rest: dict[str, Tensor]) -> Draft:
        """Pictures as they are, and what is still to be done with them."""
        pixels = [s.pixels for s in samples]
        if any(p.dtype != np.uint8 for p in pixels):
            pixels = [p if p.dtype == np.float32 else p.astype(np.float32) / 255 for p in pixels]
        ones = np.ones(3, np.float32)
        colour = torch.from_numpy(np.stack([ones if s.colour is None else s.colour for s in samples]))
        if self.hand_over == "bytes":
            # Into an array of its own: one that NumPy makes keeps the channels last, and the network would too.
            stacked = np.empty((len(pixels), 3, *self.crop.input_size), pixels[0].dtype)
            np.stack([p.transpose(2, 0, 1) for p in pixels], out=stacked)
            return Draft(
                images=torch.from_numpy(stacked), colour=colour, to_window=torch.empty(0, 3, 3), side=1.0, **rest
            )
        # Side by side they are as large as the largest; beyond a window is nothing that a crop can show, or black.
        size = tuple(max(1, *(p.shape[axis] for p in pixels)) for axis in (0, 1))
        padded = np.zeros((len(pixels), 3, *size), pixels[0].dtype)
        for row, p in zip(padded, pixels, strict=True):
            row[:, : p.shape[0], : p.shape[1]] = p.transpose(2, 0, 1)
        maps = np.stack([s.matrix @ s.to_image for s in samples])
        normalize = np.linalg.inv(pixels_matrix(size).numpy())
        return Draft(
            images=torch.from_numpy(padded),
            colour=colour,
            to_window=torch.from_numpy(normalize @ to_image_matrix(maps, self.crop.input_size)).float(),
            side=max(1 / zoom_of(m) for m in maps),
            **rest,
        )

    def _ordered(self, values: NDArray[Any], sample: _Sample) -> NDArray[Any]:
        """A row of the annotations, under the names that a mirror gives the points."""
        row = values[sample.i]
        return row[self._flip_order] if sample.flip else row

    def _sample(self, epoch: int, i: int) -> _Sample:
        i = range(len(self))[i]
        drawn = self._draw(epoch, i)
        flip = drawn is not None and drawn.flip and self._flip_order is not None

        @cache
        def matrix_of(size: ImageSize) -> Matrix:
            return self._matrix(i, size, drawn, flip)

        try:
            view = self._view(i, matrix_of)
            matrix = matrix_of(view.image_size)
            colour = None if drawn is None else drawn.colour
            pixels = self._pixels(view, matrix, colour)
            # Not the view itself: a batch of whole images is large.
            return _Sample(i, pixels, view.to_image, view.image_size, matrix, flip, colour)
        except ImageError:
            raise
        except ValueError as error:
            raise ImageError(f"{self.annotations.images[i]}: {error}") from None

    def _view(self, i: int, matrix_of: Callable[[ImageSize], Matrix]) -> View:
        if self.windows is not None:
            return self.windows.view(i)
        path = self.annotations.images[i]
        if self.reduced:
            return read_view(path, lambda size: zoom_of(matrix_of(size)), self.crop.intensity)
        return whole_view(read_picture(path), self.crop.intensity)

    def _pixels(self, view: View, matrix: Matrix, colour: NDArray[np.float32] | None) -> Image:
        """What is handed over: (C, *S) if finished, else (H, W, 3)."""
        if self.hand_over == "finished":
            pixels = view.crop(matrix, self.crop)
            if colour is None:
                return pixels
            factors = colour[: len(pixels)].reshape(-1, *[1] * len(view.image_size))
            return np.clip(pixels * factors, 0, 1, out=pixels)
        if self.hand_over == "windows":
            return view.pixels if view.is_plain else scale_intensity(view.pixels, *view.levels)
        if view.is_plain:
            return view.crop_bytes(matrix, self.crop.input_size)
        return np.moveaxis(view.crop(matrix, self.crop), 0, -1)

    def _matrix(self, i: int, size: ImageSize, drawn: Variation | None, flip: bool) -> Matrix:
        box = self.annotations.boxes[i]
        spacing = None if self.annotations.spacing is None else self.annotations.spacing[i]
        if drawn is None:
            return crop_matrix(box, size, self.crop, spacing=spacing)
        return crop_matrix(
            box,
            size,
            self.crop,
            scale=drawn.scale,
            rotation=drawn.rotation,
            axis=drawn.axis if len(size) == 3 else (0.0, 0.0, 1.0),
            shift=drawn.shift[: len(size)],
            flip=flip,
            spacing=spacing,
        )

    def _draw(self, epoch: int, i: int) -> Variation | None:
        if self.augmentation is None:
            return None
        return self.augmentation.draw(np.random.default_rng((self.seed, epoch, i)))


def _in_images(points: NDArray[np.float64], sizes: list[ImageSize]) -> NDArray[np.bool_]:
    """`inside` for points (B, K, D) in images of these sizes."""
    found = np.empty(points.shape[:-1], dtype=bool)
    for size in set(sizes):
        rows = [n for n, other in enumerate(sizes) if other == size]
        found[rows] = inside(points[rows], size)
    return found


def dataset_of(
    annotations: Annotations,
    crop: CropSettings,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    *,
    windows: Windows | None = None,
    hand_over: HandOver = "finished",
    reduced: bool = False,
) -> KeypointDataset | ColumnsDataset:
    """The data set of these annotations: crops around instances, or windows of scans where points are depths.

    What is said of windows, handing over and reduced decoding is for images; scans are read whole.
    """
    if annotations.dims == 1:
        return ColumnsDataset(annotations, crop, augmentation, seed)
    return KeypointDataset(
        annotations, crop, augmentation, seed, windows=windows, hand_over=hand_over, reduced=reduced
    )


def _one_thread_in_workers() -> None:
    # OpenCV's threads do not survive a fork, and workers are the parallelism already.
    if get_worker_info() is not None and cv2.getNumThreads() > 1:
        cv2.setNumThreads(0)


def collate(samples: Batch | Sequence[Batch]) -> Batch:
    """Samples as one batch: their tensors joined along the first axis.

    A scan is one picture and as many samples as it has columns. What is a batch already stays as it is.
    """
    if isinstance(samples, Batch):
        return samples
    return Batch(
        images=torch.cat([s.images for s in samples]),
        coords=torch.cat([s.coords for s in samples]),
        visible=torch.cat([s.visible for s in samples]),
        absent=torch.cat([s.absent for s in samples]),
        to_image=torch.cat([s.to_image for s in samples]),
        ids=torch.cat([s.ids for s in samples]),
    )


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, position) pairs, in an order that (seed, epoch) decides.

    Args:
        length: number of samples.
        seed: of the order.
        shuffle: a new order each epoch; otherwise 0, 1, 2, ...
        rank, world_size: in distributed training, which of how many processes; the positions are dealt out in
            turn, and the first ones again where they don't go round, so that every process has as many.
    Raises:
        ValueError: the length is negative, or the rank is not one of the processes.
    Example:
        >>> sampler = EpochSampler(3, shuffle=False)
        >>> sampler.set_epoch(7)
        >>> list(sampler)
        [(7, 0), (7, 1), (7, 2)]
    """

    def __init__(
        self, length: int, seed: int = 0, shuffle: bool = True, *, rank: int = 0, world_size: int = 1
    ) -> None:
        if length < 0 or not 0 <= rank < world_size:
            raise ValueError(f"length {length} must not be negative, and rank {rank} below world_size {world_size}")
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is; Lightning calls it before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.length / self.world_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        dealt = np.resize(order, len(self) * self.world_size)[self.rank :: self.world_size]
        epoch = self.epoch
        return iter([(epoch, int(i)) for i in dealt])
