"""`punctum compare`: the way from a request to a result."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import punctum
from punctum.alone import alone
from punctum.compare.cells import Cell, job_count, run_cells, slug
from punctum.compare.cost import measure_costs
from punctum.compare.plan import (
    COST_SECONDS,
    TUNING_RUNS,
    Load,
    Speed,
    cell_seconds,
    epochs_for,
    makespan,
    most_epochs,
    tuning_seconds,
    tuning_size,
)
from punctum.compare.prepare import Prepared, loads, prepare, speed_settings, tuning_load
from punctum.compare.request import Request, Variant, cell_name, differences, variant_settings
from punctum.compare.results import collect
from punctum.compare.speed import measure_speeds
from punctum.compare.terminal import print_comparison, print_plan
from punctum.compare.tuning import tune
from punctum.files import write_text
from punctum.one_line import told
from punctum.report.comparison import comparison_page

RESULT, PLAN = "comparison.json", "plan.json"
# Of the minutes: the rest is for what no measurement foresees.
USED = 0.92


@dataclass(frozen=True)
class Plan:
    """What was decided before anything was trained.

    Args:
        epochs: over the largest training set.
        steps: of every training but the tuning's, as nearly as whole epochs allow.
        tuning_epochs: of a trial of the tuning.
        tuning_images: that it trains on; 0: all but those it is judged by.
        cells: epochs of each cell of the grid, by its name.
        jobs: cells at a time, as was reckoned with.
        seconds: that everything is expected to take; None: it was not measured.
        speeds: of each head and stride; empty where the epochs were given.
        train_pictures, test_pictures: images.
    """

    epochs: int
    steps: int
    tuning_epochs: int
    tuning_images: int
    cells: dict[str, int]
    jobs: int
    seconds: float | None
    speeds: dict[str, dict[str, float]]
    train_pictures: int
    test_pictures: int


def compare(
    request: Request, out: str | Path, *, jobs: int = 0, command: str = "", console: Console | None = None
) -> dict[str, Any]:
    """Train the grid and say which head is best, and how sure that is.

    Whatever is done already in `out` is not done again.

    Args:
        request: what to compare.
        out: folder of everything.
        jobs: trainings at a time; 0: one for each core or GPU.
        command: how it was called, to be kept.
        console: where to report; None is silent.
    Returns:
        What comparison.json holds.
    Raises:
        ValueError: the request does not fit the data, or another one was begun in `out`; nothing has been trained.
        OSError: a file cannot be read or written, the folder holds other things, or (ChildProcessError) not a single
            training came to an end.
    """
    folder, console, jobs = Path(out), console or Console(quiet=True), jobs or job_count()
    with alone(folder):
        return _compare(request, folder, jobs, command, console)


def _compare(request: Request, folder: Path, jobs: int, command: str, console: Console) -> dict[str, Any]:
    began = time.monotonic()
    there = _there(folder)
    _check_same(request, there, folder)
    prepared = prepare(request, folder / "data")
    _check_data(prepared, there, folder)
    known = {"punctum": punctum.__version__, "request": request.to_dict(), "data": prepared.fingerprints}
    if there.get("plan") is None:  # From here on the folder is this comparison's.
        _write_plan(folder, known, None)
    prepared.write_parts(request.settings)
    if there.get("plan") is None:
        plan = _new_plan(prepared, folder, jobs, began, console)
        _write_plan(folder, known, plan)
    else:
        console.print(f"going on with the comparison in {folder}", markup=False)
        plan = there["plan"]
    ready = prepared.request
    print_plan(ready, plan, console)
    tuned: dict[str, dict[str, Any]] = {}
    if ready.tune:
        data = {"data": ready.settings.data, "images": ready.settings.images}
        tuned = tune(ready, data, (plan.tuning_epochs, plan.tuning_images), folder / "tuning", jobs, console)
    cells = grid(prepared, plan, tuned)
    console.print(f"\n{len(cells)} trainings, {jobs} at a time")
    outcomes = run_cells(list(cells.values()), folder / "cells", jobs=jobs, console=console)
    by_cell = dict(zip(cells, outcomes, strict=True))
    runs = {
        _stride_name(variant): outcome.folder / "run"
        for (variant, _), outcome in reversed(by_cell.items())
        if variant.size == ready.largest and outcome.result is not None
    }
    costs = measure_costs(runs, folder / "cost", console)
    result = {
        "punctum": punctum.__version__,
        "command": command,
        "request": request.to_dict(),
        "plan": asdict(plan),
        **collect(ready, by_cell, tuned, {v: costs.get(_stride_name(v)) for v in ready.variants()}),
    }
    path = write_text(folder / RESULT, json.dumps(result, indent=1, allow_nan=False) + "\n")
    print_comparison(result, console)
    page = _write_page(folder)
    console.print(
        f"\nThe comparison is in [bold]{folder}[/bold]: {path.name}, {page}plan.json, cells/", highlight=False
    )
    return result


def grid(prepared: Prepared, plan: Plan, tuned: dict[str, dict[str, Any]]) -> dict[tuple[Variant, int], Cell]:
    """The cells by variant and seed: every variant's first seed, then the second one's, so that an interrupted grid
    can be compared as far as it went."""
    request = prepared.request
    cells = {}
    for seed in request.seed_numbers:
        for variant in request.variants():
            name = cell_name(variant, seed)
            choice = {key: tuned[variant.head][key] for key in ("lr", "schedule")} if tuned else {}
            settings = variant_settings(request.heads[variant.head], variant, seed, plan.cells[name], choice)
            tags = {**variant._asdict(), "seed": seed}
            cells[variant, seed] = Cell(
                name, settings, prepared.test_path, request.test_images, request.protocol, tags
            )
    return cells


def _there(folder: Path) -> dict[str, Any]:
    """What plan.json says: request, data, and the plan, if one was made; nothing in a new folder.

    Raises:
        ValueError: plan.json is none of this version's.
        FileExistsError: the folder holds other things.
    """
    path = folder / PLAN
    if not path.is_file():
        others = sorted(entry.name for entry in folder.glob("[!.]*"))
        if others:
            raise FileExistsError(
                f"{folder} holds other things ({', '.join(others[:3])}), and no comparison: choose another --out"
            )
        return {}
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        plan = None if there["plan"] is None else Plan(**there["plan"])
        return {"request": dict(there["request"]), "data": there.get("data"), "plan": plan}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no plan that punctum {punctum.__version__} can go on with ({told(error)}): "
            "choose another --out"
        ) from error


def _check_same(request: Request, there: dict[str, Any], folder: Path) -> None:
    """Where something was planned already, it was for the same request."""
    if there.get("plan") is None:
        return
    changed = list(differences(request.to_dict(), there["request"]))
    if changed:
        raise ValueError(
            f"{folder} holds another comparison: {'; '.join(changed[:8])}. Choose another --out, or ask for the same"
        )


def _check_data(prepared: Prepared, there: dict[str, Any], folder: Path) -> None:
    """The data are what they were: else images that were trained on could be among those to judge by."""
    if there.get("plan") is None or there["data"] is None:
        return
    changed = [part for part, mark in prepared.fingerprints.items() if there["data"].get(part) != mark]
    if changed:
        raise ValueError(
            f"the annotations have changed since the comparison in {folder} began ({' and '.join(changed)} images): "
            "choose another --out, or give it the same data"
        )


def _write_plan(folder: Path, known: dict[str, Any], plan: Plan | None) -> None:
    content = {**known, "plan": None if plan is None else asdict(plan)}
    write_text(folder / PLAN, json.dumps(content, indent=1) + "\n")


def _new_plan(prepared: Prepared, folder: Path, jobs: int, began: float, console: Console) -> Plan:
    speeds: dict[tuple[str, int | None], Speed] = {}
    if prepared.request.max_epochs is None:
        speeds = _speeds(prepared.request, folder / "speed", jobs, console)
    return make_plan(prepared, speeds, jobs, time.monotonic() - began)


def _speeds(request: Request, folder: Path, jobs: int, console: Console) -> dict[tuple[str, int | None], Speed]:
    """Of each head and stride; one that cannot be measured counts as the slowest, and will fail by itself."""
    wanted = speed_settings(request)
    names = {pair: _stride_name(Variant(*pair, 0)) for pair in wanted}
    found, errors = measure_speeds({names[pair]: s for pair, s in wanted.items()}, folder, jobs, console)
    for name, error in errors.items():
        console.print(f"  speed of {name}: not measured, {error}", markup=False, highlight=False)
    if not found:
        raise ValueError(f"no head can be trained: {next(iter(errors.values()))}")
    slowest = max(found.values(), key=lambda speed: speed.step)
    return {pair: found.get(name, slowest) for pair, name in names.items()}


def make_plan(
    prepared: Prepared, speeds: dict[tuple[str, int | None], Speed], jobs: int, passed: float = 0.0
) -> Plan:
    """Epochs for every cell, from measured speeds or as they were given."""
    request = prepared.request
    load, tuning = loads(prepared), tuning_load(prepared)
    first = load[request.largest, request.seed_numbers[0]]

    def seconds(epochs: int) -> float:
        return passed + expected_seconds(request, speeds, load, tuning, epochs, jobs)

    if request.max_epochs is not None:
        epochs = request.max_epochs
    else:
        epochs = most_epochs(seconds, (request.budget or 0) * 60 * USED)
    steps = epochs * first.steps_per_epoch
    cells = {
        cell_name(variant, seed): epochs_for(steps, load[variant.size, seed])
        for variant in request.variants()
        for seed in request.seed_numbers
    }
    passes, images = tuning_size(epochs, tuning.train_pictures)
    return Plan(
        epochs=epochs,
        steps=steps,
        tuning_epochs=passes,
        tuning_images=images or request.largest,
        cells=cells,
        jobs=jobs,
        seconds=seconds(epochs) if speeds else None,
        speeds={_stride_name(Variant(*pair, 0)): asdict(speed) for pair, speed in speeds.items()},
        train_pictures=len(set(prepared.train.images)),
        test_pictures=len(set(prepared.test.images)),
    )


def expected_seconds(
    request: Request,
    speeds: dict[tuple[str, int | None], Speed],
    load: dict[tuple[int, int], Load],
    tuning: Load,
    epochs: int,
    jobs: int,
) -> float:
    """Of tuning, grid and cost, with so many epochs over the largest training set."""
    steps = epochs * load[request.largest, request.seed_numbers[0]].steps_per_epoch
    cells = [
        cell_seconds(
            speeds[variant.head, variant.stride],
            load[variant.size, seed],
            epochs_for(steps, load[variant.size, seed]),
        )
        for seed in request.seed_numbers
        for variant in request.variants()
    ]
    total = makespan(cells, jobs)
    if request.tune:
        stride = request.tuning_stride if request.strides else None
        trials = [tuning_seconds(speeds[head, stride], tuning, epochs) for head in request.heads]
        total += makespan(trials * (TUNING_RUNS - 2), jobs) + 2 * makespan(trials, jobs)
    return total + sum(speed.start + COST_SECONDS for speed in speeds.values())


def _stride_name(variant: Variant) -> str:
    return slug(variant.head) + ("" if variant.stride is None else f"-stride{variant.stride}")


def _write_page(folder: Path) -> str:
    """The report, where punctum can write pages."""
    from punctum.report.page import write_page

    write_page(folder / "report.html", comparison_page(folder))
    return "report.html, "
