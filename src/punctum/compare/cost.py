"""What a trained head costs: time for a picture, memory of a training step, parameters."""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

# Before torch is imported: threads that wait shall sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from rich.console import Console
from torch import Tensor

from punctum.compare.processes import end_with_parent, run_workers
from punctum.files import write_text
from punctum.heads import Target
from punctum.memory import MIB, forget_peak, load_libraries, resident_peak
from punctum.model import KeypointModel
from punctum.ops import average_loss
from punctum.predict import load_model
from punctum.progress import count
from punctum.settings import TrainSettings
from punctum.train_settings import load_config
from punctum.training.hardware import autocast_type, device_of, precision_of
from punctum.training.optimizer import build_optimizer

RESULT = "cost.json"
LARGE_BATCH = 32
SECONDS = 2.0


@dataclass(frozen=True)
class Cost:
    """What a head costs with its backbone.

    Args:
        picture_ms: forward pass and decoding of one picture, median, milliseconds.
        batch_picture_ms: the same for each of 32 at once.
        step_mib: memory that a training step adds: on a GPU the most that was allocated, on the CPU by how much the
            process grew.
        parameters: of the network.
        device: where.
        threads: of the CPU.
    """

    picture_ms: float
    batch_picture_ms: float
    step_mib: float
    parameters: int
    device: str
    threads: int


def measure_costs(runs: Mapping[str, Path], folder: Path, console: Console) -> dict[str, Cost]:
    """The cost of each trained run by its name, one after the other, each in a process of its own.

    What was measured once is not measured again; what cannot be measured is left out.
    """
    folders = {folder / name: run for name, run in runs.items()}
    waiting = [path for path in folders if not (path / RESULT).is_file()]
    for path in waiting:
        write_text(path / "run.txt", str(folders[path].resolve()))
    with count(console, "measuring cost", len(waiting)) as advance:
        for path, error in run_workers("punctum.compare.cost", waiting, jobs=1):
            advance(1)
            if error:
                console.print(f"  cost of {path.name}: not measured, {error}", markup=False, highlight=False)
    done = {name: folder / name / RESULT for name in runs}
    return {n: Cost(**json.loads(p.read_text(encoding="utf-8"))) for n, p in done.items() if p.is_file()}


def main() -> int:
    """Measure the run that the folder on the command line names."""
    end_with_parent()
    folder = Path(sys.argv[1])
    run = Path((folder / "run.txt").read_text(encoding="utf-8"))
    try:
        cost = measured(load_model(run), load_config(run))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    write_text(folder / RESULT, json.dumps(asdict(cost)) + "\n")
    return 0


def measured(model: KeypointModel, settings: TrainSettings) -> Cost:
    """The cost of a model; the training step first, while the process has not grown for anything else."""
    torch.manual_seed(0)
    device = device_of(settings.hardware)
    shape = (model.backbone.in_channels, *model.config.input_size)
    step = _step_mib(model, settings, torch.rand(settings.batch_size, *shape), device)
    model.to(device).eval()

    def time_of(batch: int) -> float:
        images = torch.rand(batch, *shape, device=device)
        return _median_seconds(lambda: _answer(model, images), device) / batch

    with torch.inference_mode():
        one, many = time_of(1), time_of(LARGE_BATCH)
    return Cost(
        picture_ms=one * 1000,
        batch_picture_ms=many * 1000,
        step_mib=step,
        parameters=sum(p.numel() for p in model.parameters()),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        threads=torch.get_num_threads(),
    )


def _answer(model: KeypointModel, images: Tensor) -> None:
    # The coordinates have to arrive where they can be read.
    model.decode(model(images)).coords.cpu()


def _median_seconds(work: Callable[[], None], device: torch.device) -> float:
    times: list[float] = []
    for _ in range(3):
        work()
    while len(times) < 5 or (sum(times) < SECONDS and len(times) < 200):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _step_mib(model: KeypointModel, settings: TrainSettings, images: Tensor, device: torch.device) -> float:
    """Memory of two training steps, optimizer's state included, beyond the process as it was before."""
    cuda = device.type == "cuda"
    load_libraries(device)
    forget_peak()
    before = 0.0 if cuda else resident_peak()
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    model.to(device).train()
    images = images.to(device)
    with torch.no_grad():
        coords = torch.zeros_like(model.decode(model(images[:2])).coords[:1])
    optimizer = build_optimizer(model, settings.optimizer)
    for _ in range(2):
        with torch.autocast(
            device.type, autocast_type(settings.hardware), enabled=precision_of(settings.hardware) != "32-true"
        ):
            outputs = model(images)
            samples = len(model.decode(outputs).coords)
            target = Target(
                coords.expand(samples, -1, -1), torch.ones(samples, coords.shape[1], dtype=torch.bool, device=device)
            )
            losses = [average_loss(term, target.visible) for term in model.losses(outputs, target).values()]
        torch.stack(losses).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = torch.cuda.max_memory_allocated(device) / MIB if cuda else resident_peak()
    return max(0.0, after - before)


if __name__ == "__main__":
    sys.exit(main())
