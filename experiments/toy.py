"""Gu et al.'s toy cases under every head's loss: figures, an animation, and a table.

    python experiments/toy.py --out runs/toy

Writes into the folder: pair.png, gradients.png and pair.gif of the paper's two losses with one step size; a figure
for each head, with each of its losses at its own best step size; errors.png; table.md; toy.json.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from punctum import heads
from punctum.diagnostics import toy, toy_figures
from punctum.diagnostics.toy import Loss, Trajectory
from punctum.files import write_text, write_through

GAMMA = 0.01
"""Of the paper's two losses."""

Runs = dict[str, list[Trajectory]]


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.updates < 100:
        parser.error("--updates must be at least 100: the figures show that many")
    starts = toy.cases(options.seed)
    pair = measure_pair(starts, options.updates)
    draw_pair(pair, starts, options.out)
    table, best, peaks = toy.losses(), {}, {}
    for name, loss in table.items():
        print(name, flush=True)
        every = toy.descend(
            loss, starts, toy.GAMMAS, options.updates, kept=[0, 3, 30, options.updates], seed=options.seed
        )
        best[name] = [run for run in every if run.gamma == toy.choose_gamma(every)]
        peaks[name] = [run for run in every if run.gamma == toy.choose_gamma(every, by="peaks")]
    draw_heads(table, best, options.out)
    both = {"paper": (pair, pair), "heads": (best, peaks)}
    text = table_of(starts, *both["paper"]) + "\n" + table_of(starts, *both["heads"])
    write_text(options.out / "table.md", text)
    results = {part: as_json(*runs) for part, runs in both.items()}
    settings = {"updates": options.updates, "seed": options.seed, "size": toy.SIZE, "truth": toy.TRUTH}
    write_text(options.out / "toy.json", json.dumps({**settings, **results}, indent=1))
    print(text)


def measure_pair(starts: Sequence[toy.Case], updates: int) -> Runs:
    """Detection and regression with one gamma; about 40 maps kept, the closer the earlier."""
    kept = sorted({0, 1, 2, 3, 10, 30, 100, *(round(updates ** (i / 36)) for i in range(37))})
    return {name: toy.descend(loss, starts, [GAMMA], updates, kept) for name, loss in toy.paper_losses().items()}


def draw_pair(pair: Runs, starts: Sequence[toy.Case], out: Path) -> None:
    """The paper's Fig. 3, the factors behind it, and the animation."""
    some = {f"{name}, γ = {GAMMA}": [at(run, (0, 10, 30, 100)) for run in runs] for name, runs in pair.items()}
    write_bytes(out / "pair.png", toy_figures.png(toy_figures.progress_figure(some)))
    write_bytes(out / "gradients.png", toy_figures.png(toy_figures.gradient_figure(starts)))
    write_bytes(out / "pair.gif", toy_figures.animation(pair))


def at(run: Trajectory, kept: Sequence[int]) -> Trajectory:
    """The trajectory with these of its kept maps alone."""
    return replace(run, kept=tuple(kept), maps=torch.stack([run.maps[run.kept.index(n)] for n in kept]))


def draw_heads(table: Mapping[str, Loss], best: Runs, out: Path) -> None:
    """A figure for each head, and the lines of all heads with their defaults."""
    for head in heads.available():
        of_head = [name for name, loss in table.items() if loss.head == head]
        titled = {f"{name}, γ = {best[name][0].gamma:.3g}": best[name] for name in of_head}
        write_bytes(out / f"{head}.png", toy_figures.png(toy_figures.progress_figure(titled), dpi=90))
    lines = {f"{head}, γ = {best[head][0].gamma:.3g}": best[head] for head in heads.available()}
    extra = "integral prior=none"
    if extra in best:
        lines[f"{extra}, γ = {best[extra][0].gamma:.3g}"] = best[extra]
    write_bytes(out / "errors.png", toy_figures.png(toy_figures.error_figure(lines), dpi=90))


def write_bytes(path: Path, content: bytes) -> None:
    write_through(path, lambda temporary: temporary.write_bytes(content))


def table_of(starts: Sequence[toy.Case], best: Runs, peaks: Runs) -> str:
    """Markdown: updates until the coordinate, and until the map's highest cell, is within a cell for good."""
    names = [case.title.split(" ")[0] for case in starts]
    titles = ["loss", "free", "γ", *names, "γ", *(f"peak {name}" for name in names)]
    lines = [titles, ["---", "---", *["---:"] * (len(titles) - 2)]]
    for label, runs in best.items():
        of_peaks = peaks[label]
        arrived = [_said(run.arrival()) for run in runs]
        peaked = [_said(run.peak_arrival()) for run in of_peaks]
        gammas = [f"{each[0].gamma:.3g}" for each in (runs, of_peaks)]
        lines.append([label, runs[0].free, gammas[0], *arrived, gammas[1], *peaked])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _said(updates: int | None) -> str:
    return "-" if updates is None else str(updates)


def as_json(best: Runs, peaks: Runs) -> dict[str, Any]:
    """What the table says, and the errors behind it, which JSON has no NaN for."""

    def one(run: Trajectory) -> dict[str, Any]:
        numbers = {"errors": run.errors, "peaks": run.peaks, "losses": run.losses}
        listed = {k: [round(x, 5) if math.isfinite(x) else None for x in v.tolist()] for k, v in numbers.items()}
        return {"gamma": run.gamma, "arrival": run.arrival(), "peak_arrival": run.peak_arrival(), **listed}

    return {
        label: {
            "free": runs[0].free,
            "best_for_coords": {run.case.name: one(run) for run in runs},
            "best_for_peaks": {run.case.name: one(run) for run in peaks[label]},
        }
        for label, runs in best.items()
    }


if __name__ == "__main__":
    main()
