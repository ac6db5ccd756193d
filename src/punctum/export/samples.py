"""Pictures that an export is checked on, as the network gets them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from punctum.deploy.inputs import Instance, gather_instances
from punctum.held_out import parts_of
from punctum.points import Array
from punctum.predict import Predictor
from punctum.scales import Scales
from punctum.train_settings import load_config


@dataclass(frozen=True, eq=False)
class Samples:
    """N crops.

    Args:
        names: of the pictures, for messages.
        crops: (N, 3, H, W) in [0, 1].
        to_image: (N, 3, 3), from normalized crop coordinates to original pixels.
        scales: the sizes of the instances.
        sizes: (N, 2) of the pictures as (H, W).
        labels: (N, K, 2), NaN where unlabelled; None where nothing is labelled.
        source: where they are from, in words.
    """

    names: tuple[str, ...]
    crops: Tensor
    to_image: Tensor
    scales: Scales
    sizes: np.ndarray
    labels: Array | None
    source: str

    def __len__(self) -> int:
        return len(self.names)

    def rounded(self) -> "Samples":
        """The same with crops as bytes have them."""
        return replace(self, crops=(255 * self.crops).round() / 255)

    def batches(self, size: int) -> Iterator[slice]:
        """Rows, so many at a time."""
        yield from (slice(start, min(start + size, len(self))) for start in range(0, len(self), size))


def find_samples(run: Path, predictor: Predictor, given: str | Path | None, limit: int, seed: int = 0) -> Samples:
    """The pictures of a path; else those that the run kept back; else painted ones.

    Args:
        run: the run folder.
        predictor: of its model; it makes the crops.
        given: annotations, a picture, or a folder of pictures; None: as above.
        limit: so many of them at most, drawn at random.
        seed: of that draw.
    Raises:
        ValueError: a picture cannot be read, or the annotations are of other things.
        OSError: a given path does not exist.
    """
    names = predictor.schema.names
    if given is not None:
        return _cropped(predictor, _drawn(gather_instances([given], names), limit, seed), str(given))
    try:
        _, kept = parts_of(load_config(run))
    except (OSError, ValueError):
        return painted(predictor, min(limit, 32), seed)
    labels = np.where(kept.labelled[..., None], kept.keypoints, np.nan)
    rows = zip(kept.images, kept.image_names, kept.ids, kept.boxes, labels, strict=True)
    instances = _drawn([Instance(*row) for row in rows], limit, seed)
    return _cropped(predictor, instances, "images that the run kept back")


def painted(predictor: Predictor, count: int, seed: int) -> Samples:
    """Smooth coloured noise, for where there are no pictures."""
    height, width = predictor.crop.input_size
    generator = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        coarse = generator.random((6, 6, 3), dtype=np.float32)
        fine = generator.random((height, width, 3), dtype=np.float32)
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        pictures.append(np.clip(0.8 * smooth + 0.2 * fine, 0, 1))
    read = [predictor.read(picture) for picture in pictures]
    names = tuple(f"painted {i}" for i in range(count))
    return _joined(read, names, [None] * count, None, "painted noise: the run's own pictures are not where they were")


def _drawn(instances: list[Instance], limit: int, seed: int) -> list[Instance]:
    if len(instances) <= limit:
        return instances
    chosen = np.random.default_rng(seed).choice(len(instances), limit, replace=False)
    return [instances[i] for i in sorted(chosen)]


def _cropped(predictor: Predictor, instances: list[Instance], source: str) -> Samples:
    read = [predictor.read(one.path, None if one.box is None else one.box.tolist()) for one in instances]
    known = [one.keypoints for one in instances if one.keypoints is not None]
    labels = np.stack(known) if known and len(known) == len(instances) else None
    names = tuple(f"{one.image} {one.instance}".strip() for one in instances)
    return _joined(read, names, [one.box for one in instances], labels, source)


def _joined(read: list, names: tuple[str, ...], boxes: list, labels: Array | None, source: str) -> Samples:
    crops, matrices, sizes = zip(*read, strict=True)
    image_sizes = np.array(sizes, dtype=np.int64)
    given = [[np.nan] * 4 if box is None else list(box) for box in boxes]
    scales = Scales.of(given, image_sizes)
    if labels is not None and np.isnan(labels).all():
        labels = None
    return Samples(names, torch.stack(crops), torch.stack(matrices), scales, image_sizes, labels, source)
