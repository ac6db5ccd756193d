"""Synthetic scenes whose posterior is known: where the point may be, given the picture, is a Gaussian mixture.

Rods lead from a hinge to their ends, and one end is the point. Who labels it is off by N(0, noise^2) in x and y.

    visible   one rod, a light knob at its end a:                  p(y | picture) = N(y; a, noise^2 I)
    occluded  its end lies behind a card with centre c, N(0, l^2)
              off along the rod u, for a card of radius 4.5 l:     N(y; c, l^2 u u^T + noise^2 I)
    even      two rods alike, the point is either end:             1/2 N(y; a, noise^2 I) + 1/2 N(y; b, noise^2 I)
    uneven    a's knob is light and b's dark, which says:          0.7 N(y; a, noise^2 I) + 0.3 N(y; b, noise^2 I)

What the picture shows is drawn first, and what it hides after that: so the posterior is what the label is drawn from.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from punctum.data.shapes import SOFT, Capsule, Part, disc
from punctum.draw import write_png
from punctum.files import write_text, write_through
from punctum.ops import GaussianMixture

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Rng = np.random.Generator
Kind = Literal["visible", "occluded", "even", "uneven"]

KINDS: tuple[Kind, ...] = get_args(Kind)
WEIGHTS: dict[Kind, tuple[float, ...]] = {
    "visible": (1.0,),
    "occluded": (1.0,),
    "even": (0.5, 0.5),
    "uneven": (0.7, 0.3),
}

REACH = 4.5
"""Standard deviations of a hidden end within which the card covers its knob: one in 150 000 would peep out."""

_KNOB, _ROD = 3.0, 1.5
"""Radii in a picture of 96 px."""


@dataclass(frozen=True, eq=False)
class PosteriorScene:
    """One picture, its label, and everything that the picture tells of it.

    Args:
        image: (H, W, 3) RGB.
        kind: what is uncertain.
        keypoint: (2,) pixels, the label: a draw from the posterior.
        place: (2,) pixels, where the end that was chosen is: the label without its noise.
        weights: (M,) of the posterior's components, summing to one.
        means: (M, 2) pixels.
        covariances: (M, 2, 2) pixels squared.
    """

    image: Image
    kind: Kind
    keypoint: Array
    place: Array
    weights: Array
    means: Array
    covariances: Array


@dataclass(frozen=True, eq=False)
class _Layout:
    """What a picture shows: the hinge, the ends (M, 2) as far as they are seen, light or dark, and the card."""

    hinge: Array
    ends: Array
    light: tuple[bool, ...]
    card: float | None


def make_posterior_scene(seed: int | Sequence[int], kind: Kind, size: int = 96, *, again: int = 0) -> PosteriorScene:
    """A random scene of one kind, with labels that are off by size / 48 pixels in x and in y.

    Args:
        seed: decides what the picture shows.
        kind: one of `KINDS`.
        size: height and width in pixels, at least 64.
        again: decides what it does not show: where behind the card the end is, which of two ends is the point, and
            the label's noise. Every other value is another label of the same picture.
    Raises:
        ValueError: there is no such kind, or the size is below 64.
    Example:
        >>> scene, other = (make_posterior_scene(3, "uneven", again=i) for i in (0, 1))
        >>> bool((scene.image == other.image).all()), bool((scene.keypoint == other.keypoint).any())
        (True, False)
        >>> scene.weights
        array([0.7, 0.3])
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if size < 64:
        raise ValueError(f"size must be at least 64 px, a knob is not legible below; got {size}")
    words = [seed] if isinstance(seed, int) else list(seed)
    shown, hidden = np.random.default_rng([*words, 0]), np.random.default_rng([*words, 1, again])
    layout, noise = _layout(shown, kind, size), size / 48
    weights = np.array(WEIGHTS[kind])
    covariances = np.repeat(noise**2 * np.eye(2)[None], len(weights), axis=0)
    ends, chosen = layout.ends.copy(), hidden.choice(len(weights), p=weights)
    if layout.card is not None:
        along = (ends[0] - layout.hinge) / np.linalg.norm(ends[0] - layout.hinge)
        spread = _hidden_spread(layout.card, size)
        covariances[0] += spread**2 * np.outer(along, along)
        ends[0] += spread * hidden.standard_normal() * along
    return PosteriorScene(
        image=_picture(layout, ends, shown, size),
        kind=kind,
        keypoint=ends[chosen] + noise * hidden.standard_normal(2),
        place=ends[chosen],
        weights=weights,
        means=layout.ends,
        covariances=covariances,
    )


def posterior_of(scenes: Sequence[PosteriorScene]) -> GaussianMixture:
    """The posteriors of N scenes as one mixture of one keypoint each (B = N, K = 1), in pixels, float64.

    Its `log_prob` is the true density of a place in nats per square pixel, and no prediction beats it on average.

    Example:
        >>> scene = make_posterior_scene(0, "visible")
        >>> truth = posterior_of([scene])
        >>> density = truth.log_prob(torch.tensor(scene.means)[None]).exp()
        >>> (2 * torch.pi * (96 / 48) ** 2 * density).round(decimals=6)
        tensor([[1.]], dtype=torch.float64)
    """
    return _mixture(*_padded(scenes))


def write_posterior_scenes(
    folder: str | Path, count: int, seed: int, size: int = 96, split: str = "train", kinds: Sequence[Kind] = KINDS
) -> Path:
    """Scenes as PNG files, a COCO keypoints file `SPLIT.json`, and their posteriors as `SPLIT-posterior.npz`.

    Scene i is of the kind i modulo their number and depends on (seed, split, i) only. A point behind a card has the
    visibility 1, any other one 2. The posteriors' file has, in the order of the annotations, `kind` (N,), `weights`
    (N, M), `means` (N, M, 2) and `covariances` (N, M, 2, 2) in pixels; components of weight zero fill up.

    Args:
        folder: made when it is missing.
        count: of scenes.
        seed: non-negative.
        size: height and width in pixels.
        split: names the files.
        kinds: of the scenes, in turn.
    Returns:
        The path of the JSON file, which is written last and whole or not at all.
    Raises:
        ValueError: count is below 1, seed is negative, a kind is unknown, or size below 64.
    """
    if count < 1 or seed < 0 or not kinds:
        raise ValueError(
            f"count must be at least 1, seed at least 0, and one kind named; got count {count}, seed {seed}, {kinds}"
        )
    folder, scenes, images, annotations = Path(folder), [], [], []
    for i in range(count):
        scene = make_posterior_scene([seed, zlib.crc32(split.encode()), i], kinds[i % len(kinds)], size)
        name = f"images/{split}_{i:05d}.png"
        write_png(folder / name, scene.image)
        scenes.append(replace(scene, image=scene.image[:0]))  # Thousands of pictures are too many to keep.
        images.append({"id": i + 1, "file_name": name, "width": size, "height": size})
        triple = [*scene.keypoint.tolist(), 1 if scene.kind == "occluded" else 2]
        annotations.append(
            {"id": i + 1, "image_id": i + 1, "category_id": 1, "keypoints": triple, "num_keypoints": 1}
        )
    kinds_written, (weights, means, covariances) = np.array([scene.kind for scene in scenes]), _padded(scenes)
    write_through(
        folder / f"{split}-posterior.npz",
        lambda path: np.savez_compressed(
            path, kind=kinds_written, weights=weights, means=means, covariances=covariances
        ),
    )
    category = {"id": 1, "name": "rod", "keypoints": ["end"]}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    return write_text(folder / f"{split}.json", json.dumps(content))


def read_posterior(path: str | Path) -> tuple[GaussianMixture, NDArray[np.str_]]:
    """The posteriors that were written beside a split, and the kind of each scene.

    Args:
        path: `SPLIT-posterior.npz`.
    Returns:
        A mixture (B = N, K = 1) in pixels, float64; and the kinds (N,).
    Raises:
        OSError: the file cannot be read.
    """
    with np.load(path) as held:
        return _mixture(held["weights"], held["means"], held["covariances"]), held["kind"]


def _padded(scenes: Sequence[PosteriorScene]) -> tuple[Array, Array, Array]:
    """Weights (N, M), means (N, M, 2), covariances (N, M, 2, 2): the last component is repeated, with weight zero."""
    missing = max(len(scene.weights) for scene in scenes) - np.array([len(scene.weights) for scene in scenes])
    weights = [np.pad(scene.weights, (0, n)) for scene, n in zip(scenes, missing, strict=True)]
    rows = [[*range(len(scene.weights)), *[-1] * n] for scene, n in zip(scenes, missing, strict=True)]
    means = [scene.means[row] for scene, row in zip(scenes, rows, strict=True)]
    covariances = [scene.covariances[row] for scene, row in zip(scenes, rows, strict=True)]
    return np.stack(weights), np.stack(means), np.stack(covariances)


def _mixture(weights: Array, means: Array, covariances: Array) -> GaussianMixture:
    return GaussianMixture(
        log_weights=torch.from_numpy(weights).log()[:, None],
        means=torch.from_numpy(means)[:, None],
        covariances=torch.from_numpy(covariances)[:, None],
        groups={f"end {m + 1}": 1 for m in range(weights.shape[-1])},
    )


# --- what a picture shows ----------------------------------------------------------------------------------


def _layout(rng: Rng, kind: Kind, size: int) -> _Layout:
    """Ends far enough apart to be told apart: at least 8 standard deviations of the label's noise."""
    unit, count = size / 96, len(WEIGHTS[kind])
    card = size * rng.uniform(0.19, 0.25) if kind == "occluded" else None
    margin, apart = (9 * unit, 16 * unit) if card is None else (card + 2 * unit, card + 10 * unit)
    while True:
        hinge = rng.uniform(4 * unit, size - 1 - 4 * unit, 2)
        ends = rng.uniform(margin, size - 1 - margin, (count, 2))
        points = np.array([hinge, *ends])
        gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)[np.triu_indices(count + 1, 1)]
        if apart <= gaps.min() and gaps.max() <= 60 * unit:
            light = (True, kind != "uneven")[:count]
            return _Layout(hinge, ends, light, card)


def _hidden_spread(card: float, size: int) -> float:
    """Standard deviation of an end behind a card of this radius, such that the card covers the whole knob."""
    return (card - _KNOB * size / 96 - SOFT) / REACH


def _picture(layout: _Layout, ends: Array, rng: Rng, size: int) -> Image:
    """Everything is painted where it is, hidden things too; then the card over them, and the camera's noise."""
    unit = size / 96
    ink, paper = rng.uniform(0, 35, 3), rng.uniform(80, 180, 3)
    canvas = np.zeros((size, size, 4), dtype=np.float32)
    y, x = np.ogrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    slope = rng.uniform(-0.15, 0.15, 2)
    canvas[..., :3] = paper * (1 + slope[0] * x + slope[1] * y)[..., None]
    radius, edge = _KNOB * unit, 0.35 * _KNOB * unit
    bright, card = rng.uniform(225, 255, 3), rng.uniform(60, 220, 3)
    parts = [Part(Capsule(layout.hinge, end, _ROD * unit, _ROD * unit), ink, ink) for end in ends]
    for end, light in zip(ends, layout.light, strict=True):
        parts.append(Part(disc(end, radius), bright, ink, edge) if light else Part(disc(end, radius), ink, ink))
    for part in [*parts, Part(disc(layout.hinge, 1.2 * _ROD * unit), ink, ink)]:
        part.paint(canvas, 1.0)
    if layout.card is not None:
        shape = disc(layout.ends[0], layout.card)
        # What is painted over leaves a rounding error behind, which would tell where it was.
        canvas[shape.distance(*np.meshgrid(np.arange(size), np.arange(size))) <= -SOFT / 2] = 0
        Part(shape, card, ink, unit).paint(canvas, 1.0)
    noise = rng.normal(0, 3, (size, size, 3)).astype(np.float32)
    return np.clip(np.rint(canvas[..., :3] + noise), 0, 255).astype(np.uint8)
