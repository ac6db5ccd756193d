"""How fast each head trains on this machine, measured in processes like those that will train it."""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

# Before torch is imported: threads that wait shall sleep, since another process has use for the core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rich.console import Console

from punctum.compare.plan import Speed
from punctum.compare.processes import end_with_parent, run_workers
from punctum.data import draw_images, inspect, read
from punctum.files import write_text
from punctum.progress import count
from punctum.settings import TrainSettings
from punctum.train import build_model
from punctum.training.budget import seconds_per_step
from punctum.training.caching import cached_windows
from punctum.training.hardware import beside_others, own_cores

RESULT, SETTINGS = "speed.json", "settings.json"
PICTURES = 96


def measure_speeds(
    settings: Mapping[str, TrainSettings], folder: Path, jobs: int, console: Console
) -> tuple[dict[str, Speed], dict[str, str]]:
    """The speeds of these settings by their names, and what went wrong with the others.

    What was measured once, of the same settings, is not measured again.
    """
    folders = {folder / name: name for name in settings}
    told = {path: json.dumps(settings[name].to_dict()) + "\n" for path, name in folders.items()}
    waiting = [path for path in folders if not (path / RESULT).is_file() or _settings_text(path) != told[path]]
    for path in waiting:
        (path / RESULT).unlink(missing_ok=True)
        write_text(path / SETTINGS, told[path])
    errors: dict[str, str] = {}
    with count(console, "measuring speed", len(waiting)) as advance:
        for path, error in run_workers("punctum.compare.speed", waiting, jobs):
            advance(1)
            if error:
                errors[folders[path]] = error
    done = {name: path / RESULT for path, name in folders.items() if name not in errors}
    return {name: Speed(**json.loads(path.read_text(encoding="utf-8"))) for name, path in done.items()}, errors


def _settings_text(folder: Path) -> str:
    path = folder / SETTINGS
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def main() -> int:
    """Measure the settings in the folder that the command line names."""
    end_with_parent()
    start, folder = time.process_time(), Path(sys.argv[1])
    settings = TrainSettings.from_dict(json.loads((folder / SETTINGS).read_text(encoding="utf-8")))
    try:
        speed = measured(settings)
        speed = replace(speed, start=speed.start + start)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    write_text(folder / RESULT, json.dumps(asdict(speed)) + "\n")
    return 0


def measured(settings: TrainSettings) -> Speed:
    """Seconds to read the data file, of a training step, and for a picture."""
    began = time.perf_counter()
    data = draw_images(read(settings.data, settings.images), PICTURES, seed=0)
    reading, began = time.perf_counter() - began, time.perf_counter()
    inspected = inspect(data, settings.crop.intensity)
    hardware = beside_others(settings.hardware)
    if hardware.cache == "disk":  # So few pictures: in memory, and no file is left.
        hardware = replace(hardware, cache="ram")
    settings = replace(settings, hardware=hardware)
    windows = cached_windows(settings, data, inspected, Console(quiet=True))
    picture = (time.perf_counter() - began) / len(set(data.images))
    with own_cores(hardware):
        model = build_model(settings, data, inspected.sizes, pretrained=False)
        step, _ = seconds_per_step(settings, model, data, windows)
    return Speed(start=reading, step=step, picture=picture)


if __name__ == "__main__":
    sys.exit(main())
