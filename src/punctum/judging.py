"""Points judged by labels: arrays and annotations, no model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from punctum.data import Annotations
from punctum.metrics import (
    Normalizer,
    difficulty,
    instance_areas,
    mean_interval,
    oks,
    sigmas_of,
    summarize,
)
from punctum.metrics.difficulty import LEVELS, Criterion

THRESHOLDS = (0.05, 0.1, 0.2, 0.5)
# What is told of the easy, medium and hard instances.
BY_DIFFICULTY = ("n", "n_instances", "n_images", "left_out", "epe_px", "pck", "nme", "mre_mm", "oks")


@dataclass(frozen=True)
class Protocol:
    """How errors are judged.

    Args:
        normalizer: what distances are divided by: bbox, image, pixels, head (what MPII's files give), or
            keypoints:NAME,NAME (the distance of those two points); None: bbox where every instance has a box, else
            image.
        thresholds: of PCK, in units of the normalizer.
        min_length: leave out (and count) instances whose normalizer is shorter than this many pixels.
        spacing: millimetres per pixel, for errors in mm; None: what the annotations say.
        seed: of the bootstrap.
        by: measure easy, medium and hard instances apart as well, by joints, occlusion or size.
    """

    normalizer: str | None = None
    thresholds: tuple[float, ...] = THRESHOLDS
    min_length: float = 0.0
    spacing: float | None = None
    seed: int = 0
    by: Criterion | None = None

    def __post_init__(self) -> None:
        if not self.thresholds or not all(t > 0 for t in self.thresholds):
            raise ValueError(f"thresholds must be positive numbers, got {self.thresholds}")
        if self.spacing is not None and not self.spacing > 0:
            raise ValueError(f"spacing must be positive (mm per pixel), got {self.spacing}")
        if self.by is not None and self.by not in get_args(Criterion):
            raise ValueError(f"by must be {', '.join(get_args(Criterion))}, got {self.by!r}")


def measure(
    keypoints: NDArray[np.float64],
    annotations: Annotations,
    image_sizes: NDArray[np.int64],
    protocol: Protocol,
    score: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """The metrics of predicted points (N, K, 2) in pixels, and their scores (N, K), against the labelled ones.

    With OKS where the keypoints' sigmas are known, and an area or a box of each instance.
    """
    normalizer, lengths = lengths_of(annotations, image_sizes, protocol)
    target, visible = torch.from_numpy(annotations.keypoints), torch.from_numpy(annotations.labelled)
    image_ids = torch.from_numpy(image_numbers(annotations.images))
    summary = summarize(
        torch.from_numpy(keypoints),
        target,
        visible,
        names=annotations.schema.names,
        normalizer=normalizer,
        lengths=lengths,
        thresholds=protocol.thresholds,
        image_ids=image_ids,
        spacing=_spacing(annotations, protocol),
        score=None if score is None else torch.from_numpy(score),
        seed=protocol.seed,
    )
    sigmas, areas = sigmas_of(annotations.schema), instance_areas(annotations)
    if sigmas is None or areas.isnan().all():
        return summary
    values = oks(torch.from_numpy(keypoints), target, visible, areas, sigmas)
    return {**summary, "oks": _mean_over_instances(values, image_ids, protocol.seed)}


def by_difficulty(
    keypoints: NDArray[np.float64],
    annotations: Annotations,
    image_sizes: NDArray[np.int64],
    protocol: Protocol,
) -> dict[str, Any] | None:
    """`measure` of the easy, medium and hard instances apart; None where the protocol does not ask for it."""
    if protocol.by is None:
        return None
    levels = difficulty(annotations, protocol.by)
    # The default normalizer is that of all instances together, so that the three can be compared.
    protocol = replace(protocol, normalizer=_normalizer_word(annotations, protocol))
    parts: dict[str, Any] = {}
    for level in LEVELS:
        rows = np.flatnonzero(levels == level)
        parts[level] = {"n": 0, "n_instances": 0, "n_images": 0}
        if len(rows):
            part = measure(keypoints[rows], annotations.subset(rows), image_sizes[rows], protocol)
            parts[level] = {key: part[key] for key in BY_DIFFICULTY if key in part}
    return {"criterion": protocol.by, "instances_in_no_class": int((levels == "").sum()), **parts}


def lengths_of(
    annotations: Annotations, image_sizes: NDArray[np.int64], protocol: Protocol
) -> tuple[Normalizer, Tensor]:
    """What errors are divided by, and how long that is for each instance, (N,)."""
    normalizer = Normalizer.parse(_normalizer_word(annotations, protocol), annotations.schema, protocol.min_length)
    lengths = normalizer.lengths(
        torch.from_numpy(annotations.keypoints),
        torch.from_numpy(annotations.labelled),
        boxes=torch.from_numpy(annotations.boxes),
        image_sizes=torch.from_numpy(image_sizes),
        heads=None if annotations.lengths is None else torch.from_numpy(annotations.lengths),
    )
    return normalizer, lengths


def _normalizer_word(annotations: Annotations, protocol: Protocol) -> str:
    boxed = bool(np.isfinite(annotations.boxes).all())
    return protocol.normalizer or ("bbox" if boxed else "image")


def _mean_over_instances(values: torch.Tensor, image_ids: torch.Tensor, seed: int) -> dict[str, Any]:
    """Mean, its 95 % interval over images, and the number of instances that have a value."""
    low, high = mean_interval([values[:, None]], image_ids, seed=seed)[:, 0].tolist()
    count = int(values.isfinite().sum())
    return {
        "value": float(values.nanmean()) if count else None,
        "interval_95": [low, high] if high - low > 1e-12 else None,
        "n_instances": count,
    }


def _spacing(annotations: Annotations, protocol: Protocol) -> Tensor | None:
    """Millimetres per pixel, (N, D): what the protocol says, else what the annotations do."""
    if protocol.spacing is not None:
        return torch.full((len(annotations), annotations.dims), protocol.spacing, dtype=torch.float64)
    return None if annotations.spacing is None else torch.from_numpy(annotations.spacing)


def image_numbers(images: Sequence[Path]) -> NDArray[np.int64]:
    """A number per distinct image, in order of first appearance.

    Example:
        >>> image_numbers([Path("a"), Path("b"), Path("a")]).tolist()
        [0, 1, 0]
    """
    numbers: dict[Path, int] = {}
    return np.array([numbers.setdefault(path, len(numbers)) for path in images], dtype=np.int64)
