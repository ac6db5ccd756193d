"""Time, memory and size of dilated ResNets with DSNT against stacked hourglasses with heatmap matching.

    python experiments/efficiency.py --out runs/efficiency

Nibali et al. 2018, Figure 10 and Table 4: ResNet-50 at 28 x 28 px has 8 % fewer parameters than the hourglass of 8
stacks, takes less than half of its memory in training and 0.52 of it in prediction (636 MiB of 1229), and is 3.25
times as fast (18.6 ms of 60.5). The models are those of `punctum recipes nibali2018`, their weights random: they
cost the same.

    time       one picture, batch 1, from the host's memory to coordinates there: median and MAD of the repetitions
    predict    peak of memory while that is done
    train      peak of memory in a training step (the second one: the optimizer has its state)

Each number is taken in a fresh process; times in several, in turns, whose spread gives the interval. On the CPU with
one thread, time is the process's own, so that other processes slow it but do not count; memory is the peak of the
resident set beyond what importing the libraries took. On CUDA it is what PyTorch's allocator gave out. Finished cells
are kept in OUT/cells. `--full`: all of the paper's sizes, more repetitions.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from results import environment, interval, markdown, read_result, shown, summary, write_result

BASE = "hourglass8-hm"
SIMPLE_BASELINE = "simplebaseline50-hm"
SMALL = ("resnet50-28px-js", "resnet34-28px-js", "hourglass1-hm", BASE)
RESNETS = tuple(f"resnet{depth}-{px}px-js" for depth in (18, 34, 50) for px in (7, 14, 28))
FULL = (*RESNETS, "hourglass1-hm", "hourglass2-hm", "hourglass4-hm", BASE)
# Of MPII, which the paper measures on.
KEYPOINTS = 16
# ResNet-50@28px over hourglass of 8 stacks: Table 4, and the text of Section 6.4.
PAPER = {"speed": 60.5 / 18.6, "predict": 636 / 1229, "train": "< 0.5", "parameters": 0.92}
MIB = 2**20
MEMORY_ROUNDS = 3


def main() -> None:
    """Measure what is missing, then print and write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/efficiency"))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--models", help="recipes of nibali2018, with commas; hourglass8-hm is always among them")
    parser.add_argument("--rounds", type=int, help="fresh processes for each time: 5, or 10 with --full")
    parser.add_argument("--repetitions", type=int, help="in each of them: 5, or 100 with --full")
    parser.add_argument(
        "--batch", type=int, help="pictures of a training step: 2, or 6 with --full, on both networks"
    )
    parser.add_argument("--threads", type=int, default=1, help="on the CPU")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.rounds = given.rounds or (10 if given.full else 5)
    given.repetitions = given.repetitions or (100 if given.full else 5)
    given.batch = given.batch or (6 if given.full else 2)
    if given.measure:
        name, what = given.measure.split(":")
        print(json.dumps(measure(name, what, given)))
        return
    chosen = given.models.split(",") if given.models else (FULL if given.full else SMALL)
    names = [*(name for name in chosen if name != BASE), BASE]
    cells = {name: run_cells(name, given) for name in names}
    times = run_times(names, given)
    rows = {name: summarize(cells[name], times[name], cells[BASE], times[BASE]) for name in names}
    report = {
        "experiment": "efficiency",
        **environment(given.device),
        "threads": given.threads,
        "settings": {"rounds": given.rounds, "repetitions": given.repetitions, "batch": given.batch},
        "paper": PAPER,
        "results": rows,
    }
    write_result(given.out / f"efficiency-{given.device}.json", report)
    draw(rows, given.out / f"efficiency-{given.device}.png", report["device"])
    print(table(rows))
    print(f"written: {given.out / f'efficiency-{given.device}.json'}, .png")


# --- in the parent -----------------------------------------------------------------------------------------


def run_cells(name: str, given: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Size and memory of one model; memory in several processes, since allocators don't always do the same."""
    turns = {"size": 1, "predict": MEMORY_ROUNDS, "train": MEMORY_ROUNDS}
    return {what: [ask(name, what, turn, given) for turn in range(n)] for what, n in turns.items()}


def run_times(names: list[str], given: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Times, in turns: what disturbs the machine for a while disturbs all models."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for turn in range(given.rounds):
        for name in names:
            found[name].append(ask(name, "time", turn, given))
    return found


def ask(name: str, what: str, turn: int, given: argparse.Namespace) -> dict[str, Any]:
    """A measurement by a fresh process, or what an earlier call found."""
    settings = {key: getattr(given, key) for key in ("device", "repetitions", "batch", "threads")}
    path = given.out / "cells" / f"{given.device}-{name}-{what}-{turn}.json"
    if (there := read_result(path)) is not None and there["settings"] == settings:
        return there
    options = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, __file__, "--measure", f"{name}:{what}", *options]
    threads = {key: str(given.threads) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    result = {"settings": settings, **json.loads(done.stdout.splitlines()[-1])}
    write_result(path, result)
    print(f"{name} {what} {turn}: {', '.join(f'{k} {v:.4g}' for k, v in list(result.items())[1:])}", flush=True)
    return result


def summarize(
    cells: dict[str, Any], times: list[dict[str, Any]], base: dict[str, Any], base_times: list[dict[str, Any]]
) -> dict[str, Any]:
    """One model's numbers, and what they are of those of the 8 stacks, turn by turn; speeds the other way round."""

    def over_base(what: str, key: str) -> list[float]:
        return [mine[key] / theirs[key] for mine, theirs in zip(cells[what], base[what], strict=True)]

    size = cells["size"][0]
    memory = {"predict": ("predict", "peak_mib"), "train": ("train", "peak_mib"), "kept": ("train", "kept_mib")}
    return {
        **{key: size[key] for key in ("parameters", "flops", "convolutions")},
        "time_ms": summary([t["median"] for t in times]),
        "mad_ms": statistics.median(t["mad"] for t in times),
        "wall_ms": summary([t["wall"] for t in times]),
        **{f"{label}_mib": summary([c[key] for c in cells[what]]) for label, (what, key) in memory.items()},
        "ratios": {
            "speed": summary([b["median"] / t["median"] for b, t in zip(base_times, times, strict=True)]),
            **{label: summary(over_base(what, key)) for label, (what, key) in memory.items()},
            **{key: over_base("size", key)[0] for key in ("parameters", "flops")},
        },
    }


def table(rows: dict[str, Any]) -> str:
    """Markdown: the numbers, and beside them what they are of the 8 stacks'."""
    header = ["model", "parameters, M", "GFLOP", "convolutions", "ms", "MAD", "times as fast as HG8"]
    header += ["MiB, prediction", "of HG8", "MiB, training", "of HG8", "kept for backward, MiB", "of HG8"]
    lines = []
    for name, row in rows.items():
        ratios = row["ratios"]
        line = [name, f"{row['parameters'] / 1e6:.1f}", f"{row['flops'] / 1e9:.1f}", str(row["convolutions"])]
        line += [shown(row["time_ms"]["values"], 1), f"{row['mad_ms']:.1f}", shown(ratios["speed"]["values"])]
        for what in ("predict", "train", "kept"):
            line += [shown(row[f"{what}_mib"]["values"], 0), shown(ratios[what]["values"])]
        lines.append(line)
    paper = ["paper: resnet50-28px", "0.92 of HG8", "", "", "18.6", "0.5", f"{PAPER['speed']:.2f}"]
    lines.append([*paper, "636", f"{PAPER['predict']:.2f}", "", "< 0.5", "", ""])
    return markdown(header, lines)


def draw(rows: dict[str, Any], path: Path, device: str) -> None:
    """Speed and memory as parts of the 8 stacks', with the paper's numbers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    speed, memory = figure.subplots(1, 2)
    names = list(rows)
    places = range(len(names))
    values = [interval(rows[name]["ratios"]["speed"]["values"]) for name in names]
    errors = [half or 0.0 for _, half in values]
    speed.barh(places, [mean for mean, _ in values], xerr=errors, color="#3b6ea5", capsize=3, label="here")
    speed.set_title("times as fast as 8 stacks, batch 1")
    kinds = (("predict", "prediction", "#3b6ea5"), ("train", "training step", "#c8793a"))
    for shift, (key, label, colour) in zip((-0.2, 0.2), kinds, strict=True):
        parts = [rows[name]["ratios"][key]["mean"] for name in names]
        places_of = [place + shift for place in places]
        memory.barh(places_of, parts, height=0.38, color=colour, label=label)
    memory.set_title("peak of memory, of that of 8 stacks")
    if "resnet50-28px-js" in names:
        at = names.index("resnet50-28px-js")
        speed.plot([PAPER["speed"]], [at], "k*", markersize=11, label="paper")
        memory.plot([PAPER["predict"]], [at - 0.2], "k*", markersize=11, label="paper, prediction")
    for axis in (speed, memory):
        axis.axvline(1, color="gray", linewidth=0.8)
        axis.set_yticks(list(places), names if axis is speed else [""] * len(names))
        axis.invert_yaxis()
        axis.legend(fontsize=8)
    figure.suptitle(device, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


# --- in the fresh process ----------------------------------------------------------------------------------


def measure(name: str, what: str, given: argparse.Namespace) -> dict[str, float]:
    """One measurement; nothing else has happened in this process."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    if what == "time":
        return measure_time(name, given)
    if what == "size":
        return measure_size(name)
    return measure_memory(name, given, train=what == "train")


def settings_of(name: str) -> Any:
    """Of nibali2018's recipe of that name; of SimpleBaseline with ResNet-50, in the hourglasses' size of pictures."""
    from punctum import recipes

    if name != SIMPLE_BASELINE:
        return recipes.settings(f"nibali2018/{name}", "none", "none")
    settings = recipes.settings("gu2022/resnet50-detection", "none", "none")
    return replace(settings, crop=replace(settings.crop, input_size=(256, 256)))


def build(name: str, device: str) -> tuple[Any, Any]:
    """The recipe's model with random weights, and its settings."""
    from punctum.model import KeypointModel, ModelConfig
    from punctum.schema import Schema

    settings = settings_of(name)
    schema = Schema(tuple(f"joint{i}" for i in range(KEYPOINTS)))
    config = ModelConfig(schema, settings.crop.input_size, settings.backbone, settings.head)
    return KeypointModel(config, pretrained=False).to(device), settings


def predictor(name: str, device: str, batch: int = 1, *, fuse: bool = False) -> Callable[[], Any]:
    """What takes one picture, or a batch of them, to coordinates, both in the host's memory."""
    import torch

    model, settings = build(name, device)
    model.eval()
    if fuse:
        model = model.fuse()
    picture = torch.rand(batch, 3, *settings.crop.input_size)

    def predict() -> Any:
        with torch.no_grad():
            return model.decode(model(picture.to(device))).coords.cpu()

    return predict


def measure_time(name: str, given: argparse.Namespace) -> dict[str, float]:
    """Milliseconds a picture: median and median absolute deviation, and the median by the wall's clock."""
    predict = predictor(name, given.device)
    for _ in range(2 if given.device == "cpu" else 20):
        predict()
    own = given.device == "cpu" and given.threads == 1
    times, walls = [], []
    for _ in range(given.repetitions):
        began, wall = time.process_time(), time.perf_counter()
        predict()
        walls.append(1000 * (time.perf_counter() - wall))
        times.append(1000 * (time.process_time() - began) if own else walls[-1])
    median = statistics.median(times)
    mad = statistics.median(abs(t - median) for t in times)
    return {"median": median, "mad": mad, "wall": statistics.median(walls)}


def measure_size(name: str) -> dict[str, float]:
    """Parameters, floating-point operations of one picture (two a multiplication and addition), convolutions."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model, settings = build(name, "cpu")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.rand(1, 3, *settings.crop.input_size))
    convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in model.modules())
    parameters = sum(p.numel() for p in model.parameters())
    return {"parameters": parameters, "flops": counter.get_total_flops(), "convolutions": convolutions}


def measure_memory(name: str, given: argparse.Namespace, train: bool) -> dict[str, float]:
    """Peak of predicting one picture, or of the second training step; MiB."""
    import torch

    warm_up()
    before = resident("VmRSS")
    kept = 0
    if train:
        kept = train_steps(name, given.batch, given.device)
    else:
        predict = predictor(name, given.device)
        for _ in range(2):
            predict()
    if given.device == "cuda":
        return {"peak_mib": torch.cuda.max_memory_allocated() / MIB, "kept_mib": kept / MIB}
    return {"peak_mib": (resident("VmHWM") - before) / MIB, "kept_mib": kept / MIB}


def warm_up() -> None:
    """Import all that the measurement will, and let the libraries make what they make once."""
    import torch

    import punctum.model
    import punctum.recipes
    import punctum.training.optimizer  # noqa: F401

    layer = torch.nn.Conv2d(3, 8, 3)
    layer(torch.rand(1, 3, 32, 32)).sum().backward()


def resident(key: str) -> int:
    """Bytes of the resident set now, VmRSS, or at its peak, VmHWM; Linux tells both."""
    path = Path("/proc/self/status")
    if not path.is_file():
        raise SystemExit("memory on the CPU is read from /proc/self/status, which this system does not have")
    line = next(line for line in path.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def train_steps(name: str, batch: int, device: str) -> int:
    """Two training steps; returns the bytes that the second one kept for the backward pass, weights left out."""
    import torch

    from punctum.heads import Target
    from punctum.training.optimizer import build_optimizer

    model, settings = build(name, device)
    model.train()
    optimizer = build_optimizer(model, settings.optimizer)
    images = torch.rand(batch, 3, *settings.crop.input_size).to(device)
    coords = (torch.rand(batch, KEYPOINTS, 2) - 0.5).to(device)
    target = Target(coords, torch.ones(batch, KEYPOINTS, dtype=torch.bool, device=device))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    for _ in range(2):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            terms = model.losses(model(images), target)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum(0).mean().backward()
        optimizer.step()
    return sum(kept.values())


if __name__ == "__main__":
    main()
