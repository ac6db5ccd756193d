"""What a model's score and regions rest on, in a few numbers that need no torch."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import get_args

from punctum.scales import Word


@dataclass(frozen=True)
class Promise:
    """What a calibrated model promises.

    Args:
        levels: L probabilities of the regions.
        within: the score is the probability of an error of at most this, in lengths.
        normalizer: what a length is: "bbox", "image" or "pixels".
        images: how many images were calibrated on.
    Raises:
        ValueError: a value is none of these.
    """

    levels: tuple[float, ...]
    within: float
    normalizer: str
    images: int

    def __post_init__(self) -> None:
        increasing = all(a < b for a, b in pairwise((0.0, *self.levels, 1.0)))
        if not self.levels or not increasing:
            raise ValueError(f"levels must increase between 0 and 1, got {list(self.levels)}")
        if not 0 < self.within < math.inf:
            raise ValueError(f"within must be a positive number, got {self.within}")
        if self.normalizer not in get_args(Word):
            raise ValueError(f"normalizer must be one of {', '.join(get_args(Word))}, got {self.normalizer!r}")


def level_of(promise: Promise | None, level: float | None) -> int:
    """Which of the promised levels is shown where there is room for one.

    Args:
        promise: the model's, or None of one that is not calibrated.
        level: the wanted one; None: 0.95, or the highest below.
    Raises:
        ValueError: there is no such level, or none at all.
    Example:
        >>> level_of(Promise((0.5, 0.8, 0.99), 0.1, "bbox", 40), None)
        1
    """
    if promise is None:
        if level is not None:
            raise ValueError(
                "level: the model is not calibrated for these predictions: `punctum calibrate RUN`, and of an "
                "exported model, export it again"
            )
        return 0
    if level is None:
        below = [i for i, known in enumerate(promise.levels) if known <= 0.95]
        return below[-1] if below else 0
    if level not in promise.levels:
        known = ", ".join(f"{one:g}" for one in promise.levels)
        raise ValueError(f"level: the model is calibrated for {known}, not {level:g}: `punctum calibrate --levels`")
    return promise.levels.index(level)
