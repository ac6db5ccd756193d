"""What a network costs to predict and to train with, and what part of a training step is the head's.

    python benchmarks/inference.py
    python benchmarks/inference.py --device cuda

Prints two tables and writes benchmarks/results/inference-DEVICE.json and heads-cost-DEVICE.json. `--part networks` or
`--part heads` measures one of them.

- networks: ResNet-50 at 28 x 28 px with DSNT + JS (224 px) against the hourglass of 8 stacks and SimpleBaseline
  (ResNet-50, three transposed convolutions), both with heatmap matching at 256 px, plain and with batch
  normalizations folded. Times are taken in one process, all networks in turn; each memory in a fresh process: what
  a prediction of one picture, and the second of two training steps, needs at its peak. Networks and memory are
  those of experiments/efficiency.py.
- heads: every head behind ResNet-50 at 28 x 28 px, 224 px, 16 keypoints, 8 pictures: its forward pass, losses,
  backward pass to the features, and optimizer's step, as a part of all that with the backbone's.

On the CPU with one thread, time is the process's own, so that other processes slow it but do not count. Weights are
random: they cost the same.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

import efficiency
from punctum import heads, ops
from punctum.heads import Head, Target
from punctum.training.optimizer import build_optimizer
from results import environment, markdown, write_result

RESNET, HOURGLASS, BASELINE = "resnet50-28px-js", efficiency.BASE, efficiency.SIMPLE_BASELINE
NETWORKS = (RESNET, HOURGLASS, BASELINE)
BATCHES = (1, 4)
RESULTS = Path(__file__).parent / "results"
# Of a training step, for every head.
TARGET_SHARE = 0.03


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--part", choices=["networks", "heads", "all"], default="all")
    parser.add_argument("--rounds", type=int, help="turns: 3 on the CPU, 50 on CUDA")
    parser.add_argument("--batch", type=int, default=8, help="pictures of the heads' training step")
    parser.add_argument("--threads", type=int, default=1, help="on the CPU")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("not run: no GPU")
        return
    given.rounds = given.rounds or (3 if given.device == "cpu" else 50)
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    parts = {
        "networks": ("inference", measure_networks, networks_table),
        "heads": ("heads-cost", measure_heads, heads_table),
    }
    for part, (name, measure, table) in parts.items():
        if given.part not in (part, "all"):
            continue
        found = measure(given)
        settings = {key: getattr(given, key) for key in ("rounds", "batch", "threads")}
        path = given.out / f"{name}-{given.device}.json"
        write_result(path, {"benchmark": name, **environment(given.device), "settings": settings, **found})
        print(f"{table(found)}\nwritten: {path}\n", flush=True)


def seconds(work: Callable[[], object], device: str) -> float:
    """How long it takes, once; on the CPU with one thread by the process's own clock."""
    if device == "cuda":
        torch.cuda.synchronize()
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def in_turns(works: dict[Any, Callable[[], object]], rounds: int, device: str) -> dict[Any, list[float]]:
    """Seconds of each, round by round after one that does not count: what disturbs the machine disturbs all."""
    times: dict[Any, list[float]] = {key: [] for key in works}
    for turn in range(rounds + 1):
        for key, work in works.items():
            took = seconds(work, device)
            if turn > 0:
                times[key].append(took)
    return times


# --- networks ------------------------------------------------------------------------------------------------


def measure_networks(given: argparse.Namespace) -> dict[str, Any]:
    """Times, peaks and sizes of the three networks, and what they are of the others'."""
    memory = {name: measure_memory(name, given) for name in NETWORKS}
    works = {
        (name, fuse, batch): efficiency.predictor(name, given.device, batch, fuse=fuse)
        for batch in BATCHES
        for name in NETWORKS
        for fuse in (False, True)
    }
    times = in_turns(works, given.rounds, given.device)
    rows = {}
    for name in NETWORKS:
        size = efficiency.measure_size(name)
        row: dict[str, Any] = {**memory[name], "parameters": size["parameters"], "gmac": size["flops"] / 2e9}
        for batch in BATCHES:
            for key, fuse in (("ms", False), ("fused_ms", True)):
                row[f"{key}_batch{batch}"] = [1000 * t / batch for t in times[name, fuse, batch]]
        rows[name] = row
    return {"paper": efficiency.PAPER, "results": rows, "ratios": {other: ratios(rows, other) for other in NETWORKS}}


def measure_memory(name: str, given: argparse.Namespace) -> dict[str, float]:
    """MiB at the peak of a prediction and of a training step of 2 pictures, each in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        request = argparse.Namespace(
            device=given.device, repetitions=1, batch=2, threads=given.threads, out=Path(folder)
        )
        found = {what: efficiency.ask(name, what, 0, request)["peak_mib"] for what in ("predict", "train")}
    return {"predict_mib": found["predict"], "train_mib": found["train"]}


def ratios(rows: dict[str, Any], other: str) -> dict[str, float]:
    """ResNet-50 at 28 px beside another network: times as fast, turn by turn, and parts of its memory."""
    mine, theirs = rows[RESNET], rows[other]
    found = {
        f"speed_{key}": statistics.median(t / m for m, t in zip(mine[key], theirs[key], strict=True))
        for key in mine
        if "ms_batch" in key
    }
    return found | {key: mine[key] / theirs[key] for key in ("predict_mib", "train_mib", "parameters", "gmac")}


def networks_table(found: dict[str, Any]) -> str:
    """The figures, and below them what ResNet-50 at 28 px is of the others."""
    columns = [key for key in found["results"][RESNET] if "ms_batch" in key]
    header = ["network", *(f"{c.replace('_batch', ', batch ')}" for c in columns)]
    header += ["MiB, prediction", "MiB, training step", "parameters, M", "GMAC"]
    lines = []
    for name, row in found["results"].items():
        times = [f"{statistics.median(row[c]):.0f}" for c in columns]
        sizes = [f"{row['predict_mib']:.0f}", f"{row['train_mib']:.0f}"]
        lines.append([name, *times, *sizes, f"{row['parameters'] / 1e6:.1f}", f"{row['gmac']:.1f}"])
    for name in (HOURGLASS, BASELINE):
        of = found["ratios"][name]
        parts = [f"{of[key]:.2f}" for key in ("predict_mib", "train_mib", "parameters", "gmac")]
        lines.append([f"{RESNET} against {name}", *(f"{of[f'speed_{c}']:.2f} x" for c in columns), *parts])
    paper = found["paper"]
    blank = [""] * (len(columns) - 1)
    memory = [f"{paper['predict']:.2f}", paper["train"], f"{paper['parameters']:.2f}", ""]
    lines.append([f"paper, against {HOURGLASS}", f"{paper['speed']:.2f} x", *blank, *memory])
    return markdown(header, lines)


# --- heads ---------------------------------------------------------------------------------------------------


def measure_heads(given: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the backbone's part of a training step, and of every head's part."""
    model, settings = efficiency.build(RESNET, given.device)
    backbone = model.backbone.train()
    optimizer = build_optimizer(backbone, settings.optimizer)
    images = torch.rand(given.batch, 3, *settings.crop.input_size, device=given.device)
    size = backbone.feature_size(settings.crop.input_size)
    gradient = torch.randn(given.batch, backbone.channels, *size, device=given.device) / given.batch

    def step() -> None:
        optimizer.zero_grad()
        backbone(images)[0].backward(gradient)
        optimizer.step()

    step_of = {name: head_step(name, gradient, settings) for name in heads.available()}
    # The backbone's step takes as long as hundreds of a head's: those get more turns, between two of its own.
    base: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in step_of}
    step()
    for _ in range(given.rounds):
        base.append(seconds(step, given.device))
        for name, found in in_turns(step_of, 2, given.device).items():
            times[name] += found
    backbone_seconds = statistics.median(base)
    rows = {}
    for name, found in times.items():
        middle = statistics.median(found)
        rows[name] = {"ms": [1000 * t for t in found], "share": middle / (middle + backbone_seconds)}
    return {"backbone_ms": [1000 * t for t in base], "keypoints": efficiency.KEYPOINTS, "results": rows}


def head_step(name: str, like: torch.Tensor, settings: Any) -> Callable[[], None]:
    """What a training step does in a head: forward, losses, backward to the features, its weights' step."""
    features = torch.randn_like(like).relu_().requires_grad_()
    head: Head = heads.build(name, like.shape[1], efficiency.KEYPOINTS, like.shape[2:]).to(like.device)
    optimizer = build_optimizer(head, settings.optimizer) if list(head.parameters()) else None
    batch = len(like)
    visible = torch.ones(batch, efficiency.KEYPOINTS, dtype=torch.bool, device=like.device)
    target = Target(torch.rand(batch, efficiency.KEYPOINTS, 2, device=like.device) - 0.5, visible)
    head.train().set_progress(0.5)

    def step() -> None:
        features.grad = None
        head.zero_grad()
        losses = head.losses(head(features), target)
        total = torch.stack([ops.average_loss(term, head.counts(target)) for term in losses.values()]).sum()
        total.backward()
        if optimizer is not None:
            optimizer.step()

    return step


def heads_table(found: dict[str, Any]) -> str:
    """Each head's milliseconds and its share, the largest first."""
    backbone = statistics.median(found["backbone_ms"])
    lines = [["backbone alone", f"{backbone:.0f}", "", ""]]
    for name, row in sorted(found["results"].items(), key=lambda item: -item[1]["share"]):
        kept = "yes" if row["share"] < TARGET_SHARE else "no"
        lines.append([name, f"{statistics.median(row['ms']):.1f}", f"{100 * row['share']:.2f}", kept])
    return markdown(["head", "ms of a step", "share, %", f"below {100 * TARGET_SHARE:.0f} %"], lines)


if __name__ == "__main__":
    main()
