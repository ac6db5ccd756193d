"""Drawings of a page: one style for all of them, and those that several pages need. Arrays and labels in, a
matplotlib figure out, made without pyplot.

    drawing, axes = new_axes("error, px", "share of points")
    axes.plot(x, y, label=plain(name))
    legend(axes)
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import ArrayLike, NDArray

# Okabe and Ito's colours, told apart under every common colour blindness; the darkest, most contrasting ones first.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5f5f5f")
ACCENT, SECOND = PALETTE[:2]
MUTED, INK, GRID = "#767d82", "#23292d", "#e3e7e9"
# What lies behind a legend shows through faintly.
LEGEND = {"frameon": True, "facecolor": "white", "edgecolor": "none", "framealpha": 0.9}
# Lines that share a colour, where there are more of them than colours, differ in this.
DASHES = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (5, 2, 1, 2)))
SIZE, WIDE = (4.5, 3.1), (9.6, 3.6)
"""Inches: two beside each other on a desk and one on a phone, or the whole width."""
FONT = 10.0
# Quantiles are read off so many places of a curve; more cannot be seen.
CURVE_POINTS = 400


def new_axes(
    xlabel: str = "", ylabel: str = "", *, size: tuple[float, float] = SIZE, columns: int = 1, grid: str = "both"
) -> tuple[Drawing, Any]:
    """An empty drawing in the report's style: thin grid, no box, colours that everybody can tell apart.

    Args:
        xlabel, ylabel: with the unit; of the first axes, where there are several.
        size: (width, height) in inches.
        columns: how many axes stand side by side.
        grid: "x", "y" or "both".
    Returns:
        The drawing, and its axes (an array of them with more than one column).
    Example:
        >>> drawing, axes = new_axes("error, px", "share of points")
        >>> axes.get_xlabel(), drawing.get_size_inches().tolist()
        ('error, px', [4.5, 3.1])
    """
    drawing = Drawing(figsize=size, layout="constrained", facecolor="white")
    axes = drawing.subplots(1, columns)
    for one in np.atleast_1d(axes):
        style(one, grid)
    first = np.atleast_1d(axes)[0]
    first.set_xlabel(plain(xlabel))
    first.set_ylabel(plain(ylabel))
    return drawing, axes


def style(axes: Axes, grid: Any = "both") -> Axes:
    """Give axes that were made elsewhere the report's style."""
    axes.set_prop_cycle(color=PALETTE)
    axes.set_axisbelow(True)
    axes.grid(True, axis=grid, color=GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(labelsize=FONT, labelcolor=INK, color=MUTED, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=FONT + 0.5, color=INK)
    axes.title.set(fontsize=FONT + 1, color=INK)
    return axes


def legend(axes: Axes, **options: Any) -> None:
    """The names of what is drawn, without a frame; nothing where nothing has a name."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(**{**LEGEND, "fontsize": FONT, "labelcolor": INK, "handlelength": 1.6, **options})


def plain(text: str) -> str:
    """A text that matplotlib shows as it is: `$` is no mathematics, and what no font can draw is marked.

    Example:
        >>> plain("a$b$"), plain("nul\\x00")
        ('a\\\\$b\\\\$', 'nul\\ufffd')
    """
    shown = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    return shown.replace("$", r"\$")


def line_style(i: int) -> dict[str, Any]:
    """Colour and dashes of line i, each pair another one for the first 28."""
    return {"color": PALETTE[i % len(PALETTE)], "linestyle": DASHES[i // len(PALETTE) % len(DASHES)]}


def error_cdf(
    errors: Mapping[str, ArrayLike],
    *,
    xlabel: str,
    ylabel: str = "share of points",
    log: bool = False,
    limit: float | None = None,
    marks: Sequence[float] = (),
) -> Drawing:
    """The share of points with an error up to x, a curve for each label; with errors in lengths it is the PCK curve.

    Args:
        errors: label to errors of any shape; NaN does not count.
        xlabel: with the unit.
        ylabel: what is counted.
        log: a logarithmic x.
        limit: the largest x; None: a little beyond the 99.5th percentile of the worst curve.
        marks: x that a thin line is drawn at, thresholds say.
    Raises:
        ValueError: there is no curve at all.
    Example:
        >>> drawing = error_cdf({"model": [1.0, 2.0, 4.0], "constant": [8.0, 9.0, 9.0]}, xlabel="error, px")
        >>> len(drawing.axes[0].lines)
        2
    """
    if not errors:
        raise ValueError("error_cdf needs at least one list of errors")
    drawing, axes = new_axes(xlabel, ylabel)
    found = {label: _finite(values) for label, values in errors.items()}
    some = [values for values in found.values() if len(values)]
    high = limit or 1.05 * max((float(np.quantile(values, 0.995)) for values in some), default=1.0) or 1.0
    low = min((float(np.quantile(values, 0.005)) for values in some), default=high / 100)
    low = min(max(low, high / 1e4), high / 10) if log else 0.0
    for x in marks:
        axes.axvline(x, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    for i, (label, values) in enumerate(found.items()):
        places, shares = _cdf(values, low, high, log)
        axes.plot(places, shares, label=plain(label), linewidth=1.8, **line_style(i))
    axes.set(xlim=(low, high), ylim=(0, 1.01))
    if log:
        log_axis(axes, "x")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if len(found) > 1:
        legend(axes, loc="best")
    return drawing


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    return np.sort(array[np.isfinite(array)])


def _cdf(values: NDArray[np.float64], low: float, high: float, log: bool) -> tuple[Any, Any]:
    """The empirical distribution at enough places for the eye."""
    places = np.geomspace(low, high, CURVE_POINTS) if log else np.linspace(low, high, CURVE_POINTS)
    if not len(values):
        return places, np.full(CURVE_POINTS, np.nan)
    return places, np.searchsorted(values, places, side="right") / len(values)


def log_axis(axes: Axes, which: str) -> None:
    """A logarithmic axis whose numbers are written out: 0.5, 1, 2."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def forest(
    labels: Sequence[str],
    values: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    xlabel: str,
    reference: float | None = None,
    emphasized: Sequence[int] = (),
) -> Drawing:
    """Values with their intervals, one under the other in the order given.

    Args:
        labels: of the R rows.
        values, low, high: (R,); NaN is left out.
        xlabel: with the unit.
        reference: a vertical line to compare with: 0 for differences.
        emphasized: rows in the second colour.
    Raises:
        ValueError: the lengths differ.
    Example:
        >>> drawing = forest(["dsnt", "simcc"], [0.5, -0.2], [0.1, -0.5], [0.9, 0.1], xlabel="px", reference=0)
        >>> [text.get_text() for text in drawing.axes[0].get_yticklabels()]
        ['dsnt', 'simcc']
    """
    middle, left, right = (np.asarray(v, dtype=np.float64) for v in (values, low, high))
    if not len(labels) == len(middle) == len(left) == len(right):
        raise ValueError(f"{len(labels)} labels for {len(middle)} values, {len(left)} lows and {len(right)} highs")
    rows = np.arange(len(labels))
    drawing, axes = new_axes(xlabel, size=(WIDE[0] * 0.75, 0.9 + 0.3 * max(2, len(labels))), grid="x")
    if reference is not None:
        axes.axvline(reference, color=MUTED, linewidth=1)
    colours = [SECOND if row in emphasized else ACCENT for row in rows]
    axes.hlines(rows, left, right, color=colours, linewidth=2)
    axes.scatter(middle, rows, color=colours, s=26, zorder=3)
    axes.set_yticks(rows, [plain(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return drawing


def bands(
    x: ArrayLike,
    curves: Mapping[str, Sequence[ArrayLike]],
    *,
    xlabel: str,
    ylabel: str,
    diagonal: bool = False,
    share: Sequence[str] = (),
) -> Drawing:
    """Curves with their intervals as bars.

    Args:
        x: (P,) places that all curves share, or that each gives itself.
        curves: label to (values, low, high), each (P,), or to (x, values, low, high).
        xlabel, ylabel: with the unit.
        diagonal: a line where x and y agree.
        share: of "x" and "y", which axes are in per cent; y then runs from 0 to 1.
    Example:
        >>> drawing = bands([0.5, 0.9], {"model": ([0.4, 0.8], [0.3, 0.7], [0.5, 0.9])}, xlabel="x", ylabel="y")
        >>> len(drawing.axes[0].containers)
        1
    """
    drawing, axes = new_axes(xlabel, ylabel)
    if diagonal:
        axes.axline((0, 0), slope=1, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="as promised")
    for i, (label, given) in enumerate(curves.items()):
        places, *rest = given if len(given) == 4 else (x, *given)
        middle, low, high = (np.asarray(v, dtype=np.float64) for v in rest)
        # A resampled interval need not hold the value itself; bars have no negative length.
        reach = np.nan_to_num(np.stack([middle - low, high - middle]).clip(min=0))
        look = {**line_style(i), "marker": "o", "markersize": 4, "linewidth": 1.6, "elinewidth": 1.2, "capsize": 2}
        axes.errorbar(np.asarray(places, dtype=np.float64), middle, reach, label=plain(label), **look)
    for name in share:
        (axes.xaxis if name == "x" else axes.yaxis).set_major_formatter(PercentFormatter(1))
    if "y" in share:
        axes.set_ylim(-0.02, 1.03)
    if diagonal and (placed := axes.containers):
        # Where the points are: a diagonal alone would pull the axis to its origin.
        seen = np.concatenate([np.ravel(bars.lines[0].get_xdata()) for bars in placed])
        margin = 0.06 * max(float(np.ptp(seen)), 0.05)
        axes.set_xlim(seen.min() - margin, seen.max() + margin)
    if len(curves) + diagonal > 1:
        legend(axes)
    return drawing


def history(epochs: ArrayLike, curves: Mapping[str, ArrayLike], *, ylabel: str, xlabel: str = "epoch") -> Drawing:
    """What was measured after each epoch; logarithmic where all is positive and spans more than a factor of five.

    Args:
        epochs: (E,).
        curves: label to (E,), NaN where not measured.
        ylabel, xlabel: with the unit.
    Example:
        >>> drawing = history([1, 2], {"training": [2.0, 1.0], "validation": [float("nan"), 1.5]}, ylabel="loss")
        >>> drawing.axes[0].get_yscale()
        'linear'
    """
    drawing, axes = new_axes(xlabel, ylabel)
    steps = np.asarray(epochs, dtype=np.float64)
    shown = []
    for i, (label, values) in enumerate(curves.items()):
        array = np.asarray(values, dtype=np.float64)
        known = np.isfinite(array)
        if known.any():
            shown.append(array[known])
            marker = "." if known.sum() < 40 else ""
            axes.plot(steps[known], array[known], label=plain(label), linewidth=1.6, marker=marker, **line_style(i))
    every = np.concatenate(shown) if shown else np.ones(1)
    if every.min() > 0 and every.max() > 5 * every.min():
        log_axis(axes, "y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(shown) > 1:
        legend(axes)
    return drawing


def scatter(
    x: ArrayLike,
    y: ArrayLike,
    labels: Sequence[str],
    *,
    xlabel: str,
    ylabel: str,
    front: Sequence[int] = (),
    log: str = "",
) -> Drawing:
    """Named dots: cost against accuracy, say, and a line through those that nothing beats.

    Args:
        x, y: (R,); NaN is left out.
        labels: (R,).
        xlabel, ylabel: with the unit.
        front: rows that a line joins, in the second colour.
        log: "x", "y" or "xy".
    Example:
        >>> drawing = scatter([1.0, 2.0], [3.0, 2.0], ["a", "b"], xlabel="ms", ylabel="px", front=[0, 1])
        >>> [text.get_text() for text in drawing.axes[0].texts]
        ['a', 'b']
    """
    across, up = (np.asarray(v, dtype=np.float64) for v in (x, y))
    drawing, axes = new_axes(xlabel, ylabel, size=(WIDE[0] * 0.75, 4.2))
    order = sorted(front, key=lambda row: across[row])
    axes.plot(across[order], up[order], color=SECOND, linewidth=1.2, zorder=1)
    colours = [SECOND if row in front else ACCENT for row in range(len(labels))]
    axes.scatter(across, up, color=colours, s=34, zorder=3)
    for place, label in zip(zip(across, up, strict=True), labels, strict=True):
        if all(map(math.isfinite, place)):
            axes.annotate(plain(label), place, xytext=(6, 4), textcoords="offset points", fontsize=FONT, color=INK)
    axes.margins(0.12)
    for which in log:
        log_axis(axes, which)
    return drawing


def fixed_ticks(axes: Axes, which: str, values: Sequence[float]) -> None:
    """Ticks at these values alone, written out."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
