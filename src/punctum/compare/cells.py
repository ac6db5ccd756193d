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
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from rich.console import Console

from punctum.evaluate import Protocol
from punctum.files import write_text
from punctum.progress import count
from punctum.settings import TrainSettings

SOURCE = Path(__file__).parents[2]


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
        ValueError: two cells share a name, or a folder holds a cell of that name with other settings.
        OSError: a folder cannot be written.
    """
    folder, console = Path(folder), console or Console(quiet=True)
    cells = [replace(c, settings=replace(c.settings, out=str(folder / c.name / "run"))) for c in cells]
    if len({cell.name for cell in cells}) < len(cells):
        raise ValueError("two cells of the grid have the same name")
    for cell in cells:
        _prepare(cell, folder / cell.name)
    outcomes: dict[str, Outcome] = {}
    waiting = [cell for cell in cells if not (folder / cell.name / "result.json").is_file()]
    if len(waiting) < len(cells):
        console.print(f"{len(cells) - len(waiting)} of {len(cells)} cells are done already")
    jobs = jobs or job_count()
    processes: list[subprocess.Popen[bytes]] = []
    with count(console, what, len(waiting)) as advance, _ended(processes), ThreadPoolExecutor(jobs) as pool:
        started = {}
        places: SimpleQueue[int] = SimpleQueue()
        for place in range(jobs):
            places.put(place)
        for cell in waiting:
            started[pool.submit(_run, folder / cell.name, places, processes)] = cell
        try:
            for future in as_completed(started):
                cell, error = started[future], future.result()
                advance(1)
                outcomes[cell.name] = _outcome(cell, folder / cell.name, error)
                console.print(_line(outcomes[cell.name]), highlight=False, markup=False)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            _end(processes)
            raise
    return [outcomes.get(cell.name) or _outcome(cell, folder / cell.name, "") for cell in cells]


def job_count() -> int:
    """Cells that fit side by side: one a GPU, else one a core."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else len(os.sched_getaffinity(0))


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


def _run(folder: Path, places: SimpleQueue[int], processes: list[subprocess.Popen[bytes]]) -> str:
    """One cell in a process of its own; returns what went wrong, or nothing."""
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    # The same punctum as this one's, wherever it was imported from.
    environment["PYTHONPATH"] = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    place = places.get()
    environment.setdefault("CUDA_VISIBLE_DEVICES", str(place))
    with (folder / "log.txt").open("ab") as log:
        # The child reads its standard input, which ends when this process does, however it ends.
        command = [sys.executable, "-m", "punctum.compare.worker", str(folder)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment
        ) as process:
            processes.append(process)
            code = process.wait()
            processes.remove(process)
    places.put(place)
    if code == 0:
        return ""
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{how}: {_last_line(folder / 'log.txt')}"


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"{lines[-1].strip() if lines else 'it said nothing'} ({path})"


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


@contextmanager
def _ended(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """No cell outlives the grid."""
    try:
        yield
    finally:
        _end(processes)


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + 5
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
