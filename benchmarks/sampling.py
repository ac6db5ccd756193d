"""Sampling-argmax: time and memory against the number of samples, spread against temperature, what is learnt.

    python benchmarks/sampling.py

Prints three tables and writes benchmarks/results/sampling.json.

- cost: forward and backward of the loss from logits of 8 x 17 maps of 64 x 64, on one thread. Milliseconds are
  of CPU time, the median over rounds in which all take turns; MiB saved is what autograd keeps for the backward
  pass, counted tensor by tensor; MiB peak is what a fresh process needs at most, less what it needed before.
- spread: how wide draws are against the mixture that they stand for, and how far off their mean.
- learnt: free logits of 21 cells, trained on truths of standard deviation 2 cells, or on one truth 0.3 cells off a
  centre.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

import punctum
from punctum import ops
from punctum.heads import Target
from punctum.heads.sampling import Sampling

SHAPE = (8, 17, 64, 64)
SAMPLES = (1, 5, 10, 30, 50)
TAUS = (2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.01)
BASES = ("uniform", "triangular", "gaussian")
RESULTS = Path(__file__).parent / "results" / "sampling.json"

Loss = Callable[[Tensor, Tensor], Tensor]


def losses() -> dict[str, Loss]:
    """What is compared, by name: from logits and targets to one number."""

    def sampled(count: int) -> Loss:
        def loss(logits: Tensor, target: Tensor) -> Tensor:
            draws = ops.sample_coords(logits, count, 0.5)
            return ops.l1_losses(draws, target.unsqueeze(2).expand_as(draws)).mean()

        return loss

    return {
        "soft-argmax": lambda z, t: ops.l1_losses(ops.soft_argmax(z), t).mean(),
        "grid": lambda z, t: ops.grid_l1_losses(ops.normalize(z), t).mean(),
        "exact": lambda z, t: ops.expected_l1_losses(ops.normalize(z), t).mean(),
        "crps": lambda z, t: ops.crps_losses(ops.normalize(z), t).mean(),
        **{f"sample, N = {count}": sampled(count) for count in SAMPLES},
    }


def inputs() -> tuple[Tensor, Tensor]:
    """Logits that want a gradient, and targets."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(SHAPE, generator=generator).requires_grad_()
    return logits, torch.rand(*SHAPE[:2], 2, generator=generator) - 0.5


def saved_bytes(loss: Loss) -> int:
    """Storage that autograd keeps between forward and backward, the logits' own left out."""
    logits, target = inputs()
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss(logits, target)
        total = sum(size for at, size in kept.items() if at != logits.untyped_storage().data_ptr())
    value.backward()
    return total


def peak_kib(name: str) -> int:
    """Resident memory that one forward and backward adds, in this process, which must be fresh."""
    logits, target = inputs()
    logits.grad = torch.zeros_like(logits)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    losses()[name](logits, target).backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def measure_peak(name: str) -> int:
    """`peak_kib` of a fresh process. A process starts with its parent's peak, so this comes before all else."""
    found = subprocess.run([sys.executable, __file__, "--peak", name], check=True, capture_output=True, text=True)
    return int(found.stdout)


def measure_cost(rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds and MiB by loss."""
    compared = losses()
    peaks = {name: measure_peak(name) for name in compared}
    logits, target = inputs()
    times: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(rounds + 1):
        for name, loss in compared.items():
            began = time.process_time()
            loss(logits, target).backward()
            times[name].append(1000 * (time.process_time() - began))
    found = {}
    for name, loss in compared.items():
        found[name] = {
            "ms": statistics.median(times[name][1:]),
            "ms_least": min(times[name][1:]),
            "mib_saved": saved_bytes(loss) / 2**20,
            "mib_peak": peaks[name] / 2**10,
        }
    return found


def maps() -> dict[str, Tensor]:
    """Logits of a blob of sigma 2, and of two: four fifths of the mass a quarter in, one fifth at three quarters."""
    size = SHAPE[2:]
    near, far = (
        ops.log_gaussian(torch.full((1, 1, 2), place, dtype=torch.float64), 2.0, size) for place in (-0.5, 0.5)
    )
    middle = ops.log_gaussian(torch.zeros(1, 1, 2, dtype=torch.float64), 2.0, size)
    return {"blob": middle, "two blobs": (0.8 * near.exp() + 0.2 * far.exp()).log()}


def measure_spread(count: int) -> list[dict[str, object]]:
    """Ratio of standard deviations, draws to mixture, and distance of the means in cells."""
    found: list[dict[str, object]] = []
    for name, logits in maps().items():
        for categorical in ("paper", "reference"):
            for basis in BASES:
                mean, covariance = ops.mixture_moments(logits, basis)
                for tau in TAUS:
                    generator = torch.Generator().manual_seed(0)
                    draws = torch.cat(
                        [
                            ops.sample_coords(logits, 500, tau, basis, categorical=categorical, generator=generator)[
                                0, 0
                            ]
                            for _ in range(count // 500)
                        ]
                    )
                    ratio = draws.std(0) / covariance[0, 0].diagonal().sqrt()
                    off = (draws.mean(0) - mean[0, 0]).abs() * SHAPE[-1] / 2
                    found.append(
                        {
                            "map": name,
                            "categorical": categorical,
                            "basis": basis,
                            "tau": tau,
                            "std_ratio": ratio.mean().item(),
                            "mean_off_cells": off.mean().item(),
                        }
                    )
    return found


ESTIMATORS: dict[str, dict[str, object]] = {
    "sample": {},
    "sample, tau_end 0.1": {"tau_end": 0.1},
    "sample, gradient sign": {"gradient": "sign"},
    "sample, categorical reference": {"categorical": "reference"},
    "grid": {"estimator": "grid"},
    "exact": {"estimator": "exact"},
    "crps": {"estimator": "crps"},
}


def learn(truths: Callable[[], Tensor], options: dict[str, object], steps: int = 600) -> tuple[float, float]:
    """Mean and standard deviation, in cells from the centre, of a map that was free to fit the truths."""
    cells = 21
    torch.manual_seed(0)
    head = Sampling(1, 1, (cells,), tau_until=0.5, **options)
    logits = torch.zeros(1, 1, cells, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    for step in range(steps):
        head.set_progress(step / steps)
        coords = truths().reshape(-1, 1, 1) * 2 / cells
        target = Target(coords, torch.ones(coords.shape[:2], dtype=torch.bool))
        optimizer.zero_grad()
        torch.stack(list(head.losses(logits.expand(len(coords), -1, -1), target).values())).mean().backward()
        optimizer.step()
        schedule.step()
    prediction = head.decode(logits.detach())
    if prediction.covariance is None:
        raise RuntimeError("head 'sampling' gave no covariance")
    return prediction.coords.item() * cells / 2, prediction.covariance.sqrt().item() * cells / 2


def measure_learning() -> dict[str, dict[str, float]]:
    """What each estimator makes of scattered truths and of a fixed one."""
    found = {}
    for name, options in ESTIMATORS.items():
        generator = torch.Generator().manual_seed(1)
        _, spread = learn(lambda g=generator: 2 * torch.randn(64, generator=g), options)
        place, _ = learn(lambda: torch.full((64,), 0.3), options)
        found[name] = {"std_cells": spread, "mean_error_cells": place - 0.3}
    return found


def print_tables(cost: dict, spread: list, learnt: dict) -> None:
    """All three, as markdown."""
    print("| loss | ms | MiB saved | MiB peak |\n|---|---|---|---|")
    for name, row in cost.items():
        print(f"| {name} | {row['ms']:.0f} | {row['mib_saved']:.0f} | {row['mib_peak']:.0f} |")
    cells = {(row["map"], row["categorical"], row["basis"], row["tau"]): row for row in spread}
    print("\n| tau | uniform | triangular | gaussian | reference | two blobs | its mean off | reference |")
    print("|---|---|---|---|---|---|---|---|")
    for tau in TAUS:
        ratios = [cells["blob", "paper", basis, tau]["std_ratio"] for basis in BASES]
        ratios += [cells["blob", "reference", "triangular", tau]["std_ratio"]]
        two = [cells["two blobs", categorical, "triangular", tau] for categorical in ("paper", "reference")]
        ratios += [two[0]["std_ratio"], *(row["mean_off_cells"] for row in two)]
        print(f"| {tau:g} | " + " | ".join(f"{value:.2f}" for value in ratios) + " |")
    print("\n| estimator | spread learnt | fixed truth: mean off |\n|---|---|---|")
    for name, row in learnt.items():
        print(f"| {name} | {row['std_cells']:.2f} | {row['mean_error_cells']:+.2f} |")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", metavar="NAME", help="only print the KiB that this loss adds to a fresh process")
    parser.add_argument("--rounds", type=int, default=5, help="of the timing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(peak_kib(options.peak))
        return
    cost, spread, learnt = measure_cost(options.rounds), measure_spread(4000), measure_learning()
    print_tables(cost, spread, learnt)
    content = {
        "command": "python benchmarks/sampling.py",
        "shape": SHAPE,
        "rounds": options.rounds,
        "cost": cost,
        "spread": spread,
        "learnt": learnt,
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, one thread",
        "versions": {
            "punctum": punctum.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    RESULTS.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
