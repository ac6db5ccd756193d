"""What the experiments share: the data, the network at two scales, the grid of trainings, the table at the end.

Every experiment is one command, goes on where it was interrupted, and keeps its trainings under `--out`, where those
that two experiments have in common are trained once:

    python experiments/regularizers.py --data ../shared/data --out runs/experiments

Small by default: a quarter-width ResNet-18 at 96 px, trained from scratch for a minute or three on one core. `--full`
is the papers' scale: ResNet-34 at 224 px, their optimizer and epochs, for a GPU.
"""

import argparse
import re
import statistics
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from scipy import stats

from punctum.cli_train import parse_train
from punctum.compare.cells import Cell, Outcome, run_cells, slug
from punctum.judging import Protocol
from punctum.settings import TrainSettings
from results import environment, interval, read_result, write_result

Options = Mapping[str, str | float | int]

UPRIGHT = {"augmentation.rotation": 15, "augmentation.scale": 0.15}
STILL = {
    "augmentation.flip": 0,
    "augmentation.rotation": 0,
    "augmentation.scale": 0,
    "augmentation.shift": 0,
    "augmentation.colour": 0,
}
SMALL = {"backbone.width": 0.25, "input_size": 96}
# Nibali et al. 2018, Section 6.3. From random weights where there are no public ones at hand.
FULL = {
    "backbone": "resnet34",
    "input_size": 224,
    "max_epochs": 120,
    "optimizer.name": "rmsprop",
    "optimizer.lr": 2.5e-4,
    "optimizer.schedule": "step",
}


@dataclass(frozen=True)
class Data:
    """A data set: where its parts are, how it is judged, and what its trainings have in common."""

    train: str
    test: str
    protocol: Protocol
    options: Options
    epochs: int
    images: int


DATA = {
    "helen": Data(
        train="annotations/train.json",
        test="annotations/test.json",
        protocol=Protocol(normalizer="keypoints:p37,p46"),
        options={"crop.region": "image", **UPRIGHT},
        epochs=15,
        images=1207,
    ),
    "lspet": Data(
        train="annotations/train.json",
        test="annotations/val.json",
        protocol=Protocol(
            normalizer="keypoints:neck,head_top", thresholds=(0.1, 0.2, 0.5), min_length=5, by="joints"
        ),
        options={},
        epochs=6,
        images=7344,
    ),
}


@dataclass(frozen=True)
class Figure:
    """A column of the table: its title, where it stands in metrics.json, and by what it is multiplied."""

    title: str
    path: str
    scale: float = 1.0
    form: str = ".2f"


NME = Figure("NME %", "nme value", 100)
MEDIAN = Figure("median px", "epe_px median")
PCKH = Figure("PCKh@0.5 %", "pck 0.5 value", 100)
PCKH_FINE = Figure("PCKh@0.1 %", "pck 0.1 value", 100)
TRUST = Figure("score corr.", "score_error_correlation value", 1, ".3f")


@dataclass(frozen=True)
class Experiment:
    """A grid of trainings and what shall be seen in it.

    Args:
        name: of the result file.
        claim: what the paper says, in a sentence.
        data: which data set.
        variants: options of `punctum train` by the variant's label.
        figures: the columns of the table.
        extra: what else is measured in a finished cell's folder: {column: number}.
        seeds: 0 to this, exclusive, unless the command line says otherwise.
    """

    name: str
    claim: str
    data: str
    variants: Mapping[str, Options]
    figures: Sequence[Figure]
    extra: Callable[[Path], Mapping[str, float]] | None = None
    pairs: Sequence[tuple[str, str]] = field(default=())


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all experiments have."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--data", type=Path, required=True, help="folder with helen.zip and lspet.zip")
    found.add_argument("--out", type=Path, default=Path("runs/experiments"))
    found.add_argument("--seeds", type=int, default=3)
    found.add_argument("--jobs", type=int, default=0, help="trainings at a time; 0: one a core, or GPU")
    found.add_argument("--full", action="store_true", help="the papers' scale: for a GPU")
    found.add_argument("--epochs", type=int, help="instead of the default")
    found.add_argument("--only", default="", help="variants alone whose label holds this regular expression")
    return found


def run(experiment: Experiment, given: argparse.Namespace) -> dict[str, Any]:
    """Train what is missing, print the table, write OUT/NAME.json; returns what it holds."""
    console = Console(width=120)
    experiment = only(experiment, given.only)
    data, folder = DATA[experiment.data], unpack(experiment.data, given.data, given.out / "data")
    cells = [
        make_cell(experiment.data, options, seed, folder, given)
        for seed in range(given.seeds)
        for options in experiment.variants.values()
    ]
    unique = {cell.name: cell for cell in cells}
    outcomes = run_cells(list(unique.values()), given.out / "cells", jobs=given.jobs, console=console)
    found = {outcome.cell.name: outcome for outcome in outcomes}
    rows = {
        label: [found[make_cell(experiment.data, options, seed, folder, given).name] for seed in range(given.seeds)]
        for label, options in experiment.variants.items()
    }
    measured = {label: measure(experiment, outcomes) for label, outcomes in rows.items()}
    result = {
        "experiment": experiment.name,
        "claim": experiment.claim,
        "data": experiment.data,
        "scale": "full" if given.full else "small",
        "epochs": given.epochs or (FULL["max_epochs"] if given.full else data.epochs),
        "seeds": given.seeds,
        **environment(),
        "variants": {label: dict(options) for label, options in experiment.variants.items()},
        "results": measured,
        "failed": [f"{o.cell.name}: {o.error}" for o in outcomes if o.result is None],
    }
    path = write_result(given.out / f"{experiment.name}.json", result)
    console.print(table(experiment, measured), markup=False, highlight=False, soft_wrap=True)
    console.print(f"written: {path}")
    return result


def only(experiment: Experiment, pattern: str) -> Experiment:
    """The experiment with the variants whose label holds the pattern, and the pairs of them."""
    variants = {label: options for label, options in experiment.variants.items() if re.search(pattern, label)}
    pairs = [pair for pair in experiment.pairs if set(pair) <= set(variants)]
    return replace(experiment, variants=variants, pairs=pairs)


def make_cell(name: str, options: Options, seed: int, folder: Path, given: argparse.Namespace) -> Cell:
    """The training that these options mean, named by them: the same options are the same cell."""
    data = DATA[name]
    scale = FULL if given.full else {**SMALL, "max_epochs": data.epochs}
    merged = {**scale, **data.options, **options}
    if given.epochs:
        merged["max_epochs"] = given.epochs
    words = [word for key, value in merged.items() for word in (f"--{key}", str(value))]
    hardware = ["--hardware.workers", "0"] if not given.full else []
    common = ["--out", "unused", "--val-fraction", "0.03", "--seed", str(seed)]
    settings, _ = parse_train([str(folder / data.train), *common, *words, *hardware])
    settings = with_equal_steps(settings, data)
    label = slug(" ".join(f"{key}={value}" for key, value in sorted(merged.items())))
    return Cell(f"{name}/{label}/seed{seed}", settings, str(folder / data.test), protocol=data.protocol)


def with_equal_steps(settings: TrainSettings, data: Data) -> TrainSettings:
    """As many steps on few images as on all of them: it is the number of images that is asked about."""
    if not settings.max_images:
        return settings
    images = round(data.images * (1 - settings.val_fraction))
    steps = settings.max_epochs * max(1, images // settings.batch_size)
    return replace(settings, max_epochs=max(1, round(steps / max(1, settings.max_images // settings.batch_size))))


def unpack(name: str, zips: Path, folder: Path) -> Path:
    """The data set's folder, unpacked once."""
    root = folder / name
    if not root.exists():
        with zipfile.ZipFile(zips / f"{name}.zip") as archive:
            archive.extractall(unfinished := root.with_name(f"{name}.unfinished"))
        unfinished.rename(root)
    return root


def measure(experiment: Experiment, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Every figure over the seeds: mean, half-width of its 95 % interval, the seeds' own."""
    rows = [read_figures(experiment, o) for o in outcomes if o.result is not None]
    found = {}
    for title in dict.fromkeys(title for row in rows for title in row):
        values = [row[title] for row in rows]
        # A head without an opinion has no score to rank errors by: no figure, rather than one of fewer seeds.
        known = [value for value in values if value is not None]
        middle, half = interval(known) if len(known) == len(values) else (None, None)
        found[title] = {"mean": middle, "half_width": half, "seeds": values}
    return found


def read_figures(experiment: Experiment, outcome: Outcome) -> dict[str, float | None]:
    """One cell's figures."""
    found: dict[str, float | None] = {}
    for figure in experiment.figures:
        value: Any = outcome.result["metrics"] if outcome.result else None
        for key in figure.path.split(" "):
            value = value.get(key) if isinstance(value, dict) else None
        found[figure.title] = None if value is None else value * figure.scale
    if experiment.extra is not None:
        path = outcome.folder / f"{experiment.name}.json"
        if read_result(path) is None:
            write_result(path, experiment.extra(outcome.folder))
        found |= read_result(path) or {}
    return found


def difference(first: Sequence[float | None], second: Sequence[float | None]) -> dict[str, float] | None:
    """Mean of the first minus that of the second, with its 95 % interval by Welch's test: two variants' seeds share
    nothing but the order of the pictures."""
    if min(len(first), len(second)) < 2 or None in (*first, *second):
        return None
    mean = statistics.fmean(first) - statistics.fmean(second)
    if len({*first}) == len({*second}) == 1:  # No scatter at all, which Welch's test has no answer to.
        return {"mean": mean, "half_width": 0.0}
    low, high = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    return {"mean": mean, "half_width": float(high - low) / 2}


def table(experiment: Experiment, measured: Mapping[str, Any]) -> str:
    """Markdown: a row for each variant, then the differences that the claim is about."""
    forms = {figure.title: figure.form for figure in experiment.figures}
    titles = list(dict.fromkeys(title for row in measured.values() for title in row))
    lines = [f"| {experiment.data} | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}"]
    for label, row in measured.items():
        lines.append(f"| {label} | {' | '.join(_shown(row.get(t), forms.get(t, '.3f')) for t in titles)} |")
    for first, second in experiment.pairs:
        cells = []
        for title in titles:
            a, b = (measured[label].get(title, {}).get("seeds", []) for label in (first, second))
            cells.append(_shown(difference(a, b), forms.get(title, ".3f")))
        lines.append(f"| {first} minus {second} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(value: Mapping[str, Any] | None, form: str) -> str:
    if value is None or value.get("mean") is None:
        return "-"
    half = value.get("half_width")
    return f"{value['mean']:{form}}" + ("" if half is None else f" ± {half:{form}}")
