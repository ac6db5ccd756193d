"""Cluttered pictures with one digit each, for the spatial transformer: seeded, exact places, nothing to download."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from punctum.ops import to_normalized

FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
# Side of a drawn master, and height of the digit in it.
MASTER, INK = 96, 56
# A digit's height in the pictures, px, and how far its centre stays from their edges.
HEIGHT, MARGIN = (13.0, 17.0), 9.0
# Fragments in a picture of 64 x 64, and their sides, px.
FRAGMENTS, FRAGMENT = 8, (5, 8)
# Half of the side that a digit is painted in, px.
REACH = 13

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pictures:
    """N pictures and what is in them.

    Args:
        images: (N, size, size) uint8.
        places: (N, 2), the centre of each digit's box, in pixels.
        labels: (N,).
    """

    images: Tensor
    places: Tensor
    labels: Tensor

    def batch(self, chosen: Tensor, device: str) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (B, 1, size, size) in [0, 1], normalized places (B, 2), labels (B,)."""
        images = self.images[chosen].to(device).float().unsqueeze(1) / 255
        places = to_normalized(self.places[chosen], self.images.shape[-2:])
        return images, places.to(device), self.labels[chosen].to(device)


@cache
def make_pictures(count: int, size: int, seed: tuple[int, ...], where: str = "anywhere") -> Pictures:
    """Pictures of one digit each, among fragments of other digits that lie anywhere.

    Args:
        count: N.
        size: height and width, px.
        seed: the same seed and `where` give the same pictures; they are kept, for they take a while.
        where: the digit's centre lies "anywhere", or in the "left" or "right" half.
    """
    rng = np.random.default_rng([*seed, ("anywhere", "left", "right").index(where)])
    low = MARGIN if where != "right" else size / 2
    high = size - 1 - MARGIN if where != "left" else size / 2
    images = np.zeros((count, size, size), np.uint8)
    places = np.stack([rng.uniform(low, high, count), rng.uniform(MARGIN, size - 1 - MARGIN, count)], 1)
    labels = rng.integers(0, 10, count)
    area = (size / 64) ** 2
    for image, place, label in zip(images, places, labels, strict=True):
        for _ in range(round(FRAGMENTS * area)):
            _add_fragment(image, rng)
        _add(image, _master(int(label), int(rng.integers(len(FONTS))), int(rng.integers(4, 8))), place, rng)
    return Pictures(torch.from_numpy(images), torch.from_numpy(places).float(), torch.from_numpy(labels))


@cache
def _master(label: int, font: int, thickness: int) -> Image:
    """A digit, drawn large, the centre of its box in the centre of the master."""
    master = np.zeros((2 * MASTER, 2 * MASTER), np.uint8)
    scale = INK / cv2.getTextSize(str(label), FONTS[font], 1.0, 1)[0][1]
    cv2.putText(master, str(label), (MASTER // 2, MASTER + INK // 2), FONTS[font], scale, 255, thickness, cv2.LINE_AA)
    x, y, width, height = cv2.boundingRect(master)
    shift = np.array(
        [[1, 0, (MASTER - 1) / 2 - (x + (width - 1) / 2)], [0, 1, (MASTER - 1) / 2 - (y + (height - 1) / 2)]]
    )
    return cv2.warpAffine(master, shift, (MASTER, MASTER))


def _small(master: Image, offset: NDArray[np.float64], side: int, rng: np.random.Generator) -> Image:
    """The master turned, at a size of the pictures, its centre `offset` pixels off the middle of (side, side)."""
    zoom, angle = rng.uniform(*HEIGHT) / INK, np.radians(rng.uniform(-20, 20))
    # Averaged first: a digit of many pixels made of few would alias.
    soft = cv2.GaussianBlur(master, (0, 0), 0.5 / zoom)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = (side - 1) / 2 + offset - turn @ np.full(2, (MASTER - 1) / 2)
    return cv2.warpAffine(soft, np.column_stack([turn, middle]), (side, side))


def _add(image: Image, master: Image, place: NDArray[np.float64], rng: np.random.Generator) -> None:
    """The digit with its centre at a place, as bright as the brighter of the two."""
    whole = np.round(place).astype(int)
    _paint(image, _small(master, place - whole, 2 * REACH + 1, rng), whole - REACH)


def _add_fragment(image: Image, rng: np.random.Generator) -> None:
    """A small square out of some digit: what a stroke looks like is no help in finding one."""
    master = _master(int(rng.integers(10)), int(rng.integers(len(FONTS))), int(rng.integers(4, 8)))
    small = _small(master, np.zeros(2), 22, rng)
    side = int(rng.integers(FRAGMENT[0], FRAGMENT[1] + 1))
    x, y = rng.integers(3, 22 - 3 - side + 1, 2)
    _paint(image, small[y : y + side, x : x + side], rng.integers(-2, len(image) - 2, 2))


def _paint(image: Image, patch: Image, corner: NDArray[np.int64]) -> None:
    (x, y), side = corner, len(patch)
    size = len(image)
    target = image[max(y, 0) : min(y + side, size), max(x, 0) : min(x + side, size)]
    part = patch[max(-y, 0) : max(-y, 0) + target.shape[0], max(-x, 0) : max(-x, 0) + target.shape[1]]
    np.maximum(target, part, out=target)
