"""DSNT as the localisation network of a spatial transformer: a place learned from a class alone.

    python experiments/spatial_transformer.py --out runs/spatial_transformer

A glyph stands somewhere in a large cluttered picture. A localisation network chooses where a small window is cut out
(affine_grid and grid_sample, translation only), and a classifier, which sees nothing but the window, names the glyph.
The one loss is the classifier's cross-entropy: nobody tells where the glyph is. All are trained with glyphs in the
left half of the picture alone, the clutter is everywhere; then they are asked for glyphs in either half.

    dsnt             mean of a heatmap (Nibali et al. 2018, Section 2.2: a drop-in replacement)
    fully_connected  the spatial transformer's own: a hidden layer over all features (Jaderberg et al. 2015)
    argmax           the same heatmap, read as heatmap matching does: no gradient passes
    centre           the window stays in the middle of the picture
    oracle           the window stands where the glyph is

Finished cells are kept in OUT/cells and not trained again. `--full`: pictures of twice the side, 5 seeds, longer, and
trainings with glyphs anywhere as well.
"""

import argparse
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glyphs import Pictures, make_pictures
from punctum import ops
from results import environment, markdown, read_result, shown, summary, write_result

LOCALISATIONS = ("dsnt", "fully_connected", "argmax", "centre", "oracle")
# Adam's learning rate, and the part of it for the localisation. As fast as the classifier, the fully connected one
# runs to the picture's edge and stays there, and DSNT's settles before the classifier can tell it where to.
RATE, SLOWER = 2e-3, {"fully_connected": 0.1, "dsnt": 0.25}


def main() -> None:
    """Run what is missing, then print and write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/spatial_transformer"))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="on the CPU; more gain little, the network is small")
    for name in CHANGEABLE:
        parser.add_argument(f"--{name}", type=int, help="instead of the scale's own")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    changes = {name: value for name in CHANGEABLE if (value := getattr(given, name))}
    scale = replace(FULL if given.full else SMALL, **changes)
    results = {}
    for where in scale.trained_on:
        for kind in LOCALISATIONS:
            cells = [run_cell(kind, where, s, scale, given.out / "cells", given.device) for s in range(scale.seeds)]
            results[f"{kind}, trained on {where}"] = gather(cells)
    report = {
        "experiment": "spatial_transformer",
        **environment(given.device),
        "scale": asdict(scale),
        "results": results,
    }
    write_result(given.out / "spatial_transformer.json", report)
    draw(scale, given.out, given.device)
    print(table(results))
    print(f"written: {given.out / 'spatial_transformer.json'}, .png")


def gather(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and interval over seeds, and each seed's first gradient."""
    found: dict[str, Any] = {"gradient": [cell["gradient"] for cell in cells]}
    for half in ("left", "right"):
        for what in ("accuracy", "distance"):
            found[f"{half} {what}"] = summary([cell[half][what] for cell in cells])
    found["cpu_seconds"] = summary([cell["cpu_seconds"] for cell in cells])
    return found


def table(results: dict[str, Any]) -> str:
    """Markdown."""
    header = ["localisation", "accuracy left, %", "right, %", "window off by, left, px", "right, px", "gradient"]
    rows = []
    for name, found in results.items():
        norms = [g for g in found["gradient"] if g is not None]
        row = [name, *(shown(found[f"{half} accuracy"]["values"], 1) for half in ("left", "right"))]
        row += [shown(found[f"{half} distance"]["values"], 1) for half in ("left", "right")]
        rows.append([*row, shown(norms, 3) if norms else "none"])
    return markdown(header, rows)


@dataclass(frozen=True)
class Scale:
    """How large the experiment is.

    Args:
        size: side of the pictures, px.
        window: side of what the classifier sees, px, at the picture's own resolution.
        train: pictures to train on.
        test: pictures to judge by, for each half.
        steps: of the optimizer.
        batch: pictures a step.
        seeds: trainings of each kind.
        trained_on: where the glyphs of training stand; glyphs for the test stand in either half.
    """

    size: int = 64
    window: int = 28
    train: int = 8192
    test: int = 1024
    steps: int = 1000
    batch: int = 64
    seeds: int = 3
    trained_on: tuple[str, ...] = ("left",)


CHANGEABLE = ("size", "train", "test", "steps", "batch", "seeds")
SMALL = Scale()
FULL = Scale(128, 28, 32768, 4096, 8000, 128, 5, ("left", "anywhere"))


def block(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """A 3 x 3 convolution, normalized, rectified."""
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


class Localisation(nn.Module):
    """From a picture to one place in it, in normalized coordinates (B, 2), and the heatmap where there is one."""

    def __init__(self, kind: str, size: int) -> None:
        super().__init__()
        self.kind = kind
        self.trunk = nn.Sequential(block(1, 16, 2), block(16, 32, 2), block(32, 32, 1), block(32, 32, 1))
        if kind == "fully_connected":
            hidden, last = nn.Linear(32 * (size // 4) ** 2, 32), nn.Linear(32, 2)
            # As Jaderberg et al. start it: in the middle, whatever the picture.
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.head: nn.Module = nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), last, nn.Tanh())
        else:
            self.head = nn.Conv2d(32, 1, 1, bias=False)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        """Coordinates (B, 2), and the heatmap (B, 1, h, w) or None."""
        found = self.head(self.trunk(pictures))
        if self.kind == "fully_connected":
            return found, None
        heatmaps = ops.normalize(found)
        coords = ops.dsnt(heatmaps) if self.kind == "dsnt" else ops.argmax(found)
        return coords[:, 0], heatmaps


def cut(pictures: Tensor, coords: Tensor, window: int) -> Tensor:
    """Windows (B, 1, window, window) about normalized coordinates (B, 2); black beyond the picture."""
    scale = window / pictures.shape[-1]
    theta = coords.new_zeros(len(coords), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta = torch.cat([theta[..., :2], coords[..., None]], -1)
    grid = F.affine_grid(theta, [len(pictures), 1, window, window], align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False)


class SpatialTransformer(nn.Module):
    """Where to look, then what is there."""

    def __init__(self, kind: str, size: int, window: int, classes: int = 10) -> None:
        super().__init__()
        self.kind, self.window = kind, window
        learned = kind in ("dsnt", "fully_connected", "argmax")
        self.localisation = Localisation(kind, size) if learned else None
        self.classifier = nn.Sequential(
            block(1, 16, 1), nn.MaxPool2d(2), block(16, 32, 1), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(32 * (window // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, classes),
        )  # fmt: skip

    def forward(self, pictures: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Class logits (B, classes), window centres (B, 2), heatmaps; the truth is the oracle's alone."""
        heatmaps = None
        if self.localisation is not None:
            coords, heatmaps = self.localisation(pictures)
        else:
            coords = truth if self.kind == "oracle" else torch.zeros_like(truth)
        return self.classifier(cut(pictures, coords, self.window)), coords, heatmaps


def train(kind: str, data: Pictures, scale: Scale, seed: int, device: str) -> tuple[SpatialTransformer, float | None]:
    """A trained model, and the norm of the loss's first gradient in the localisation network; None: there is none."""
    torch.manual_seed(seed)
    model = SpatialTransformer(kind, scale.size, scale.window).to(device)
    rates = {"localisation": RATE * SLOWER.get(kind, 1.0), "classifier": RATE}
    parts = dict(model.named_children())
    optimizer = torch.optim.Adam([{"params": part.parameters(), "lr": rates[name]} for name, part in parts.items()])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [rates[name] for name in parts], total_steps=scale.steps
    )
    order = torch.Generator().manual_seed(seed)
    first: float | None = None
    for step in range(scale.steps):
        chosen = torch.randint(len(data.images), (scale.batch,), generator=order)
        pictures, truth, labels = data.batch(chosen, device)
        loss = F.cross_entropy(model(pictures, truth)[0], labels)
        optimizer.zero_grad()
        loss.backward()
        # Not the very first step: the fully connected layer starts at zero, through which nothing passes.
        if step == 1 and model.localisation is not None:
            first = gradient_norm(model.localisation)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval(), first


def gradient_norm(module: nn.Module) -> float | None:
    """Euclidean norm of what has been propagated into a network; None where nothing was."""
    norms = [p.grad.norm() for p in module.parameters() if p.grad is not None]
    return float(torch.stack(norms).norm()) if norms else None


@torch.no_grad()
def judge(model: SpatialTransformer, data: Pictures, device: str) -> dict[str, float]:
    """Accuracy in per cent, and the median distance of window and glyph in pixels."""
    right, distances = [], []
    for chosen in torch.arange(len(data.images)).split(256):
        pictures, truth, labels = data.batch(chosen, device)
        logits, coords, _ = model(pictures, truth)
        right.append(logits.argmax(-1) == labels)
        size = pictures.shape[-2:]
        distances.append((ops.to_pixels(coords, size) - ops.to_pixels(truth, size)).norm(dim=-1))
    return {
        "accuracy": 100 * float(torch.cat(right).float().mean()),
        "distance": float(torch.cat(distances).median()),
    }


def run_cell(kind: str, where: str, seed: int, scale: Scale, folder: Path, device: str) -> dict[str, Any]:
    """Train and judge one model, or read what an earlier call found."""
    path = folder / f"{kind}-{where}-seed{seed}.json"
    sizes = {key: value for key, value in asdict(scale).items() if key not in ("seeds", "trained_on")}
    settings = {"kind": kind, "trained_on": where, "seed": seed, "slower": SLOWER.get(kind, 1.0), **sizes}
    if (there := read_result(path)) is not None and there["settings"] == settings:
        return there
    began = time.process_time()
    model, gradient = train(kind, make_pictures(scale.train, scale.size, (seed, 0), where), scale, seed, device)
    halves = {half: make_pictures(scale.test, scale.size, (seed, 1), half) for half in ("left", "right")}
    found = {half: judge(model, pictures, device) for half, pictures in halves.items()}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path.with_suffix(".pt"))
    result = {"settings": settings, "gradient": gradient, **found, "cpu_seconds": time.process_time() - began}
    write_result(path, result)
    told = ", ".join(f"{half} {v['accuracy']:.1f} % {v['distance']:.1f} px" for half, v in found.items())
    print(f"{path.stem}: {told}, {result['cpu_seconds']:.0f} s", flush=True)
    return result


@torch.no_grad()
def draw(scale: Scale, out: Path, device: str, columns: int = 8) -> None:
    """Pictures of either half, the windows that each localisation cuts out of them, and DSNT's heatmaps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    shown_here = {"dsnt": "#e4572e", "fully_connected": "#29b6f6"}
    found, heatmaps = {}, None
    halves = [make_pictures(columns // 2, scale.size, (0, 2), half) for half in ("left", "right")]
    pictures = torch.cat([half.batch(torch.arange(columns // 2), device)[0] for half in halves])
    truth = torch.cat([half.batch(torch.arange(columns // 2), device)[1] for half in halves])
    for kind in shown_here:
        model = SpatialTransformer(kind, scale.size, scale.window).to(device).eval()
        state = torch.load(out / "cells" / f"{kind}-left-seed0.pt", map_location=device, weights_only=True)
        model.load_state_dict(state)
        _, coords, maps = model(pictures, truth)
        found[kind] = ops.to_pixels(coords, pictures.shape[-2:]).cpu()
        heatmaps = maps if maps is not None else heatmaps
    figure = Figure(figsize=(1.7 * columns, 4.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, columns)
    for i in range(columns):
        axes[0, i].imshow(pictures[i, 0].cpu().numpy(), cmap="gray")
        axes[0, i].axvline((scale.size - 1) / 2, color="white", linewidth=0.5, linestyle=":")
        for kind, colour in shown_here.items():
            corner = found[kind][i] - scale.window / 2
            axes[0, i].add_patch(Rectangle(corner.tolist(), scale.window, scale.window, fill=False, edgecolor=colour))
        if heatmaps is not None:
            axes[1, i].imshow(heatmaps[i, 0].cpu().numpy(), cmap="magma")
        axes[0, i].set_title("seen half" if i < columns // 2 else "unseen half", fontsize=8)
        for axis in axes[:, i]:
            axis.set_xticks([])
            axis.set_yticks([])
    axes[1, 0].set_ylabel("DSNT's heatmap", fontsize=8)
    figure.suptitle("Windows of DSNT (red) and fully connected (blue), trained by the class alone", fontsize=10)
    figure.savefig(out / "spatial_transformer.png", dpi=120)


if __name__ == "__main__":
    main()
