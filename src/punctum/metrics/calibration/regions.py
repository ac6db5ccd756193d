"""How often regions hold the truth, and how large they are: a figure of one says nothing without the other."""

from typing import NamedTuple

import torch
from torch import Tensor

from punctum.metrics.bootstrap import mean_interval, quantile_interval
from punctum.metrics.pooling import Result, pooled_mean, pooled_quantile

NOMINAL = (0.5, 0.8, 0.9, 0.95)


class Outcomes(NamedTuple):
    """How regions of one kind fared, at L levels.

    Args:
        inside: (N, K, L), whether the region holds the truth: bool, or 1 and 0 with NaN where a point does not count.
            Outcomes of whole instances, which hold all of their points or not, have a single column: (N, 1, L).
        size: (N, K, L), length, area or volume in pixels^D, infinite where the region has no end.
    """

    inside: Tensor
    size: Tensor


class RegionFigures(NamedTuple):
    """What `coverage_and_size` returns, for L levels.

    Args:
        coverage: share of points (of instances, for regions of whole instances) that their region holds.
        mean: mean size of a point's region, infinite where any is.
        median: median size, which endless regions make larger, as long as they are fewer than half.
    """

    coverage: Result
    mean: Result
    median: Result


class RegionIntervals(NamedTuple):
    """What `coverage_and_size_interval` returns: lower and upper ends of the totals, (2, L) each."""

    coverage: Tensor
    mean: Tensor
    median: Tensor


def coverage_and_size(outcomes: Outcomes) -> RegionFigures:
    """How often regions hold the truth, and their mean and median size, over the same points.

        coverage[l] = 1/|V| sum_(n, k in V) [y[n, k] in R[n, k, l]]

    The whole picture covers everything, and a fixed share of such pictures gives any coverage at all: a promise is
    worth what its regions are small. Endless regions count, in both.

    Args:
        outcomes: at L levels; what has NaN in `inside` does not count.
    Returns:
        Results of (L,) and (L, K), or (L, 1) for the coverage of whole instances; float64. NaN where there is no
        point.
    Raises:
        ValueError: shapes do not fit; a region that counts has no size, or a negative one.
    Example:
        >>> inside = torch.tensor([[[1.0]], [[0.0]], [[1.0]], [[torch.nan]]])
        >>> figures = coverage_and_size(Outcomes(inside, torch.tensor([[[3.0]], [[4.0]], [[torch.inf]], [[1.0]]])))
        >>> [float(one.total) for one in figures]
        [0.6666666666666666, inf, 4.0]
    """
    levels = _by_level(outcomes)
    return RegionFigures(
        coverage=_stacked([pooled_mean(inside) for inside, _ in levels]),
        mean=_stacked([pooled_mean(size) for _, size in levels]),
        median=_stacked([pooled_quantile(size, 0.5) for _, size in levels]),
    )


def coverage_and_size_interval(
    outcomes: Outcomes, image_ids: Tensor, *, n: int = 1000, level: float = 0.95, seed: int = 0
) -> RegionIntervals:
    """Bootstrap intervals of the totals of `coverage_and_size`, over images.

    Args:
        outcomes: at L levels.
        image_ids: (N,) integers.
        n, level, seed: see `bootstrap_interval`.
    Returns:
        RegionIntervals. NaN where fewer than two images have a point, and for the mean where a region has no end.
    Raises:
        ValueError: as `coverage_and_size`.
    Example:
        >>> outcomes = Outcomes((torch.arange(40) % 4 > 0)[:, None, None], torch.ones(40, 1, 1))
        >>> low, high = coverage_and_size_interval(outcomes, torch.arange(40)).coverage
        >>> bool(0.55 < low < 0.75 < high < 0.95)
        True
    """
    inside, size = zip(*_by_level(outcomes), strict=True)
    endless = torch.stack([one.isinf().any() for one in size])
    finite = [one.masked_fill(one.isinf(), 0.0) for one in size]
    means = mean_interval([*inside, *finite], image_ids, n=n, level=level, seed=seed)
    coverage, mean = means.split(len(size), dim=1)
    medians = [quantile_interval(one, [0.5], image_ids, n=n, level=level, seed=seed)[:, 0] for one in size]
    return RegionIntervals(coverage, torch.where(endless, torch.nan, mean), torch.stack(medians, dim=1))


def _by_level(outcomes: Outcomes) -> list[tuple[Tensor, Tensor]]:
    """For each level, whether it held (N, K) and how large it was (N, K), NaN where a point does not count."""
    inside, size = (values.to(torch.float64) for values in outcomes)
    if (
        inside.ndim != 3
        or size.ndim != 3
        or size.shape[::2] != inside.shape[::2]
        or inside.shape[1] not in (1, size.shape[1])
    ):
        raise ValueError(
            f"inside must be (N, K, L), or (N, 1, L) for whole instances, and size (N, K, L), got "
            f"{tuple(inside.shape)} and {tuple(size.shape)}"
        )
    counts = ~inside.isnan()
    if missing := int((size.isnan() & counts).sum()) if inside.shape == size.shape else 0:
        raise ValueError(f"{missing} regions that count have no size; say infinity of one without an end")
    if (size < 0).any():
        raise ValueError(f"a size must not be negative, got {float(size[size < 0][0]):g}")
    size = torch.where(counts, size, torch.nan)
    return list(zip(inside.unbind(-1), size.unbind(-1), strict=True))


def _stacked(results: list[Result]) -> Result:
    return Result(torch.stack([r.total for r in results]), torch.stack([r.per_keypoint for r in results]))
