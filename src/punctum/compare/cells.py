"""A grid of trainings: each cell a folder and a process of its own, so that none takes another down with it.

    FOLDER/NAME/
      cell.json     what to do: settings, test data, protocol
      run/          what `punctum train` makes
      test/         metrics.json and evaluation.npz on the test data
      result.json   written last: the cell is done
      log.txt       all that was printed

A cell that has a result is not run again; one that was interrupted goes on after its last finished epoch, which leads
to the same weights on the CPU. A cell that fails leaves its log, and the others run on.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from punctum.alone import alone
from punctum.compare.processes import job_count, run_workers
from punctum.files import write_text
from punctum.judging import Protocol
from punctum.progress import count
from punctum.settings import TrainSettings

__all__ = ["Cell", "Outcome", "job_count", "run_cells", "slug"]


@dataclass(frozen=True)
class Cell:
    """One training and its judgement.

    Args:
        name: of its folder, unique in the grid; slashes make folders.
        settings: of the training; `out` is the cell's own folder, whatever it says.
        test: annotations to judge by; None: the run's own validation images.
        test_images: their folder, where it cannot be told.
        protocol: how errors are judged.
        tags: what the cell stands for in the grid: {"head": "dsnt", "seed": 0}.
    """

    name: str
    settings: TrainSettings
    test: str | None = None
    test_images: str | None = None
    protocol: Protocol = field(default_factory=Protocol)
    tags: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as cell.json holds them."""
        return {
            "name": self.name,
            "settings": self.settings.to_dict(),
            "test": self.test,
            "test_images": self.test_images,
            "protocol": asdict(self.protocol),
            "tags": dict(self.tags),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Cell":
        """The inverse of `to_dict`, also after a trip through JSON."""
        protocol = dict(values["protocol"])
        protocol["thresholds"] = tuple(protocol["thresholds"])
        settings = TrainSettings.from_dict(values["settings"])
        return cls(**{**values, "settings": settings, "protocol": Protocol(**protocol)})


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: its result, or why there is none."""

    cell: Cell
    folder: Path
    result: dict[str, Any] | None
    error: str = ""


def slug(text: str) -> str:
    """A name for a folder, from any text.

    Example:
        >>> slug("dsnt:regularizer=none @ 1/8")
        'dsnt-regularizer=none-1-8'
    """
    return re.sub(r"[^A-Za-z0-9._=+]+", "-", text).strip("-.") or "cell"


def run_cells(
    cells: Sequence[Cell],
    folder: str | Path,
    *,
    jobs: int = 0,
    console: Console | None = None,
    what: str = "training",
) -> list[Outcome]:
    """Run what is not done yet, so many at a time, and return what became of all.

    Args:
        cells: the grid, most wanted first.
        folder: of the grid.
        jobs: cells at a time; 0: one for each core (or GPU), each on one thread.
        console: where to report.
        what: a word for the progress bar.
    Raises:
        ValueError: two cells share a name, a folder holds a cell of that name with other settings, or another process
            is at work on the grid.
        OSError: a folder cannot be written.
    """
    folder, console = Path(folder), console or Console(quiet=True)
    cells = [replace(c, settings=_placed(c, folder)) for c in cells]
    if len({cell.name for cell in cells}) < len(cells):
        raise ValueError("two cells of the grid have the same name")
    with alone(folder):
        return _run_waiting(cells, folder, jobs, console, what)


def _placed(cell: Cell, folder: Path) -> TrainSettings:
    """Settings of a cell in the grid's folder; cells on the same pictures share one disk cache."""
    hardware = cell.settings.hardware
    if hardware.cache == "disk" and hardware.cache_dir is None:
        hardware = replace(hardware, cache_dir=str(folder / "cache"))
    return replace(cell.settings, out=str(folder / cell.name / "run"), hardware=hardware)


def _run_waiting(cells: list[Cell], folder: Path, jobs: int, console: Console, what: str) -> list[Outcome]:
    for cell in cells:
        _prepare(cell, folder / cell.name)
    outcomes: dict[str, Outcome] = {}
    waiting = [cell for cell in cells if not (folder / cell.name / "result.json").is_file()]
    if len(waiting) < len(cells):
        console.print(f"{len(cells) - len(waiting)} of {len(cells)} cells are done already")
    by_folder = {folder / cell.name: cell for cell in waiting}
    with count(console, what, len(waiting)) as advance:
        for path, error in run_workers("punctum.compare.worker", list(by_folder), jobs):
            advance(1)
            outcome = _outcome(by_folder[path], path, error)
            outcomes[outcome.cell.name] = outcome
            console.print(_line(outcome), highlight=False, markup=False)
    return [outcomes.get(cell.name) or _outcome(cell, folder / cell.name, "") for cell in cells]


def _prepare(cell: Cell, folder: Path) -> None:
    """Write cell.json, or make sure that the one which is there says the same."""
    path, wanted = folder / "cell.json", json.loads(json.dumps(cell.to_dict()))
    if not path.is_file():
        write_text(path, json.dumps(wanted, indent=1) + "\n")
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    # Tags say what a cell is for, not what it does.
    told = [key for key in wanted if key != "tags"]
    changed = [key for key in told if key not in there or _comparable(there, key) != _comparable(wanted, key)]
    if changed:
        raise ValueError(
            f"{folder} holds a cell with other {', '.join(changed)}: choose another folder, or delete this one"
        )
    if wanted != there:  # Another place or other hardware: what is not done yet is done with these.
        write_text(path, json.dumps(wanted, indent=1) + "\n")


def _comparable(values: dict[str, Any], key: str) -> Any:
    """Where a run is and what it runs on may change; what it does may not."""
    value = values[key]
    if key in ("test", "test_images"):
        return value and str(Path(value).resolve())
    if key != "settings":
        return value
    plain = TrainSettings.from_dict(value).to_dict()
    places = {k: str(Path(plain[k]).resolve()) for k in ("data", "val", "images", "val_images") if plain[k]}
    return {k: v for k, v in {**plain, **places}.items() if k not in ("out", "hardware")}


def _outcome(cell: Cell, folder: Path, error: str) -> Outcome:
    path = folder / "result.json"
    result = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return Outcome(cell, folder, result, error if result is None else "")


def _line(outcome: Outcome) -> str:
    if outcome.result is None:
        return f"  {outcome.cell.name}: FAILED, {outcome.error}"
    error = outcome.result["metrics"]["epe_px"]
    return (
        f"  {outcome.cell.name}: {error['mean']:.2f} px mean, {error['median']:.2f} median, "
        f"{outcome.result['train_seconds'] / 60:.1f} min"
    )
