"""How fast pictures come, how fast the network takes them, and what training makes of both; ratios in one run.

    python benchmarks/training.py --data FOLDER_OF_LSPET
    python benchmarks/training.py --device cuda --backbone resnet34 --width 1 --input_size 224

Without `--data` it draws synthetic scenes. A loader is the one of `punctum train` with its worker, alone; the network
takes ready batches. Rounds go through all variants in turn;
medians over rounds are told. On the CPU the network has as many
threads as training would give it beside the worker.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console

from punctum.data import Annotations, Batch, develop, inspect, read
from punctum.data.crop import CropSettings
from punctum.data.synthetic import write_scenes
from punctum.settings import HardwareSettings, OptimizerSettings, TrainSettings
from punctum.train import build_model
from punctum.training.caching import cached_windows
from punctum.training.clock import Clock
from punctum.training.hardware import autocast_type, device_of, own_cores, precision_of, worker_count
from punctum.training.loading import build_loader
from punctum.training.module import TrainingModule
from punctum.training.optimizer import build_optimizer

RESULTS = Path(__file__).parent / "results"
LOADERS = {
    "decode": {},
    "decode in full": {"decode": "full"},
    "cache ram": {"cache": "ram"},
    "cache disk": {"cache": "disk"},
    "cache ram, warp device": {"cache": "ram", "warp": "device"},
}


def data_of(path: str | None, count: int, size: int, folder: Path) -> tuple[Annotations, str]:
    """Annotations to load, and what to call them."""
    if path is None:
        write_scenes(folder / "scenes", min(count, 256), seed=0, size=size)
        return read(folder / "scenes" / "train.json"), f"synthetic scenes of {size} px"
    file = Path(path) / "annotations" / "train.json"
    data = read(file if file.is_file() else path)
    return data.subset(range(min(count, len(data)))), Path(path).name


def batches_of(loader: Any) -> Iterator[Batch]:
    """Batches without end, epoch after epoch."""
    epoch = 0
    while True:
        loader.sampler.set_epoch(epoch)
        yield from loader
        epoch += 1


def rate(step: Callable[[], object], count: int, batch_size: int, device: torch.device) -> float:
    """Images a second over so many steps."""
    began = time.perf_counter()
    for _ in range(count):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return count * batch_size / (time.perf_counter() - began)


class Network:
    """A network with its optimizer, and one step of both."""

    def __init__(self, settings: TrainSettings, data: Annotations, sizes: np.ndarray) -> None:
        self.device, self.hardware = device_of(settings.hardware), settings.hardware
        self.size = settings.crop.input_size
        module = TrainingModule(build_model(settings, data, sizes), settings.optimizer, 1000, data.ids)
        self.module = module.to(self.device).train()
        if self.device.type == "cuda":
            self.module.to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(self.module, OptimizerSettings())
        self.clock = Clock(self.device.type == "cuda")

    def step(self, batch: Batch) -> None:
        """One step of training; what the clock marks is what the device is busy with."""
        self.clock.mark("data")
        batch = develop(batch.to(self.device, non_blocking=True), self.size)
        enabled = precision_of(self.hardware) != "32-true"
        with torch.autocast(self.device.type, autocast_type(self.hardware), enabled=enabled):
            loss = self.module.loss_terms(batch)[0]
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.clock.mark("rest")


def measure(settings: TrainSettings, data: Annotations, rounds: int, steps: int) -> dict[str, Any]:
    """Medians over rounds of the loaders alone, the network alone, and both together."""
    inspected, device = inspect(data), device_of(settings.hardware)
    variants = {
        name: replace(settings, hardware=replace(settings.hardware, **words)) for name, words in LOADERS.items()
    }
    windows = {name: cached_windows(s, data, inspected, Console(quiet=True)) for name, s in variants.items()}
    streams = {
        name: batches_of(build_loader(data, s, training=True, windows=windows[name])) for name, s in variants.items()
    }
    network = Network(settings, data, inspected.sizes)
    ready = develop(next(streams["decode"]).to(device), settings.crop.input_size)
    network.step(ready)
    loaded: dict[str, list[float]] = {name: [] for name in variants}
    together: dict[str, list[float]] = {name: [] for name in variants}
    busy: dict[str, list[float]] = {name: [] for name in variants}
    alone = []
    size = settings.batch_size
    for _ in range(rounds):
        for name, stream in streams.items():
            # What the queue held before is not counted.
            for _ in range(3 * max(1, worker_count(settings.hardware))):
                next(stream)
            loaded[name].append(rate(lambda s=stream: next(s), 4 * steps, size, device))
        alone.append(rate(lambda: network.step(ready), steps, size, device))
        for name, stream in streams.items():
            network.step(next(stream))
            network.clock.start()
            together[name].append(rate(lambda s=stream: network.step(next(s)), steps, size, device))
            seconds = network.clock.stop()
            busy[name].append(seconds["rest"] / sum(seconds.values()))
    return {
        "loader": {name: statistics.median(values) for name, values in loaded.items()},
        "network": statistics.median(alone),
        # Of each round by itself: other work on the machine slows both sides of a round.
        "loader_over_network": {
            name: statistics.median(v / a for v, a in zip(values, alone, strict=True))
            for name, values in loaded.items()
        },
        "training": {name: statistics.median(values) for name, values in together.items()},
        "busy_share": {name: statistics.median(values) for name, values in busy.items()},
        "cache_bytes": {name: w.nbytes for name, w in windows.items() if w is not None},
    }


def decoders(rounds: int = 15) -> dict[str, dict[str, float]]:
    """Milliseconds to decode a photograph-like JPEG, whole and at a part of its size, by OpenCV and simplejpeg."""
    found = {}
    rng = np.random.default_rng(0)
    for height, width in ((480, 640), (1080, 1920)):
        coarse = rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        ways: dict[str, Callable[[], object]] = {
            "opencv": lambda d=data: cv2.cvtColor(cv2.imdecode(d, cv2.IMREAD_ANYCOLOR), cv2.COLOR_BGR2RGB),
            "opencv 1/2": lambda d=data: cv2.imdecode(d, cv2.IMREAD_REDUCED_COLOR_2),
            "opencv 1/4": lambda d=data: cv2.imdecode(d, cv2.IMREAD_REDUCED_COLOR_4),
        }
        try:
            import simplejpeg

            raw = data.tobytes()
            ways["simplejpeg"] = lambda d=raw: simplejpeg.decode_jpeg(d)
            ways["simplejpeg 1/2"] = lambda d=raw, h=height: simplejpeg.decode_jpeg(d, min_height=h // 2, min_width=1)
        except ImportError:
            print("simplejpeg is not installed: not run")
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                times[name].append(1000 * (time.perf_counter() - began))
        found[f"{width} x {height}"] = {name: statistics.median(values) for name, values in times.items()}
    return found


def show(result: dict[str, Any]) -> None:
    """The tables."""
    network = result["network"]
    print(f"\n{'':26}{'loader':>10}  x network  {'training':>10}   busy   (images/s)")
    for name, value in result["loader"].items():
        training, busy = result["training"][name], result["busy_share"][name]
        ratio = result["loader_over_network"][name]
        print(f"{name:26}{value:10.0f}  {ratio:9.2f}  {training:10.0f}  {busy:5.0%}")
    print(f"{'network on ready batches':26}{network:10.0f}")
    for size, times in result["decoders_ms"].items():
        print(f"decode {size}: " + ", ".join(f"{name} {value:.2f} ms" for name, value in times.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of an unpacked lspet, or annotations")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--input_size", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--workers", type=int, default=-1)
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("not run: no GPU")
        return
    # OpenMP's threads wait by spinning unless told otherwise, on the loader's core too: `own_cores` leaves it free.
    hardware = HardwareSettings(accelerator=given.device, workers=given.workers)
    with tempfile.TemporaryDirectory() as folder, own_cores(hardware):
        data, called = data_of(given.data, given.images, given.input_size, Path(folder))
        settings = TrainSettings(
            str(data.source),
            out=str(Path(folder) / "run"),
            backbone={"name": given.backbone, "width": given.width},
            crop=CropSettings((given.input_size,) * 2),
            batch_size=given.batch_size,
            hardware=hardware,
        )
        threads = torch.get_num_threads()
        result = measure(settings, data, given.rounds, given.steps)
        result["decoders_ms"] = decoders()
    result |= {
        "data": called,
        "images": len(data),
        "backbone": settings.backbone,
        "input_size": given.input_size,
        "batch_size": given.batch_size,
        "precision": precision_of(hardware),
        "workers": worker_count(hardware),
        "threads": threads,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "device": torch.cuda.get_device_name() if given.device == "cuda" else platform.processor() or "cpu",
        "versions": {"torch": torch.__version__, "opencv": cv2.__version__, "python": platform.python_version()},
        "command": "python benchmarks/training.py " + " ".join(sys.argv[1:]),
    }
    show(result)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"training-{given.device}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
