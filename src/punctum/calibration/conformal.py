"""Conformal quantiles: a bound that the next score keeps with a stated probability, whatever the scores' law.

The one assumption is that the calibration images and the next one are exchangeable: drawn alike, in an order that
says nothing. Several instances of one image need not be.
"""

import math
from fractions import Fraction

import torch
from torch import Tensor

from punctum.calibration.isotonic import count_below


def quantile(scores: Tensor, level: float, images: Tensor | None = None, *, what: str = "scores") -> float:
    """The bound that a new score keeps with at least the probability `level`, over calibration sets and new images.

        the ceil((n + 1) level)-th smallest of n scores

    Scores without ties stay under it with a probability of less than level + 1 / (n + 1). With several scores per
    image, n counts images, a score weighs one over the scores of its image, and the promise is about a
    random instance of the next image.

    Args:
        scores: (P,); NaN does not count.
        level: in (0, 1).
        images: (P,) integers, which image each score is of; None: all are of different ones.
        what: of whom the scores are, for the error.
    Raises:
        ValueError: the level is not in (0, 1); fewer images than `needed(level)`: no finite bound keeps the promise.
    Source:
        Vovk et al. 2005, Algorithmic Learning in a Random World; Lee, Barber and Willett 2023, arXiv:2306.06342,
        Section 2 (several scores per image).
    Example:
        >>> quantile(torch.arange(1.0, 20.0), 0.95), quantile(torch.arange(1.0, 20.0), 0.9)
        (19.0, 18.0)
        >>> quantile(torch.arange(1.0, 19.0), 0.95, what="the left eye")
        Traceback (most recent call last):
            ...
        ValueError: the left eye: 18 images are too few for a promise of 95 %, which needs 19: ...
    """
    kept = ~scores.isnan()
    values, images = scores[kept], None if images is None else images[kept]
    weights = torch.ones(len(values), dtype=torch.float64) if images is None else _shares(images)
    n = len(values) if images is None else len(images.unique())
    if n < needed(level):
        raise ValueError(
            f"{what}: {n} images are too few for a promise of {100 * level:g} %, which needs {needed(level)}: "
            "calibrate on more images, or ask for a lower level"
        )
    values, order = values.sort()
    # Sums of thirds miss whole numbers by rounding errors.
    enough = weights[order].cumsum(0) >= float((n + 1) * _exact(level)) - 1e-9
    return float(values[int(enough.to(torch.int8).argmax())])


def needed(level: float) -> int:
    """The least number of calibration images from which a level can be promised: ceil(level / (1 - level)).

    With fewer, ceil((n + 1) level) is more than n.

    Raises:
        ValueError: the level is not in (0, 1).
    Example:
        >>> [needed(level) for level in (0.5, 0.8, 0.9, 0.95, 0.99)]
        [1, 4, 9, 19, 99]
    """
    exact = _exact(level)
    return math.ceil(exact / (1 - exact))


def p_values(scores: Tensor, calibration: Tensor) -> Tensor:
    """How often a calibration score is at least as large: uniform or larger, where the new score is one of them.

        (1 + #{i: c_i >= s}) / (n + 1)

    Args:
        scores: any shape; NaN, which nothing can be compared to, is the strangest of all.
        calibration: (n,), one per image.
    Returns:
        The shape of the scores, within [1 / (n + 1), 1].
    Source:
        Vovk et al. 2005, Algorithmic Learning in a Random World, Chapter 2.
    Example:
        >>> p_values(torch.tensor([0.0, 2.5, 9.0]), torch.tensor([1.0, 2.0, 3.0]))
        tensor([1.0000, 0.5000, 0.2500], dtype=torch.float64)
    """
    values = calibration.sort().values
    below = count_below(values, scores.to(values))
    below = torch.where(scores.isnan(), len(values), below)
    return (1.0 + (len(values) - below).to(torch.float64)) / (len(values) + 1)


def _exact(level: float) -> Fraction:
    """The level as it is written: 0.95 in binary is a little less, and would ask for one image fewer."""
    if not 0 < level < 1:
        raise ValueError(f"a level must be in (0, 1), got {level}: 0.95 for 95 %")
    return Fraction(str(float(level)))


def _shares(images: Tensor) -> Tensor:
    """(P,) float64: one over the number of scores of the same image."""
    _, position, counts = images.unique(return_inverse=True, return_counts=True)
    return 1.0 / counts[position].to(torch.float64)
