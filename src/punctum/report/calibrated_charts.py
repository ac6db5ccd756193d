"""Drawings of promises: coverage by size, levels, reliability, and risk."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from punctum.report import charts
from punctum.report.blocks import Figure


def regions_by_size(trust: dict[str, Any], words: Mapping[str, str], area: str) -> Figure:
    """How much room each kind of region needs for what it holds."""
    drawing, axes = charts.new_axes("points held", f"median size, {area}")
    told = []
    for i, (kind, by_level) in enumerate(trust["regions"].items()):
        rows = [(entry["coverage"]["value"], entry["median_size"]["value"]) for entry in by_level.values()]
        held, size = np.array(rows, dtype=np.float64).T
        name = words.get(kind, kind)
        axes.plot(
            held, size, marker="o", markersize=4, linewidth=1.6, label=charts.plain(name), **charts.line_style(i)
        )
        told.append(f"{name}: " + ", ".join(f"{h:.1%} in {s:.4g}" for h, s in zip(held, size, strict=True)))
    if all(np.isfinite(line.get_ydata()).any() and np.nanmin(line.get_ydata()) > 0 for line in axes.lines):
        charts.log_axis(axes, "y")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    charts.legend(axes)
    return Figure(
        drawing,
        "What regions hold, and how much room they take for it, at each nominal level: the lower, the better. A size "
        "without an end is not drawn.",
        f"Share of points held and median size in {area}: {'; '.join(told)}.",
    )


def reliability_curve(trust: dict[str, Any], hit: str) -> Figure:
    """The share of hits by score."""
    curve = trust["reliability"]
    score, hits, low, high = (
        np.array(values, dtype=np.float64) for values in (curve["score"], curve["hits"], *curve["interval_95"])
    )
    drawing = charts.bands(
        score,
        {"points": (hits, low, high)},
        xlabel="score",
        ylabel=f"share within {hit}",
        diagonal=True,
        share=("x", "y"),
    )
    ece = trust["ece"]
    error = "" if ece["value"] is None else f" Expected calibration error: {ece['value']:.1%}"
    if error and ece["by_chance"] is not None:
        error += f", where right scores would have {ece['by_chance']:.1%} by chance"
    told = ", ".join(f"{s:.0%} said, {h:.0%} hit" for s, h in zip(score, hits, strict=True))
    return Figure(
        drawing,
        f"Share of points within {hit} by score, in groups of about equal size, with 95 % intervals. On the dashed "
        f"line the score is that probability.{error}{'.' if error else ''}",
        f"From the lowest scores to the highest: {told}.",
    )


def histogram(trust: dict[str, Any]) -> Figure:
    """How levels are spread."""
    bars = trust["pit_histogram"]
    edges, density, low, high = (
        np.array(v, dtype=np.float64) for v in (bars["edges"], bars["density"], *bars["interval_95"])
    )
    drawing, axes = charts.new_axes("level of the true place", "times as many as promised", grid="y")
    middle = (edges[:-1] + edges[1:]) / 2
    axes.bar(middle, density, width=0.94 * np.diff(edges), color=charts.ACCENT, alpha=0.75)
    reach = np.nan_to_num(np.stack([density - low, high - density]).clip(min=0))
    axes.errorbar(middle, density, reach, fmt="none", ecolor=charts.INK, elinewidth=1.2, capsize=2)
    axes.axhline(1, color=charts.MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    told = ", ".join(f"{value:.2f}" for value in density)
    return Figure(
        drawing,
        "Level: the probability of all places denser than the true one. Of right densities, no level is more common "
        "than another. High at the left: densities are too wide; at the right: too narrow.",
        f"Points in each part of the levels, as multiples of what was promised: {told}.",
    )


def risk_curve(trust: dict[str, Any], lengths: str) -> Figure:
    """The mean error of the points that are kept, the surest first."""
    curve = trust["risk_coverage"]
    kept, risk, oracle = (np.array(curve[key], dtype=np.float64) for key in ("kept", "risk", "oracle"))
    drawing, axes = charts.new_axes("points kept, the surest first", f"mean error, {_unit(lengths)}")
    axes.axhline(risk[-1], color=charts.MUTED, linewidth=1, linestyle=(0, (4, 3)), label="kept by lot")
    axes.plot(kept, risk, linewidth=1.8, color=charts.ACCENT, label="kept by score")
    axes.plot(kept, oracle, linewidth=1.4, color=charts.SECOND, linestyle=charts.DASHES[1], label="kept by error")
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    charts.legend(axes)
    half = int(np.abs(kept - 0.5).argmin())
    return Figure(
        drawing,
        "Mean error of the points that are kept when the least sure are dropped. The lower line drops the largest "
        "errors first, which nobody can; a score that says nothing runs along the dashed one.",
        f"Mean error of all points {risk[-1]:.4g}, of the surest half {risk[half]:.4g}, of the best half "
        f"{oracle[half]:.4g}.",
    )


def _unit(lengths: str) -> str:
    """An axis' unit: the length, or a share of it.

    Example:
        >>> _unit("px"), _unit("the box's longer side")
        ('px', "of the box's longer side")
    """
    return f"of {lengths}" if " " in lengths else lengths
