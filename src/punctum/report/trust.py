"""Do score and spread mean what they say? Shares and errors by score, and how much an ellipse holds."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from punctum.metrics import mean_interval
from punctum.metrics.calibration import NOMINAL, groups_by_score

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bins:
    """Q groups of points: mean score, mean of what was measured, its 95 % interval, number of points; each (Q,)."""

    score: Array
    value: Array
    low: Array
    high: Array
    count: NDArray[np.int64]


def by_score(score: ArrayLike, values: ArrayLike, image_ids: ArrayLike, *, bins: int = 10, seed: int = 0) -> Bins:
    """The mean of a quantity among points of like score: `bins` groups of about as many points each.

    Equal scores stand in one group, so there may be fewer groups: one, where all scores are equal. Intervals come
    from resampling images.

    Args:
        score: (N, K).
        values: (N, K), errors, or 1 for hits and 0 for misses; NaN does not count, nor does a NaN score.
        image_ids: (N,) integers.
        bins: at most so many groups.
        seed: of the resampling.
    Returns:
        The groups in rising order of score; none where no point counts.
    Example:
        >>> groups = by_score([[0.1], [0.2], [0.8], [0.9]], [[0.0], [1.0], [1.0], [1.0]], [0, 1, 2, 3], bins=2)
        >>> groups.score.round(2).tolist(), groups.value.tolist()
        ([0.15, 0.85], [0.5, 1.0])
    """
    sure, measured = np.asarray(score, dtype=np.float64), np.asarray(values, dtype=np.float64)
    counts = np.isfinite(sure) & np.isfinite(measured)
    if not counts.any():
        none = np.empty(0)
        return Bins(none, none, none, none, np.empty(0, dtype=np.int64))
    group = groups_by_score(torch.from_numpy(sure), torch.from_numpy(counts), bins).numpy()
    members = [group == g for g in range(group.max() + 1)]
    parts = [torch.from_numpy(np.where(m, measured, np.nan)) for m in members]
    interval = mean_interval(parts, torch.as_tensor(np.asarray(image_ids)), seed=seed).numpy()
    return Bins(
        score=np.array([sure[m].mean() for m in members]),
        value=np.array([measured[m].mean() for m in members]),
        low=interval[0],
        high=interval[1],
        count=np.array([m.sum() for m in members]),
    )


def levels(offset: ArrayLike, covariance: ArrayLike) -> Array:
    """How large an ellipse must be to reach the truth: the probability that the Gaussian lies nearer than it.

        u = F(offset' covariance^-1 offset),      F the distribution of chi-square with D degrees of freedom

    Were the error drawn from that Gaussian, u would be uniform: half of the points below 0.5, 95 % below 0.95.

    Args:
        offset: (..., D) from prediction to truth, pixels.
        covariance: (..., D, D) in pixels squared.
    Returns:
        (...) in [0, 1]; NaN where a number is NaN or the covariance has no inverse.
    Source:
        Regularized incomplete gamma function: the chi-square distribution is P(D / 2, x / 2).
    Example:
        >>> levels([[3.0, 4.0]], [[[25.0, 0.0], [0.0, 25.0]]]).round(4)  # one sigma in the plane: 1 - exp(-1/2)
        array([0.3935])
    """
    away, spread = np.asarray(offset, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    dims = away.shape[-1]
    known = np.asarray(np.isfinite(away).all(-1) & np.isfinite(spread).all((-2, -1)))
    safe = np.where(known[..., None, None], spread, np.eye(dims))
    values = np.linalg.eigvalsh(safe)
    known = known & np.asarray(values[..., 0] > 1e-12 * np.maximum(values[..., -1], np.finfo(np.float64).tiny))
    safe = np.where(known[..., None, None], safe, np.eye(dims))
    away = np.where(known[..., None], away, 0.0)
    square = (away * np.linalg.solve(safe, away[..., None])[..., 0]).sum(-1)
    share = torch.special.gammainc(torch.tensor(dims / 2).double(), torch.from_numpy(np.asarray(square / 2)))
    return np.where(known, share.numpy(), np.nan)


def coverage(level: ArrayLike, image_ids: ArrayLike, nominal: ArrayLike = NOMINAL, *, seed: int = 0) -> Bins:
    """The share of points that ellipses of a nominal probability hold.

    Args:
        level: (N, K) from `levels`; NaN does not count.
        image_ids: (N,) integers.
        nominal: (Q,) in (0, 1).
        seed: of the resampling.
    Returns:
        `score` is the nominal probability, `value` the measured share, with its 95 % interval over images.
    Example:
        >>> coverage([[0.2], [0.6], [0.85], [0.99]], [0, 1, 2, 3]).value.tolist()
        [0.25, 0.5, 0.75, 0.75]
    """
    reached, promised = np.asarray(level, dtype=np.float64), np.asarray(nominal, dtype=np.float64)
    known = np.isfinite(reached)
    held = [np.where(known, reached <= p, np.nan) for p in promised]
    interval = mean_interval(
        [torch.from_numpy(h) for h in held], torch.as_tensor(np.asarray(image_ids)), seed=seed
    ).numpy()
    count = int(known.sum())
    value = np.array([h[known].mean() for h in held]) if count else np.full(len(promised), np.nan)
    return Bins(promised, value, interval[0], interval[1], np.full(len(promised), count))
