"""How cost grows: with keypoints, resolution, axes and pictures.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --device cuda

Prints a table and writes benchmarks/results/scaling-DEVICE.json.

- loss: `ops.dsnt_losses` (JS), forward and backward, from logits (B, K, *S), with the kernels that are chosen by
  default.
- prediction: crops to coordinates with ResNet-18, an eighth as wide, at a stride of 8, DSNT on top, batch
  normalizations folded.

One thing grows, the rest stays at B 8, K 16, 64 x 64 cells (a prediction: 128 px pictures). `of linear` is the time
over what it would be, were it proportional to the number of cells (a prediction: of pixels), held against the largest
size of its kind, where fixed costs are least: 1 is linear, above it are costs that small sizes have all the same. All
sizes take turns; short ones are repeated within theirs; medians. On the CPU with one thread time is the process's.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

from inference import RESULTS, in_turns, seconds
from punctum import ops
from punctum.model import KeypointModel, ModelConfig
from punctum.predict_network import Network
from punctum.schema import Schema
from results import environment, markdown, write_result

BATCH, KEYPOINTS, SIDE, PIXELS = 8, 16, 64, 128
# A turn of anything takes at least so long.
LEAST_SECONDS = 0.02
# What grows: by name, the logits' shapes.
LOSSES: dict[str, list[tuple[int, ...]]] = {
    "keypoints": [(BATCH, k, SIDE, SIDE) for k in (1, 4, 16, 64, 128)],
    "resolution": [(BATCH, KEYPOINTS, n, n) for n in (16, 32, 64, 128, 256)],
    # As many cells, on more axes.
    "axes": [(BATCH, KEYPOINTS, 4096), (BATCH, KEYPOINTS, 64, 64), (BATCH, KEYPOINTS, 16, 16, 16)],
    "images": [(b, KEYPOINTS, SIDE, SIDE) for b in (1, 4, 16, 64)],
}
# The same of predictions: pictures, keypoints, pixels.
PREDICTIONS: dict[str, list[tuple[int, int, int]]] = {
    "keypoints": [(BATCH, k, PIXELS) for k in (1, 16, 128)],
    "resolution": [(BATCH, KEYPOINTS, n) for n in (64, 128, 256)],
    "images": [(b, KEYPOINTS, PIXELS) for b in (1, 4, 16, 64)],
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, help="turns: 5 on the CPU, 100 on CUDA")
    parser.add_argument("--threads", type=int, default=1, help="on the CPU")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("not run: no GPU")
        return
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    rounds = given.rounds or (5 if given.device == "cpu" else 100)
    found = {
        "loss": grown(LOSSES, loss_step, math.prod, rounds, given.device),
        "prediction": grown(PREDICTIONS, prediction, pixels, rounds, given.device),
    }
    path = given.out / f"scaling-{given.device}.json"
    settings = {"rounds": rounds, "threads": given.threads}
    write_result(path, {"benchmark": "scaling", **environment(given.device), "settings": settings, "results": found})
    print(f"{table(found)}\nwritten: {path}")


def loss_step(shape: tuple[int, ...], device: str) -> Callable[[], None]:
    """Forward and backward of the loss of logits of that shape."""
    logits = torch.randn(shape, device=device).requires_grad_()
    target = torch.rand(*shape[:2], len(shape) - 2, device=device) - 0.5

    def step() -> None:
        logits.grad = None
        ops.dsnt_losses(logits, target).sum().backward()

    return step


def prediction(sizes: tuple[int, int, int], device: str) -> Callable[[], None]:
    """From so many crops to coordinates."""
    batch, keypoints, side = sizes
    schema = Schema(tuple(f"p{i}" for i in range(keypoints)))
    backbone = {"name": "resnet18", "width": 0.125, "output_stride": 8}
    network = Network(KeypointModel(ModelConfig(schema, (side, side), backbone, {"name": "dsnt"})), device)
    crops = torch.rand(batch, 3, side, side)
    return lambda: network(crops) and None


def pixels(sizes: tuple[int, int, int]) -> int:
    """What a prediction's cost is held against: keypoints are hoped to cost nothing, so they do not count."""
    return sizes[0] * sizes[2] ** 2


def grown(
    cases: dict[str, list[tuple[int, ...]]], make: Any, amount: Callable[[Any], int], rounds: int, device: str
) -> dict[str, list[dict[str, Any]]]:
    """Milliseconds of every case, and what they are of the largest's, were growth linear."""
    works = {(kind, sizes): make(sizes, device) for kind, rows in cases.items() for sizes in rows}
    repeats = {key: repeats_of(work, device) for key, work in works.items()}
    took = in_turns({key: repeated(work, repeats[key]) for key, work in works.items()}, rounds, device)
    times = {key: [t / repeats[key] for t in found] for key, found in took.items()}
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, rows in cases.items():
        first, last = (statistics.median(times[kind, rows[i]]) for i in (0, -1))
        found[kind] = [
            {
                "sizes": list(sizes),
                "ms": [1000 * t for t in times[kind, sizes]],
                "times_first": statistics.median(times[kind, sizes]) / first,
                "of_linear": statistics.median(times[kind, sizes]) / last * amount(rows[-1]) / amount(sizes),
            }
            for sizes in rows
        ]
    return found


def repeats_of(work: Callable[[], object], device: str) -> int:
    """How often a work is to be done for its time to be long enough for a clock."""
    work()
    return max(1, int(LEAST_SECONDS / max(seconds(work, device), 1e-6)))


def repeated(work: Callable[[], object], times: int) -> Callable[[], None]:
    """The same, several times over."""

    def run() -> None:
        for _ in range(times):
            work()

    return run


def table(found: dict[str, Any]) -> str:
    """Both, one after the other."""
    lines = []
    for what, kinds in found.items():
        for kind, rows in kinds.items():
            for row in rows:
                sizes = " x ".join(map(str, row["sizes"]))
                ms = f"{statistics.median(row['ms']):.2f}"
                lines.append([what, kind, sizes, ms, f"{row['times_first']:.1f}", f"{row['of_linear']:.2f}"])
    return markdown(["cost", "what grows", "sizes", "ms", "of the first", "of linear"], lines)


if __name__ == "__main__":
    main()
