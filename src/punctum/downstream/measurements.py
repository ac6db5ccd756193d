"""Points with covariances as measurements: which of them count, and how surprising a distance is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

# Narrowest variance over widest below which a covariance is taken for singular, and difference of its halves above
# which it is not symmetric: more than what rounding to float32 leaves.
_SINGULAR, _ASKEW = 1e-7, 1e-4
_REMEDY = (
    "no measurement is without error, so none can be weighed as one; add the variance that labels have, "
    "such as 0.1 pixels squared on the diagonal"
)

# float64 always; NumPy types what its linear algebra returns less exactly.
Floats = NDArray[np.floating[Any]]


def measured(points: Floats, covariances: Floats, axes: Sequence[str]) -> NDArray[np.bool_]:
    """Which points count: those whose place and covariance are finite.

    Args:
        points: (*N, D).
        covariances: (*N, D, D), pixels squared.
        axes: a word for each axis of N, for messages.
    Returns:
        (*N) bool.
    Raises:
        ValueError: shapes do not fit, or the covariance of a point that counts is not symmetric or not positive
            definite: the message says where.
    Example:
        >>> points = np.array([[1.0, 2.0], [np.nan, 0.0]])
        >>> measured(points, np.stack([np.eye(2)] * 2), ["view"])
        array([ True, False])
    """
    if covariances.shape != (*points.shape, points.shape[-1]):
        wanted = (*points.shape, points.shape[-1])
        raise ValueError(f"points {points.shape} need covariances {wanted}, got {covariances.shape}")
    counts = np.all(np.isfinite(points), axis=-1) & np.all(np.isfinite(covariances), axis=(-1, -2))
    spreads = covariances[counts]
    largest = np.max(np.abs(spreads), axis=(-1, -2), initial=0.0)
    askew = np.max(np.abs(spreads - spreads.swapaxes(-1, -2)), axis=(-1, -2), initial=0.0)
    _refuse(askew > _ASKEW * largest, "is not symmetric", counts, covariances, axes)
    variances = np.linalg.eigvalsh(spreads)
    singular = variances[:, 0] <= _SINGULAR * np.abs(variances[:, -1])
    _refuse(singular, f"is not positive definite: {_REMEDY}", counts, covariances, axes)
    return counts


def _refuse(
    wrong: NDArray[np.bool_], what: str, counts: NDArray[np.bool_], covariances: Floats, axes: Sequence[str]
) -> None:
    """Name the first covariance that is wrong, and how many there are."""
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(counts)[wrong.argmax()])
        where = ", ".join(f"{word} {i}" for word, i in zip(axes, first, strict=True))
        more = f" ({wrong.sum()} of {wrong.size} are so)" if wrong.sum() > 1 else ""
        raise ValueError(f"the covariance at {where} {what}{more}; it is {covariances[first].tolist()}")


def tail(chi2: Floats, freedom: Floats | int) -> Floats:
    """Probability that a chi-square of so many degrees of freedom is this large or larger; NaN of NaN.

        1 - F(chi2; n) = Gamma(n / 2, chi2 / 2) / Gamma(n / 2)

    Example:
        >>> tail(np.array([0.0, 3.841459]), 1).round(4)
        array([1.  , 0.05])
    """
    chi2, freedom = np.broadcast_arrays(np.asarray(chi2, dtype=np.float64), np.asarray(freedom, dtype=np.float64))
    half = torch.from_numpy(np.stack([freedom, chi2]) / 2)
    return torch.special.gammaincc(half[0], half[1]).numpy()
