"""Draws docs/images/methods/*.png: what each head does to a heatmap.

    python docs/draw_methods.py            # every head
    python docs/draw_methods.py dsnt rle   # these

Each head is trained alone for a moment, on features that show one blob per picture, and is then given four cases:
a clean blob between cells, a wide one, two of which one is false, and one at the border. Above: its heatmap, or the
features where it has none, with the truth, the coordinate it reads off, and its two-sigma ellipse. Below: where its
loss, at that moment, would raise the map (red) and where it would lower it (blue).
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from punctum import heads, ops
from punctum.files import write_through
from punctum.heads import Head, Target

SIZE = (16, 16)
OUT = Path(__file__).parent / "images" / "methods"
# One training for all, short enough that every head still has something to learn.
STEPS, BATCH, LR = 400, 64, 0.02


@dataclass(frozen=True)
class Case:
    """Blobs (place, sigma, height) in heatmap pixels, and where the point truly is."""

    title: str
    blobs: tuple[tuple[tuple[float, float], float, float], ...]
    truth: tuple[float, float]


CASES = (
    Case("between cells", (((6.3, 8.6), 1.0, 1.0),), (6.3, 8.6)),
    Case("wide", (((8.4, 7.3), 2.5, 0.6),), (9.4, 7.3)),
    Case("two candidates", (((4.2, 5.1), 1.0, 1.0), ((11.7, 10.4), 1.0, 0.85)), (4.2, 5.1)),
    Case("at the border", (((0.2, 8.0), 1.0, 1.0),), (-0.3, 8.0)),
)


def main() -> None:
    """Draw the heads that are named, or all."""
    for name in sys.argv[1:] or heads.available():
        torch.manual_seed(0)
        print(draw(name, OUT / f"{name}.png"))


def features_of(blobs: Tensor) -> Tensor:
    """(B, 2, H, W): the blobs, and their logarithm, between which every kind of head finds what it needs."""
    return torch.stack([blobs, blobs.clamp_min(1e-6).log() / 4], dim=1)


def blob(place: Tensor, sigma: float | Tensor, height: float | Tensor) -> Tensor:
    """(B, H, W) from places (B, 2) in heatmap pixels."""
    grid = ops.to_pixels(ops.normalized_grid(SIZE), SIZE)
    squared = (grid - place[:, None, None]).square().sum(-1)
    sigma, height = torch.as_tensor(sigma).reshape(-1, 1, 1), torch.as_tensor(height).reshape(-1, 1, 1)
    return height * torch.exp(-squared / (2 * sigma**2))


def trained(name: str) -> Head:
    """The head after a short training on single blobs anywhere, with noise."""
    head = heads.build(name, 2, 1, SIZE)
    optimizer = torch.optim.Adam(head.parameters(), lr=LR)
    for step in range(STEPS):
        head.set_progress(step / STEPS)
        place = torch.rand(BATCH, 2) * 16 - 0.5
        maps = blob(place, 1 + torch.rand(BATCH), 0.6 + 0.4 * torch.rand(BATCH))
        target = target_at(place)
        terms = head.losses(head(features_of(maps + 0.02 * torch.rand_like(maps))), target)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum(0).mean().backward()
        optimizer.step()
    return head


def target_at(place: Tensor) -> Target:
    """The truth at places (B, 2) in heatmap pixels."""
    coords = ops.to_normalized(place, SIZE)[:, None]
    return Target(coords, torch.ones(coords.shape[:2], dtype=torch.bool))


def draw(name: str, path: Path) -> Path:
    """The figure of one head."""
    head = trained(name)
    figure = Figure(figsize=(10.4, 5.6), dpi=110, layout="constrained")
    rows = figure.subplots(2, len(CASES))
    for (above, below), case in zip(rows.T, CASES, strict=True):
        places = [torch.tensor([place]) for place, _, _ in case.blobs]
        maps = sum((blob(p, s, h) for p, (_, s, h) in zip(places, case.blobs, strict=True)), torch.zeros(1, *SIZE))
        show_case(head, features_of(maps), case, above, below)
    rows[0, 0].set_ylabel("heatmap" if head_has_map(head) else "features (it has no heatmap)")
    rows[1, 0].set_ylabel("the loss raises (red), lowers (blue)")
    rows[0, 0].legend(loc="lower right", fontsize=7, framealpha=0.8)
    canvas = FigureCanvasAgg(figure)
    return write_through(path, lambda temporary: canvas.print_png(str(temporary)))


def head_has_map(head: Head) -> bool:
    """Whether its prediction shows a map."""
    return head.decode(head(torch.zeros(1, 2, *SIZE))).heatmap is not None


def show_case(head: Head, features: Tensor, case: Case, above: Any, below: Any) -> None:
    """One column: what is read off, and where the loss pushes."""
    head.eval()
    with torch.no_grad():
        prediction = head.decode(head(features))
    shown = features[0, 0] if prediction.heatmap is None else prediction.heatmap[0, 0]
    above.imshow(shown, cmap="gray_r")
    found = ops.to_pixels(prediction.coords, SIZE)[0, 0]
    above.plot(*case.truth, "x", color="#d55e00", markersize=9, markeredgewidth=2, label="truth")
    above.plot(*found, "o", color="#0072b2", markersize=7, fillstyle="none", markeredgewidth=2, label="read off")
    if prediction.covariance is not None:
        above.plot(*ellipse(found, prediction.covariance[0, 0]), color="#0072b2", linewidth=1)
    off = float((found - torch.tensor(case.truth)).norm())
    above.set_title(f"{case.title}\noff by {off:.2f} cells, score {float(prediction.score):.2f}", fontsize=9)
    pushed = push(head, features, case)
    limit = float(pushed.abs().max()) or 1.0
    below.imshow(pushed, cmap="RdBu_r", vmin=-limit, vmax=limit)
    below.plot(*case.truth, "x", color="black", markersize=9, markeredgewidth=1.5)
    for axes in (above, below):
        axes.set(xticks=[], yticks=[], xlim=(-0.9, 15.5), ylim=(15.5, -0.5))


def push(head: Head, features: Tensor, case: Case) -> Tensor:
    """Minus the gradient of the loss with respect to the map that the head makes, or to the features."""
    target = target_at(torch.tensor([case.truth]))
    kept: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    conv = getattr(head, "conv", None)
    features = features.clone().requires_grad_()
    handle = conv.register_forward_hook(keep) if conv is not None else None
    sums = 0.0
    # Many draws, for heads that draw samples.
    for _ in range(64):
        sums = sums + torch.stack(list(head.losses(head(features), target).values())).sum()
    (sums / 64).backward()
    if handle is not None:
        handle.remove()
        return -torch.stack([map_.grad[0, 0] for map_ in kept]).sum(0)
    return -features.grad[0, 0]


def ellipse(centre: Tensor, covariance: Tensor) -> np.ndarray:
    """Points (2, n) of the two-sigma ellipse, in heatmap pixels."""
    spread = ops.transform_covariance(covariance, ops.pixels_matrix(SIZE, dtype=torch.float32))
    values, vectors = torch.linalg.eigh(spread)
    turn = torch.linspace(0, 2 * torch.pi, 60)
    circle = torch.stack([turn.cos(), turn.sin()]) * 2 * values.clamp_min(0).sqrt()[:, None]
    return (vectors @ circle + centre[:, None]).numpy()


if __name__ == "__main__":
    main()
