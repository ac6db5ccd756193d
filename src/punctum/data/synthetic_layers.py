"""Synthetic scans with exact truth: layers of different brightness under speckle, as in OCT."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from punctum.draw import write_png
from punctum.files import write_text

NAMES = ("surface", "middle", "base")
"""The boundaries of a synthetic scan, from above."""


def make_scan(
    seed: int | np.random.Generator, size: tuple[int, int] = (96, 64)
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A scan with three smooth boundaries between tissues of different brightness, speckle, and shadows of vessels.

    A pixel's brightness is the average over its extent of what lies above and below a boundary, so that the
    boundary lies where its label says to a fraction of a pixel.

    Args:
        seed: a seed, or a generator to draw from.
        size: (H, W), at least (48, 8).
    Returns:
        The scan (H, W) uint8, and the rows (3, W) of its boundaries.
    Raises:
        ValueError: the size is too small.
    Example:
        >>> scan, rows = make_scan(0)
        >>> scan.shape, rows.shape, bool((np.diff(rows, axis=0) > 0).all())
        ((96, 64), (3, 64), True)
    """
    height, width = size
    if height < 48 or width < 8:
        raise ValueError(f"size must be at least (48, 8), got {size}")
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, width)
    surface = (
        height * rng.uniform(0.2, 0.45)
        + height * rng.uniform(-0.15, 0.15) * (x - 0.5)
        + _waves(rng, x, 0.04 * height)
    )
    thickness = [height * rng.uniform(0.1, 0.18) + _waves(rng, x, 0.015 * height) for _ in range(2)]
    rows = surface + np.concatenate([np.zeros((1, width)), np.cumsum(thickness, axis=0)])
    levels = np.array([0.08, 0.55, 0.3, 0.8]) * rng.uniform(0.85, 1.15, 4)
    # The share of each pixel that lies below a boundary: pixel i spans [i - 0.5, i + 0.5].
    below = np.clip(np.arange(height)[None, :, None] + 0.5 - rows[:, None], 0, 1)
    scan = levels[0] + np.tensordot(np.diff(levels), below, axes=1)
    depth = np.maximum(np.arange(height)[:, None] - rows[-1], 0)
    scan *= np.exp(-depth / (0.15 * height))
    for _ in range(rng.integers(0, 3)):
        start = rng.integers(0, width)
        scan[:, start : start + rng.integers(2, 5)] *= rng.uniform(0.35, 0.7)
    speckle = rng.gamma(8, 1 / 8, scan.shape)
    return np.rint(255 * np.clip(scan * speckle + 0.02, 0, 1)).astype(np.uint8), rows


def _waves(rng: np.random.Generator, x: NDArray[np.float64], height: float) -> NDArray[np.float64]:
    waves = [rng.normal() * np.sin(2 * np.pi * (n * x + rng.random())) / n for n in (1, 2, 3)]
    return height * np.sum(waves, axis=0)


def write_scans(folder: str | Path, count: int, *, seed: int = 0, size: tuple[int, int] = (96, 64)) -> Path:
    """Write `count` scans as PNG files and their layers as `layers.json`, whose path is returned.

    Args:
        folder: made if need be.
        count: number of scans.
        seed: the same one gives the same files.
        size: (H, W) of each.
    Raises:
        ValueError: the count is below 1, or the size too small.
        OSError: a file cannot be written.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    folder, scans = Path(folder), []
    for i in range(count):
        scan, rows = make_scan(np.random.default_rng((seed, i)), size)
        name = f"scan{i:04d}.png"
        write_png(folder / "images" / name, np.repeat(scan[..., None], 3, axis=-1))
        scans.append({"image": name, "rows": [[round(row, 4) for row in layer] for layer in rows.tolist()]})
    return write_text(folder / "layers.json", json.dumps({"layers": list(NAMES), "scans": scans}) + "\n")
