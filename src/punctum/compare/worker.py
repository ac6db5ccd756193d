"""One cell of a grid, in a process of its own: `python -m punctum.compare.worker FOLDER`."""

import json
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

# Before torch is imported: threads that wait shall sleep, since another cell has use for the core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rich.console import Console

from punctum.compare.cells import Cell
from punctum.compare.processes import end_with_parent
from punctum.data import Annotations, read, split
from punctum.evaluate import evaluate_model
from punctum.files import write_text
from punctum.predict import load_model
from punctum.train import train
from punctum.training.hardware import beside_others


def main() -> int:
    """Run the cell in the folder that the command line names."""
    end_with_parent()
    folder = Path(sys.argv[1])
    console = Console(width=120)
    try:
        run_cell(folder, console)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        console.print(f"{type(error).__name__}: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1
    return 0


def run_cell(folder: Path, console: Console) -> dict[str, Any]:
    """Train, unless that is done; judge on the test data; write result.json, last."""
    cell = Cell.from_dict(json.loads((folder / "cell.json").read_text(encoding="utf-8")))
    run, trained = folder / "run", folder / "trained.json"
    # Where the folder is now, not where it was when it was made.
    cell = replace(cell, settings=replace(cell.settings, out=str(run)))
    if not trained.is_file():
        began, cpu = time.monotonic(), time.process_time()
        resume = (run / "config.yaml").is_file()
        if not resume:  # Killed before its first file was whole.
            shutil.rmtree(run, ignore_errors=True)
        settings = replace(cell.settings, hardware=beside_others(cell.settings.hardware))
        train(settings, resume=resume, console=console)
        figures = {"train_seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu}
        write_text(trained, json.dumps({**figures, "resumed": resume}) + "\n")
    model = load_model(run)
    metrics = evaluate_model(
        model,
        _judged_by(cell),
        out=folder / "test",
        protocol=cell.protocol,
        console=console,
        device=_device(cell),
        per_keypoint=False,
    )
    result = {
        "name": cell.name,
        "tags": dict(cell.tags),
        "parameters": sum(p.numel() for p in model.parameters()),
        **json.loads(trained.read_text(encoding="utf-8")),
        "metrics": metrics,
    }
    write_text(folder / "result.json", json.dumps(result, indent=1) + "\n")
    return result


def _judged_by(cell: Cell) -> Annotations:
    settings = cell.settings
    if cell.test is not None:
        return read(cell.test, cell.test_images)
    if settings.val is not None:
        return read(settings.val, settings.val_images)
    return split(read(settings.data, settings.images), settings.val_fraction, settings.seed)[1]


def _device(cell: Cell) -> str | None:
    return "cpu" if cell.settings.hardware.accelerator == "cpu" else None


if __name__ == "__main__":
    sys.exit(main())
