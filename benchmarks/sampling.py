"""Sampling-argmax: time and memory against the number of samples, spread against temperature, what is learnt.

    python benchmarks/sampling.py                   the three tables below, into benchmarks/results/sampling.json
    python benchmarks/sampling.py --device cuda     only the first, on a GPU: against soft-argmax

- cost: forward and backward of the loss from logits of 8 x 17 maps of 64 x 48, on one thread. Milliseconds are
  of CPU time, the median over rounds in which all take turns; MiB saved is what autograd keeps for the backward
  pass, counted tensor by tensor; MiB peak is what a fresh process needs at most, less what it needed before. For
  30 samples also wall time on two threads.
  `materialized` is the same from its formulas with PyTorch's own random numbers, as the authors' code does it:
  noise and weights of all samples at once. The others are the versions of ops.kernels.
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
from punctum.ops import kernels

SHAPE = (8, 17, 64, 48)
TARGET = 30  # samples that are also timed on two threads
TAU = 0.5
VERSIONS = ("materialized", "plain", "closed", "native")
SAMPLES = (1, 5, 10, 30, 50)
TAUS = (2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.01)
BASES = ("uniform", "triangular", "gaussian")
RESULTS = Path(__file__).parent / "results" / "sampling.json"

Loss = Callable[[Tensor, Tensor], Tensor]


def materialized(logits: Tensor, count: int, tau: float) -> Tensor:
    """Draws (B, K, N, 2) with a triangular basis, each intermediate result a tensor (Li et al., Eqs. 11, 12)."""
    batch, keypoints, height, width = logits.shape
    log_p = logits.flatten(2).log_softmax(-1).unsqueeze(2)
    # -log of an exponential variable is a Gumbel one: half the time of two logarithms of a uniform one.
    gumbel = torch.empty(batch, keypoints, count, height * width, device=logits.device).exponential_().log_().neg_()
    weights = ((gumbel + log_p) / tau).softmax(-1).unflatten(-1, (height, width))
    coords = []
    for marginal in (weights.sum(-2), weights.sum(-1)):
        n = marginal.shape[-1]
        offsets = (torch.rand_like(marginal) + torch.rand_like(marginal) - 1) * (2 / n)
        coords.append((marginal * (ops.normalized_grid((n,), device=logits.device)[:, 0] + offsets)).sum(-1))
    return torch.stack(coords, -1)


def losses(device: str = "cpu") -> dict[str, Loss]:
    """What is compared, by name: from logits and targets to one number."""

    def sampled(version: str, count: int) -> Loss:
        def loss(logits: Tensor, target: Tensor) -> Tensor:
            if version == "materialized":
                draws = materialized(logits, count, TAU)
            else:
                with kernels.use(version):
                    draws = ops.sample_coords(logits, count, TAU)
            return ops.l1_losses(draws, target.unsqueeze(2).expand_as(draws)).mean()

        return loss

    versions = VERSIONS if device == "cpu" else (*VERSIONS[:-1], "triton")
    served = [
        name
        for name in versions
        if name in ("materialized", "plain")
        or kernels.refusal(name, "sample_coords", torch.zeros(1, 1, 2, 2, device=device)) is None
    ]
    return {
        "soft-argmax": lambda z, t: ops.l1_losses(ops.soft_argmax(z), t).mean(),
        "grid": lambda z, t: ops.grid_l1_losses(ops.normalize(z), t).mean(),
        "exact": lambda z, t: ops.expected_l1_losses(ops.normalize(z), t).mean(),
        "crps": lambda z, t: ops.crps_losses(ops.normalize(z), t).mean(),
        **{f"{version}, N = {count}": sampled(version, count) for count in SAMPLES for version in served},
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


def measure_wall(rounds: int, threads: int = 2) -> dict[str, float]:
    """Milliseconds of wall time of TARGET samples."""
    compared = {name: loss for name, loss in losses().items() if name.endswith(f"N = {TARGET}")}
    logits, target = inputs()
    times: dict[str, list[float]] = {name: [] for name in compared}
    torch.set_num_threads(threads)
    for _ in range(rounds + 1):
        for name, loss in compared.items():
            began = time.perf_counter()
            loss(logits, target).backward()
            times[name].append(1000 * (time.perf_counter() - began))
    torch.set_num_threads(1)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def measure_cost_on_gpu(rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds and MiB of device memory by loss."""
    compared = losses("cuda")
    logits, target = (tensor.detach().cuda() for tensor in inputs())
    logits.requires_grad_()
    times: dict[str, list[float]] = {name: [] for name in compared}
    peaks = {}
    for _ in range(rounds + 3):
        for name, loss in compared.items():
            torch.cuda.reset_peak_memory_stats()
            before, began, ended = torch.cuda.memory_allocated(), *(torch.cuda.Event(True) for _ in range(2))
            began.record()
            loss(logits, target).backward()
            ended.record()
            torch.cuda.synchronize()
            times[name].append(began.elapsed_time(ended))
            peaks[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
    return {name: {"ms": statistics.median(times[name][3:]), "mib_peak": peaks[name]} for name in compared}


def maps() -> dict[str, Tensor]:
    """Logits of a blob of sigma 2, and of two: four fifths of the mass a quarter in, one fifth at three quarters."""
    size = (64, 64)
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
                    off = (draws.mean(0) - mean[0, 0]).abs() * logits.shape[-1] / 2
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


def print_cost(cost: dict) -> None:
    """Time and memory as markdown, and what they are of materializing, or of soft-argmax."""
    columns = [name for name in ("ms", "mib_saved", "mib_peak") if name in cost["soft-argmax"]]
    print(f"| loss | {' | '.join(columns)} | materialized / this | this / soft-argmax |")
    print("|---" * (len(columns) + 3) + "|")
    for name, row in cost.items():
        peer = cost.get(f"materialized, {name.partition(', ')[2]}")
        ratio = f"{peer['ms'] / row['ms']:.1f}" if peer else ""
        numbers = " | ".join(f"{row[column]:.3g}" for column in columns)
        print(f"| {name} | {numbers} | {ratio} | {row['ms'] / cost['soft-argmax']['ms']:.1f} |")


def print_tables(cost: dict, wall: dict, spread: list, learnt: dict) -> None:
    """All three, as markdown."""
    print_cost(cost)
    slowest = wall[f"materialized, N = {TARGET}"]
    print("\n| on two threads | wall ms | materialized / this |\n|---|---|---|")
    for name, milliseconds in wall.items():
        print(f"| {name} | {milliseconds:.0f} | {slowest / milliseconds:.1f} |")
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
    parser.add_argument(
        "--only-cost", action="store_true", help="measure the first table; the others stay as written"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of the timing")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to measure the cost")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(peak_kib(options.peak))
        return
    if options.device == "cuda":
        if torch.cuda.is_available():
            print_cost(measure_cost_on_gpu(options.rounds))
        else:
            print("not run: no GPU")
        return
    cost, wall = measure_cost(options.rounds), measure_wall(options.rounds)
    if options.only_cost:
        before = json.loads(RESULTS.read_text(encoding="utf-8"))
        spread, learnt = before["spread"], before["learnt"]
    else:
        spread, learnt = measure_spread(4000), measure_learning()
    print_tables(cost, wall, spread, learnt)
    content = {
        "command": " ".join(["python benchmarks/sampling.py", *sys.argv[1:]]),
        "shape": SHAPE,
        "rounds": options.rounds,
        "cost": cost,
        "wall_ms_two_threads": wall,
        "spread": spread,
        "learnt": learnt,
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, one thread where not said otherwise",
        "versions": {
            "punctum": punctum.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    RESULTS.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
