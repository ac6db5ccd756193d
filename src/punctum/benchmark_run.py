"""`punctum info --benchmark`: what a trained model costs to predict with, here."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from punctum.data.errors import counted
from punctum.environment import environment
from punctum.files import write_text
from punctum.fuse import batch_norms
from punctum.memory import MIB, forget_peak, load_libraries, resident_peak
from punctum.model import KeypointModel
from punctum.predict import Predictor, load_model
from punctum.predict_network import Network

PLAIN, FUSED, BF16, COMPILED = "plain", "fused", "fused, bf16", "fused, compiled"
# Of what is timed, in all turns; a slow network gets its least number of turns all the same.
SECONDS = 2.0
LEAST, MOST = 3, 100
# (H, W) of the picture that is read: smooth noise as a JPEG.
PICTURE = (480, 640)


def benchmark(
    run: str | Path,
    batch_sizes: Sequence[int] = (1, 32),
    *,
    device: str | torch.device | None = None,
    compile: bool = False,
    out: str | Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Time and memory of a trained model's predictions.

    Times are medians, of all variants in turn; memory is the most that the model and its predictions added: on a GPU
    what was allocated, on the CPU by how much a fresh process grew.

    Args:
        run: the run folder.
        batch_sizes: pictures at a time.
        device: where to compute; None: the GPU where there is one.
        compile: measure the compiled network as well.
        out: a JSON file for all of it.
        console: where to print tables; None is silent.
    Returns:
        What the JSON file holds: `parameters`, `gmac` of one picture, `variants` by batch size and name, `stages`:
        the parts of a fused prediction in ms a picture.
    Raises:
        ValueError: a batch size is not positive; the network cannot be compiled here.
        OSError: there is no model in the folder, or the file cannot be written.
    """
    if not batch_sizes or min(batch_sizes) < 1:
        raise ValueError(f"batch sizes must be at least 1, got {', '.join(map(str, batch_sizes))}")
    model = load_model(run)
    networks = _networks(model, device, compile)
    fused = networks[FUSED]
    found = {
        **environment(),
        "run": str(run),
        "device": torch.cuda.get_device_name(fused.device) if fused.device.type == "cuda" else str(fused.device),
        "threads": torch.get_num_threads(),
        "clock": "the process's own" if clock_of(fused.device) is time.process_time else "the wall's",
        "input_size": list(model.config.input_size),
        "parameters": sum(p.numel() for p in model.parameters()),
        "gmac": _macs(model, fused.device) / 1e9,
        "folded": [batch_norms(model) - batch_norms(_module(fused)), batch_norms(model)],
        "variants": {str(n): _variants(networks, n, Path(run)) for n in batch_sizes},
        "stages": {"read_ms": _reading_ms(model), **{str(n): _stages(fused, n) for n in batch_sizes}},
    }
    _print(found, console or Console(quiet=True))
    if out is not None:
        write_text(out, json.dumps(found, indent=1) + "\n")
    return found


def _networks(model: KeypointModel, device: str | torch.device | None, compile: bool) -> dict[str, Network]:
    fused = Network(model, device)
    networks = {PLAIN: Network(model, device, fuse=False), FUSED: fused, BF16: fused}
    return networks | ({COMPILED: Network(model, device, compile=True)} if compile else {})


def _module(network: Network) -> KeypointModel:
    """The fused model behind a network that is not compiled."""
    if not isinstance(network.forward, KeypointModel):
        raise TypeError("a compiled network has no modules to look into")
    return network.forward


def _crops(model: KeypointModel, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, model.backbone.in_channels, *model.config.input_size, generator=generator)


def _macs(model: KeypointModel, device: torch.device) -> float:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(_crops(model, 1).to(device))
    return counter.get_total_flops() / 2


def _answer(name: str, network: Network, crops: Tensor) -> None:
    """From crops in the host's memory to coordinates there."""
    narrow = torch.autocast(network.device.type, torch.bfloat16) if name == BF16 else nullcontext()
    with narrow:
        network(crops)


def _variants(networks: dict[str, Network], batch: int, run: Path) -> dict[str, dict[str, float | None]]:
    """Milliseconds a picture of each variant, how many times as fast as the plain one, and memory."""
    crops = _crops(networks[PLAIN].model, batch)
    works = {name: partial(_answer, name, network, crops) for name, network in networks.items()}
    times = in_turns(works, SECONDS, clock_of(networks[PLAIN].device))
    rows: dict[str, dict[str, float | None]] = {}
    for name, network in networks.items():
        faster = [plain / own for plain, own in zip(times[PLAIN], times[name], strict=True)]
        rows[name] = {
            "ms": 1000 * statistics.median(times[name]) / batch,
            "speed": statistics.median(faster),
            "peak_mib": _peak_mib(name, network, crops, run),
        }
    return rows


def clock_of(device: torch.device) -> Callable[[], float]:
    """Of the process where it computes on one thread: other processes slow it down, but do not count."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def in_turns(
    works: Mapping[str, Callable[[], object]], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each work, one after the other and again: what disturbs the machine disturbs all of them.

    Args:
        works: by name; each is done twice before any is timed.
        seconds: about how long the turns of each take; there are at least three.
        clock: seconds.
    """
    for work in works.values():
        work()
    # The first time is no measure, the second one tells the order of magnitude.
    began = clock()
    for work in works.values():
        work()
    turns = int(min(MOST, max(LEAST, seconds * len(works) / max(clock() - began, 1e-6))))
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(turns):
        for name, work in works.items():
            began = clock()
            work()
            times[name].append(clock() - began)
    return times


def _stages(network: Network, batch: int) -> dict[str, float]:
    """Milliseconds a picture in the backbone, and in head, decoding and the way back to the host."""
    backbone, crops = _module(network).backbone, _crops(network.model, batch)
    marks: list[float] = []
    clock = clock_of(network.device)

    def mark(*_: object) -> None:
        if network.device.type == "cuda":
            torch.cuda.synchronize()
        marks.append(clock())

    parts: list[tuple[float, float]] = []
    handles = [backbone.register_forward_pre_hook(mark), backbone.register_forward_hook(mark)]
    try:
        for _ in range(1 + LEAST):
            marks.clear()
            network(crops)
            mark()
            parts.append((marks[1] - marks[0], marks[2] - marks[1]))
    finally:
        for handle in handles:
            handle.remove()
    names = ("backbone_ms", "head_ms")
    return {
        name: 1000 * statistics.median(times) / batch
        for name, times in zip(names, zip(*parts[1:], strict=True), strict=True)
    }


def _reading_ms(model: KeypointModel) -> float | None:
    """Milliseconds to read a JPEG and crop it, on one thread; None for volumes and scans."""
    if model.dims == 1 or len(model.config.input_size) != 2:
        return None
    noise = np.random.default_rng(0).integers(0, 256, (*PICTURE, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.jpg"
        path.write_bytes(cv2.imencode(".jpg", cv2.GaussianBlur(noise, (0, 0), 3))[1].tobytes())
        predictor = Predictor(model, "cpu", fuse=False)
        clock = clock_of(torch.device("cpu"))
        times = in_turns({"read": lambda: predictor.read(path)}, SECONDS / 4, clock)["read"]
    return 1000 * statistics.median(times)


# --- memory --------------------------------------------------------------------------------------------------


def _peak_mib(name: str, network: Network, crops: Tensor, run: Path) -> float | None:
    if network.device.type == "cuda":
        # Weights of other variants are there too: what was there before is taken off, and this one's put on.
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(network.device)
        torch.cuda.reset_peak_memory_stats(network.device)
        _answer(name, network, crops)
        weights = sum(t.numel() * t.element_size() for t in network.model.state_dict().values())
        return (torch.cuda.max_memory_allocated(network.device) - before + weights) / MIB
    if name == COMPILED or network.device.type != "cpu":
        # The compiler itself needs more than what it makes, and other devices do not say.
        return None
    command = [sys.executable, "-m", "punctum.benchmark_run", str(run), name, str(len(crops))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"memory could not be measured in a process of its own:\n{done.stderr.strip()}")
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """In a fresh process: how far it grows, in MiB, when it loads a run's model and predicts twice."""
    run, name, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    load_libraries(torch.device("cpu"))
    forget_peak()
    before = resident_peak()
    network = Network(load_model(run), "cpu", fuse=name != PLAIN)
    crops = _crops(network.model, batch)
    for _ in range(2):
        _answer(name, network, crops)
    print(max(0.0, resident_peak() - before))


# --- tables --------------------------------------------------------------------------------------------------


def _print(found: dict[str, Any], console: Console) -> None:
    folded, norms = found["folded"]
    console.print(
        f"{found['parameters'] / 1e6:.2f} million parameters, {found['gmac']:.2f} GMAC a picture of "
        f"{' x '.join(map(str, found['input_size']))}; {folded} of {norms} batch normalizations folded; "
        f"{found['device']}, {counted(found['threads'], 'thread')}"
    )
    table = Table("batch", "network", "ms a picture", "pictures/s", "times as fast", "peak, MiB")
    for batch, rows in found["variants"].items():
        for name, row in rows.items():
            peak = "-" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
            table.add_row(batch, name, f"{row['ms']:.2f}", f"{1000 / row['ms']:.0f}", f"{row['speed']:.2f}", peak)
    console.print(table)
    stages = dict(found["stages"])
    read = stages.pop("read_ms")
    table = Table("batch", "read and crop, ms", "backbone, ms", "head and decoding, ms")
    for batch, row in stages.items():
        shown = "-" if read is None else f"{read:.2f}"
        table.add_row(batch, shown, f"{row['backbone_ms']:.2f}", f"{row['head_ms']:.2f}")
    console.print(table)
    console.print(
        f"medians of {found['clock']} time; a picture is read from a JPEG of {PICTURE[1]} x {PICTURE[0]}, by threads "
        "while the network computes others"
    )


if __name__ == "__main__":
    main()
