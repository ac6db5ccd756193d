"""How nearly is the error a straight line of the score? The rank correlation asks for the order alone."""

import torch
from torch import Tensor

from punctum.metrics.bootstrap import bootstrap_interval
from punctum.metrics.ranking import paired


def linear_correlation(score: Tensor, error: Tensor) -> Tensor:
    """Pearson's correlation of score and closeness (the error with its sign turned), over all points.

        r = cov(score, -error) / (sd(score) sd(error))

    A few very large errors can make or break it; `rank_correlation` does not mind them. A similarity, OKS say, is
    handed over with its sign turned.

    Args:
        score: any shape; NaN where there is no score.
        error: of the same shape, in any unit, finite or NaN where a point does not count.
    Returns:
        A float64 scalar in [-1, 1]; NaN with fewer than two points, or where all scores or all errors are equal.
    Raises:
        ValueError: the shapes differ.
    Source:
        Pearson 1895, Proceedings of the Royal Society 58.
    Example:
        >>> linear_correlation(torch.tensor([0.9, 0.5, 0.1]), torch.tensor([1.0, 2.0, 3.0]))
        tensor(1.0000, dtype=torch.float64)
    """
    moments = _moments(*paired(score, error)[:2])
    return _correlation(moments.sum(0, keepdim=True))[0]


def linear_correlation_interval(
    score: Tensor, error: Tensor, image_ids: Tensor, *, n: int = 1000, level: float = 0.95, seed: int = 0
) -> Tensor:
    """Bootstrap interval of `linear_correlation`, over images.

    Args:
        score, error: (N, K), NaN where a point does not count.
        image_ids: (N,) integers.
        n, level, seed: see `bootstrap_interval`.
    Returns:
        (2,) float64. NaN where fewer than two images have a point.
    Example:
        >>> error = torch.arange(40.0).reshape(20, 2)
        >>> low, high = linear_correlation_interval(-error.sqrt(), error, torch.arange(20))
        >>> bool(0.95 < low < high < 1)
        True
    """
    values, errors, points = paired(score, error)
    row = points.nonzero()[:, 0]
    if image_ids[row].unique().numel() < 2:
        return values.new_full((2,), torch.nan)
    sums = values.new_zeros(len(image_ids), 6).index_add_(0, row, _moments(values, errors))
    return bootstrap_interval(
        lambda weights: _correlation(weights @ sums), image_ids, n=n, level=level, seed=seed, cost=len(image_ids)
    )


def _moments(score: Tensor, error: Tensor) -> Tensor:
    """(P, 6): 1, x, y, x x, y y, x y of each point, with x and y of mean 0 and spread 1 over all of them."""
    x, y = (v - v.mean() if len(v) else v for v in (score, -error))
    x, y = (v / v.abs().max().clamp_min(torch.finfo(v.dtype).tiny) if len(v) else v for v in (x, y))
    return torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y], dim=1)


def _correlation(sums: Tensor) -> Tensor:
    """(R,) from sums (R, 6) of the moments."""
    n, x, y, xx, yy, xy = sums.unbind(1)
    variances = (n * xx - x * x), (n * yy - y * y)
    # A spread of rounding errors is none.
    told = (variances[0] > 1e-12 * n * xx) & (variances[1] > 1e-12 * n * yy)
    return torch.where(told, (n * xy - x * y) / (variances[0] * variances[1]).sqrt(), torch.nan).clamp(-1, 1)
