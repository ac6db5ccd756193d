"""Accuracy of every head on real images at equal budget, through the command line alone.

    python benchmarks/accuracy.py helen --data ../shared/data --out runs/accuracy

Each run trains from scratch for the same number of epochs on one thread, two runs at a time, and is then judged
by `punctum evaluate` on images that training did not see. Interrupted, it goes on where it was; `--again` judges
finished runs anew. Prints a table with the mean over seeds, its 95 % interval (Student's t) and CPU minutes, and
writes it as JSON with the commands.
"""

import argparse
import csv
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from scipy import stats

import punctum

HEADS = {
    "dsnt": ["--head", "dsnt", "--head.regularizer", "none"],
    "dsnt+js": ["--head", "dsnt", "--head.regularizer", "js"],
    "dsnt+js:local": ["--head", "dsnt", "--head.regularizer", "js", "--head.decoder", "local"],
    "heatmap": ["--head", "heatmap"],
    "fully_connected": ["--head", "fully_connected"],
    "integral+kl": ["--head", "integral", "--head.prior", "kl"],
    "integral+kl:local": ["--head", "integral", "--head.prior", "kl", "--head.decoder", "local"],
    "sampling": ["--head", "sampling", "--head.num_samples", "10"],
    "sampling:uniform": ["--head", "sampling", "--head.num_samples", "10", "--head.basis", "uniform"],
    "sampling:gaussian": ["--head", "sampling", "--head.num_samples", "10", "--head.basis", "gaussian"],
    "sampling:crps": ["--head", "sampling", "--head.estimator", "crps"],
    "density": ["--head", "density"],
    "density:local": ["--head", "density", "--head.decoder", "local"],
    "oks": ["--head", "oks"],
    "simcc": ["--head", "simcc"],
    "rle": ["--head", "rle"],
}
# Faces and filmed mice are upright and of one size: the paper's augmentation is for people in any pose.
ALIGNED = ["--augmentation.rotation", "15", "--augmentation.scale", "0.15"]
QUARTER = ["--backbone.width", "0.25"]
# How well scores rank errors: 1 is perfectly, 0 not at all.
TRUST = {"score corr.": ("score_error_correlation", "value")}
COMMON = ["--hardware.workers", "0", "--hardware.accelerator", "cpu"]


@dataclass(frozen=True)
class Task:
    """One data set: how to train, how to judge, which figures to show (name in the table, path in metrics.json)."""

    folds: int
    train: list[str]
    evaluate: list[str]
    figures: dict[str, tuple[str, ...]]
    scale: dict[str, float] = field(default_factory=dict)


TASKS = {
    "helen": Task(
        folds=1,
        train=["--input-size", "96", "--crop.region", "image", *QUARTER, "--max-epochs", "70", *ALIGNED],
        evaluate=["--normalizer", "keypoints:p37,p46"],
        figures={"NME %": ("nme", "value"), "median px": ("epe_px", "median"), "p95 px": ("epe_px", "p95"), **TRUST},
        scale={"NME %": 100},
    ),
    "lspet": Task(
        folds=1,
        train=["--input-size", "96", "--backbone.width", "0.5", "--max-epochs", "20"],
        evaluate=["--normalizer", "keypoints:neck,head_top", "--min-length", "5", "--thresholds", "0.1,0.5"],
        figures={
            "PCKh@0.5 %": ("pck", "0.5", "value"),
            "PCKh@0.1 %": ("pck", "0.1", "value"),
            "median px": ("epe_px", "median"),
            **TRUST,
        },
        scale={"PCKh@0.5 %": 100, "PCKh@0.1 %": 100},
    ),
    "mirrormouse": Task(
        folds=5,
        train=["--input-size", "128", *QUARTER, "--max-epochs", "100", "--batch-size", "16", *ALIGNED],
        evaluate=["--normalizer", "pixels", "--thresholds", "5,10"],
        figures={
            "median px": ("epe_px", "median"),
            "mean px": ("epe_px", "mean"),
            "p95 px": ("epe_px", "p95"),
            **TRUST,
        },
    ),
}


def main() -> None:
    """Run what is missing, then print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("--data", type=Path, required=True, help="folder with helen.zip, lspet.zip, mirrormouse.zip")
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--heads", default=",".join(HEADS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--epochs", type=int, help="instead of the task's own number")
    parser.add_argument("--width", type=float, help="of the backbone, instead of the task's own")
    parser.add_argument("--again", action="store_true", help="judge runs anew that are trained already")
    given = parser.parse_args()
    task, heads = TASKS[given.task], given.heads.split(",")
    for option, value in (("--max-epochs", given.epochs), ("--backbone.width", given.width)):
        if value:
            task.train[task.train.index(option) + 1] = str(value)
    folds = prepare(given.task, given.data, given.out / "data")
    cells = [(head, seed, fold) for seed in range(given.seeds) for head in heads for fold in range(len(folds))]
    with ThreadPoolExecutor(given.jobs) as pool:
        folder = given.out / given.task
        runs = list(pool.map(lambda cell: run_cell(task, folder, given.again, *cell, *folds[cell[2]]), cells))
    results = summarize(task, cells, runs)
    report = {
        "task": given.task,
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, one thread a run, {given.jobs} at a time",
        "versions": {"punctum": punctum.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "train": ["punctum", "train", "DATA", *task.train, *COMMON],
        "evaluate": ["punctum", "evaluate", "RUN", "DATA", *task.evaluate],
        "seeds": given.seeds,
        "results": results,
    }
    path = given.out / f"{given.task}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(table(task, results))
    print(f"written: {path}")


def prepare(name: str, zips: Path, folder: Path) -> list[tuple[Path, Path]]:
    """Unpack the data and return (training file, test file) of each fold."""
    root = folder / name
    if not root.exists():
        with zipfile.ZipFile(zips / f"{name}.zip") as archive:
            archive.extractall(root)
    if name != "mirrormouse":
        test = "test" if name == "helen" else "val"
        return [(root / "annotations" / "train.json", root / "annotations" / f"{test}.json")]
    with (root / "CollectedData.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    header, frames, folds = rows[:3], rows[3:], []
    for fold in range(TASKS[name].folds):
        parts = {
            "train": [row for i, row in enumerate(frames) if i % 5 != fold],
            "test": [row for i, row in enumerate(frames) if i % 5 == fold],
        }
        for part, kept in parts.items():
            with (root / f"fold{fold}_{part}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([*header, *kept])
        folds.append((root / f"fold{fold}_train.csv", root / f"fold{fold}_test.csv"))
    return folds


def run_cell(
    task: Task, folder: Path, again: bool, head: str, seed: int, fold: int, train: Path, test: Path
) -> dict[str, Any]:
    """Train and judge one model, or read what an earlier call found."""
    run = folder / f"{head}-seed{seed}" / f"fold{fold}"
    trained, judged = run / "trained.json", run / "benchmark.json"
    if not trained.exists():
        resume = ["--resume"] if (run / "config.yaml").exists() else []
        # A few held-out training images for the log: the test images play no part in training.
        options = [*HEADS[head], *task.train, *COMMON, "--val-fraction", "0.03", "--seed", str(seed)]
        seconds = punctum_command(["train", str(train), "--out", str(run), *options, *resume], run)
        trained.write_text(json.dumps({"cpu_minutes": seconds / 60, "resumed": bool(resume)}) + "\n")
    if again or not judged.exists():
        punctum_command(["evaluate", str(run), str(test), *task.evaluate, "--device", "cpu"], run)
        metrics = json.loads((run / "metrics.json").read_text())
        judged.write_text(json.dumps({"metrics": metrics, **json.loads(trained.read_text())}) + "\n")
        print(f"{run}: {figures(task, metrics)}", flush=True)
    return json.loads(judged.read_text())


def punctum_command(words: list[str], run: Path) -> float:
    """Run one verb on one thread; return the CPU seconds it took."""
    run.parent.mkdir(parents=True, exist_ok=True)
    with (run.parent / f"{run.name}-{words[0]}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "punctum.cli", *words],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(words)} failed: see {log.name}")
    return usage.ru_utime + usage.ru_stime


def figures(task: Task, metrics: dict[str, Any]) -> dict[str, float | None]:
    """The task's figures out of metrics.json (or its constant predictor)."""
    found = {}
    for name, path in task.figures.items():
        value: Any = metrics
        for key in path:
            value = None if value is None else value.get(key)
        found[name] = None if value is None else round(value * task.scale.get(name, 1), 3)
    return found


def summarize(task: Task, cells: list[tuple[str, int, int]], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over folds, then over seeds, with the half-width of the 95 % t-interval over seeds."""
    results: dict[str, Any] = {}
    for head in dict.fromkeys(head for head, _, _ in cells):
        by_seed: dict[int, list[dict[str, float | None]]] = {}
        minutes = []
        for (name, seed, _), run in zip(cells, runs, strict=True):
            if name == head:
                by_seed.setdefault(seed, []).append(figures(task, run["metrics"]))
                minutes.append(run["cpu_minutes"])
        rows = {}
        for figure in task.figures:
            values = [mean([fold[figure] for fold in folds]) for folds in by_seed.values()]
            rows[figure] = {"mean": mean(values), "half_width": half_width(values), "seeds": values}
        results[head] = {"figures": rows, "cpu_minutes": statistics.mean(minutes)}
    constants = [figures(task, run["metrics"]["constant_predictor"]) for run in runs]
    results["constant predictor"] = {
        "figures": {f: {"mean": mean([c[f] for c in constants]), "half_width": None} for f in task.figures},
        "cpu_minutes": 0.0,
    }
    return results


def mean(values: list[float | None]) -> float | None:
    """None where one is missing: a head without an opinion has no score to rank errors by."""
    known = [value for value in values if value is not None]
    return statistics.mean(known) if len(known) == len(values) else None


def half_width(values: list[float | None]) -> float | None:
    """Of the 95 % interval of the mean; None for one value, or where one is missing."""
    known = [value for value in values if value is not None]
    if len(known) < max(2, len(values)):
        return None
    return float(stats.t.ppf(0.975, len(known) - 1)) * statistics.stdev(known) / math.sqrt(len(known))


def table(task: Task, results: dict[str, Any]) -> str:
    """Markdown, as docs/benchmarks.md shows it."""
    lines = [f"| head | {' | '.join(task.figures)} | CPU min |", f"|---|{'---|' * (len(task.figures) + 1)}"]
    for head, result in results.items():
        shown = []
        for figure in task.figures:
            value = result["figures"][figure]
            spread = "" if not value["half_width"] else f" ± {value['half_width']:.2f}"
            shown.append("-" if value["mean"] is None else f"{value['mean']:.2f}{spread}")
        lines.append(f"| {head} | {' | '.join(shown)} | {result['cpu_minutes']:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
