"""What heads learn where the truth is known: predicted densities against posteriors, in nats.

    python benchmarks/posterior.py --out runs/posterior

Trains every head on scenes of `punctum.data.synthetic_posterior` through the command line, one thread a run, and
measures on scenes that training did not see how far its densities are from the true ones: KL(truth || predicted) in
nats per point, by kind of scene. A prediction becomes a density by `ops.heatmap_mixture`, with its default
parameters, and as `punctum.calibration` fits them to the labels of further scenes. Beside them: the Gaussian nearest
to the truth, a uniform density, and the very map that head density is trained towards. Interrupted, it goes on.

Writes OUT/posterior.json, and OUT/examples.npz, from which docs/draw_posterior.py draws the figure.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accuracy import HEADS, half_width, punctum_command
from punctum import ops
from punctum.calibration.density import Density
from punctum.calibration.maps import MapSet, errors_in_cells, in_cells
from punctum.calibration.spread import Spread
from punctum.data import read, read_image
from punctum.data.synthetic_posterior import KINDS, read_posterior, write_posterior_scenes
from punctum.environment import environment
from punctum.files import write_text, write_through
from punctum.heads import Prediction
from punctum.heads.rle import RLE
from punctum.metrics.divergence import divergence, entropy, gauss_nodes, mass_nearer
from punctum.ops import GaussianMixture, heatmap_mixture, single_gaussian
from punctum.ops.decisions import decode, expected_oks_at, expected_pck_at
from punctum.predict import Predictor, load

SIZE, CELLS = 96, (12, 12)
SPLITS = {"train": 4000, "calibrate": 400, "test": 400}
USED = ("density", "sampling:crps", "sampling", "dsnt+js", "heatmap", "rle")
TRAIN = [
    *["--input-size", str(SIZE), "--backbone.width", "0.25", "--hardware.workers", "0", "--hardware.accelerator"],
    *["cpu", "--hardware.cache", "ram", "--val-fraction", "0.03"],
    # The posterior is that of the scenes as they are.
    *[word for name in ("flip", "rotation", "scale", "shift", "colour") for word in (f"--augmentation.{name}", "0")],
]
RULES = ("mean", "median", "mode", "oks", "pck")
LENGTH = RADIUS = 5.0
"""Pixels: of the OKS and the PCK that decisions are made for and judged by."""

TABLES = (
    [f"kl {kind}" for kind in (*KINDS, "all")],
    [f"mass {kind}{word}" for kind in ("even", "uneven") for word in ("", ", off")],
    *([f"{figure} {rule} all" for rule in RULES] for figure in ("oks", "pck", "px")),
)

Figures = dict[str, float]


@dataclass(frozen=True, eq=False)
class Part:
    """One split: its file, labels (N, 1, 2), the true posteriors, and the kind of each scene (N,)."""

    path: Path
    labels: Tensor
    truth: GaussianMixture
    kinds: NDArray[np.str_]

    def by_kind(self, values: Tensor) -> Figures:
        """Means of (N, 1) over the scenes of each kind, and over all."""
        means = {kind: float(values[torch.from_numpy(self.kinds == kind)].mean()) for kind in KINDS}
        return {**means, "all": float(values.mean())}

    def maps(self, prediction: Prediction, to_image: Tensor) -> MapSet:
        """What calibration is fitted to."""
        count = len(self.kinds)
        visible, numbers = torch.ones(count, 1, dtype=torch.bool), torch.arange(count)
        return MapSet(prediction, to_image, self.labels, visible, numbers, torch.full((count,), torch.nan))


def main() -> None:
    """Train what is missing, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/posterior"))
    parser.add_argument("--heads", default=",".join(USED))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    given = parser.parse_args()
    parts = {split: scenes(given.out / "data", split) for split in SPLITS}
    heads = given.heads.split(",")
    cells = [(head, seed) for seed in range(given.seeds) for head in heads]
    with ThreadPoolExecutor(given.jobs) as pool:
        minutes = list(pool.map(lambda cell: train(given.out, *cell, given.epochs), cells))
    torch.set_num_threads(1)
    examples = pictures(parts["test"])
    rows = references(parts, examples)
    for head, seed in cells:
        found = measure(head, run_of(given.out, head, seed), parts, examples if seed == 0 else {})
        for name, figures in found.items():
            rows.setdefault(name, []).append(figures)
    report = {
        "command": " ".join(["python", *sys.argv]),
        "environment": environment(),
        "scenes": SPLITS,
        "train": ["punctum", "train", "DATA", *TRAIN, "--max-epochs", str(given.epochs)],
        "cpu_minutes": {
            head: statistics.mean(m for m, (h, _) in zip(minutes, cells, strict=True) if h == head) for head in heads
        },
        "entropy": parts["test"].by_kind(entropy(parts["test"].truth)),
        "results": {name: over_seeds(figures) for name, figures in rows.items()},
    }
    write_text(given.out / "posterior.json", json.dumps(report, indent=1) + "\n")
    write_through(given.out / "examples.npz", lambda path: np.savez_compressed(path, **examples))
    print(*(table(report["results"], names) for names in TABLES), sep="\n\n")


# --- scenes and trainings ----------------------------------------------------------------------------------


def scenes(folder: Path, split: str) -> Part:
    """The split's files, written once."""
    path = folder / f"{split}.json"
    if not path.exists():
        write_posterior_scenes(folder, SPLITS[split], seed=0, size=SIZE, split=split)
    truth, kinds = read_posterior(folder / f"{split}-posterior.npz")
    return Part(path, torch.from_numpy(read(path).keypoints), truth, kinds)


def run_of(out: Path, head: str, seed: int) -> Path:
    """The run folder."""
    return out / "runs" / f"{head}-seed{seed}"


def train(out: Path, head: str, seed: int, epochs: int) -> float:
    """CPU minutes of a training, now or earlier."""
    run = run_of(out, head, seed)
    done = run / "trained.json"
    if not done.exists():
        resume = ["--resume"] if (run / "config.yaml").exists() else []
        words = [*HEADS[head], *TRAIN, "--max-epochs", str(epochs), "--seed", str(seed), *resume]
        seconds = punctum_command(["train", str(out / "data" / "train.json"), "--out", str(run), *words], run)
        done.write_text(json.dumps({"cpu_minutes": seconds / 60}) + "\n")
    return float(json.loads(done.read_text())["cpu_minutes"])


# --- densities ---------------------------------------------------------------------------------------------


def predicted(predictor: Predictor, part: Part) -> MapSet:
    """The model's maps of every scene of a split."""
    batches = list(predictor.heatmaps(read(part.path)))
    first = batches[0][1]
    names = [n for n in ("coords", "score", "covariance", "heatmap") if getattr(first, n) is not None]
    fields = {n: torch.cat([getattr(prediction, n) for _, prediction, _ in batches]).double() for n in names}
    return part.maps(Prediction(**fields), torch.cat([to_image for *_, to_image in batches]))


def mixtures(maps: Mapping[str, MapSet]) -> dict[str, GaussianMixture]:
    """Densities of the test scenes, in pixels: with the default parameters, and with those fitted to labels."""
    calibrate, test = maps["calibrate"], maps["test"]
    floor = Spread.fit(errors_in_cells(calibrate), in_cells(calibrate.prediction)[1]).floor
    prediction = test.prediction
    default = heatmap_mixture(prediction.heatmap, prediction.coords, prediction.covariance, test.size)
    fitted = Density.fit(calibrate, floor).mixture(prediction)
    return {name: m.transform(test.to_image) for name, m in (("default", default), ("fitted", fitted))}


def measure(head: str, run: Path, parts: Mapping[str, Part], examples: dict[str, Any]) -> dict[str, Figures]:
    """Figures of one training by the name of their row; its fitted densities of the shown scenes become examples."""
    predictor, test = load(run, "cpu"), parts["test"]
    found = mixtures({split: predicted(predictor, parts[split]) for split in ("calibrate", "test")})
    rows = {f"{head}, {name}": judged(mixture, test) for name, mixture in found.items()}
    rows[f"{head}, fitted"] |= decided(found["fitted"], test)
    if isinstance(last := predictor.model.heads[-1], RLE):
        rows[f"{head}, its own density"] = own_density(predictor, last, test)
    if examples:
        show(examples, head, found["fitted"], test)
    return rows


def own_density(predictor: Predictor, head: RLE, part: Part) -> Figures:
    """Divergences of the density that RLE learns, flow and all."""
    places, weights = gauss_nodes(part.truth)
    logs, start = [], 0
    for crops, _, to_image in predictor.heatmaps(read(part.path)):
        with torch.inference_mode():
            mean, scale = (value.double().unsqueeze(2) for value in predictor.network.forward(crops)[-1])
            back = torch.linalg.inv(to_image)
            at = ops.transform_points(places[start : start + len(crops)], back)
            log_p = head.log_prob(((at - mean) / scale).float()).double() - scale.log().sum(-1)
            logs.append(log_p + torch.linalg.det(back).log()[:, None, None])
        start += len(crops)
    surprise = -(weights * torch.cat(logs)).sum(-1)
    return {f"kl {kind}": value for kind, value in part.by_kind(surprise - entropy(part.truth)).items()}


def references(parts: Mapping[str, Part], examples: dict[str, Any]) -> dict[str, list[Figures]]:
    """What any prediction is to be seen against."""
    test = parts["test"]
    uniform = 2 * math.log(SIZE) - entropy(test.truth)
    found = mixtures({split: part.maps(*perfect(part)) for split, part in parts.items() if split != "train"})
    show(examples, "truth", test.truth, test)
    rows = {
        "the truth": judged(test.truth, test) | decided(test.truth, test),
        "uniform": {f"kl {kind}": value for kind, value in test.by_kind(uniform).items()},
        "one Gaussian": judged(single_gaussian(*test.truth.moments()), test),
        **{f"the true masses of the cells, {name}": judged(mixture, test) for name, mixture in found.items()},
    }
    return {name: [figures] for name, figures in rows.items()}


def perfect(part: Part) -> tuple[Prediction, Tensor]:
    """The map that head density is trained towards: the mean of a place's weights on its neighbouring cells."""
    draws = part.truth.draw(1024)
    coords = ops.to_normalized(draws, (SIZE, SIZE)).clamp(-1, 1)
    heatmap = torch.stack([ops.multilinear_weights(places, CELLS).mean(0) for places in coords.movedim(1, 2)])
    mean = ops.dsnt(heatmap)
    to_image = ops.pixels_matrix((SIZE, SIZE)).expand(len(mean), 3, 3)
    return Prediction(mean, torch.ones_like(mean[..., 0]), ops.covariance(heatmap, mean), heatmap), to_image


# --- figures -----------------------------------------------------------------------------------------------


def judged(mixture: GaussianMixture, part: Part) -> Figures:
    """Nats, by kind; the mass on the likelier end, and how far off it is on average."""
    truth = part.truth
    figures = {f"kl {kind}": value for kind, value in part.by_kind(divergence(truth, mixture)).items()}
    mass = mass_nearer(mixture, truth.means[..., 0, :], truth.means[..., -1, :])
    for kind in ("even", "uneven"):
        own = mass[torch.from_numpy(part.kinds == kind)]
        wanted = truth.log_weights.exp()[torch.from_numpy(part.kinds == kind)][..., 0]
        figures |= {f"mass {kind}": float(own.mean()), f"mass {kind}, off": float((own - wanted).abs().mean())}
    return figures


def decided(mixture: GaussianMixture, part: Part) -> Figures:
    """What the answers of each rule are worth under the truth: their expected OKS, PCK and distance, by kind."""
    truth, figures = part.truth, Figures()
    for rule in RULES:
        places = decode(mixture, rule, length=LENGTH, radius=RADIUS)
        for name, values in (
            ("oks", expected_oks_at(truth, places, LENGTH)),
            ("pck", expected_pck_at(truth, places, RADIUS)),
            ("px", (truth.draw(1024) - places.unsqueeze(2)).norm(dim=-1).mean(-1)),
        ):
            figures |= {f"{name} {rule} {kind}": value for kind, value in part.by_kind(values).items()}
    return figures


def over_seeds(rows: Sequence[Figures]) -> dict[str, dict[str, Any]]:
    """Mean over the seeds, with the half-width of its 95 % t-interval."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {n: {"mean": statistics.mean(v), "half_width": half_width([*v]), "seeds": v} for n, v in columns.items()}


def table(results: Mapping[str, Any], names: Sequence[str]) -> str:
    """Markdown of some figures: a row for each density that has them."""
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for label, row in results.items():
        if names[0] in row:
            cells = [(row[name]["mean"], row[name]["half_width"]) for name in names]
            shown = [f"{mean:.3f}" + ("" if half is None else f" ± {half:.3f}") for mean, half in cells]
            lines.append(f"| {label} | {' | '.join(shown)} |")
    return "\n".join(lines)


# --- examples ----------------------------------------------------------------------------------------------


def shown_scenes(part: Part) -> list[int]:
    """The second scene of each kind."""
    return [int(np.flatnonzero(part.kinds == kind)[1]) for kind in KINDS]


def pictures(part: Part) -> dict[str, Any]:
    """The shown scenes' pictures and kinds, to which densities are added."""
    annotations = read(part.path)
    rows = shown_scenes(part)
    return {"image": np.stack([read_image(annotations.images[i]) for i in rows]), "kind": part.kinds[rows]}


def show(examples: dict[str, Any], name: str, mixture: GaussianMixture, part: Part) -> None:
    """Densities of the shown scenes per pixel squared, at half pixels, and their nats."""
    rows = torch.tensor(shown_scenes(part))
    shown, truth = mixture.map(lambda t: t[rows]), part.truth.map(lambda t: t[rows])
    fine = (2 * SIZE, 2 * SIZE)
    grid = ops.to_pixels(ops.normalized_grid(fine), (SIZE, SIZE)).to(shown.means).reshape(1, 1, -1, 2)
    density = shown.log_prob(grid.expand(len(rows), 1, -1, 2)).exp().reshape(-1, *fine)
    examples[f"density {name}"] = density.float().numpy()
    examples[f"kl {name}"] = divergence(truth, shown)[:, 0].numpy()


if __name__ == "__main__":
    main()
