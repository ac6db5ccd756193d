"""Points near the border of the picture: what each head makes of them, without a network and with one.

    python experiments/borders.py --out runs/borders

Nibali et al. 2018, Section 6.4: hourglasses with DSNT were "less accurate for predicting edge case joints that lie
very close to the image boundary, which is expected due to how the layer works"; and on a 7 x 7 map "a 1 pixel
standard deviation Gaussian ... is likely to clip heavily, which adversely affects the DSNT calculation".

    maps       free logits, fitted to a truth at a known distance from the left border by the head's own loss. What is
               left over is the head's: no mean of cells lies within half a cell of the border, and a Gaussian
               renormalized on the grid has its mean farther inside than its centre
    training   a small hourglass on pictures with three coloured marks, half of them drawn near the border; errors by
               distance to the border, less those of the interior, and the part of them that points inwards

Distances are in heatmap cells from the picture's edge. The heatmap head, whose coordinate is a peak, is the measure:
a mark that the edge cuts in half is harder to find for everybody. `--full`: larger maps, more pictures, 5 seeds.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from punctum import heads, ops
from punctum.compare.cells import Cell, run_cells, slug
from punctum.data.augment import Augmentation
from punctum.data.crop import CropSettings
from punctum.draw import write_png
from punctum.evaluation import Evaluation
from punctum.heads import Head, Target
from punctum.judging import Protocol
from punctum.settings import HardwareSettings, TrainSettings
from results import environment, interval, markdown, read_result, shown, summary, write_result

HEADS: dict[str, dict[str, Any]] = {
    "heatmap": {"name": "heatmap"},
    "dsnt": {"name": "dsnt", "regularizer": "none"},
    "dsnt+js": {"name": "dsnt", "regularizer": "js"},
    "dsnt+kl": {"name": "dsnt", "regularizer": "kl"},
    "dsnt+variance": {"name": "dsnt", "regularizer": "variance"},
    "integral+kl": {"name": "integral", "prior": "kl"},
    "density": {"name": "density", "absent": False},
}
# Free maps alone: the paper's way with heatmaps, and a start near the truth instead of a flat map.
AS_IN_PAPER = {"name": "heatmap", "centre": "rounded", "decoder": "quarter"}
MORE_MAPS: dict[str, dict[str, Any]] = {"heatmap, rounded, quarter": AS_IN_PAPER}
PEAK = ", from a peak"
DISTANCES = (0.02, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
# Left ends of the bins of distances, in cells; the last one is the interior.
BINS = (0.0, 0.5, 1.0, 2.0, 3.0)


@dataclass(frozen=True)
class Scale:
    """How large the experiment is: pictures have 4 pixels a cell."""

    maps: tuple[int, ...] = (16, 28)
    steps: int = 2000
    seeds: int = 3
    size: int = 64
    train: int = 384
    test: int = 512
    epochs: int = 10
    width: float = 0.125


CHANGEABLE = ("seeds", "steps", "train", "test", "epochs")
SMALL = Scale()
FULL = Scale(maps=(7, 14, 16, 28, 56, 64), steps=8000, seeds=5, size=256, train=8192, test=4096, epochs=60, width=1.0)


def main() -> None:
    """Run what is missing, then print and write tables and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/borders"))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--heads", default=",".join(HEADS))
    parser.add_argument("--jobs", type=int, default=0, help="trainings side by side; 0: one a core or GPU")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    for name in CHANGEABLE:
        parser.add_argument(f"--{name}", type=int, help="instead of the scale's own")
    given = parser.parse_args()
    base = FULL if given.full else SMALL
    changes = {
        name: value for name in ("seeds", "steps", "train", "test", "epochs") if (value := getattr(given, name))
    }
    scale = Scale(**{**vars(base), **changes})
    names = given.heads.split(",")
    free = [*names, *(MORE_MAPS if "heatmap" in names else ()), *(n + PEAK for n in names if n == "dsnt+variance")]
    maps = {str(n): {name: fit_cell(name, n, scale, given.out / "maps") for name in free} for n in scale.maps}
    trained = train_all(names, scale, given)
    report = {
        "experiment": "borders",
        **environment(given.device),
        "scale": asdict(scale),
        "distances": DISTANCES,
        "bins": BINS,
        "maps": maps,
        "training": trained,
    }
    write_result(given.out / "borders.json", report)
    draw(maps, trained, given.out / "borders.png")
    for n, found in maps.items():
        print(f"\nFree maps of {n} x {n} cells: bias inwards, in cells, by the truth's distance to the border\n")
        print(maps_table(found))
    print("\nTrained: median error in cells, by distance to the border in cells\n")
    print(training_table(trained, "error"))
    print("\nTrained: median of the error's part that points inwards, in cells\n")
    print(training_table(trained, "inward"))
    print(f"\nwritten: {given.out / 'borders.json'}, .png")


# --- without a network ----------------------------------------------------------------------------------------


def fit_cell(name: str, n: int, scale: Scale, folder: Path) -> dict[str, Any]:
    """Bias inwards by distance for one head and size, or what an earlier call found."""
    path = folder / f"{slug(name)}-{n}.json"
    options = {**HEADS, **MORE_MAPS}[name.removesuffix(PEAK)]
    settings = {"head": options, "size": n, "steps": scale.steps, "seeds": scale.seeds, "distances": DISTANCES}
    if (there := read_result(path)) is not None and there["settings"] == json.loads(json.dumps(settings)):
        return there
    columns = fit(options, n, scale.steps, scale.seeds, peak=name.endswith(PEAK))
    inward = {str(d): summary(column) for d, column in zip(DISTANCES, columns, strict=True)}
    write_result(path, {"settings": settings, "inward": inward})
    print(f"maps {n} {name}: {[round(v['mean'], 3) for v in inward.values()]}", flush=True)
    return read_result(path) or {}


def fit(options: dict[str, Any], n: int, steps: int, seeds: int, peak: bool = False) -> list[list[float]]:
    """How far inside the truth a fitted map's coordinate lies, in cells: for each of `DISTANCES`, each seed's.

    Every map starts nearly flat (or with `peak`, as a blob about the truth, 1.5 cells wide) and has a truth of its
    own, whose height is random in the map's middle half. Adam moves each logit by itself, so maps fitted together are
    as good as maps fitted one by one.
    """
    count = len(DISTANCES) * seeds
    generator = torch.Generator().manual_seed(0)
    heights = n / 4 + n / 2 * torch.rand(count, generator=generator)
    pixels = torch.stack([torch.tensor(DISTANCES).repeat_interleave(seeds) - 0.5, heights - 0.5], -1)[None]
    truth = ops.to_normalized(pixels, (n, n))
    head = heads.build(in_channels=1, num_keypoints=count, size=(n, n), **options)
    logits = 0.1 * torch.randn(1, count, n, n, generator=generator)
    if peak:
        logits += 10 * ops.render_gaussian(truth, 1.5, (n, n), normalize=False)
    logits.requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    target = Target(truth, torch.ones(1, count, dtype=torch.bool))
    for _ in range(steps):
        optimizer.zero_grad()
        torch.stack(list(head.losses(output(head, logits), target).values())).sum().backward()
        optimizer.step()
        schedule.step()
    coords = head.decode(output(head, logits.detach())).coords
    return (ops.to_pixels(coords, (n, n)) - pixels)[0, :, 0].reshape(-1, seeds).tolist()


def output(head: Head, logits: Tensor) -> Any:
    """The map as the head's own `forward` would return it."""
    return (logits,) if head.name == "density" else logits


# --- with a network -------------------------------------------------------------------------------------------


def write_marks(folder: Path, split: str, count: int, size: int, seed: int) -> Path:
    """Pictures of three marks, red, green and blue, with COCO annotations; every other mark lies near the border."""
    path = folder / f"{split}.json"
    if path.is_file():
        return path
    rng = np.random.default_rng([seed, split == "test"])
    images, annotations = [], []
    for i in range(count):
        marks = np.array([draw_place(size, rng) for _ in range(3)])
        name = f"images/{split}_{i:05d}.png"
        write_png(folder / name, mark_picture(marks, size, rng))
        images.append({"id": i + 1, "file_name": name, "width": size, "height": size})
        keypoints = [v for x, y in marks for v in (float(x), float(y), 2)]
        annotation = {"id": i + 1, "image_id": i + 1, "category_id": 1, "num_keypoints": 3, "keypoints": keypoints}
        annotations.append({**annotation, "bbox": [-0.5, -0.5, size, size], "area": size**2, "iscrowd": 0})
    category = {"id": 1, "name": "marks", "keypoints": ["red", "green", "blue"], "skeleton": []}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def draw_place(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A pixel place: anywhere, or within three cells of one of the four edges."""
    place = rng.uniform(-0.5, size - 0.5, 2)
    if rng.random() < 0.5:
        axis, far = rng.integers(2), rng.random() < 0.5
        depth = rng.uniform(0, 4 * BINS[-1])
        place[axis] = size - 0.5 - depth if far else depth - 0.5
    return place


def mark_picture(marks: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Soft round marks, 2 px wide, on coloured noise with gray marks among it."""
    noise = rng.uniform(60, 190, 3) + cv2.resize(rng.normal(0, 25, (size // 6, size // 6, 3)), (size, size))
    others = rng.uniform(-0.5, size - 0.5, (6, 2))
    y, x = np.mgrid[:size, :size]
    for i, (px, py) in enumerate([*others, *marks]):
        colour = np.full(3, rng.uniform(0, 255)) if i < len(others) else 230.0 * np.eye(3)[i - len(others)] + 10
        weight = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 2.0**2))[..., None]
        noise = noise * (1 - weight) + colour * weight
    return np.clip(noise + rng.normal(0, 6, noise.shape), 0, 255).round().astype(np.uint8)


def train_all(names: list[str], scale: Scale, given: argparse.Namespace) -> dict[str, Any]:
    """Errors by distance to the border, for each head: the values of all seeds, and their mean and interval."""
    cells = []
    for seed in range(scale.seeds):
        data = given.out / "data" / f"{scale.size}px-{scale.train}-{scale.test}-seed{seed}"
        train = write_marks(data, "train", scale.train, scale.size, seed)
        test = write_marks(data, "test", scale.test, scale.size, seed)
        for name in names:
            settings = TrainSettings(
                str(train),
                "",
                val_fraction=0.03,
                head=HEADS[name],
                backbone={"name": "hourglass", "stacks": 1, "width": scale.width},
                crop=CropSettings((scale.size, scale.size), region="image"),
                augmentation=Augmentation(flip=0, scale=0, rotation=0, shift=0, colour=0.1),
                hardware=HardwareSettings(accelerator="gpu" if given.device == "cuda" else "cpu", workers=0),
                batch_size=8,
                max_epochs=scale.epochs,
                seed=seed,
            )
            tags = {"head": name, "seed": seed}
            cells.append(Cell(f"{slug(name)}-seed{seed}", settings, str(test), None, Protocol("pixels"), tags))
    outcomes = run_cells(cells, given.out / "cells", jobs=given.jobs)
    failed = [f"{o.cell.name}: {o.error}" for o in outcomes if o.result is None]
    if failed:
        raise SystemExit("\n".join(["not all trainings succeeded; run the same command again:", *failed]))
    binned: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for outcome in outcomes:
        found = Evaluation.load(outcome.folder / "test")
        binned[outcome.cell.tags["head"]].append(by_distance(found.keypoints, found.target, scale.size))
    return {name: gather(rows, binned.get("heatmap", rows)) for name, rows in binned.items()}


def by_distance(
    keypoints: NDArray[np.float64], target: NDArray[np.float64], size: int, cell: float = 4.0
) -> dict[str, Any]:
    """Errors and their part that points inwards, across the nearest edge, in cells, in each of `BINS`: medians, since
    a few marks taken for another one would drown the rest, and the error's mean.
    """
    target, keypoints = target.reshape(-1, 2), keypoints.reshape(-1, 2)
    depths = np.concatenate([target + 0.5, size - 0.5 - target], 1)  # to the left, top, right and bottom edge
    nearest = depths.argmin(1)
    rows = np.arange(len(target))
    step = keypoints - target
    inwards = step[rows, nearest % 2] * np.where(nearest < 2, 1, -1) / cell
    error = np.linalg.norm(step, axis=1) / cell
    place = np.digitize(depths[rows, nearest] / cell, BINS) - 1
    bins = [place == i for i in range(len(BINS))]
    return {
        "n": [int(b.sum()) for b in bins],
        "error": [median(error[b]) for b in bins],
        "inward": [median(inwards[b]) for b in bins],
        "mean": [float(error[b].mean()) if b.any() else math.nan for b in bins],
    }


def median(values: NDArray[np.float64]) -> float:
    """NaN of nothing."""
    return float(np.median(values)) if len(values) else math.nan


def gather(rows: list[dict[str, Any]], base: list[dict[str, Any]]) -> dict[str, Any]:
    """Over seeds, by bin: error, its excess over the interior's, that less the heatmap head's, its part inwards.

    Differences, not ratios: a head that is worse everywhere would look better at the border for it.
    """

    def excess(row: dict[str, Any]) -> list[float]:
        return [error - row["error"][-1] for error in row["error"]]

    found = {key: [row[key] for row in rows] for key in ("error", "mean", "inward")}
    found["excess"] = [excess(row) for row in rows]
    found["against heatmap"] = [
        [mine - theirs for mine, theirs in zip(excess(row), excess(other), strict=True)]
        for row, other in zip(rows, base, strict=True)
    ]
    summaries = {key: [summary(list(v)) for v in zip(*values, strict=True)] for key, values in found.items()}
    return {"n": [r["n"] for r in rows], **summaries}


# --- what is shown --------------------------------------------------------------------------------------------


def labels() -> list[str]:
    """The bins' names."""
    return [*(f"{a:g} to {b:g}" for a, b in pairwise(BINS)), f"{BINS[-1]:g} and more"]


def maps_table(found: dict[str, Any]) -> str:
    """Heads by distances."""
    rows = [[name, *(shown(cell["inward"][str(d)]["values"], 3) for d in DISTANCES)] for name, cell in found.items()]
    return markdown(["head", *(f"{d:g}" for d in DISTANCES)], rows)


def training_table(trained: dict[str, Any], key: str) -> str:
    """Heads by bins; for errors also the outermost bin's excess over the interior, and that less the heatmap's."""
    header = ["head", *labels()]
    header += ["0 to 0.5 less interior", "the same less heatmap's"] if key == "error" else []
    rows = []
    for name, found in trained.items():
        row = [name, *(shown(value["values"]) for value in found[key])]
        if key == "error":
            row += [shown(found[what][0]["values"]) for what in ("excess", "against heatmap")]
        rows.append(row)
    return markdown(header, rows)


def draw(maps: dict[str, Any], trained: dict[str, Any], path: Path) -> None:
    """Left: bias of free maps; middle and right: trained networks."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    n = next(iter(maps))
    for i, (name, cell) in enumerate(maps[n].items()):
        values = [cell["inward"][str(d)]["mean"] for d in DISTANCES]
        left.plot(DISTANCES, values, f"C{i}o-", markersize=3, label=name)
    left.set(title=f"free maps, {n} x {n}", xlabel="distance to the border, cells", ylabel="bias inwards, cells")
    places = np.arange(len(BINS))
    for axis, key, title in (
        (middle, "excess", "error beyond the interior's, cells"),
        (right, "inward", "error inwards, cells"),
    ):
        for i, (name, found) in enumerate(trained.items()):
            means, halves = zip(*(interval(value["values"]) for value in found[key]), strict=True)
            spread = [half or 0.0 for half in halves]
            axis.errorbar(places + 0.06 * (i - 3), means, spread, fmt=f"C{i}o-", markersize=3, capsize=2, label=name)
        axis.set_xticks(places, labels())
        axis.set(title=f"trained: {title}", xlabel="distance to the border, cells")
    for axis in (left, middle, right):
        # Most lies within a cell; the variance regularizer's maps lie far out.
        axis.set_yscale("symlog", linthresh=1.0, linscale=2.0)
        axis.axhline(0, color="gray", linewidth=0.8)
    left.legend(fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
