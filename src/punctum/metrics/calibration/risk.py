"""Is it worth asking which points to drop? The mean error of those that are kept, the surest first."""

from collections.abc import Sequence

import torch
from torch import Tensor

from punctum.metrics.bootstrap import bootstrap_interval
from punctum.metrics.normalizer import normalized_distances
from punctum.metrics.ranking import paired
from punctum.metrics.stateful import ScoredMetric


def risk_coverage(score: Tensor, error: Tensor, coverage: Sequence[float]) -> Tensor:
    """Mean error of the surest points, for several shares of points that are kept.

        risk(c) = mean error of the ceil(c n) points of highest score

    Among equal scores each order is as likely: the expected risk.

    Args:
        score: any shape; NaN where there is no score.
        error: of the same shape, finite or NaN where a point does not count.
        coverage: C shares in (0, 1].
    Returns:
        (C,) float64, in the unit of the errors; NaN where no point counts.
    Raises:
        ValueError: the shapes differ, or a share is not in (0, 1].
    Source:
        El-Yaniv and Wiener 2010, JMLR 11.
    Example:
        >>> risk_coverage(torch.tensor([0.9, 0.8, 0.1]), torch.tensor([1.0, 3.0, 8.0]), [0.3, 0.6, 1])
        tensor([1., 2., 4.], dtype=torch.float64)
    """
    if not all(0 < c <= 1 for c in coverage):
        raise ValueError(f"coverage must be shares in (0, 1], got {list(coverage)}")
    score, error, _ = paired(score, error)
    if not len(score):
        return error.new_full((len(coverage),), torch.nan)
    group, size, total = _tied(score, error)
    expected = (total / size)[group.sort().values]
    # Rounded first: 0.07 of 100 is 7.000000000000001.
    kept = torch.tensor([round(c * len(score), 9) for c in coverage], dtype=torch.float64, device=error.device)
    kept = kept.ceil().long()
    return expected.cumsum(0)[kept - 1] / kept


def aurc(score: Tensor, error: Tensor) -> Tensor:
    """Area under the risk-coverage curve: the mean error of the surest, over all shares that might be kept.

        AURC = 1/n sum_(i=1..n) mean error of the i points of highest score

    A score that says nothing has the mean error. Small errors count as well as a good order; `excess_aurc` judges the
    order alone. Among equal scores each order is as likely: the expected area.

    Args:
        score: any shape; NaN where there is no score.
        error: of the same shape, finite or NaN where a point does not count.
    Returns:
        A float64 scalar in the unit of the errors; NaN where no point counts.
    Raises:
        ValueError: the shapes differ.
    Source:
        Geifman, Uziel and El-Yaniv 2019, arXiv:1805.08206.
    Example:
        >>> aurc(torch.tensor([0.9, 0.8, 0.1]), torch.tensor([1.0, 3.0, 8.0]))  # (1 + 2 + 4) / 3
        tensor(2.3333, dtype=torch.float64)
    """
    return _both(score, error)[0]


def excess_aurc(score: Tensor, error: Tensor) -> Tensor:
    """E-AURC: what `aurc` is above that of an oracle, which drops the largest errors first; 0 for a perfect order.

    Args:
        score, error: as for `aurc`.
    Returns:
        A float64 scalar, non-negative, in the unit of the errors; NaN where no point counts.
    Source:
        Geifman, Uziel and El-Yaniv 2019, arXiv:1805.08206, Section 3.
    Example:
        >>> excess_aurc(torch.tensor([0.1, 0.8, 0.9]), torch.tensor([1.0, 3.0, 8.0]))  # (8 + 5.5 + 4) / 3 - 2.3333
        tensor(3.5000, dtype=torch.float64)
    """
    return _both(score, error)[1]


def aurc_interval(
    score: Tensor, error: Tensor, image_ids: Tensor, *, n: int = 1000, level: float = 0.95, seed: int = 0
) -> Tensor:
    """Bootstrap intervals of `aurc` and `excess_aurc`, over images; each resample is ordered anew.

    Args:
        score, error: (N, K), NaN where a point does not count.
        image_ids: (N,) integers.
        n, level, seed: see `bootstrap_interval`.
    Returns:
        (2, 2) float64: lower and upper ends, of AURC and of E-AURC. NaN where fewer than two images have a point.
    Example:
        >>> error = torch.arange(40.0).reshape(20, 2)
        >>> aurc_interval(-error, error, torch.arange(20))[:, 1]
        tensor([0., 0.], dtype=torch.float64)
    """
    values, errors, points = paired(score, error)
    row = points.nonzero()[:, 0]
    if image_ids[row].unique().numel() < 2:
        return values.new_full((2, 2), torch.nan)
    return bootstrap_interval(
        lambda weights: _areas(values, errors, weights[:, row]),
        image_ids,
        n=n,
        level=level,
        seed=seed,
        cost=2 * len(values),
    )


def _both(score: Tensor, error: Tensor) -> Tensor:
    """(2,): AURC and its excess."""
    score, error, _ = paired(score, error)
    return _areas(score, error, torch.ones(1, len(score), dtype=torch.float64, device=score.device))[0]


def _areas(score: Tensor, error: Tensor, weights: Tensor) -> Tensor:
    """(R, 2): AURC and its excess, where point p stands weights[r, p] times in the list."""
    area, least = (_area(order, error, weights) for order in (score, -error))
    # Rounding must not leave a perfect order with an excess below zero.
    return torch.stack([area, (area - least).clamp_min(0)], dim=1)


def _area(score: Tensor, error: Tensor, weights: Tensor) -> Tensor:
    """(R,). Within a group of w equal scores, after W points with errors of S in sum, errors are e on average:

    sum_(i=1..w) (S + i e) / (W + i) = w e + (S - W e) (H(W + w) - H(W)),     H(n) = 1 + 1/2 + ... + 1/n
    """
    group = (-score).unique(return_inverse=True)[1]
    count = int(group.max()) + 1 if len(group) else 0
    size, total = (
        weights.new_zeros(len(weights), count).index_add_(1, group, values) for values in (weights, weights * error)
    )
    upto = size.cumsum(1)
    before, sums = upto - size, total.cumsum(1) - total
    harmonic = _harmonic(int(upto.max()) if upto.numel() else 0, like=error)
    steps = harmonic[upto.long()] - harmonic[before.long()]
    mean = total / size.clamp_min(1)
    return (total + (sums - before * mean) * steps).sum(1) / weights.sum(1)


def _harmonic(n: int, like: Tensor) -> Tensor:
    """(n + 1,): the harmonic numbers from H(0) = 0 to H(n)."""
    steps = 1 / torch.arange(1, n + 1, dtype=like.dtype, device=like.device)
    return torch.cat([steps.new_zeros(1), steps.cumsum(0)])


def _tied(score: Tensor, error: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Position of each point's score among the distinct ones, the surest first; of each, how many and what errors."""
    _, group, size = (-score).unique(return_inverse=True, return_counts=True)
    return group, size, error.new_zeros(len(size)).index_add_(0, group, error)


class AURC(ScoredMetric):
    """`aurc` over batches, with errors in lengths: compute() returns what `aurc` returns on all of them together.

    Example:
        >>> metric = AURC()
        >>> preds, visible, one = torch.tensor([[[1.0]], [[3.0]]]), torch.ones(2, 1).bool(), torch.ones(2)
        >>> metric.update(preds, torch.zeros(2, 1, 1), visible, score=torch.tensor([[0.9], [0.2]]), lengths=one)
        >>> metric.compute()  # (1 + 2) / 2
        tensor(1.5000, dtype=torch.float64)
    """

    higher_is_better = False

    def compute(self) -> Tensor:
        """`aurc` of everything added since the last reset."""
        return aurc(self.scores(), normalized_distances(self.distances(), self.lengths()))
