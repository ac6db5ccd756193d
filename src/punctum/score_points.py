"""Predictions beside labels: the distances, what they are divided by, and what does not count."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from punctum.data import Annotations, DataError, Predictions, read_predictions
from punctum.data.errors import counted
from punctum.judging import image_numbers
from punctum.metrics import Normalizer, distances, mean_interval, normalized_distances
from punctum.metrics.pck import under_curve
from punctum.metrics.pooling import within
from punctum.metrics.summary import correlation, reported

RESAMPLING = {"n": 1000, "seed": 0}


@dataclass(frozen=True)
class Request:
    """What is to be scored, and how.

    Args:
        predictions: the file.
        annotations: read with `labels_only`.
        normalizer: what distances are divided by; None: what is usual for the metric.
        thresholds: of PCK; None: what is usual.
        allow_missing: a labelled point without a prediction counts as a miss instead of being a mistake.
        sigmas: of OKS: numbers, the file of `punctum sigmas`, or None: the annotations' own.
        keep: (N,), the instances to score; None: all.
    """

    predictions: Path
    annotations: Annotations
    normalizer: str | None = None
    thresholds: tuple[float, ...] | None = None
    allow_missing: bool = False
    sigmas: str | Path | Sequence[float] | None = None
    keep: NDArray[np.bool_] | None = None


@dataclass
class Figures:
    """The figures of a metric: its columns, in the order of the table.

    Args:
        unit: "share" (shown in per cent) or "px".
        names: of the K keypoints.
        counts: (K,) points that count.
        facts: what else the result says, at its top; among it `notes`.
        total: by column, the figure over all points and its interval.
        per_keypoint: by column, (K,).
        groups: by group and column.
    """

    unit: str
    names: Sequence[str]
    counts: Tensor
    facts: dict[str, Any]
    total: dict[str, dict[str, Any]] = field(default_factory=dict)
    per_keypoint: dict[str, Tensor] = field(default_factory=dict)
    groups: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def add(self, column: str, total: Tensor, per_keypoint: Tensor, interval: Tensor) -> None:
        """One more column."""
        self.total[column] = reported(total, interval)
        self.per_keypoint[column] = per_keypoint


class Points:
    """What a request is about, read and put side by side.

    Args:
        request: what was asked.
        normalizer: the normalizer's text.
        left_out: keypoints that do not count.
        finite: the metric's name, where a missing prediction has no value.
    """

    def __init__(self, request: Request, normalizer: str, left_out: Sequence[str] = (), finite: str = "") -> None:
        self.annotations = annotations = request.annotations
        self.normalizer = Normalizer.parse(normalizer, annotations.schema)
        if self.normalizer.kind == "image":
            raise ValueError("the normalizer image needs the images, which score does not read; use punctum evaluate")
        if self.normalizer.kind == "head" and annotations.lengths is None:
            raise ValueError(f"{annotations.source.name} has no head sizes; MPII's .h5 and .mat have them")
        self.predictions = read_predictions(request.predictions, annotations)
        names = annotations.schema.names
        self.left_out = [name for name in names if name in left_out]
        counted_names = np.array([name not in left_out for name in names])
        self.counts = annotations.labelled & counted_names
        self.all_instances = request.keep is None
        if request.keep is not None:
            self.counts = self.counts & request.keep[:, None]
        self.missing = self.counts & ~np.isfinite(self.predictions.keypoints).all(-1)
        if self.missing.any():
            _judge_missing(self.missing, self.predictions, request, finite)
        self.pixels = self._distances()
        target, visible = torch.from_numpy(annotations.keypoints), torch.from_numpy(annotations.labelled)
        heads = None if annotations.lengths is None else torch.from_numpy(annotations.lengths)
        boxes = torch.from_numpy(annotations.boxes)
        self.lengths = self.normalizer.lengths(target, visible, boxes=boxes, heads=heads)
        self.image_ids = torch.from_numpy(image_numbers(annotations.images))

    def millimetres(self, spacing: Tensor) -> Tensor:
        """(N, K) like `pixels`, by the length (N, D) of a pixel along each axis."""
        return self._distances(spacing)

    def _distances(self, spacing: Tensor | None = None) -> Tensor:
        """(N, K) in pixels; infinite where the prediction is missing, NaN where the point does not count."""
        missing = torch.from_numpy(self.missing)
        target = torch.from_numpy(self.annotations.keypoints)
        preds = torch.where(missing[..., None], target, torch.from_numpy(self.predictions.keypoints))
        names = self.annotations.schema.names
        apart = distances(preds, target, torch.from_numpy(self.counts), spacing, names=names)
        return apart.masked_fill(missing, torch.inf)

    def share_intervals(self, thresholds: Sequence[float], limit: float) -> Tensor:
        """(2, T + 1): of the share within each threshold, and of the area."""
        relative = normalized_distances(self.pixels, self.lengths)
        values = [*(within(relative, t) for t in thresholds), under_curve(relative, limit)]
        return mean_interval(values, self.image_ids, **RESAMPLING)

    @property
    def measured(self) -> Tensor:
        """(N, K) bool: what the figures are over."""
        return ~normalized_distances(self.pixels, self.lengths).isnan()

    def facts(self) -> dict[str, Any]:
        """The counts, and the correlation with the score where there is one."""
        relative = normalized_distances(self.pixels, self.lengths)
        measured, visible = self.measured, torch.from_numpy(self.counts)
        rows, without = visible.any(1), self.lengths.isnan()
        facts: dict[str, Any] = {
            "n": int(measured.sum()),
            "n_instances": int(measured.any(1).sum()),
            "n_images": self.image_ids[measured.any(1)].unique().numel(),
            "normalizer": str(self.normalizer),
            "left_out": {
                "keypoints": self.left_out,
                "instances_without_labelled_point": int((~rows).sum()),
                "instances_without_length": int((rows & without).sum()),
                "points_without_length": int(visible[without].sum()),
                "why_without_length": self.normalizer.why_unusable if (rows & without).any() else None,
            },
            "missing": {"points": int(self.missing.sum()), "instances": int(self.missing.any(1).sum())},
            "intervals": {"method": "percentile bootstrap over images", **RESAMPLING},
        }
        if not facts["n"] and self.all_instances:
            raise ValueError(f"nothing to score: no point of {self.annotations.source.name} counts")
        given = torch.from_numpy(self.predictions.score)
        if not given[visible].isnan().all():
            facts["score_error_correlation"] = correlation(given, relative, self.image_ids, RESAMPLING)
        notes = [*self.annotations.notes, *self.predictions.notes, *self.predictions.unmatched]
        return facts | {"notes": notes}

    def figures(self, unit: str) -> Figures:
        """Figures without a column yet."""
        return Figures(unit, self.annotations.schema.names, self.measured.sum(0), self.facts())


def _judge_missing(missing: NDArray[np.bool_], predictions: Predictions, request: Request, finite: str) -> None:
    """Refuses missing predictions unless they were allowed; names each instance that lacks one."""
    annotations = request.annotations
    if request.allow_missing and not finite:
        return
    if request.allow_missing:
        raise ValueError(
            f"{counted(int(missing.sum()), 'labelled point')} without a prediction: there is no error to average for "
            f"{finite}; pck counts them as misses"
        )
    names = annotations.schema.names
    hint = "" if finite else "; --allow-missing counts it as a miss"
    lines = []
    for n in np.flatnonzero(missing.any(1)):
        lacking = [names[k] for k in np.flatnonzero(missing[n])]
        what = "any keypoint" if missing[n].sum() == annotations.labelled[n].sum() else ", ".join(lacking)
        row = f"{annotations.source.name}: instance {annotations.ids[n]} (image {annotations.image_names[n]})"
        lines.append(f"{row}: no prediction of {what}{hint}")
    raise DataError([*predictions.unmatched, *lines])
