"""Smooth pictures with one bright blob, whose centre is known to the hundredth of a pixel."""

import math
from pathlib import Path

import cv2
import numpy as np
import torch

from punctum.data import Annotations, Batch
from punctum.ops import to_pixels
from punctum.schema import Schema

SIZE = (421, 587)  # Odd, so that no reduction divides them.


def blob(centre: np.ndarray, sigma: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))


def pictures(
    folder: Path, count: int = 3, *, suffix: str = ".png", box: float = 300, deep: bool = False, sigma: float = 30
) -> Annotations:
    """One blob on black in each, and a box around it: at image borders too."""
    rng, images, centres, boxes = np.random.default_rng(0), [], [], []
    for n in range(count):
        centre = rng.uniform([130, 130], [SIZE[1] - 130, SIZE[0] - 130])
        bright = np.stack([blob(centre, sigma * factor) for factor in (1, 0.95, 0.9)], -1)
        path = folder / f"{n}{suffix}"
        bits, top = (np.uint16, 65535) if deep else (np.uint8, 255)
        cv2.imwrite(str(path), np.rint(bright * 0.6 * top).astype(bits), [cv2.IMWRITE_JPEG_QUALITY, 98])
        images.append(path)
        centres.append([centre])
        boxes.append([*(centre - box * rng.uniform(0.45, 0.55, 2)), box, box])
    return Annotations(
        schema=Schema(("blob",)),
        images=tuple(images),
        image_names=tuple(path.name for path in images),
        keypoints=np.array(centres),
        visibility=np.full((count, 1), 2, np.int8),
        boxes=np.array(boxes),
        ids=tuple(map(str, range(count))),
        source=folder / "labels.json",
    )


def misplaced(batch: Batch) -> float:
    """How far from its label each blob's centre of mass is, at most, in pixels of the crop; whole blobs only;
    NaN where there is none."""
    size = batch.images.shape[-2:]
    x, y = (torch.arange(n, dtype=torch.float64) for n in (size[1], size[0]))
    worst, whole = 0.0, 0
    for image, coords in zip(batch.images, batch.coords, strict=True):
        mass = image[0].double()
        mass = mass * (mass > 0.01)
        edge = torch.cat([mass[0], mass[-1], mass[:, 0], mass[:, -1]])
        if edge.max() > 0:
            continue
        whole += 1
        found = torch.stack([(mass.sum(0) * x).sum(), (mass.sum(1) * y).sum()]) / mass.sum()
        worst = max(worst, float((found - to_pixels(coords[0].double(), size)).norm()))
    return worst if whole else math.nan
