"""Synthetic volumes with exact truth: a body with two ears, a nose and a hole, turned in space, seen through noise.

Landmarks are Gaussian blobs laid down in millimetres at places between voxels, wide against the spacing, so that a
blob's centroid is its place. The body plan alone tells left from right: nose forward, hole up. A mirrored volume
with swapped labels is as good a volume as any.
"""

import json
import math
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from punctum.files import write_text, write_through
from punctum.schema import Schema

Array = NDArray[np.float64]

NAMES = ("left_ear", "right_ear", "nose", "hole")
SCHEMA = Schema(NAMES, skeleton=((0, 2), (1, 2)), flip_pairs=((0, 1),))
# Millimetres from the body's centre as (x, y, z), where y points forward and z up; its left is at +x, and what adds.
_PLACES = np.array([[11.0, -2.0, 0.0], [-11.0, -2.0, 0.0], [0.0, 12.0, -2.0], [0.0, -1.0, 9.0]])
_BRIGHTNESS = np.array([70.0, 70.0, 80.0, -70.0])
_BODY, _BLOB = np.array([10.0, 11.0, 9.5]), 2.0


@dataclass(frozen=True, eq=False)
class VolumeScene:
    """A volume and its truth.

    Args:
        volume: (D, H, W) uint8.
        keypoints: (4, 3) voxels as (x, y, z), (0, 0, 0) the centre of the first voxel.
        spacing: (3,) millimetres per voxel as (x, y, z).
    """

    volume: NDArray[np.uint8]
    keypoints: Array
    spacing: Array


def make_volume(
    seed: int | np.random.Generator,
    size: tuple[int, int, int] = (24, 40, 40),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.6),
    noise: float = 6.0,
) -> VolumeScene:
    """A random volume: the same seed gives the same one.

    Args:
        seed: a seed, or a generator to draw from.
        size: (D, H, W).
        spacing: millimetres per voxel as (x, y, z), 2 at most: a blob must be seen in more than one slice.
        noise: standard deviation, of 255.
    Raises:
        ValueError: the spacing is out of range, or the volume is shorter than 32 mm.
    Example:
        >>> scene = make_volume(7)
        >>> scene.volume.shape, scene.keypoints.shape
        ((24, 40, 40), (4, 3))
    """
    rng, step = np.random.default_rng(seed), np.array(spacing)
    extent = np.array(size[::-1]) * step
    if not (step > 0).all() or (step > _BLOB).any() or extent.min() < 32:
        raise ValueError(
            f"spacing must be at most {_BLOB:g} mm and the volume at least 32 mm long, got {step}, {extent}"
        )
    turn, centre = _turn(rng), extent / 2 + rng.uniform(-0.06, 0.06, 3) * extent
    scale = rng.uniform(0.85, 1.05)
    z, y, x = np.indices(size)
    millimetres = (np.stack([x, y, z], axis=-1) + 0.5) * step - centre
    own = millimetres @ turn / scale
    canvas = rng.uniform(20, 50) + _waves(millimetres, rng)
    canvas += rng.uniform(50, 80) * _soft(1 - np.linalg.norm(own / _BODY, axis=-1))
    for place, brightness in zip(_PLACES, _BRIGHTNESS * rng.uniform(0.8, 1.2), strict=True):
        squared = ((own - place) ** 2).sum(-1) * scale**2
        canvas += brightness * np.exp(-squared / (2 * _BLOB**2))
    canvas += rng.normal(0, noise, size)
    keypoints = ((_PLACES * scale) @ turn.T + centre) / step - 0.5
    return VolumeScene(np.clip(np.rint(canvas), 0, 255).astype(np.uint8), keypoints, step)


def write_volumes(
    folder: str | Path,
    count: int,
    seed: int,
    split: str = "train",
    size: tuple[int, int, int] = (24, 40, 40),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.6),
) -> Path:
    """Volumes as `.npz` files with their landmarks beside them: `volumes/SPLIT_00000.npz` and `SPLIT.json`.

    Volume i depends on (seed, split, i) only: splits of one seed differ, and a larger count adds to a smaller.

    Args:
        folder: made when it is missing.
        count: of volumes.
        seed: non-negative.
        split: names the files.
        size, spacing: as `make_volume` takes them.
    Returns:
        The path of the JSON file.
    Raises:
        ValueError: count is below 1, seed is negative, or what `make_volume` raises.
    """
    if count < 1 or seed < 0:
        raise ValueError(f"count must be at least 1 and seed at least 0, got count {count} and seed {seed}")
    folder, rows = Path(folder), []
    for i in range(count):
        scene = make_volume(np.random.default_rng([seed, zlib.crc32(split.encode()), i]), size, spacing)
        name = f"volumes/{split}_{i:05d}.npz"
        write_through(folder / name, partial(np.savez, volume=scene.volume, spacing=scene.spacing))
        points = dict(zip(NAMES, scene.keypoints.round(4).tolist(), strict=True))
        rows.append({"file": name, "points": points})
    content = {
        "keypoints": list(NAMES),
        "flip_pairs": [[NAMES[i], NAMES[j]] for i, j in SCHEMA.flip_pairs],
        "skeleton": [[NAMES[i], NAMES[j]] for i, j in SCHEMA.skeleton],
        "volumes": rows,
    }
    return write_text(folder / f"{split}.json", json.dumps(content, indent=1))


def _turn(rng: np.random.Generator) -> Array:
    """A rotation by up to 20 degrees about each of the three axes."""
    turn = np.eye(3)
    for axis in range(3):
        angle = math.radians(rng.uniform(-20, 20))
        a, b = [i for i in range(3) if i != axis]
        step = np.eye(3)
        step[[a, b], [a, b]] = math.cos(angle)
        step[a, b], step[b, a] = -math.sin(angle), math.sin(angle)
        turn = turn @ step
    return turn


def _soft(depth: Array) -> Array:
    """From 0 outside to 1 inside, over a fifth of the body's radius."""
    return 1 / (1 + np.exp(-np.clip(20 * depth, -50, 50)))


def _waves(places: Array, rng: np.random.Generator) -> Array:
    """What lies behind: a few slow waves of brightness."""
    total = np.zeros(places.shape[:-1])
    for _ in range(4):
        direction = rng.normal(size=3)
        length = rng.uniform(12, 40)
        total += 5 * np.sin(
            places @ (direction / np.linalg.norm(direction)) * 2 * np.pi / length + rng.uniform(0, 6.3)
        )
    return total
