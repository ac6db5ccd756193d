"""DSNT's loss, forward and backward, by every kernel and by others' formulas; against what memory allows.

    python benchmarks/kernels.py
    python benchmarks/kernels.py --device cuda

Prints a table for each size and writes benchmarks/results/kernels-cpu.json or kernels-cuda.json. All take turns in
one process, round after round, each with a few calls in a row of which the first two do not count; milliseconds are
of wall time, the median over all that count, so compare the ratios. The last two columns are shares of the bandwidth
that a copy of the logits has here: of a forward pass that reads them once (half of what a copy moves), and of a
backward pass that reads them once and writes as much (what a copy moves).

dsntnn's and kornia's formulas are written here from their mathematics: softmax, expectation over a grid, a rendered
Gaussian, and divergences with a small number in each logarithm, as those libraries compute them.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

import punctum
from punctum import ops
from punctum.ops import kernels

RESULTS = Path(__file__).parent / "results"
SIZES = {"cpu": [(28, 28), (64, 64)], "cuda": [(28, 28), (64, 64), (256, 192), (64, 64, 64)]}
BATCH, KEYPOINTS = 32, 16
CALLS = 8

Loss = Callable[[Tensor, Tensor], Tensor]


def centres(n: int, like: Tensor) -> Tensor:
    """Centres of n cells that span [-1, 1]."""
    return torch.linspace(1 / n - 1, 1 - 1 / n, n, dtype=like.dtype, device=like.device)


def gaussians(target: Tensor, size: tuple[int, ...]) -> Tensor:
    """Gaussians of one cell's width, divided by their sums."""
    maps = torch.ones((), device=target.device)
    for axis, n in enumerate(reversed(size)):
        along = torch.exp(-0.5 * ((centres(n, target) - target[..., axis, None]) * n / 2) ** 2)
        maps = maps * along.reshape(*target.shape[:2], *[n if a == axis else 1 for a in reversed(range(len(size)))])
    axes = tuple(range(-len(size), 0))
    return maps / (maps.sum(axes, keepdim=True) + 1e-24)


def expectation(heatmaps: Tensor) -> Tensor:
    """Sums over the other axes, times centres: as dsntnn does it."""
    axes = range(2, heatmaps.ndim)
    sums = [heatmaps.sum([a for a in axes if a != kept]) for kept in reversed(axes)]
    return torch.stack([(total * centres(total.shape[-1], total)).sum(-1) for total in sums], -1)


def expectation_over_grid(heatmaps: Tensor) -> Tensor:
    """A grid of every cell's coordinates, times the map: as kornia's spatial_expectation2d does it."""
    axes = [centres(n, heatmaps) for n in heatmaps.shape[2:]]
    grid = torch.meshgrid(*axes, indexing="ij")[::-1]
    flat = heatmaps.flatten(2)
    return torch.stack([(flat * places.reshape(-1)).sum(-1) for places in grid], -1)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Kullback-Leibler, as dsntnn does it."""
    return (p * ((p + 1e-24).log() - (q + 1e-24).log())).flatten(2).sum(-1)


def others_loss(expect: Callable[[Tensor], Tensor], regularizer: str) -> Loss:
    """Softmax, expectation, rendered Gaussian, divergence."""

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        p = torch.softmax(logits.flatten(2), -1).reshape(logits.shape)
        distance = (expect(p) - target).square().sum(-1).sqrt()
        g = gaussians(target, tuple(logits.shape[2:]))
        if regularizer == "kl":
            return distance + divergence(p, g)
        middle = 0.5 * (p + g)
        return distance + 0.5 * divergence(p, middle) + 0.5 * divergence(g, middle)

    return loss


def own_loss(choice: str, what: str) -> Loss:
    """DSNT's loss, or the sum of all moments, by these kernels."""

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        with kernels.use(choice):
            if what == "moments":
                mean, covariance = ops.moments(logits)
                return mean.sum(-1) + covariance.sum((-2, -1))
            return ops.dsnt_losses(logits, target, regularizer=what)

    return loss


def compiled_plain(what: str) -> Loss:
    """The plain formulas, through torch.compile. The choice of kernels is outside: it would be compiled in."""
    inner = torch.compile(own_loss("plain", what))
    return lambda logits, target: inner(logits, target)


def compared(what: str, device: str) -> dict[str, Loss]:
    """What takes turns, by name; the first one is what ratios are to."""
    losses: dict[str, Loss] = {}
    if what != "moments":
        losses["dsntnn, eager"] = others_loss(expectation, what)
        losses["kornia, eager"] = others_loss(expectation_over_grid, what)
    losses["plain, eager"] = own_loss("plain", what)
    losses["plain, torch.compile"] = compiled_plain(what)
    sample = torch.zeros(1, 1, 8, 8, device=device)
    op = "moments" if what == "moments" else "dsnt_terms"
    served = kernels.explain(op, sample, regularizer=what)
    losses.update({name: own_loss(name, what) for name, answer in served.items() if answer == "serves"})
    return losses


def timed(function: Callable[[], object], device: str) -> float:
    """Milliseconds."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - began)


def counted(times: list[float]) -> list[float]:
    """Without the first round, and without the first two calls of each: they find others' data in the caches."""
    return [time for i, time in enumerate(times) if i >= CALLS and i % CALLS >= 2]


def measure(what: str, size: tuple[int, ...], device: str, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds, ratio to the first, and shares of the copy's bandwidth, by name."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(BATCH, KEYPOINTS, *size, generator=generator).to(device).requires_grad_()
    target = (1.6 * torch.rand(BATCH, KEYPOINTS, len(size), generator=generator) - 0.8).to(device)
    losses, source, copy = compared(what, device), logits.detach(), torch.empty_like(logits)
    times: dict[str, list[float]] = {name: [] for name in ["copy", *losses]}
    ahead: dict[str, list[float]] = {name: [] for name in losses}

    def step(name: str) -> None:
        logits.grad = None
        total = None

        def forward() -> None:
            nonlocal total
            total = losses[name](logits, target).sum()

        ahead[name].append(timed(forward, device))
        total.backward()

    for _ in range(rounds + 1):
        for _ in range(CALLS):
            times["copy"].append(timed(lambda: copy.copy_(source), device))
        for name in losses:
            for _ in range(CALLS):
                times[name].append(timed(lambda name=name: step(name), device))
    medians = {name: statistics.median(counted(found)) for name, found in times.items()}
    forwards = {name: statistics.median(counted(found)) for name, found in ahead.items()}
    first = medians[next(iter(losses))]  # What ratios are to.
    least = {name: min(counted(found)) for name, found in times.items()}
    rows = {"copy": {"ms": medians["copy"], "ms_least": least["copy"]}}
    for name, forward in forwards.items():
        rows[name] = {
            "ms": medians[name],
            "ms_least": least[name],
            "ms_forward": forward,
            "times_faster": first / medians[name],
            "forward_bandwidth": medians["copy"] / 2 / forward,
            "backward_bandwidth": medians["copy"] / (medians[name] - forward),
        }
    return rows


def print_table(what: str, size: tuple[int, ...], rows: dict[str, dict[str, float]]) -> None:
    """As markdown."""
    print(f"\n{what}, {' x '.join(map(str, size))}, {BATCH} x {KEYPOINTS} maps\n")
    print("| | ms | of it forward | times faster | bandwidth forward | backward |\n|---|---|---|---|---|---|")
    print(f"| copy | {rows['copy']['ms']:.2f} | | | | |")
    for name, row in list(rows.items())[1:]:
        shares = f"{row['forward_bandwidth']:.0%} | {row['backward_bandwidth']:.0%}"
        print(f"| {name} | {row['ms']:.2f} | {row['ms_forward']:.2f} | {row['times_faster']:.1f} | {shares} |")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--what", nargs="+", default=["js", "kl", "moments"], choices=("js", "kl", "moments"))
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("not run: no GPU")
        return
    torch.set_num_threads(options.threads)
    found = []
    for what in options.what:
        for size in SIZES[options.device]:
            torch._dynamo.reset()
            rows = measure(what, size, options.device, options.rounds)
            print_table(what, size, rows)
            found.append({"what": what, "size": size, "rows": rows})
    content = {
        "command": f"python benchmarks/kernels.py --device {options.device}",
        "maps": [BATCH, KEYPOINTS],
        "rounds": options.rounds,
        "found": found,
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name()
        if options.device == "cuda"
        else f"{platform.machine()}, {options.threads} threads",
        "versions": {
            "punctum": punctum.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    path = RESULTS / f"kernels-{options.device}.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
