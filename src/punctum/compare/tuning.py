"""A learning rate and a schedule for each head: else a comparison of heads is one of learning rates."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from punctum.compare.cells import Cell, Outcome, run_cells, slug
from punctum.compare.judge import outcome_value
from punctum.compare.request import Request, Variant, variant_settings
from punctum.files import write_text
from punctum.terminal import print_notes

FACTORS = (1 / 3, 1.0, 3.0)
SCHEDULES = ("one_cycle", "cosine")
FRACTION = 0.1
"""Of the training images, to judge rates by; the test images play no part."""

TIE = 0.01
"""The setting's own rate stays unless another is better by so much of its error: one seed cannot tell less."""


@dataclass(frozen=True)
class Trial:
    """One training of the tuning: rate, schedule, and the error it came to (lower is better); None: it failed."""

    lr: float
    schedule: str
    error: float | None


def best(trials: Sequence[Trial], lr: float, schedule: str) -> Trial | None:
    """The trial with the lowest error, or the default's where it is as good; None where all failed.

    Example:
        >>> trials = [Trial(0.1, "cosine", 2.0), Trial(0.2, "cosine", 1.99), Trial(0.4, "cosine", 3.0)]
        >>> best(trials, 0.1, "cosine").lr, best(trials[1:], 0.1, "cosine").lr
        (0.1, 0.2)
    """
    done = [trial for trial in trials if trial.error is not None]
    if not done:
        return None
    lowest = min(done, key=lambda trial: (trial.error, trial.lr))
    for trial in done:
        own = (trial.lr, trial.schedule) == (lr, schedule)
        if own and trial.error is not None and lowest.error is not None and trial.error * (1 - TIE) <= lowest.error:
            return trial
    return lowest


def rate_beyond(trials: Sequence[Trial], chosen: Trial) -> float | None:
    """One step beyond the edge of the grid, where the best rate lies on it.

    Example:
        >>> trials = [Trial(lr, "cosine", error) for lr, error in ((1.0, 3.0), (3.0, 2.0), (9.0, 1.0))]
        >>> rate_beyond(trials, trials[2]), rate_beyond(trials, trials[1])
        (27.0, None)
    """
    rates = [trial.lr for trial in trials]
    if chosen.lr == max(rates):
        return chosen.lr * 3
    return chosen.lr / 3 if chosen.lr == min(rates) else None


def tune(
    request: Request, data: Mapping[str, Any], size: tuple[int, int], folder: Path, jobs: int, console: Console
) -> dict[str, dict[str, Any]]:
    """Each head's rate and schedule, with all that was tried; written to tuned.json beside FOLDER, and decided once.

    Three rates around the setting's own, one more where the best lies on the edge, then the other schedule at the
    best rate; one seed, at the stride of `tuning_stride`. Every head goes through
    a stage before any enters the next, so that as many as possible run side by side.

    Args:
        request: the comparison.
        data: of the settings: annotations to train on, and their images' folder.
        size: epochs of one trial, and the images it trains on (0: all).
        folder: of the trials.
        jobs: at a time.
        console: where to report.
    Returns:
        {label: {"lr", "schedule", "failed", "trials": [{"lr", "schedule", "error"}, ...]}}; where every trial failed,
        the setting's own.
    """
    path = folder.parent / "tuned.json"
    if path.is_file():  # A trial that failed and now would not must not change what other cells were trained with.
        return dict(json.loads(path.read_text(encoding="utf-8")))
    trials: dict[str, list[Trial]] = {label: [] for label in request.heads}

    def stage(wanted: Mapping[str, Sequence[tuple[float, str]]]) -> None:
        pairs = [(label, lr, schedule) for label, group in wanted.items() for lr, schedule in group]
        cells = [_cell(request, data, size, *pair) for pair in pairs]
        for pair, outcome in zip(
            pairs, run_cells(cells, folder, jobs=jobs, console=console, what="tuning"), strict=True
        ):
            trials[pair[0]].append(Trial(pair[1], pair[2], _error(outcome, request.metric)))

    own = {label: settings.optimizer for label, settings in request.heads.items()}
    stage({label: [(o.lr * factor, o.schedule) for factor in FACTORS] for label, o in own.items()})
    chosen = {label: best(found, own[label].lr, own[label].schedule) for label, found in trials.items()}
    beyond = {label: rate_beyond(trials[label], trial) for label, trial in chosen.items() if trial}
    stage({label: [(lr, own[label].schedule)] for label, lr in beyond.items() if lr is not None})
    chosen = {label: best(found, own[label].lr, own[label].schedule) for label, found in trials.items()}
    stage(
        {
            label: [(trial.lr, other) for other in SCHEDULES if other != own[label].schedule]
            for label, trial in chosen.items()
            if trial and own[label].schedule in SCHEDULES
        }
    )
    tuned = {label: _choice(found, own[label].lr, own[label].schedule) for label, found in trials.items()}
    for label in (label for label, choice in tuned.items() if choice["failed"]):
        console.print(f"  {label}: every trial failed, it keeps its own rate", markup=False, highlight=False)
    write_text(path, json.dumps(tuned, indent=1) + "\n")
    print_notes(edge_notes(tuned), console)
    return tuned


def edge_notes(tuned: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What to think of heads that took the highest rate of all that were tried.

    Example:
        >>> trials = [{"lr": 0.1, "error": 2.0}, {"lr": 0.3, "error": 1.0}]
        >>> edge_notes({"dsnt": {"lr": 0.3, "trials": trials}})
        ['dsnt took the highest rate tried: short trials favour high rates, so give more minutes, or --no-tune']
        >>> edge_notes({"dsnt": {"lr": 0.1, "trials": trials}})
        []
    """
    tried = {label: [trial["lr"] for trial in choice["trials"]] for label, choice in tuned.items()}
    edge = [label for label, rates in tried.items() if tuned[label]["lr"] == max(rates) > min(rates)]
    if not edge:
        return []
    return [
        f"{', '.join(edge)} took the highest rate tried: short trials favour high rates, so give more minutes, "
        "or --no-tune"
    ]


def _choice(trials: Sequence[Trial], lr: float, schedule: str) -> dict[str, Any]:
    """The rate among trials of the own schedule, then the schedule among those of that rate."""
    rate = best([trial for trial in trials if trial.schedule == schedule], lr, schedule)
    rate_lr = lr if rate is None else rate.lr
    final = best([trial for trial in trials if trial.lr == rate_lr], rate_lr, schedule)
    return {
        "lr": rate_lr,
        "schedule": schedule if final is None else final.schedule,
        "failed": final is None,
        "trials": [{"lr": trial.lr, "schedule": trial.schedule, "error": trial.error} for trial in trials],
    }


def _cell(
    request: Request, data: Mapping[str, Any], size: tuple[int, int], label: str, lr: float, schedule: str
) -> Cell:
    epochs, images = size
    variant = Variant(label, request.tuning_stride if request.strides else None, images)
    settings = variant_settings(
        request.heads[label], variant, request.settings.seed, epochs, {"lr": lr, "schedule": schedule}
    )
    settings = replace(settings, **data, val=None, val_images=None, val_fraction=max(FRACTION, settings.val_fraction))
    name = f"{slug(label)}/lr{lr:.3g}-{schedule}"
    return Cell(name, settings, protocol=request.protocol, tags={"head": label, "lr": lr, "schedule": schedule})


def _error(outcome: Outcome, metric: str) -> float | None:
    return None if outcome.result is None else outcome_value(outcome, metric)
