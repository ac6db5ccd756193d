"""Pictures that an export is checked on, as the network gets them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from punctum.data import Annotations
from punctum.held_out import parts_of
from punctum.kinds import check_axes
from punctum.points import Array
from punctum.predict import Predictor
from punctum.scales import Scales
from punctum.stream.gather import gather_stills
from punctum.stream.items import Annotated, Item, Pictures
from punctum.train_settings import load_config

# An instance, and (K, 2) its labels, NaN where unlabelled; None where there are none.
Labelled = tuple[Item, Array | None]


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
        return _cropped(predictor, _drawn(_gathered(given, names), limit, seed), str(given))
    try:
        _, kept = parts_of(load_config(run))
    except (OSError, ValueError):
        return painted(predictor, min(limit, 32), seed)
    return _cropped(predictor, _drawn(_labelled(kept), limit, seed), "images that the run kept back")


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


def _gathered(given: str | Path, names: tuple[str, ...]) -> list[Labelled]:
    """The instances of pictures, a folder or annotations; labels of other keypoints than `names` are not kept."""
    pictures, annotated = gather_stills([given])
    found: list[Labelled] = [(item, None) for item in Pictures(pictures).items()]
    for annotations in annotated:
        check_axes(2, 2, annotations)
        ours = _labelled(annotations)
        found += ours if annotations.schema.names == names else [(item, None) for item, _ in ours]
    return found


def _labelled(annotations: Annotations) -> list[Labelled]:
    labels = np.where(annotations.labelled[..., None], annotations.keypoints, np.nan)
    return list(zip(Annotated(annotations).items(), labels, strict=True))


def _drawn(instances: list[Labelled], limit: int, seed: int) -> list[Labelled]:
    if len(instances) <= limit:
        return instances
    chosen = np.random.default_rng(seed).choice(len(instances), limit, replace=False)
    return [instances[i] for i in sorted(chosen)]


def _cropped(predictor: Predictor, instances: list[Labelled], source: str) -> Samples:
    items = [item for item, _ in instances]
    placed = [(item.picture, item.box) for item in items if item.picture is not None]
    read = [predictor.read(picture, None if box is None else box.tolist()) for picture, box in placed]
    known = [labels for _, labels in instances if labels is not None]
    labels = np.stack(known) if known and len(known) == len(instances) else None
    names = tuple(f"{item.image} {item.instance}".strip() for item in items)
    return _joined(read, names, [item.box for item in items], labels, source)


def _joined(read: list, names: tuple[str, ...], boxes: list, labels: Array | None, source: str) -> Samples:
    crops, matrices, sizes = zip(*read, strict=True)
    image_sizes = np.array(sizes, dtype=np.int64)
    given = [[np.nan] * 4 if box is None else list(box) for box in boxes]
    scales = Scales.of(given, image_sizes)
    if labels is not None and np.isnan(labels).all():
        labels = None
    return Samples(names, torch.stack(crops), torch.stack(matrices), scales, image_sizes, labels, source)
