"""Shapes painted from their signed distance, at any sub-pixel place.

    cover(p) = t^3 (6 t^2 - 15 t + 10),     t = clip(1/2 - distance(p) / 3, 0, 1)

with p a pixel's centre and the distance negative inside. The edge is three pixels soft, as a lens makes it:
a small disc's centroid is then its place to 0.01 px. With sharper edges, the share of each pixel's square
that the disc covers included, it is off by up to 0.05 px, because pixels sample such edges too coarsely.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

SOFT = 3.0
"""Width of a painted edge, in pixels."""


@dataclass(frozen=True, eq=False)
class Capsule:
    """All points within a radius of a segment; the radius runs from `ra` at `a` to `rb` at `b`."""

    a: Array
    b: Array
    ra: float
    rb: float

    def distance(self, x: ArrayLike, y: ArrayLike) -> Any:
        (dx, dy), px, py = self.b - self.a, x - self.a[0], y - self.a[1]
        along = np.clip((px * dx + py * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
        return np.hypot(px - along * dx, py - along * dy) - (self.ra + along * (self.rb - self.ra))

    def extent(self) -> tuple[Array, Array]:
        return np.minimum(self.a - self.ra, self.b - self.rb), np.maximum(self.a + self.ra, self.b + self.rb)


@dataclass(frozen=True, eq=False)
class Polygon:
    """A convex polygon, corners clockwise on the screen."""

    corners: Array

    def distance(self, x: ArrayLike, y: ArrayLike) -> Any:
        result: Any = -np.inf
        for (ax, ay), (ex, ey) in zip(self.corners, np.roll(self.corners, -1, axis=0) - self.corners, strict=True):
            result = np.maximum(result, ((x - ax) * ey - (y - ay) * ex) / max(np.hypot(ex, ey), 1e-9))
        return result

    def extent(self) -> tuple[Array, Array]:
        return self.corners.min(axis=0), self.corners.max(axis=0)


@dataclass(frozen=True, eq=False)
class Part:
    """A shape with its colour and, inside its boundary, an edge of another; `joint` is the point it marks."""

    shape: Capsule | Polygon
    colour: Array
    edge_colour: Array
    edge: float = 0.0
    joint: int | None = None

    def paint(self, canvas: NDArray[np.float32], figure: float) -> None:
        """Over (H, W, 4), in place: three channels of colour, and a fourth that takes the value `figure`."""
        low, high = self.shape.extent()
        x0, y0 = np.maximum(np.floor(low - SOFT / 2), 0).astype(int)
        x1, y1 = np.ceil(high + SOFT / 2).astype(int) + 1
        region = canvas[y0 : max(y1, 0), x0 : max(x1, 0)]
        if region.size == 0:
            return
        y, x = np.ogrid[y0 : y0 + region.shape[0], x0 : x0 + region.shape[1]]
        distance = self.shape.distance(x, y)
        fill = _cover(distance + self.edge)
        colour = self.edge_colour + fill * (self.colour - self.edge_colour) if self.edge else self.colour
        cover = _cover(distance)
        region[..., :3] += cover * (colour - region[..., :3])
        region[..., 3:] += cover * (figure - region[..., 3:])


def disc(centre: Array, radius: float) -> Capsule:
    return Capsule(centre, centre, radius, radius)


def _cover(distance: Array) -> Array:
    """(H, W, 1) in [0, 1]."""
    t = np.clip(0.5 - distance / SOFT, 0, 1)[..., None]
    return t**3 * (t * (6 * t - 15) + 10)
