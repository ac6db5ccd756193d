"""Pictures of the toy cases: maps on their way, the gradient's two factors, errors over updates, an animation."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from punctum import ops
from punctum.diagnostics.toy import Case, Trajectory, factors
from punctum.diagnostics.toy_maps import BETA, SIGMA

# Okabe and Ito's: told apart under every common colour blindness.
TRUTH, FOUND = "#d55e00", "#0072b2"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

# What is less than a millionth of the mass is white.
PROBABILITY, HEIGHT = LogNorm(1e-6, 1.0, clip=True), Normalize(0.0, 1.0)
_GRADIENT = SymLogNorm(1e-3, vmin=-10, vmax=10)
_NEARLY = 0.05  # cells: errors below it are drawn there


def progress_figure(runs: Mapping[str, Sequence[Trajectory]]) -> Figure:
    """Maps after each kept update: a row for each case, a group of columns for each loss.

    A cross is the truth, a ring what the head reads off. Probabilities are on one logarithmic scale, heights on one
    linear scale, in every figure.

    Args:
        runs: title of a group: its trajectories, one for each case, with the same updates kept.
    """
    kept = {title: group[0].kept for title, group in runs.items()}
    rows, columns = len(next(iter(runs.values()))), sum(map(len, kept.values()))
    figure = Figure(figsize=(0.95 + 0.8 * columns + 0.25 * len(runs), 1.12 * rows + 0.95))
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.04, wspace=0.0, hspace=0.0)
    parts: Any = figure.subfigures(
        1, len(runs), width_ratios=[len(each) + 0.3 for each in kept.values()], squeeze=False
    )
    for at, (part, (title, group)) in enumerate(zip(parts[0], runs.items(), strict=True)):
        norm = HEIGHT if group[0].free == "heights" else PROBABILITY
        axes = part.subplots(rows, len(group[0].kept), squeeze=False)
        for row, run in zip(axes, group, strict=True):
            for panel, n, shown in zip(row, run.kept, run.maps, strict=True):
                _show_map(panel, shown.numpy(), run.case, run.coords[n].numpy(), norm)
            if at == 0:
                row[0].set_ylabel(_words(run.case.title), fontsize=8)
        for panel, n in zip(axes[0], group[0].kept, strict=True):
            panel.set_title(
                "start" if n == 0 else f"{n} updates" if len(kept) == 1 or n > 9 else str(n), fontsize=7.5
            )
        part.suptitle(title, fontsize=9)
        _bar(part, axes, norm)
    return figure


def _words(title: str) -> str:
    """A case's title in the lines that a row has room for."""
    return title.replace("  ", ": ").replace(", ", ",\n").replace(": random ", ": random\n")


def _show_map(axes: Any, shown: NDArray[Any], case: Case, found: NDArray[Any], norm: Normalize) -> None:
    height, width = shown.shape
    axes.imshow(shown, cmap="gray_r", norm=norm, interpolation="nearest")
    axes.plot(*case.truth, "+", color=TRUTH, markersize=7, markeredgewidth=1.3)
    # A head may read off what lies beyond the map; it is shown at the edge.
    inside = np.clip(found, 0, (width - 1, height - 1))
    axes.plot(*inside, "o", color=FOUND, markersize=9.5, fillstyle="none", markeredgewidth=1.3)
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _bar(part: Any, axes: Any, norm: Normalize) -> None:
    label = "height" if norm is HEIGHT else "probability of a cell"
    ticks = [0, 0.5, 1] if norm is HEIGHT else [1e-6, 1e-4, 1e-2, 1]
    bar = part.colorbar(
        ScalarMappable(norm, "gray_r"), ax=axes, location="bottom", shrink=0.6, aspect=28, pad=0.015, ticks=ticks
    )
    if norm is PROBABILITY:
        bar.ax.set_xticklabels(["1e-6", "1e-4", "0.01", "1"])
    bar.set_label(label, fontsize=7.5)
    bar.ax.tick_params(labelsize=7)
    bar.ax.minorticks_off()


def gradient_figure(starts: Sequence[Case]) -> Figure:
    """Where the two losses push each start: Eq. 10's two factors, their product, and Eq. 9 beside it.

    The pushes are in the paper's units, on one scale: what one update adds to a cell, for gamma = 1.

    Args:
        starts: of `cases()`.
    """
    figure = Figure(figsize=(6.6, 1.62 * len(starts) + 0.9), layout="constrained")
    rows = figure.subplots(len(starts), 4, squeeze=False)
    norms = (PROBABILITY, Normalize(-3, 3), _GRADIENT, _GRADIENT)
    for row, case in zip(rows, starts, strict=True):
        mean, parts = _pushes(case)
        for axes, shown, norm, colours in zip(
            row, parts, norms, ("gray_r", "PuOr_r", "RdBu_r", "RdBu_r"), strict=True
        ):
            axes.imshow(shown, cmap=colours, norm=norm, interpolation="nearest")
            axes.plot(*case.truth, "+", color="black", markersize=7, markeredgewidth=1.3)
            axes.set(xticks=[], yticks=[])
        for axes in row[:3]:
            axes.plot(*mean, "o", color="black", markersize=9, fillstyle="none", markeredgewidth=1.3)
        row[0].set_ylabel(_words(case.title), fontsize=8.5)
    titles = ("value factor\n$h_p$", "location factor\n(lowers +, raises -)", "regression pushes", "detection pushes")
    for column, (title, norm) in enumerate(zip(titles, norms, strict=True)):
        rows[0, column].set_title(title, fontsize=9)
        image = rows[0, column].images[0]
        ticks = {0: [1e-6, 1e-3, 1], 1: [-3, 0, 3]}.get(column, [-10, -0.1, 0, 0.1, 10])
        bar = figure.colorbar(image, ax=rows[:, column], location="bottom", shrink=0.9, pad=0.01, ticks=ticks)
        bar.ax.tick_params(labelsize=7)
        bar.ax.minorticks_off()
        if norm is _GRADIENT:
            bar.ax.set_xticklabels(["-10", "-0.1", "0", "0.1", "10"])
    return figure


def _pushes(case: Case) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Mean of the softmax in cells; heatmap, location factor, and minus the gradient of regression and detection."""
    size = (case.heights.shape[0], case.heights.shape[1])
    free = case.heights[None, None]
    truth = ops.to_normalized(torch.tensor([[case.truth]], dtype=free.dtype), size)
    value, location = factors(free, truth, BETA)
    wanted = ops.render_gaussian(truth, SIGMA, size, normalize=False)
    cells = sum(size) / 4
    parts = [value / BETA, location, -cells * value * location, -2 * (free - wanted)]
    mean = ops.to_pixels(ops.dsnt(value / BETA), size)[0, 0]
    return mean.numpy(), [part[0, 0].numpy() for part in parts]


def error_figure(runs: Mapping[str, Sequence[Trajectory]]) -> Figure:
    """The farthest from the truth that the coordinate will still be, over updates: a panel a case, a line a loss.

    Of a step size that is constant, an L1 distance goes to and fro about the truth; a line that showed each update
    would be a band. This one is below one cell from the update on that `arrival` gives, and ends where that does.

    Args:
        runs: label of a line: its trajectories, one for each case.
    """
    some = next(iter(runs.values()))
    figure = Figure(figsize=(10.4, 6.4), layout="constrained")
    panels = figure.subplots(2, (len(some) + 1) // 2, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, at in zip(panels, range(len(some)), strict=False):
        axes.axhspan(_NEARLY / 1.3, 1, color="#eeeeee", zorder=0)
        for i, (label, group) in enumerate(runs.items()):
            errors = group[at].errors.nan_to_num(nan=1e3).flip(0).cummax(0).values.flip(0).clamp_min(_NEARLY).numpy()
            style = {"color": LINES[i % len(LINES)], "linestyle": ("-", "--", ":")[i // len(LINES) % 3]}
            axes.plot(errors, label=label, linewidth=1.5, **style)
        axes.set_title(some[at].case.title, fontsize=10, loc="left")
        axes.set(xscale="symlog", yscale="log", ylim=(_NEARLY / 1.3, 90), xlim=(0, 0.9 * (len(some[0].errors) - 1)))
        axes.grid(alpha=0.25)
        ticks = [tick for tick in (0, 1, 10, 100, 1000) if tick < len(some[0].errors)]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
        axes.minorticks_off()
    figure.supxlabel("updates", fontsize=10)
    figure.supylabel("farthest that it will still be from the truth, cells (grey: within one)", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8.5, frameon=False)
    return figure


def animation(runs: Mapping[str, Sequence[Trajectory]], milliseconds: int = 160) -> bytes:
    """A GIF of the maps on their way: a row for each loss, a column for each case, a frame for each kept update.

    Args:
        runs: title of a row: its trajectories, one for each case, with the same updates kept.
        milliseconds: that a frame stays; the last stays ten times as long.
    Returns:
        The bytes of the file.
    """
    kept = next(iter(runs.values()))[0].kept
    figure, artists = _stage(runs)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # every frame stands where the first does
    frames = []
    for i, n in enumerate(kept):
        for run, image, ring, trail, said in artists:
            image.set_data(run.maps[i].numpy())
            ring.set_data(*run.coords[n, :, None].numpy())
            trail.set_data(*run.coords[: n + 1].T.numpy())
            said.set_text(f"{float(run.errors[n]):.1f} cells off")
        figure.suptitle(f"after {n} updates" if n != 1 else "after 1 update", fontsize=11)
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    first, *rest = (frame.quantize(palette=_palette(), dither=Image.Dither.NONE) for frame in frames)
    file = io.BytesIO()
    lengths = [milliseconds] * len(rest) + [10 * milliseconds]
    first.save(file, "GIF", save_all=True, append_images=rest, duration=lengths, loop=0, optimize=False)
    return file.getvalue()


def _palette() -> Image.Image:
    """One for all frames, so that colours don't flicker: greys, and the two colours lightened and darkened."""
    steps = [round(255 * i / 63) for i in range(64)]
    colours = [(grey, grey, grey) for grey in steps]
    for name in (TRUTH, FOUND):
        own = [int(name[i : i + 2], 16) for i in (1, 3, 5)]
        for end in (255, 150, 0):
            colours += [tuple(round(c + (end - c) * i / 8) for c in own) for i in range(8)]  # type: ignore[misc]
    image = Image.new("P", (1, 1))
    image.putpalette([value for colour in colours for value in colour])
    return image


def _stage(runs: Mapping[str, Sequence[Trajectory]]) -> tuple[Figure, list[tuple[Trajectory, Any, Any, Any, Any]]]:
    """The figure of the first frame, and what changes in it."""
    columns = len(next(iter(runs.values())))
    figure = Figure(figsize=(1.55 * columns + 0.4, 2.25 * len(runs) + 0.4), dpi=85, layout="constrained")
    figure.suptitle("after 0 updates", fontsize=11)
    artists = []
    for at, (row, (title, group)) in enumerate(
        zip(figure.subplots(len(runs), columns, squeeze=False), runs.items(), strict=True)
    ):
        for axes, run in zip(row, group, strict=True):
            norm = HEIGHT if run.free == "heights" else PROBABILITY
            _show_map(axes, run.maps[0].numpy(), run.case, run.coords[0].numpy(), norm)
            (trail,) = axes.plot([], [], color=FOUND, linewidth=1, alpha=0.7)
            said = axes.set_xlabel("99.9 cells off", fontsize=8)
            artists.append((run, axes.images[0], axes.lines[1], trail, said))
            if at == 0:
                axes.set_title(_words(run.case.title), fontsize=8.5)
        row[0].set_ylabel(title, fontsize=10)
    return figure, artists


def png(figure: Figure, dpi: int = 100) -> bytes:
    """The figure as the bytes of a PNG."""
    figure.set_dpi(dpi)
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()
