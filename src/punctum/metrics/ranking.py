"""Does the score know how far off a point is? The rank correlation of score and closeness."""

import torch
from torch import Tensor

from punctum.metrics.bootstrap import bootstrap_interval


def rank_correlation(score: Tensor, error: Tensor) -> Tensor:
    """Spearman's rank correlation of score and closeness (the error with its sign turned), over all points.

        rho = corr(rank(score), rank(-error)),      ties share the mean of their ranks

    1: the higher the score, the smaller the error, without exception. 0: the score says nothing. Below 0: it
    misleads. It asks for the order alone, so scores on any scale compare.

    Args:
        score: any shape; NaN where there is no score.
        error: of the same shape, in any unit; NaN where a point does not count.
    Returns:
        A float64 scalar in [-1, 1]; NaN with fewer than two points, or where all scores or all errors are equal.
    Raises:
        ValueError: the shapes differ.
    Source:
        Spearman 1904, American Journal of Psychology 15(1).
    Example:
        >>> rank_correlation(torch.tensor([0.9, 0.5, 0.1]), torch.tensor([1.0, 2.0, 30.0]))
        tensor(1., dtype=torch.float64)
    """
    score, error, _ = paired(score, error)
    once = torch.ones(1, len(score), dtype=torch.float64, device=score.device)
    return _weighted(_groups(score), _groups(-error), once)[0]


def rank_correlation_interval(
    score: Tensor, error: Tensor, image_ids: Tensor, *, n: int = 1000, level: float = 0.95, seed: int = 0
) -> Tensor:
    """Bootstrap interval of `rank_correlation` over images; each resample is ranked anew.

    Args:
        score, error: (N, K), NaN where a point does not count.
        image_ids: (N,) integers.
        n, level, seed: see `bootstrap_interval`.
    Returns:
        (2,) float64. NaN where fewer than two images have a point.
    Example:
        >>> error = torch.arange(40.0).reshape(20, 2)
        >>> low, high = rank_correlation_interval(-error.round(decimals=-1), error, torch.arange(20))
        >>> bool(0.9 < low < high < 1)
        True
    """
    values, errors, points = paired(score, error)
    row = points.nonzero()[:, 0]
    if image_ids[row].unique().numel() < 2:
        return values.new_full((2,), torch.nan)
    groups = _groups(values), _groups(-errors)
    return bootstrap_interval(
        lambda weights: _weighted(*groups, weights[:, row]), image_ids, n=n, level=level, seed=seed, cost=len(values)
    )


def paired(score: Tensor, error: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(P,) scores and errors of the points that have both, as float64, and a mask of where they stood.

    Raises:
        ValueError: the shapes differ.
    """
    if score.shape != error.shape:
        raise ValueError(f"score {tuple(score.shape)} and error {tuple(error.shape)} must have the same shape")
    points = ~(score.isnan() | error.isnan())
    return score[points].to(torch.float64), error[points].to(torch.float64), points


def _groups(values: Tensor) -> Tensor:
    """(P,): the position of each value among the distinct ones, in rising order."""
    return values.unique(return_inverse=True)[1]


def _weighted(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """(R,): correlation of the ranks of two lists, under weights (R, P)."""
    (a, spread_a), (b, spread_b) = (_centred_ranks(groups, weights) for groups in (first, second))
    shared = (weights * a[:, first] * b[:, second]).sum(1)
    spread = (spread_a * spread_b).sqrt()
    return torch.where(spread > 0, shared / spread, torch.nan).clamp(-1, 1)


def _centred_ranks(groups: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The mean rank of each group where value p stands weights[r, p] times in the list, less the mean of all ranks:
    (R, G), exactly 0 for a single group; and their sum of squares, (R,)."""
    count = int(groups.max()) + 1 if len(groups) else 0
    size = weights.new_zeros(len(weights), count).index_add_(1, groups, weights)
    upto = size.cumsum(1)
    ranks = upto - (size + upto[:, -1:]) / 2
    return ranks, (size * ranks * ranks).sum(1)
