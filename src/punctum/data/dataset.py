"""Annotations as training samples: the same for any number of workers and wherever training resumes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, get_worker_info

from punctum.data.annotations import Annotations, Batch
from punctum.data.augment import Augmentation, Variation, flip_notes
from punctum.data.columns import ColumnsDataset
from punctum.data.crop import CropSettings, ImageSize, Matrix, crop_image, crop_matrix, inside, to_image_matrix
from punctum.data.images import ImageError
from punctum.data.volumes import read_picture
from punctum.ops import to_normalized, transform_points

Index = int | tuple[int, int]


class KeypointDataset(Dataset[Batch]):
    """Crops and their points, one `Batch` of one for each instance.

    A sample is decided by (seed, epoch, position) alone. The epoch travels in the index, (epoch, position), as
    `EpochSampler` yields it: workers that live on from epoch to epoch need not be told. A plain position
    means epoch 0.

    Args:
        annotations: what to learn.
        crop: what the network sees.
        augmentation: how samples vary, or None for evaluation.
        seed: of the variation.
    """

    def __init__(
        self, annotations: Annotations, crop: CropSettings, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        self.annotations = annotations
        self.crop = crop
        self.augmentation = augmentation
        self.seed = seed
        self.notes = tuple(flip_notes(annotations.schema)) if augmentation and augmentation.flip else ()
        self._flip_order = annotations.schema.flip_order if annotations.schema.flip_pairs else None

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: Index) -> Batch:
        _one_thread_in_workers()
        epoch, i = index if isinstance(index, tuple) else (0, index)
        i = range(len(self))[i]
        image = read_picture(self.annotations.images[i])
        size = image.shape[:-1]
        drawn = self._draw(epoch, i)
        flip = drawn is not None and drawn.flip and self._flip_order is not None
        matrix = self._matrix(i, size, drawn, flip)
        try:
            pixels = crop_image(image, matrix, self.crop)
        except ValueError as error:
            raise ImageError(f"{self.annotations.images[i]}: {error}") from None
        if drawn is not None:
            factors = drawn.colour[: len(pixels)].reshape(-1, *[1] * len(size))
            pixels = np.clip(pixels * factors, 0, 1, out=pixels)
        keypoints, visible = self.annotations.keypoints[i], self.annotations.labelled[i]
        if flip:
            keypoints, visible = keypoints[self._flip_order], visible[self._flip_order]
        placed = transform_points(torch.from_numpy(keypoints), torch.from_numpy(matrix))
        seen = visible & inside(keypoints, size) & inside(placed.numpy(), self.crop.input_size)
        return Batch(
            images=torch.from_numpy(pixels)[None],
            coords=to_normalized(placed, self.crop.input_size).float()[None],
            visible=torch.from_numpy(seen)[None],
            absent=torch.from_numpy(visible & ~seen)[None],
            to_image=torch.from_numpy(to_image_matrix(matrix, self.crop.input_size))[None],
            ids=torch.tensor([i]),
        )

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


def dataset_of(
    annotations: Annotations, crop: CropSettings, augmentation: Augmentation | None = None, seed: int = 0
) -> KeypointDataset | ColumnsDataset:
    """The data set of these annotations: crops around instances, or windows of scans where points are depths."""
    kind = ColumnsDataset if annotations.dims == 1 else KeypointDataset
    return kind(annotations, crop, augmentation, seed)


def _one_thread_in_workers() -> None:
    # OpenCV's threads do not survive a fork, and workers are the parallelism already.
    if get_worker_info() is not None and cv2.getNumThreads() > 1:
        cv2.setNumThreads(0)


def collate(samples: Sequence[Batch]) -> Batch:
    """Samples as one batch: their tensors joined along the first axis.

    A scan is one picture and as many samples as it has columns.
    """
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


def split(annotations: Annotations, fraction: float, seed: int = 0) -> tuple[Annotations, Annotations]:
    """Training and validation parts, divided by image: no image has instances on both sides.

    Args:
        annotations: what to divide.
        fraction: of the images that go to validation, above 0 and below 1; at least one goes to each side.
        seed: of the choice.
    Returns:
        (training, validation), each in the order of `annotations`.
    Raises:
        ValueError: the fraction is out of range, or there are fewer than two images.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be above 0 and below 1, got {fraction}")
    images = list(dict.fromkeys(annotations.images))
    if len(images) < 2:
        raise ValueError(
            f"{annotations.source}: a split into training and validation needs two images or more, there is "
            f"{len(images)}; give validation data of their own"
        )
    count = min(max(round(fraction * len(images)), 1), len(images) - 1)
    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    held_out = {images[i] for i in chosen}
    validation = np.array([image in held_out for image in annotations.images])
    return annotations.subset(np.flatnonzero(~validation)), annotations.subset(np.flatnonzero(validation))


def draw_images(annotations: Annotations, count: int, seed: int = 0) -> Annotations:
    """The instances of so many images, drawn by the seed; smaller draws of a seed are parts of larger ones.

    Args:
        annotations: what to draw from.
        count: of images; 0 takes all, and so does a number that is larger than there are.
        seed: of the choice.
    Returns:
        Their instances, in the order of `annotations`, with a note on how many were left out.
    """
    images = list(dict.fromkeys(annotations.images))
    if not 0 < count < len(images):
        return annotations
    drawn = {images[i] for i in np.random.default_rng([seed, 1]).permutation(len(images))[:count]}
    kept = annotations.subset([i for i, image in enumerate(annotations.images) if image in drawn])
    return replace(kept, notes=(*kept.notes, f"{count} of {len(images)} images were drawn, as max_images asks"))
