"""Points by their names, as most tools write them, on their way to `Instance`s."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.assemble import NO_BOX, Instance
from punctum.data.limits import FARTHEST

# Tools that write shares of the picture (or draw on a canvas) have their 0 at the left edge of the first pixel; ours
# is at its centre, half a pixel further right.
EDGE = 0.5
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
ANNOTATION_ENDINGS = (".json", ".csv", ".h5", ".mat", ".slp", ".xml", ".yaml", ".yml")


@dataclass
class Named:
    """One labelled thing, before its points have an order.

    Args:
        where: file and row, for messages.
        image: the image's name.
        id: names the thing.
        points: (x, y, visibility) by name, in our pixels.
        box: (x, y, width, height), or NaN.
    """

    where: str
    image: str
    id: str
    points: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    box: NDArray[np.float64] = field(default_factory=lambda: NO_BOX)

    def instance(self, names: Sequence[str]) -> Instance:
        """The points in the order of `names`; those that are not there are not labelled."""
        table = np.full((len(names), 2), np.nan)
        visibility = np.zeros(len(names), np.int8)
        for k, name in enumerate(names):
            x, y, seen = self.points.get(name, (np.nan, np.nan, 0))
            if seen:
                table[k], visibility[k] = (x, y), seen
        return Instance(self.where, self.image, self.id, table, visibility, self.box)


def number(value: Any) -> float:
    """A number out of a file's text or JSON; NaN for what is none, or has no end.

    Example:
        >>> number("1.5"), number(None), number("inf"), number([2])
        (1.5, nan, nan, nan)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def box_of(x: float, y: float, width: float, height: float) -> NDArray[np.float64] | None:
    """A box of numbers that a picture can have, none where it has no area, None where it is no box."""
    box = np.array([x, y, width, height])
    if not (np.abs(box) <= FARTHEST).all() or min(width, height) < 0:
        return None
    return box if min(width, height) > 0 else NO_BOX
