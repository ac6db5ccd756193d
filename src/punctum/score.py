"""Anyone's predictions measured against annotations: files against files, no model and no images needed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor

from punctum.data import Annotations, DataError, Predictions, read, read_predictions
from punctum.data.errors import counted
from punctum.evaluate import THRESHOLDS, image_numbers, print_notes
from punctum.files import write_text
from punctum.metrics import (
    Normalizer,
    difficulty,
    distances,
    epe,
    instance_areas,
    keypoint_similarity,
    mean_interval,
    nme,
    normalized_distances,
    pck,
    pck_auc,
    pckh,
    quantile_interval,
)
from punctum.metrics.difficulty import LEVELS, Criterion
from punctum.metrics.pck import under_curve
from punctum.metrics.pckh import LEFT_OUT, PCKH_THRESHOLDS
from punctum.metrics.pooling import within
from punctum.metrics.summary import correlation, reported
from punctum.score_coco import (
    are_detections,
    as_results,
    coco_content,
    coco_results,
    precision_of,
    sigmas_given,
)

RESAMPLING = {"n": 1000, "seed": 0}
OKS_NORMALIZER = "the keypoint's sigma times the square root of the area (the file's, else 0.53 of the box)"


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
        facts: what else the result says, at its top.
        notes: what was counted rather than refused.
        total: by column, the figure over all points and its interval.
        per_keypoint: by column, (K,).
        groups: by group and column.
    """

    unit: str
    names: Sequence[str]
    counts: Tensor
    facts: dict[str, Any]
    notes: list[str]
    total: dict[str, dict[str, Any]] = field(default_factory=dict)
    per_keypoint: dict[str, Tensor] = field(default_factory=dict)
    groups: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def add(self, column: str, total: Tensor, per_keypoint: Tensor, interval: Tensor) -> None:
        """One more column."""
        self.total[column] = reported(total, interval)
        self.per_keypoint[column] = per_keypoint


def score(
    predictions: str | Path,
    data: str | Path,
    *,
    metric: str,
    normalizer: str | None = None,
    thresholds: Sequence[float] | None = None,
    allow_missing: bool = False,
    sigmas: str | Path | Sequence[float] | None = None,
    by: Criterion | None = None,
    out: str | Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure predictions from a file by annotations from a file.

    Args:
        predictions: in any form that `read_predictions` reads.
        data: annotations, in any readable format; their images are not needed.
        metric: pckh, pck, nme, epe or oks.
        normalizer: of pck and nme: bbox, pixels, head or keypoints:NAME,NAME; None: head where the file gives head
            sizes, else bbox. PCKh is always by the head, and epe always in pixels.
        thresholds: of pck and pckh, in lengths; the area runs to the largest.
        allow_missing: a labelled point without a prediction is a miss for pck, pckh and oks; else it is a mistake.
            There is no error of what was not predicted, so nme and epe cannot have it.
        sigmas: of oks: (K,) numbers, the JSON that `punctum sigmas` wrote, or None: the annotations' own.
        by: joints, occlusion or size: score easy, medium and hard instances apart as well.
        out: JSON file for the result.
        console: where to report; None is silent.
    Returns:
        What the file holds: counts, what was left out, `total` with intervals, `per_keypoint`, `groups`; of oks with
        COCO annotations also `ap`.
    Raises:
        ValueError: unknown metric, or one that these data do not allow; mistakes in a file, all of them; predictions
            missing.
        OSError: the result cannot be written.
    """
    console = console or Console(quiet=True)
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}: choose one of {', '.join(METRICS)}")
    annotations = read(data, labels_only=True)
    chosen = None if thresholds is None else tuple(thresholds)
    if sigmas is not None and metric != "oks":
        raise ValueError(f"{metric} has no sigmas: they are of oks")
    request = Request(Path(predictions), annotations, normalizer, chosen, allow_missing, sigmas)
    figures = METRICS[metric](request)
    result = {
        "metric": metric,
        "predictions": str(predictions),
        "data": str(annotations.source),
        **figures.facts,
        "notes": figures.notes,
        "total": figures.total,
        "groups": figures.groups,
        "per_keypoint": [
            {"name": name, "n": int(figures.counts[k])}
            | {column: _number(values[k]) for column, values in figures.per_keypoint.items()}
            for k, name in enumerate(figures.names)
        ],
    }
    if by is not None:
        result["by_difficulty"] = _by_difficulty(request, metric, by)
    _print(result, figures.unit, console)
    if out is not None:
        console.print(f"figures: {write_text(out, json.dumps(result, indent=1) + chr(10))}")
    return result


# --- the metrics -------------------------------------------------------------------------------------------------


def _pckh(request: Request) -> Figures:
    if request.normalizer not in (None, "head"):
        raise ValueError("pckh is always by the head; for another normalizer take --metric pck")
    points = _Points(request, "head", left_out=LEFT_OUT)
    thresholds = request.thresholds or PCKH_THRESHOLDS
    names, lengths = points.annotations.schema.names, points.lengths
    limit = max(thresholds)
    result = pckh(points.pixels, lengths, names, thresholds, limit)
    figures = points.figures("share")
    intervals = points.share_intervals(thresholds, limit)
    for i, t in enumerate(thresholds):
        figures.add(f"pckh@{t:g}", result.total[i], result.per_keypoint[i], intervals[:, i])
    figures.add("auc", result.auc, result.auc_per_keypoint, intervals[:, -1])
    for group, shares in result.groups.items():
        columns = [*shares, result.auc_groups[group]]
        figures.groups[group] = {name: _number(v) for name, v in zip(figures.total, columns, strict=True)}
    return figures


def _pck(request: Request) -> Figures:
    points = _Points(request, request.normalizer or _usual_normalizer(request.annotations))
    thresholds = request.thresholds or THRESHOLDS
    limit = max(thresholds)
    shares, area = pck(points.pixels, points.lengths, thresholds), pck_auc(points.pixels, points.lengths, limit)
    figures = points.figures("share")
    intervals = points.share_intervals(thresholds, limit)
    for i, t in enumerate(thresholds):
        figures.add(f"pck@{t:g}", shares.total[i], shares.per_keypoint[i], intervals[:, i])
    figures.add("auc", area.total, area.per_keypoint, intervals[:, -1])
    return figures


def _nme(request: Request) -> Figures:
    _refuse_thresholds(request, "nme")
    points = _Points(request, request.normalizer or _usual_normalizer(request.annotations), finite="nme")
    result = nme(points.pixels, points.lengths)
    figures = points.figures("px" if points.normalizer.kind == "pixels" else "share")
    interval = mean_interval([result.per_instance[:, None]], points.image_ids, **RESAMPLING)
    figures.add("nme", result.total, result.per_keypoint, interval[:, 0])
    return figures


def _epe(request: Request) -> Figures:
    _refuse_thresholds(request, "epe")
    if request.normalizer not in (None, "pixels"):
        raise ValueError("epe is in pixels; for a normalizer take --metric nme or pck")
    points = _Points(request, "pixels", finite="epe")
    figures = points.figures("px")
    quantiles = quantile_interval(points.pixels, (0.5, 0.9, 0.95), points.image_ids, **RESAMPLING)
    intervals = [mean_interval([points.pixels], points.image_ids, **RESAMPLING)[:, 0], *quantiles.unbind(1)]
    for (name, result), interval in zip(epe(points.pixels).items(), intervals, strict=True):
        figures.add(name, result.total, result.per_keypoint, interval)
    return figures


def _oks(request: Request) -> Figures:
    _refuse_thresholds(request, "oks")
    if request.normalizer is not None:
        raise ValueError("oks is relative to areas and sigmas, and takes no normalizer")
    annotations = request.annotations
    sigmas = sigmas_given(request.sigmas, annotations.schema)
    content = coco_content(annotations.source)
    rows = None if content is None else coco_results(request.predictions)
    if content is not None and rows is not None and are_detections(rows, content):
        return _detections(request, content, rows, sigmas)
    points = _Points(request, "pixels")
    areas = instance_areas(annotations)
    points.lengths = areas.sqrt()
    similarity = keypoint_similarity(points.pixels, areas, sigmas)
    per_instance = similarity.nanmean(1)
    figures = points.figures("share")
    figures.facts |= {"normalizer": OKS_NORMALIZER, "sigmas": list(sigmas)}
    if figures.facts["left_out"]["why_without_length"]:
        figures.facts["left_out"]["why_without_length"] = "it has neither an area nor a box"
    interval = mean_interval([per_instance[:, None]], points.image_ids, **RESAMPLING)
    figures.add("oks", per_instance.nanmean(), similarity.nanmean(0), interval[:, 0])
    if content is not None and request.keep is None:
        _add_precision(figures, content, rows or as_results(points.predictions, annotations, content), sigmas)
    return figures


def _detections(request: Request, content: dict[str, Any], rows: list[Any], sigmas: Sequence[float]) -> Figures:
    """AP alone: whose points these are, only a threshold of OKS can say."""
    if request.keep is not None:
        raise ValueError("these results name no instances, and pictures have several: AP is of all of them together")
    annotations = request.annotations
    labelled = annotations.labelled
    left_out = {"keypoints": [], "instances_without_labelled_point": int((~labelled.any(1)).sum())}
    facts: dict[str, Any] = {
        "n": int(labelled.sum()),
        "n_instances": int(labelled.any(1).sum()),
        "n_images": len(set(annotations.images)),
        "normalizer": OKS_NORMALIZER,
        "left_out": {
            **left_out,
            "instances_without_length": 0,
            "points_without_length": 0,
            "why_without_length": None,
        },
        "missing": {"points": 0, "instances": 0},
        "sigmas": list(sigmas),
    }
    note = "the results name no instances, and pictures have several: AP alone, no OKS of each instance"
    counts = torch.from_numpy(labelled.sum(0))
    figures = Figures("share", annotations.schema.names, counts, facts, [*annotations.notes, note])
    _add_precision(figures, content, rows, sigmas)
    return figures


def _add_precision(figures: Figures, content: dict[str, Any], rows: list[Any], sigmas: Sequence[float]) -> None:
    stats, lacking = precision_of(content, rows, sigmas)
    figures.facts["ap"] = stats or None
    figures.notes += [lacking] if lacking else []


METRICS: dict[str, Callable[[Request], Figures]] = {
    "pckh": _pckh,
    "pck": _pck,
    "nme": _nme,
    "epe": _epe,
    "oks": _oks,
}


def _by_difficulty(request: Request, metric: str, by: Criterion) -> dict[str, Any]:
    """The metric of the easy, medium and hard instances apart; by level None where no instance is in it."""
    levels = difficulty(request.annotations, by)
    labelled = request.annotations.labelled.any(1)
    # One normalizer for all three: the usual one of a part may be another.
    normalizer = request.normalizer
    if normalizer is None and metric in ("pck", "nme"):
        normalizer = _usual_normalizer(request.annotations)
    parts: dict[str, Any] = {"criterion": by, "instances_in_no_class": int((labelled & (levels == "")).sum())}
    for level in LEVELS:
        keep = levels == level
        parts[level] = None
        if keep.any():
            part = METRICS[metric](replace(request, keep=keep, normalizer=normalizer))
            parts[level] = {"n": part.facts["n"], "n_instances": part.facts["n_instances"], "total": part.total}
    return parts


def _usual_normalizer(annotations: Annotations) -> str:
    if annotations.lengths is not None:
        return "head"
    if np.isfinite(annotations.boxes[annotations.labelled.any(1)]).all():
        return "bbox"
    raise ValueError(f"{annotations.source.name} has instances without a box: choose a --normalizer, pixels for one")


def _refuse_thresholds(request: Request, metric: str) -> None:
    if request.thresholds is not None:
        raise ValueError(f"{metric} has no thresholds")


class _Points:
    """Predictions beside labels: the distances, what they are divided by, and what does not count.

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
        self.all_instances = request.keep is None
        counted_names = np.array([name not in left_out for name in names])
        self.counts = annotations.labelled & counted_names
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

    def _distances(self) -> Tensor:
        """(N, K) in pixels; infinite where the prediction is missing, NaN where the point does not count."""
        missing = torch.from_numpy(self.missing)
        target = torch.from_numpy(self.annotations.keypoints)
        preds = torch.where(missing[..., None], target, torch.from_numpy(self.predictions.keypoints))
        pixels = distances(preds, target, torch.from_numpy(self.counts), names=self.annotations.schema.names)
        return pixels.masked_fill(missing, torch.inf)

    def share_intervals(self, thresholds: Sequence[float], limit: float) -> Tensor:
        """(2, T + 1): of the share within each threshold, and of the area."""
        relative = normalized_distances(self.pixels, self.lengths)
        values = [*(within(relative, t) for t in thresholds), under_curve(relative, limit)]
        return mean_interval(values, self.image_ids, **RESAMPLING)

    def figures(self, unit: str) -> Figures:
        """Figures without a column yet: the counts, and the correlation with the score where there is one."""
        relative = normalized_distances(self.pixels, self.lengths)
        measured, visible = ~relative.isnan(), torch.from_numpy(self.counts)
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
        notes = [*self.annotations.notes, *self.predictions.notes]
        return Figures(unit, self.annotations.schema.names, measured.sum(0), facts, notes)


def _judge_missing(missing: Any, predictions: Predictions, request: Request, finite: str) -> None:
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
    lines = []
    for n in np.flatnonzero(missing.any(1)):
        lacking = [names[k] for k in np.flatnonzero(missing[n])]
        what = "any keypoint" if missing[n].sum() == annotations.labelled[n].sum() else ", ".join(lacking)
        row = f"{annotations.source.name}: instance {annotations.ids[n]} (image {annotations.image_names[n]})"
        lines.append(f"{row}: no prediction of {what}; --allow-missing counts it as a miss")
    raise DataError([*predictions.notes, *lines])


# --- what is shown -----------------------------------------------------------------------------------------------


def _print(result: dict[str, Any], unit: str, console: Console) -> None:
    console.print(f"{result['predictions']} against {result['data']}", markup=False, highlight=False, soft_wrap=True)
    line = f"{result['n']} points, {result['n_instances']} instances, {result['n_images']} images"
    console.print(f"{line}; normalizer {result['normalizer']}", markup=False, soft_wrap=True)
    print_notes([*result["notes"], *_left_out(result)], console)
    columns = list(result["total"])
    sign = " %" if unit == "share" else " px"
    table = Table(Column("keypoint", no_wrap=True), "n", *(Column(c + sign, justify="right") for c in columns))
    for row in result["per_keypoint"]:
        if row["name"] not in result["left_out"]["keypoints"]:
            table.add_row(row["name"], str(row["n"]), *(_shown(row[c], unit) for c in columns))
    if result["groups"]:
        table.add_section()
    for name, row in result["groups"].items():
        table.add_row(name, "", *(_shown(row[c], unit) for c in columns))
    for level in LEVELS:
        part = result.get("by_difficulty", {}).get(level)
        if part is not None:
            shown = (_shown(part["total"][c]["value"], unit) for c in columns)
            table.add_row(f"{level}, by {result['by_difficulty']['criterion']}", str(part["n"]), *shown)
    table.add_section()
    table.add_row("total", str(result["n"]), *(_shown(result["total"][c]["value"], unit) for c in columns))
    ends = [result["total"][c]["interval_95"] for c in columns]
    table.add_row("95 % interval", "", *("-" if e is None else " - ".join(_shown(v, unit) for v in e) for e in ends))
    console.print(table)
    for name, value in (result.get("ap") or {}).items():
        console.print(f"{name:<5}{'-' if value is None else f'{100 * value:.2f}':>7} %", highlight=False)
    ranked = result.get("score_error_correlation")
    if ranked is not None and ranked["value"] is not None:
        console.print(f"rank correlation of score and closeness: {ranked['value']:.3f}", highlight=False)


def _left_out(result: dict[str, Any]) -> list[str]:
    left, missing = result["left_out"], result["missing"]
    notes = [f"left out: {', '.join(left['keypoints'])}"] if left["keypoints"] else []
    if left["instances_without_labelled_point"]:
        notes.append(
            f"{counted(left['instances_without_labelled_point'], 'instance')} without a labelled point left out"
        )
    if left["instances_without_length"]:
        what = counted(left["instances_without_length"], "instance")
        points = counted(left["points_without_length"], "point")
        notes.append(f"{what} with {points} left out: {left['why_without_length']}")
    if missing["points"]:
        what = counted(missing["points"], "labelled point")
        notes.append(f"{what} of {counted(missing['instances'], 'instance')} without a prediction: counted as misses")
    return notes


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.2f}" if unit == "share" else f"{value:.2f}"


def _number(value: Tensor) -> float | None:
    number = float(value)
    return None if np.isnan(number) else number
