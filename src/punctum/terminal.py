"""The figures and notes that a user sees, as tables and lines."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from punctum.data.errors import counted
from punctum.metrics.difficulty import LEVELS
from punctum.one_line import one_line


def print_notes(notes: Sequence[str], console: Console) -> None:
    """What was counted rather than refused, a line each; names from files are shown as they are."""
    for note in notes:
        console.print(Text.assemble(("  note ", "yellow"), one_line(note)))


def print_table(metrics: dict[str, Any], console: Console) -> None:
    """The figures a user asks for first: over all points, beside the constant predictor."""
    console.print(
        f"\n{metrics['n']} points, {metrics['n_instances']} instances, {metrics['n_images']} images; "
        f"normalizer {metrics['normalizer']}"
    )
    print_notes(metrics["notes"], console)
    table = Table("", "model", "95 % interval", "constant predictor")
    constant = metrics.get("constant_predictor", {})
    for name in ("mean", "median", "p90", "p95"):
        interval = metrics["epe_px"]["interval_95"].get(name)
        row = [metrics["epe_px"][name], interval, constant.get("epe_px", {}).get(name)]
        table.add_row(f"error {name}, px", *(_number(v, ".2f") for v in row))
    if "mre_mm" in metrics:
        mre, base = metrics["mre_mm"], constant.get("mre_mm", {}).get("value")
        table.add_row("error mean, mm", *(_number(v, ".2f") for v in (mre["value"], mre["interval_95"], base)))
        for threshold, rate in metrics["sdr_mm"].items():
            shares = (_number(rate[key], ".2%") for key in ("value", "interval_95"))
            table.add_row(f"SDR@{threshold} mm, %", *shares, "-")
    if "nme" in metrics:
        nme = metrics["nme"]
        table.add_row(
            "NME, %",
            *(_number(v, ".2%") for v in (nme["value"], nme["interval_95"], constant.get("nme", {}).get("value"))),
        )
    for threshold, pck in metrics["pck"].items():
        base = constant.get("pck", {}).get(threshold, {}).get("value")
        table.add_row(f"PCK@{threshold}, %", *(_number(v, ".2%") for v in (pck["value"], pck["interval_95"], base)))
    if "oks" in metrics:
        row = [metrics["oks"]["value"], metrics["oks"]["interval_95"], constant.get("oks", {}).get("value")]
        table.add_row("OKS, %", *(_number(v, ".2%") for v in row))
    ranked = metrics.get("score_error_correlation")
    if ranked is not None:
        row = [_number(ranked[key], ".3f") for key in ("value", "interval_95")]
        table.add_row("rank correlation of score and closeness", *row, "-")
    console.print(table)


def print_by_difficulty(by: dict[str, Any], console: Console) -> None:
    """A row each for the easy, medium and hard instances."""
    parts = [by[level] for level in LEVELS]
    thresholds = next((list(part["pck"]) for part in parts if "pck" in part), [])
    rows = {"median px": "epe_px median", "mean px": "epe_px mean", "NME %": "nme value", "OKS %": "oks value"}
    rows |= {f"@{t} %": f"pck {t} value" for t in thresholds}
    rows = {title: path for title, path in rows.items() if any(_at(part, path) is not None for part in parts)}
    table = Table(Column(f"by {by['criterion']}", no_wrap=True), "instances", "points", *rows)
    for level, part in zip(LEVELS, parts, strict=True):
        cells = [_number(_at(part, path), ".2%" if "%" in title else ".2f") for title, path in rows.items()]
        table.add_row(level, str(part["n_instances"]), str(part["n"]), *cells)
    console.print(table)
    if by["instances_in_no_class"]:
        print_notes([f"{counted(by['instances_in_no_class'], 'instance')} in no class of difficulty"], console)


def _at(values: dict[str, Any], path: str) -> Any:
    """The value under nested keys, or None: `_at({"a": {"b": 1}}, "a b")` is 1."""
    found: Any = values
    for key in path.split(" "):
        found = found.get(key) if isinstance(found, dict) else None
    return found


def print_per_keypoint(metrics: dict[str, Any], console: Console) -> None:
    """A row for each keypoint."""
    thresholds = list(metrics["pck"])
    table = Table(
        Column("keypoint", no_wrap=True), "n", "median px", "mean px", "p95 px", *(f"@{t} %" for t in thresholds)
    )
    for row in metrics["per_keypoint"]:
        figures = [_number(row[f"epe_px_{name}"], ".2f") for name in ("median", "mean", "p95")]
        shares = [_number(row[f"pck@{t}"], ".1%") for t in thresholds]
        table.add_row(row["name"], str(row["n"]), *figures, *shares)
    console.print(table)


def _number(value: float | Sequence[float] | None, form: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, (int, float)):
        return format(value, form).rstrip("%")
    return " - ".join(format(v, form).rstrip("%") for v in value)


def print_trust(trust: dict[str, Any], console: Console) -> None:
    """How the promises of a calibrated model fare: coverage with size, never one alone, and the score."""
    console.print(
        f"promises, from {sum(trust['calibration_images'])} calibration images, on {trust['n_images']} others: "
        "share of points that their regions hold, in %, and the regions' median size in px^D",
        highlight=False,
    )
    levels = [f"{level:g}" for level in trust["levels"]]
    table = Table("region", *(f"{100 * level:g} %" for level in trust["levels"]))
    for title, kinds in (("", trust["regions"]), (", whole instances", trust.get("joint", {}))):
        for kind, figures in kinds.items():
            shown = [(figures[level]["coverage"], figures[level]["median_size"]) for level in levels]
            cells = (f"{_number(c['value'], '.1%')} by {_number(s['value'], '.0f')}" for c, s in shown)
            table.add_row(f"{kind}{title}", *cells)
    console.print(table)
    ece, rank = trust["ece"], trust["correlation"]["error"]["spearman"]
    hits, close = _number(trust["hits"]["value"], ".1%"), f"{trust['distance']:g} lengths ({trust['normalizer']})"
    console.print(
        f"score: {hits} % of errors within {close}; expected calibration error {_number(ece['value'], '.3f')} (by "
        f"chance {_number(ece['by_chance'], '.3f')}), Brier {_number(trust['brier']['value'], '.3f')}, rank "
        f"correlation with closeness {_number(rank['value'], '.3f')}; NLL {_number(trust['nll']['value'], '.2f')} "
        "nats a point",
        highlight=False,
    )
