"""Confidence intervals by resampling images, not points: points of one image err together.

Each resample draws as many images as there are, with replacement, and every instance of an image comes along
as often as its image is drawn. A resample is a vector of counts, so a statistic is a weighted one.
"""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from punctum.metrics.pooling import between, column_quantiles

# Resamples are worked on in blocks of about this many weights, to bound memory.
_BLOCK = 4_000_000


def bootstrap_interval(
    statistic: Callable[[Tensor], Tensor],
    image_ids: Tensor,
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    cost: int | None = None,
) -> Tensor:
    """Percentile bootstrap interval of a statistic, over images.

    The ends are the (1 - level) / 2 and (1 + level) / 2 quantiles of the n resampled statistics. With few images
    such intervals are too narrow: 95 % intervals of the mean of exponential errors hold the true mean in 80 % of
    data sets of 5 images, 90 % of 20, 92 % of 50 and 94 % of 100. From a single image nothing can be said, and
    both ends are NaN.

    Args:
        statistic: from weights (R, N), how often each instance stands in each of R resamples, to (R, *shape);
            NaN where a resample has nothing to measure (left out of the quantiles).
        image_ids: (N,) integers; instances of one image share a number and are drawn together.
        n: resamples.
        level: coverage aimed at.
        seed: same seed, same interval, on every device; all statistics see the same resamples.
        cost: numbers the statistic touches per resample (N unless told), to bound memory.
    Returns:
        (2, *shape) float64: lower and upper end. NaN with fewer than two images.
    Raises:
        ValueError: image_ids are not (N,) integers; level is outside (0, 1); n is not positive.
    Source:
        Efron and Tibshirani 1993, Chapter 13; Field and Welsh 2007 (JRSS B 69) for resampling whole clusters.
    Example:
        >>> values = torch.arange(100.0, dtype=torch.float64)
        >>> low, high = bootstrap_interval(lambda w: w @ values / w.sum(-1), torch.arange(100))
        >>> bool(low < values.mean() < high), bool(10 < high - low < 13)  # 2 x 1.96 x 28.9 / sqrt(100) = 11.3
        (True, True)
    """
    if image_ids.ndim != 1 or image_ids.is_floating_point() or image_ids.dtype == torch.bool:
        raise ValueError(f"image_ids must be (N,) integers, got {image_ids.dtype} {tuple(image_ids.shape)}")
    if not 0 < level < 1 or n < 1:
        raise ValueError(f"level must be in (0, 1) and n positive, got {level} and {n}")
    images, position = image_ids.unique(return_inverse=True)
    block = max(1, _BLOCK // max(1, len(images), len(image_ids), cost or 0))
    drawn = _draw_counts(n, len(images), seed).split(block)
    values = torch.cat([statistic(counts.to(image_ids.device, torch.float64)[:, position]) for counts in drawn])
    if len(images) < 2:
        return values.new_full((2, *values.shape[1:]), torch.nan)
    ends = [column_quantiles(values.reshape(len(values), -1), q) for q in ((1 - level) / 2, (1 + level) / 2)]
    return torch.stack(ends).reshape(2, *values.shape[1:])


# A summary asks for the same ones hundreds of times.
@functools.lru_cache(maxsize=2)
def _draw_counts(n: int, images: int, seed: int) -> Tensor:
    """(n, images) uint8: how often each image is drawn in each of n resamples."""
    generator = torch.Generator().manual_seed(seed)
    # No image is drawn 256 times: of more than 255, each is drawn once on average.
    counts = torch.zeros(n, images, dtype=torch.uint8)
    for some in counts.split(max(1, _BLOCK // max(1, images))):
        if images:
            drawn = torch.randint(images, some.shape, generator=generator)
            some.scatter_add_(1, drawn, torch.ones((), dtype=torch.uint8).expand(some.shape))
    return counts


def mean_interval(
    values: Sequence[Tensor], image_ids: Tensor, *, n: int = 1000, level: float = 0.95, seed: int = 0
) -> Tensor:
    """Bootstrap intervals of several means over points, as ratios of sums: sum of values over number of points.

    Args:
        values: M tensors (N, K_m), NaN where a point does not count.
        image_ids: (N,) integers.
        n, level, seed: see `bootstrap_interval`.
    Returns:
        (2, M) float64. NaN where fewer than two images have a point.
    Example:
        >>> errors = torch.tensor([[1.0, 2.0], [3.0, torch.nan], [2.0, 2.0]])
        >>> mean_interval([errors], torch.tensor([0, 1, 2]))
        tensor([[1.5000],
                [3.0000]], dtype=torch.float64)
    """
    sums = torch.stack([v.to(torch.float64).nansum(1) for v in values], dim=1)
    counts = torch.stack([(~v.isnan()).sum(1) for v in values], dim=1).to(torch.float64)
    interval = bootstrap_interval(lambda w: (w @ sums) / (w @ counts), image_ids, n=n, level=level, seed=seed)
    enough = [image_ids[column > 0].unique().numel() > 1 for column in counts.unbind(1)]
    return torch.where(torch.tensor(enough, device=interval.device), interval, torch.nan)


def quantile_interval(
    values: Tensor,
    q: Sequence[float],
    image_ids: Tensor,
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Tensor:
    """Bootstrap intervals of quantiles over all points, each replicate as `pooled_quantile` defines it.

    Args:
        values: (N, K), NaN where a point does not count.
        q: Q numbers in [0, 1].
        image_ids: (N,) integers.
        n, level, seed: see `bootstrap_interval`.
    Returns:
        (2, Q) float64. NaN where fewer than two images have a point.
    Example:
        >>> errors = torch.tensor([[1.0, 2.0], [3.0, torch.nan], [2.0, 2.0]])
        >>> quantile_interval(errors, [0.5], torch.tensor([0, 1, 2]))
        tensor([[1.5000],
                [3.0000]], dtype=torch.float64)
    """
    row, _ = (~values.isnan()).nonzero(as_tuple=True)
    points, order = values[~values.isnan()].to(torch.float64).sort()
    row = row[order]
    if image_ids[row].unique().numel() < 2:
        return points.new_full((2, len(q)), torch.nan)
    levels = torch.tensor(list(q), dtype=torch.float64, device=values.device)
    return bootstrap_interval(
        lambda w: _repeated_quantiles(points, w.to(torch.int32)[:, row], levels),
        image_ids,
        n=n,
        level=level,
        seed=seed,
        cost=len(points),
    )


def _repeated_quantiles(points: Tensor, counts: Tensor, q: Tensor) -> Tensor:
    """Quantiles (R, Q) of sorted points (P,) that are repeated as often as counts (R, P) say."""
    upto = counts.cumsum(1, dtype=torch.int32)
    total = upto[:, -1:]
    place = (total - 1).clamp_min(0) * q
    below = place.floor().to(torch.int32)
    above = torch.minimum(below + 1, (total - 1).clamp_min(0))
    low, high = (
        points[torch.searchsorted(upto, index, right=True).clamp_max(len(points) - 1)] for index in (below, above)
    )
    return torch.where(total > 0, between(low, high, place - below), torch.nan)
