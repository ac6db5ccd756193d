"""How the values of single points become one number: means, quantiles and shares, in total and per keypoint.

Values are (N, K) float64 with NaN where a point does not count. What has no point at all is NaN.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Result(NamedTuple):
    """One metric: over all points, and over the points of each keypoint. NaN where there is no point.

    Args:
        total: (), or (T,) for T thresholds.
        per_keypoint: (K,), or (T, K) for T thresholds.
    """

    total: Tensor
    per_keypoint: Tensor


def pooled_mean(values: Tensor) -> Result:
    """Mean over all points that count, so that a keypoint seen more often weighs more.

    Args:
        values: (N, K), NaN where a point does not count.
    Returns:
        Result of a scalar and (K,).
    Example:
        >>> pooled_mean(torch.tensor([[1.0, 3.0], [2.0, torch.nan]]))
        Result(total=tensor(2.), per_keypoint=tensor([1.5000, 3.0000]))
    """
    return Result(values.nanmean(), values.nanmean(0))


def pooled_quantile(values: Tensor, q: float) -> Result:
    """Quantile of all points that count; between two order statistics it interpolates linearly.

        x_(h), h = (n - 1) q counted from 0      (NumPy's default, Hyndman and Fan's type 7)

    Args:
        values: (N, K), NaN where a point does not count, infinity a very large value. Any number of points
            (torch.quantile stops at 16 million).
        q: in [0, 1].
    Returns:
        Result of a scalar and (K,).
    Raises:
        ValueError: q is outside [0, 1].
    Source:
        Hyndman and Fan 1996, The American Statistician 50(4), definition 7.
    Example:
        >>> pooled_quantile(torch.tensor([[1.0, 3.0], [2.0, torch.nan]]), 0.25)
        Result(total=tensor(1.5000), per_keypoint=tensor([1.2500, 3.0000]))
    """
    if not 0 <= q <= 1:
        raise ValueError(f"q must be in [0, 1], got {q}")
    return Result(column_quantiles(values.reshape(-1, 1), q)[0], column_quantiles(values, q))


def column_quantiles(values: Tensor, q: float) -> Tensor:
    """Quantile of each column: (N, M) to (M,)."""
    if len(values) == 0:
        return values.new_full(values.shape[1:], torch.nan)
    ordered = values.sort(dim=0).values  # NaN comes last
    count = (~values.isnan()).sum(0)
    place = (count - 1).clamp_min(0).to(torch.float64) * q
    below = place.floor().long()
    above = torch.minimum(below + 1, (count - 1).clamp_min(0))
    low, high = (ordered.gather(0, index[None])[0] for index in (below, above))
    return between(low, high, (place - below).to(values.dtype))


def between(low: Tensor, high: Tensor, share: Tensor) -> Tensor:
    """low + share (high - low), also where an end is infinite: infinity counts as a very large number.

    Example:
        >>> between(torch.tensor([1.0, 1.0]), torch.tensor([3.0, torch.inf]), torch.tensor([0.5, 0.5]))
        tensor([2., inf])
    """
    # Infinity times zero, and less itself, are NaN.
    inside = torch.where((low + high).isinf(), low + high, torch.lerp(low, high, share.to(low)))
    return torch.where((share == 0) | (low == high), low, inside)


def within(values: Tensor, threshold: float) -> Tensor:
    """1 where a value is at most the threshold, 0 where it is greater, NaN where it is NaN.

    Example:
        >>> within(torch.tensor([[1.0, 2.0, 3.0, torch.nan]]), 2.0)
        tensor([[1., 1., 0., nan]])
    """
    return torch.where(values.isnan(), values, (values <= threshold).to(values.dtype))


def pooled_share(values: Tensor, thresholds: Sequence[float]) -> Result:
    """Share of the points that count whose value is at most each threshold.

    Args:
        values: (N, K), NaN where a point does not count.
        thresholds: T positive numbers, in the unit of the values.
    Returns:
        Result of (T,) and (T, K), in [0, 1].
    Raises:
        ValueError: no thresholds, or one that is not a positive number.
    Example:
        >>> pooled_share(torch.tensor([[1.0, 3.0], [2.0, torch.nan]]), [1, 2])
        Result(total=tensor([0.3333, 0.6667]), per_keypoint=tensor([[0.5000, 0.0000],
                                                                    [1.0000, 0.0000]]))
    """
    results = [pooled_mean(within(values, threshold)) for threshold in check_thresholds(thresholds)]
    return Result(torch.stack([r.total for r in results]), torch.stack([r.per_keypoint for r in results]))


def check_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    """The thresholds as floats; a ValueError where there are none or one is not a positive, finite number."""
    values = tuple(float(threshold) for threshold in thresholds)
    if not values or not all(0 < value < float("inf") for value in values):
        raise ValueError(f"thresholds must be one or more positive, finite numbers, got {list(values)}")
    return values
