"""Drawings of a comparison: plain values in, matplotlib figures out."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure as Drawing

from punctum.report.charts import ACCENT, FONT, INK, MUTED, SECOND, legend, line_style, log_axis, new_axes, plain

Rows = Sequence[Mapping[str, Any]]


def forest(rows: Rows, scale: float, xlabel: str) -> Drawing:
    """Differences from the best with their intervals, a line each; those that reach zero are hollow.

    Args:
        rows: title, difference, interval, told_apart.
        scale: what the figures are multiplied by.
        xlabel: with the unit.
    Example:
        >>> row = {"title": "dsnt", "difference": 0.01, "interval": [0.0, 0.02], "told_apart": False}
        >>> len(forest([row], 100, "nme, %").axes)
        1
    """
    drawing, axes = new_axes(xlabel, size=(8, 1.1 + 0.38 * len(rows)), grid="x")
    for place, row in enumerate(rows):
        low, high = (scale * end for end in row["interval"])
        colour = SECOND if row["told_apart"] else ACCENT
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        face = colour if row["told_apart"] else "white"
        axes.plot(scale * row["difference"], place, "o", color=colour, markerfacecolor=face, markersize=7)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [plain(row["title"]) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    return drawing


def pareto(entries: Rows, front: Sequence[str], scale: float, ylabel: str) -> Drawing:
    """The metric against the time for a picture, with the front as a line of steps.

    Args:
        entries: title, value, interval_95, cost.
        front: titles of those on it, the fastest first.
        scale: what the metric is multiplied by.
        ylabel: the metric, with its unit.
    Example:
        >>> entry = {"title": "dsnt", "value": 0.04, "interval_95": None, "cost": {"picture_ms": 9.0}}
        >>> len(pareto([entry], ["dsnt"], 100, "nme, %").axes)
        1
    """
    drawing, axes = new_axes("time for a picture, ms", ylabel, size=(7.2, 4.2))
    by_title = {entry["title"]: entry for entry in entries}
    steps = [(by_title[t]["cost"]["picture_ms"], scale * by_title[t]["value"]) for t in front if t in by_title]
    axes.step(*zip(*steps, strict=True), where="post", color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)))
    slowest = max(entry["cost"]["picture_ms"] for entry in entries)
    fastest = min(entry["cost"]["picture_ms"] for entry in entries)
    for i, entry in enumerate(entries):
        x, y, on = entry["cost"]["picture_ms"], scale * entry["value"], entry["title"] in front
        colour = line_style(i)["color"]
        if entry["interval_95"] is not None:
            axes.plot([x, x], [scale * end for end in entry["interval_95"]], color=colour, linewidth=1.3, alpha=0.6)
        axes.plot(x, y, "o", color=colour, markerfacecolor=colour if on else "white", markersize=8)
        left = x > (fastest + slowest) / 2 and slowest > fastest
        axes.annotate(
            plain(entry["title"]),
            (x, y),
            xytext=(-9 if left else 9, 4),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=FONT,
            color=INK,
        )
    axes.margins(x=0.12)
    return drawing


def curve(entries: Rows, key: str, scale: float, xlabel: str, ylabel: str, total: int) -> Drawing:
    """The metric by stride or by number of training images, a line for each head (and stride).

    Args:
        entries: head, output_stride, train_images, value, interval_95.
        key: "output_stride" or "train_images".
        scale: what the metric is multiplied by.
        xlabel, ylabel: with the units.
        total: the number of images that 0 stands for.
    Example:
        >>> entry = {"head": "dsnt", "output_stride": 8, "train_images": 0, "value": 0.04, "interval_95": None}
        >>> drawing = curve([entry, {**entry, "output_stride": 16}], "output_stride", 100, "stride", "nme, %", 900)
        >>> [tick.get_text() for tick in drawing.axes[0].get_xticklabels()]
        ['8', '16']
    """
    drawing, axes = new_axes(xlabel, ylabel, size=(7.2, 4.2))
    strides = {entry["output_stride"] for entry in entries}
    several = key == "train_images" and len(strides) > 1
    lines: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
    for entry in entries:
        name = f"{entry['head']} @ 1/{entry['output_stride']}" if several else entry["head"]
        lines.setdefault(name, []).append((float(entry[key] or total), entry))
    for i, (name, points) in enumerate(lines.items()):
        points = sorted(points, key=lambda point: point[0])
        # A little aside, so that intervals do not hide each other.
        places = [x * 1.02 ** (i - (len(lines) - 1) / 2) for x, _ in points]
        axes.plot(places, [scale * e["value"] for _, e in points], marker="o", label=plain(name), **line_style(i))
        for x, (_, entry) in zip(places, points, strict=True):
            if entry["interval_95"] is not None:
                ends = [scale * end for end in entry["interval_95"]]
                axes.plot([x, x], ends, color=line_style(i)["color"], linewidth=1.2, alpha=0.6)
    axes.set_xscale("log")
    ticks = sorted({x for points in lines.values() for x, _ in points})
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.set_xticks([], minor=True)
    legend(axes, loc="best")
    return drawing


def distribution(entries: Rows, xlabel: str) -> Drawing:
    """Share of points with an error up to x, from each head's quantiles; x on a logarithmic scale.

    Args:
        entries: title, error_quantiles (at equal steps from 0 to 1).
        xlabel: with the unit.
    Example:
        >>> len(distribution([{"title": "dsnt", "error_quantiles": [0.1, 0.2, 0.4]}], "error, px").axes[0].lines)
        1
    """
    drawing, axes = new_axes(xlabel, "share of points", size=(7.2, 4.2))
    for i, entry in enumerate(entries):
        errors = entry["error_quantiles"]
        shares = [j / max(1, len(errors) - 1) for j in range(len(errors))]
        axes.plot(errors, shares, label=plain(entry["title"]), **line_style(i))
    lowest = [e for entry in entries for e in entry["error_quantiles"][5:] if e > 0]
    highest = [entry["error_quantiles"][-2] for entry in entries if len(entry["error_quantiles"]) > 1]
    if lowest and highest and max(highest) > min(lowest):
        axes.set_xlim(min(lowest), max(highest))
    log_axis(axes, "x")
    axes.set_ylim(0, 1.01)
    legend(axes, loc="best")
    return drawing
