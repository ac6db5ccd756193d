"""What regions and scores promise, and whether they keep it, on real images: every head, several seeds, many splits.

    python benchmarks/trust.py helen --data ../shared/data --out runs/trust
    python benchmarks/trust.py lspet --data ../shared/data --out runs/trust --heads density,heatmap --seeds 3

Trains each head (small networks: an hour and more on two cores; finished runs are kept), predicts the held-out
images once, and then, `--splits` times, calibrates on a random half of them and judges by the other half. Every
figure is the mean over the splits, then over seeds, with Student's 95 % interval over seeds; the splits say how much
one calibration scatters. Writes trust-TASK.json and prints its tables.
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import punctum
from accuracy import ALIGNED, HEADS, TASKS, half_width, prepare, run_cell
from punctum.calibrate import collect
from punctum.calibration import KINDS, Calibrated, Calibration, Density, MapSet, calibrate, regions
from punctum.calibration.maps import cells_to_image, errors_in_cells, in_cells
from punctum.calibration.spread import Spread, gaussian_surprise
from punctum.data import read
from punctum.decision import Decision
from punctum.metrics import rank_correlation
from punctum.metrics.calibration import crps, ece, energy_score, linear_correlation
from punctum.ops import transform_covariance, transform_points
from punctum.ops.highest_density import HighestDensity
from punctum.predict import Predictor, load_model
from punctum.reading import Reading
from punctum.scales import Scales

LEVELS = (0.5, 0.8, 0.9, 0.95)
# Draws of each density, half of what the product takes: levels to 0.4 %, in half of the time.
DRAWS = 256
# What takes long is worked out for the first splits alone.
FULL = 2
# Of splits of these heads there are as many as asked for; of the others `FULL`, for the comparison alone.
THOROUGH = ("density",)
CACHED = ["--input-size", "96", "--hardware.cache", "ram"]
TRAIN = {
    "helen": ["--crop.region", "image", "--backbone.width", "0.25", "--max-epochs", "30", *CACHED, *ALIGNED],
    "lspet": ["--backbone.width", "0.5", "--max-epochs", "9", *CACHED],
}
DEFAULT = "density,dsnt+js,heatmap,sampling:crps,sampling,sampling:uniform,sampling:gaussian"
RULES = ("head", "mean", "mode", "median")
# Levels at which areas are looked up, to find the one of a given area.
GRID = (*np.linspace(0.1, 0.9, 17).tolist(), 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995)


def main() -> None:
    """Train what is missing, judge what is missing, then print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=list(TRAIN))
    parser.add_argument("--data", type=Path, required=True, help="folder with helen.zip and lspet.zip")
    parser.add_argument("--out", type=Path, default=Path("runs/trust"))
    parser.add_argument("--heads", default=DEFAULT)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--again", action="store_true", help="judge anew what is judged already")
    given = parser.parse_args()
    heads = given.heads.split(",")
    if unknown := [head for head in heads if head not in HEADS]:
        parser.error(f"unknown heads {', '.join(unknown)}; there are {', '.join(HEADS)}")
    train, test = prepare(given.task, given.data, given.out / "data")[0]
    task = replace(TASKS[given.task], train=TRAIN[given.task])
    folder = given.out / given.task
    cells = [(head, seed) for seed in range(given.seeds) for head in heads]
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(lambda cell: run_cell(task, folder, False, *cell, 0, train, test), cells))
    jobs = [(folder, given.task, test, *cell, splits_of(cell[0], given.splits), given.again) for cell in cells]
    with ProcessPoolExecutor(given.jobs) as pool:
        judged = list(pool.map(judge_cell, jobs))
    rows = {head: [found for (name, _), found in zip(cells, judged, strict=True) if name == head] for head in heads}
    report = {
        "task": given.task,
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, one thread a run, {given.jobs} at a time",
        "versions": {"punctum": punctum.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "train": ["punctum", "train", "DATA", *task.train],
        "seeds": given.seeds,
        "heads": {head: summarize(found, rows) for head, found in rows.items()},
    }
    path = given.out / f"trust-{given.task}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(regions_table(report["heads"]))
    print(heads_table(report["heads"]))
    print(f"written: {path}")


def splits_of(head: str, splits: int) -> int:
    """How many splits a head gets."""
    return splits if head in THOROUGH else min(splits, FULL)


# --- one model ------------------------------------------------------------------------------------------------------


def judge_cell(job: tuple[Path, str, Path, str, int, int, bool]) -> list[dict[str, float]]:
    """The figures of every split of one model, kept in its folder."""
    folder, task, test, head, seed, splits, again = job
    run = folder / f"{head}-seed{seed}" / "fold0"
    path = run / "trust.json"
    if path.exists() and not again:
        found = json.loads(path.read_text())
        if len(found) >= splits:
            return found[:splits]
    torch.set_num_threads(1)
    regions.DRAWS = DRAWS
    maps, names = predicted(run, test, task)
    found = [judge_split(maps, names, split) for split in range(splits)]
    path.write_text(json.dumps(found) + "\n")
    print(f"{run}: {splits} splits", flush=True)
    return found


def predicted(run: Path, test: Path, task: str) -> tuple[MapSet, tuple[str, ...]]:
    """What a model says of the held-out images, with errors measured by the box."""
    annotations = read(test)
    predictor = Predictor(load_model(run), "cpu", 32)
    sizes = np.array([[1, 1]] * len(annotations))  # every instance has a box
    maps = collect(predictor, annotations, Scales.of(annotations.boxes, sizes), "bbox")
    return maps, annotations.schema.names


def judge_split(maps: MapSet, names: tuple[str, ...], split: int) -> dict[str, float]:
    """Calibrate on half of the images, and judge by the others."""
    calibration_part, rest = maps.split(len(maps.images.unique()) // 2, split)
    calibration = calibrate(calibration_part, names, levels=LEVELS, within=0.05, seed=split)
    found = calibration.apply(rest.prediction, rest.to_image, rest.lengths)
    truth = torch.where(rest.visible[..., None], rest.keypoints.double(), torch.nan)
    figures = kept_promises(found, truth)
    if split < FULL:
        figures |= errors(rest, found, truth, calibration)
        figures |= uncalibrated(calibration_part, rest, truth)
        figures |= scores(rest, found, truth, calibration.distance.within)
    return figures


def errors(rest: MapSet, found: Calibrated, truth: Tensor, calibration: Calibration) -> dict[str, float]:
    """Median and mean error of the head's own coordinate, and of the places that rules take, px."""
    figures = {}
    for word in RULES:
        reading = Reading(Decision.parse(word))
        places = reading.decide_maps(rest, calibration.fitted.density).prediction.coords
        error = (transform_points(places.double(), rest.to_image.double()) - truth).norm(dim=-1)
        figures[f"median px {word}"] = float(error.nanmedian())
        figures[f"mean px {word}"] = float(error.nanmean())
        hit = error <= 0.05 * rest.lengths.double()[:, None]
        figures[f"PCK@0.05 {word}"] = float(hit[~error.isnan()].double().mean())
    return figures


def kept_promises(found: Calibrated, truth: Tensor) -> dict[str, float]:
    """Coverage and size of the conformal regions, per point and of whole instances."""
    figures, counts = {}, truth.isfinite().all(-1)
    for kind in KINDS:
        for level in LEVELS:
            area = found.volume(kind, level)[counts]
            figures[f"coverage {kind} {level}"] = float(found.holds(kind, level, truth)[counts].double().mean())
            figures[f"median area {kind} {level}"] = float(area.median())
            figures[f"mean area {kind} {level}"] = float(area.mean())
        together = (found.holds(kind, 0.95, truth, joint=True) | ~counts)[counts.any(1)]
        figures[f"joint coverage {kind}"] = float(together.all(1).double().mean())
        figures[f"joint median area {kind}"] = float(found.volume(kind, 0.95, joint=True)[counts].median())
    depth = found.regions.score("hdr", truth)[counts]
    figures["PIT KS"] = float(np.abs(np.sort(depth.clamp(0, 1).numpy()) - np.linspace(0, 1, len(depth))).max())
    highest = found.regions.densest
    areas = {q: float(highest.volume(q)[counts].median()) for q in GRID}
    for q in GRID:
        figures[f"grid area {q:g}"] = areas[q]
        figures[f"grid coverage {q:g}"] = float((depth <= q).double().mean())
    return figures


def uncalibrated(fitted: MapSet, rest: MapSet, truth: Tensor) -> dict[str, float]:
    """Two regions of 95 % that rest on no conformal bound: the head's covariance as it is, and the map with a fitted
    temperature alone."""
    figures, counts = {}, truth.isfinite().all(-1)
    matrix = rest.to_image.double()
    if rest.prediction.covariance is not None:
        spread = transform_covariance(rest.prediction.covariance.double(), matrix)
        offset = truth - transform_points(rest.prediction.coords.double(), matrix)
        bound = -2 * math.log(0.05)
        safe = spread + 1e-9 * torch.eye(2)
        square = (offset * torch.linalg.solve(safe, offset.nan_to_num()[..., None])[..., 0]).sum(-1)
        area = math.pi * bound * torch.linalg.det(safe).clamp_min(0).sqrt()
        figures["coverage covariance 0.95"] = float((square <= bound)[counts].double().mean())
        figures["median area covariance 0.95"] = float(area[counts].median())
        figures["mean area covariance 0.95"] = float(area[counts].mean())
    tempered = temperature_alone(fitted)
    highest = HighestDensity(tempered.mixture(rest.prediction).transform(matrix), DRAWS)
    level, area = highest.level(truth), highest.volume(0.95)
    figures["coverage temperature 0.95"] = float((level <= 0.95)[counts].double().mean())
    figures["median area temperature 0.95"] = float(area[counts].median())
    figures["mean area temperature 0.95"] = float(area[counts].mean())
    return figures


def temperature_alone(fitted: MapSet) -> Density:
    """One temperature for each keypoint, the likeliest of a grid; cells half a cell wide, and nothing else."""
    keypoints, dims = fitted.visible.shape[1], fitted.keypoints.shape[-1]
    start = Density.default(keypoints, dims)
    truth = torch.where(fitted.visible[..., None], fitted.keypoints.double(), 0.0)
    likelihood = []
    grid = torch.tensor([0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0])
    for t in grid:
        density = replace(
            start, temperature=torch.full((keypoints,), float(t)), bandwidth=torch.full((keypoints,), 0.5)
        )
        log_prob = density.mixture(fitted.prediction).transform(fitted.to_image.double()).log_prob(truth)
        likelihood.append(torch.where(fitted.visible, log_prob, 0.0).sum(0))
    best = grid[torch.stack(likelihood).argmax(0)]
    return replace(start, temperature=best, bandwidth=torch.full((keypoints,), 0.5))


def scores(rest: MapSet, found: Calibrated, truth: Tensor, within: float) -> dict[str, float]:
    """Proper scores of the density, and what the two scores know: the head's own and the calibrated one."""
    counts = truth.isfinite().all(-1)
    safe = torch.where(counts[..., None], truth, 0.0)
    mixture = found.mixture
    error = torch.where(counts, (found.keypoints - safe).norm(dim=-1), torch.nan)
    relative = error / rest.lengths.double()[:, None]
    hit = torch.where(counts, (relative <= within).double(), torch.nan)
    own, calibrated = rest.prediction.score.double(), found.score
    _, spread = in_cells(rest.prediction)
    plain = Spread.fit(errors_in_cells(rest), torch.zeros_like(spread))
    return {
        "NLL": float(-mixture.log_prob(safe)[counts].mean()),
        "NLL constant": float(constant_nll(rest, plain)),
        "CRPS px": float(crps(mixture, safe)[counts].mean()),
        "energy px": float(energy_score(mixture.draw(128), safe, fair=False)[counts].mean()),
        "spearman own": float(rank_correlation(torch.where(counts, own, torch.nan), relative)),
        "spearman": float(rank_correlation(torch.where(counts, calibrated, torch.nan), relative)),
        "pearson own": float(linear_correlation(torch.where(counts, own, torch.nan), relative)),
        "pearson": float(linear_correlation(torch.where(counts, calibrated, torch.nan), relative)),
        "ECE": float(ece(torch.where(counts, calibrated, torch.nan), hit).value),
    }


def constant_nll(rest: MapSet, plain: Spread) -> Tensor:
    """Nats per px^2 of one Gaussian for each keypoint, fitted to the judged errors themselves: what knowing nothing
    of the single picture costs, at best."""
    offset = errors_in_cells(rest)
    counts = offset.isfinite().all(-1)
    cells = cells_to_image(rest.to_image, rest.size)
    volume = torch.linalg.det(cells[:, :-1, :-1]).abs().log()[:, None].expand(counts.shape)
    floor = plain.floor.expand(*counts.shape, *plain.floor.shape[1:])
    return (gaussian_surprise(offset[counts], floor[counts]) + volume[counts]).mean()


# --- all of them ----------------------------------------------------------------------------------------------------


def summarize(found: list[list[dict[str, float]]], rows: dict[str, list[list[dict[str, float]]]]) -> dict[str, Any]:
    """Mean over splits and seeds, half-width over seeds, and the scatter of single splits."""
    reference = rows.get("density", found)
    area = statistics.mean(mean_of(splits, f"median area hdr {0.95}") for splits in reference)
    figures = {}
    for name in found[0][0]:
        if name.startswith("grid"):
            continue
        means = [mean_of(splits, name) for splits in found]
        each = [split[name] for splits in found for split in splits if name in split]
        figures[name] = {
            "mean": statistics.mean(means),
            "half_width": half_width(list(means)),
            "split_sd": statistics.stdev(each),
            "seeds": means,
        }
    equal = [coverage_at_area(splits, area) for splits in found]
    figures["coverage at equal area"] = {
        "mean": statistics.mean(equal),
        "half_width": half_width(list(equal)),
        "area": area,
    }
    return {"splits": len(found[0]), "figures": figures}


def mean_of(splits: list[dict[str, float]], name: str) -> float:
    """Over one seed's splits."""
    return statistics.mean(split[name] for split in splits if name in split)


def coverage_at_area(splits: list[dict[str, float]], area: float) -> float:
    """How many points highest-density regions hold whose median area is a given one."""
    areas = [mean_of(splits, f"grid area {q:g}") for q in GRID]
    shares = [mean_of(splits, f"grid coverage {q:g}") for q in GRID]
    return float(np.interp(area, areas, shares))


def regions_table(heads: dict[str, Any]) -> str:
    """95 % regions by kind: coverage, its scatter over splits, median and mean area."""
    lines = [
        "| head | region | coverage % | one split ± | median area px² | mean area px² |",
        "|---|---|---|---|---|---|",
    ]
    for head, kind in pairs(heads):
        figures = heads[head]["figures"]
        if f"coverage {kind} 0.95" in figures:
            shown = [
                shown_as(figures[f"coverage {kind} 0.95"], 100, 1),
                f"{100 * figures[f'coverage {kind} 0.95']['split_sd']:.1f}",
            ]
            shown += [shown_as(figures[f"{what} area {kind} 0.95"], 1, 0) for what in ("median", "mean")]
            lines.append(f"| {head} | {kind} | {' | '.join(shown)} |")
    for head in heads:
        for kind in KINDS:
            joint, area = (heads[head]["figures"][f"joint {what} {kind}"] for what in ("coverage", "median area"))
            scatter = f"{100 * joint['split_sd']:.1f}"
            lines.append(
                f"| {head} | {kind}, joint | {shown_as(joint, 100, 1)} | {scatter} | {shown_as(area, 1, 0)} | |"
            )
    return "\n".join(lines)


def pairs(heads: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every head with every kind of region."""
    for head in heads:
        for kind in ("temperature", "covariance", *KINDS):
            yield head, kind


def heads_table(heads: dict[str, Any]) -> str:
    """Heads side by side."""
    columns = {
        "median px": ("median px head", 1, 2),
        "best rule px": (None, 1, 2),
        "NLL nats": ("NLL", 1, 3),
        "CRPS px": ("CRPS px", 1, 3),
        "energy px": ("energy px", 1, 3),
        "coverage at equal area %": ("coverage at equal area", 100, 1),
        "95 % hdr area px²": ("median area hdr 0.95", 1, 0),
        "rank corr. own": ("spearman own", 1, 3),
        "rank corr.": ("spearman", 1, 3),
        "ECE %": ("ECE", 100, 1),
    }
    lines = [f"| head | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for head, row in heads.items():
        figures, shown = row["figures"], []
        for name, scale, digits in columns.values():
            if name is None:
                best = best_rule(figures)
                shown.append(f"{shown_as(figures[f'median px {best}'], scale, digits)} ({best})")
            else:
                shown.append(shown_as(figures[name], scale, digits))
        lines.append(f"| {head} | {' | '.join(shown)} |")
    return "\n".join(lines)


def best_rule(figures: dict[str, Any]) -> str:
    """The rule with the smallest median error."""
    return min(RULES, key=lambda rule: figures[f"median px {rule}"]["mean"])


def shown_as(figure: dict[str, Any], scale: float, digits: int) -> str:
    """A mean with its interval over seeds."""
    width = figure["half_width"]
    return f"{scale * figure['mean']:.{digits}f}" + ("" if width is None else f" ± {scale * width:.{digits}f}")


if __name__ == "__main__":
    main()
