"""An evaluation's numbers as facts and tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from punctum.data.errors import counted
from punctum.evaluation import Evaluation
from punctum.metrics.difficulty import LEVELS
from punctum.report.blocks import Block, Cell, Column, Fact, Facts, Table, Text
from punctum.report.examples import Shown

LISTED = 50
"""Rows of the worst instances."""


def facts(metrics: dict[str, Any], unit: str) -> Facts:
    """What a reader came for: each with its interval, and beside it what the constant predictor reaches."""
    constant = metrics.get("constant_predictor") or {}
    found: list[Fact] = []

    def add(label: str, given: Any, base: Any, form: str) -> None:
        if given and given.get("value") is not None:
            found.append(Fact(label, format(given["value"], form), _note(given, base, form)))

    add("Mean error, mm", metrics.get("mre_mm"), constant.get("mre_mm"), ".2f")
    if not _in_pixels(metrics):
        add(f"NME, by {_length(metrics)}", metrics.get("nme"), constant.get("nme"), ".2%")
    for name in ("median", "mean"):
        base = _quantity(constant.get("epe_px"), name)
        add(f"{name.capitalize()} error, {unit}", _quantity(metrics["epe_px"], name), base, ".2f")
    for threshold, rate in (metrics.get("sdr_mm") or {}).items():
        add(f"Within {threshold} mm (SDR)", rate, None, ".1%")
    for threshold, share in metrics["pck"].items():
        add(
            f"Within {_written(threshold, metrics, unit)} (PCK)",
            share,
            constant["pck"][threshold] if constant else None,
            ".1%",
        )
    add("OKS", metrics.get("oks"), constant.get("oks"), ".1%")
    add("Rank correlation of score and closeness", metrics.get("score_error_correlation"), None, ".2f")
    return Facts(found)


def _quantity(epe: Any, name: str) -> dict[str, Any] | None:
    return None if epe is None else {"value": epe[name], "interval_95": epe["interval_95"].get(name)}


def _note(given: dict[str, Any], base: dict[str, Any] | None, form: str) -> str:
    parts = []
    if given.get("interval_95"):
        low, high = (format(end, form).rstrip("%") for end in given["interval_95"])
        parts.append(f"95 %: {low} – {high}")
    if base and base.get("value") is not None:
        parts.append(f"constant predictor {format(base['value'], form)}")
    return "\n".join(parts)


def _in_pixels(metrics: dict[str, Any]) -> bool:
    return str(metrics["normalizer"]).split(" ")[0] == "pixels"


def _length(metrics: dict[str, Any]) -> str:
    return str(metrics["normalizer"]).split(" ")[0].replace("keypoints:", "").replace(",", " – ")


def _written(threshold: str, metrics: dict[str, Any], unit: str) -> str:
    return f"{threshold} {unit}" if _in_pixels(metrics) else f"{threshold} lengths"


def verdict(metrics: dict[str, Any]) -> list[Block]:
    """Whether the model has learned more than where points lie on average."""
    constant = (metrics.get("constant_predictor") or {}).get("epe_px")
    if not constant or not metrics["epe_px"]["mean"]:
        return []
    ratio = constant["mean"] / metrics["epe_px"]["mean"]
    who = "the constant predictor, which puts every point at its mean place in the training crops"
    if ratio <= 1:
        text = f"The mean error is {1 / ratio:.2f} times that of {who}: the model has learned nothing of use."
        return [Text(text, "warning")]
    return [Text(f"The mean error is {1 / ratio:.0%} of that of {who}.", "good" if ratio > 2 else "plain")]


def keypoint_table(metrics: dict[str, Any], unit: str) -> Table:
    """A row for each keypoint."""
    rows = metrics["per_keypoint"]
    thresholds = list(metrics["pck"])
    columns = {
        "name": Column("keypoint"),
        "n": Column("points"),
        "epe_px_median": Column(f"median, {unit}", ".2f"),
        "epe_px_mean": Column(f"mean, {unit}", ".2f"),
        "low": Column("95 % from", ".2f"),
        "high": Column("to", ".2f"),
        "epe_px_p95": Column(f"95th, {unit}", ".2f"),
        "mre_mm": Column("mean, mm", ".2f"),
        "nme": Column("NME", ".2%"),
        **{f"pck@{t}": Column(f"PCK@{t}", ".1%") for t in thresholds},
    }
    if _in_pixels(metrics):
        del columns["nme"]
    full = [{**row, **_ends(row)} for row in rows]
    kept = [key for key in columns if any(row.get(key) is not None for row in full)]
    cells: list[list[Cell]] = [[row.get(key) for key in kept] for row in full]
    caption = f"Errors in {unit}, over all labelled points. The interval is of the mean; 95th is a percentile."
    if not _in_pixels(metrics):
        caption += f" NME and PCK are in lengths: {metrics['normalizer']}."
    return Table([columns[key] for key in kept], cells, caption)


def _ends(row: dict[str, Any]) -> dict[str, float | None]:
    low, high = (row.get("interval_95") or {}).get("epe_px_mean") or (None, None)
    return {"low": low, "high": high}


def difficulty_table(by: dict[str, Any], unit: str) -> list[Block]:
    """The easy, medium and hard instances apart."""
    parts = {level: by[level] for level in LEVELS if level in by}
    thresholds = next((list(part["pck"]) for part in parts.values() if "pck" in part), [])
    columns = {
        f"median, {unit}": ("epe_px", "median", ".2f"),
        f"mean, {unit}": ("epe_px", "mean", ".2f"),
        "mean, mm": ("mre_mm", "value", ".2f"),
        "NME": ("nme", "value", ".2%"),
        "OKS": ("oks", "value", ".1%"),
    }
    rows: list[list[Cell]] = []
    for level, part in parts.items():
        numbers = [(part.get(key) or {}).get(inner) for key, inner, _ in columns.values()]
        shares = [(part.get("pck") or {}).get(t, {}).get("value") for t in thresholds]
        rows.append([level, part["n_instances"], part["n"], *numbers, *shares])
    heads = [Column(f"by {by['criterion']}"), Column("instances"), Column("points")]
    heads += [Column(title, form) for title, (_, _, form) in columns.items()]
    heads += [Column(f"PCK@{t}", ".1%") for t in thresholds]
    kept = [i for i in range(len(heads)) if any(row[i] is not None for row in rows)]
    table = Table([heads[i] for i in kept], [[row[i] for i in kept] for row in rows])
    if number := by.get("instances_in_no_class"):
        return [table, Text(f"{counted(number, 'instance')} in no class of difficulty.")]
    return [table]


def worst_table(evaluation: Evaluation, things: Sequence[Shown], unit: str) -> Table:
    """The worst instances (or scans), by name, to be looked up."""
    rows: list[list[Cell]] = []
    for thing in things[:LISTED]:
        first = int(thing.rows[0])
        errors = evaluation.errors[thing.rows]
        worst = int(np.nanargmax(np.nanmax(np.where(np.isnan(errors), -1, errors), axis=0)))
        many = len(thing.rows) > 1
        rows.append(
            [
                str(evaluation.images[first]),
                None if many else str(evaluation.ids[first]),
                thing.error,
                thing.relative if np.isfinite(thing.relative) else None,
                float(np.nanmax(errors)),
                str(evaluation.names[worst]),
            ]
        )
    columns = [
        Column("picture"),
        Column("instance"),
        Column(f"mean, {unit}", ".2f"),
        Column("in lengths", ".3f"),
        Column(f"largest, {unit}", ".2f"),
        Column("of"),
    ]
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    caption = f"The {len(rows)} worst of {len(things)}, by their mean error."
    return Table([columns[i] for i in kept], [[row[i] for i in kept] for row in rows], caption)
