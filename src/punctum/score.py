"""Anyone's predictions measured against annotations: files against files, no model and no images needed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor

from punctum.data import Annotations, read
from punctum.data.errors import counted
from punctum.files import write_text
from punctum.judging import THRESHOLDS
from punctum.metrics import difficulty, epe, mean_interval, nme, pck, pck_auc, pckh, quantile_interval
from punctum.metrics.difficulty import LEVELS, Criterion
from punctum.metrics.pckh import LEFT_OUT, PCKH_THRESHOLDS
from punctum.score_oks import oks_figures
from punctum.score_points import RESAMPLING, Figures, Points, Request
from punctum.terminal import print_notes


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
        metric: pckh, pck, nme, epe or oks. epe of volumes with a spacing has the mean in millimetres as well.
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
        What the file holds: counts, what was left out, `total` with intervals, `per_keypoint`, `groups`; with `by`
        also `by_difficulty`, and of oks with COCO annotations `ap`.
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
    points = Points(request, "head", left_out=LEFT_OUT)
    thresholds = request.thresholds or PCKH_THRESHOLDS
    names, lengths = points.annotations.schema.names, points.lengths
    limit = max(thresholds)
    result = pckh(points.pixels, lengths, names, thresholds, limit)
    figures = points.figures("share")
    intervals = points.share_intervals(thresholds, limit)
    for i, t in enumerate(thresholds):
        figures.add(f"pckh@{t:g}", result.total[i], result.per_keypoint[i], intervals[:, i])
    figures.add("auc", result.auc, result.auc_per_keypoint, intervals[:, -1])
    figures.total["auc"]["max_threshold"] = limit
    for group, shares in result.groups.items():
        columns = [*shares, result.auc_groups[group]]
        figures.groups[group] = {name: _number(v) for name, v in zip(figures.total, columns, strict=True)}
    return figures


def _pck(request: Request) -> Figures:
    points = Points(request, request.normalizer or _usual_normalizer(request.annotations))
    thresholds = request.thresholds or THRESHOLDS
    limit = max(thresholds)
    shares, area = pck(points.pixels, points.lengths, thresholds), pck_auc(points.pixels, points.lengths, limit)
    figures = points.figures("share")
    intervals = points.share_intervals(thresholds, limit)
    for i, t in enumerate(thresholds):
        figures.add(f"pck@{t:g}", shares.total[i], shares.per_keypoint[i], intervals[:, i])
    figures.add("auc", area.total, area.per_keypoint, intervals[:, -1])
    figures.total["auc"]["max_threshold"] = limit
    return figures


def _nme(request: Request) -> Figures:
    _refuse_thresholds(request, "nme")
    points = Points(request, request.normalizer or _usual_normalizer(request.annotations), finite="nme")
    result = nme(points.pixels, points.lengths)
    figures = points.figures("px" if points.normalizer.kind == "pixels" else "share")
    interval = mean_interval([result.per_instance[:, None]], points.image_ids, **RESAMPLING)
    figures.add("nme", result.total, result.per_keypoint, interval[:, 0])
    return figures


def _epe(request: Request) -> Figures:
    _refuse_thresholds(request, "epe")
    if request.normalizer not in (None, "pixels"):
        raise ValueError("epe is in pixels; for a normalizer take --metric nme or pck")
    points = Points(request, "pixels", finite="epe")
    figures = points.figures("px")
    quantiles = quantile_interval(points.pixels, (0.5, 0.9, 0.95), points.image_ids, **RESAMPLING)
    intervals = [mean_interval([points.pixels], points.image_ids, **RESAMPLING)[:, 0], *quantiles.unbind(1)]
    for (name, result), interval in zip(epe(points.pixels).items(), intervals, strict=True):
        figures.add(name, result.total, result.per_keypoint, interval)
    if (spacing := request.annotations.spacing) is not None:
        # As in `evaluate`, the mean alone: the mean radial error.
        millimetres = points.millimetres(torch.from_numpy(spacing))
        mean = epe(millimetres)["mean"]
        interval = mean_interval([millimetres], points.image_ids, **RESAMPLING)[:, 0]
        figures.add("mean_mm", mean.total, mean.per_keypoint, interval)
    return figures


def _oks(request: Request) -> Figures:
    _refuse_thresholds(request, "oks")
    if request.normalizer is not None:
        raise ValueError("oks is relative to areas and sigmas, and takes no normalizer")
    return oks_figures(request)


METRICS: dict[str, Callable[[Request], Figures]] = {
    "pckh": _pckh,
    "pck": _pck,
    "nme": _nme,
    "epe": _epe,
    "oks": _oks,
}


def _by_difficulty(request: Request, metric: str, by: Criterion) -> dict[str, Any]:
    """The metric of the easy, medium and hard instances apart; None of a level that no instance is in."""
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


# --- what is shown -----------------------------------------------------------------------------------------------


def _print(result: dict[str, Any], unit: str, console: Console) -> None:
    console.print(f"{result['predictions']} against {result['data']}", markup=False, highlight=False, soft_wrap=True)
    line = f"{result['n']} points, {result['n_instances']} instances, {result['n_images']} images"
    console.print(f"{line}; normalizer {result['normalizer']}", markup=False, soft_wrap=True)
    print_notes([*result["notes"], *_left_out(result)], console)
    columns = list(result["total"])
    titles = [c.replace("_", " ") if c.endswith("_mm") else c + (" %" if unit == "share" else " px") for c in columns]
    table = Table(Column("keypoint", no_wrap=True), "n", *(Column(title, justify="right") for title in titles))
    for row in result["per_keypoint"]:
        if row["name"] not in result["left_out"]["keypoints"]:
            table.add_row(row["name"], str(row["n"]), *(_shown(row[c], unit) for c in columns))
    if result["groups"] or "by_difficulty" in result:
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
    if columns:
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
