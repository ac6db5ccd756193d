"""Draws docs/images/posterior.png: pictures, what is known of the point in each, and what heads say of it.

    python benchmarks/posterior.py --out runs/posterior
    python docs/draw_posterior.py runs/posterior/examples.npz

A row for each kind of scene, a column for each head, with the divergence from the truth in nats. Shades are by the
square root of the density, the same within a row: black is the true density's highest.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from punctum.files import write_through

OUT = Path(__file__).parent / "images" / "posterior.png"
SHOWN = ("truth", "density", "sampling:crps", "sampling", "dsnt+js", "heatmap", "rle")
WORDS = {"visible": "visible", "occluded": "behind a card", "even": "either end", "uneven": "light 0.7, dark 0.3"}


def main() -> None:
    """Draw what a benchmark left."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/posterior/examples.npz")
    with np.load(path) as held:
        examples = dict(held)
    print(draw(examples, [name for name in SHOWN if f"density {name}" in examples]))


def draw(examples: dict[str, Any], names: list[str]) -> Path:
    """The figure of these densities."""
    kinds, size = examples["kind"], examples["image"].shape[1]
    figure = Figure(figsize=(1.55 * (len(names) + 1), 1.72 * len(kinds)), dpi=110, layout="constrained")
    grid = figure.subplots(len(kinds), len(names) + 1)
    extent = (-0.5, size - 0.5, size - 0.5, -0.5)
    for row, kind in enumerate(kinds):
        grid[row, 0].imshow(examples["image"][row], extent=extent)
        grid[row, 0].set_ylabel(WORDS.get(kind, kind), fontsize=9)
        limit = np.sqrt(examples["density truth"][row].max())
        for axes, name in zip(grid[row, 1:], names, strict=True):
            shade = np.sqrt(examples[f"density {name}"][row])
            axes.imshow(shade, cmap="gray_r", vmin=0, vmax=limit, extent=extent)
            nats = "" if name == "truth" else f"{examples[f'kl {name}'][row]:.2f} nats"
            axes.set_title(f"{name if row == 0 else ''}\n{nats}".strip(), fontsize=9)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    canvas = FigureCanvasAgg(figure)
    return write_through(OUT, lambda temporary: canvas.print_png(str(temporary)))


if __name__ == "__main__":
    main()
