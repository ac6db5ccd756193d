"""Does a score mean its number? Of all points with a score of 0.8, eight in ten shall be hits."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from punctum.metrics.bootstrap import bootstrap_interval, mean_interval
from punctum.metrics.normalizer import normalized_distances
from punctum.metrics.pooling import Result, check_thresholds, pooled_mean, within
from punctum.metrics.stateful import ScoredMetric


class Reliability(NamedTuple):
    """What `reliability` returns, for Q groups in rising order of score.

    Args:
        score: (Q,), mean score.
        hits: (Q,), share of hits.
        interval: (2, Q), 95 % interval of that share, over images.
        points: (Q,) int64, how many there are.
    """

    score: Tensor
    hits: Tensor
    interval: Tensor
    points: Tensor


class CalibrationError(NamedTuple):
    """What `ece` returns; float64 scalars.

    Args:
        value: ECE as it is usually given, zero for perfect scores of endlessly many points.
        by_chance: what it would be, on average, for scores that are right: a value about this large shows nothing.
        squared: mean squared gap, without bias: that of right scores is zero on average, and may be negative.
    """

    value: Tensor
    by_chance: Tensor
    squared: Tensor


def groups_by_score(score: Tensor, counts: Tensor, bins: int = 10) -> Tensor:
    """The group of each point, where points of like score form groups of about equal size.

    Equal scores stand in one group, so there may be fewer: one, where all scores are equal.

    Args:
        score: (N, K).
        counts: (N, K) bool, the points that count.
        bins: at most so many groups.
    Returns:
        (N, K) int64 in rising order of score, from 0 without gaps; -1 where a point does not count.
    Raises:
        ValueError: shapes differ, or bins is not positive.
    Example:
        >>> groups_by_score(torch.tensor([[0.1], [0.2], [0.2], [0.9]]), torch.ones(4, 1).bool(), 2).flatten()
        tensor([0, 0, 0, 1])
    """
    if score.shape != counts.shape or bins < 1:
        raise ValueError(
            f"score {tuple(score.shape)} and counts {tuple(counts.shape)} must have the same shape, and bins must be "
            f"positive, got {bins}"
        )
    ordered = score[counts].sort().values
    place = (torch.arange(1, bins, device=score.device) * len(ordered) / bins).ceil().long() - 1
    # A group ends with its edge, so that equal scores are never parted.
    edges = ordered[place.clamp_min(0)].unique() if len(ordered) else ordered
    group = torch.full(score.shape, -1, device=score.device)
    group[counts] = torch.searchsorted(edges, score[counts]).unique(return_inverse=True)[1]
    return group


def reliability(
    score: Tensor, hit: Tensor, image_ids: Tensor, *, bins: int = 10, n: int = 1000, seed: int = 0
) -> Reliability:
    """The reliability curve: the share of hits among points of like score, beside that score.

    Args:
        score: (N, K), probabilities in [0, 1].
        hit: (N, K), 1 for a hit and 0 for a miss; a point that has NaN here or there does not count.
        image_ids: (N,) integers.
        bins: groups of about equal size, from `groups_by_score`.
        n, seed: see `bootstrap_interval`.
    Returns:
        Reliability; without a group where no point counts.
    Source:
        Murphy and Winkler 1977, Applied Statistics 26.
    Example:
        >>> hit = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
        >>> reliability(torch.tensor([[0.1], [0.3], [0.8], [1.0]]), hit, torch.arange(4), bins=2)[:2]
        (tensor([0.2000, 0.9000], dtype=torch.float64), tensor([0.5000, 1.0000], dtype=torch.float64))
    """
    score, hit, group = _grouped(score, hit, bins)
    parts = [group == g for g in range(int(group.max()) + 1 if group.numel() else 0)]
    hits = [torch.where(part, hit, torch.nan) for part in parts]
    if not parts:
        none = score.new_empty(0)
        return Reliability(none, none, none.new_empty(2, 0), none.long())
    return Reliability(
        score=torch.stack([score[part].mean() for part in parts]),
        hits=torch.stack([hit[part].mean() for part in parts]),
        interval=mean_interval(hits, image_ids, n=n, seed=seed),
        points=torch.stack([part.sum() for part in parts]),
    )


def ece(score: Tensor, hit: Tensor, image_ids: Tensor | None = None, *, bins: int = 10) -> CalibrationError:
    """Expected calibration error, over groups of equal size, and what chance makes of it.

        gap[q] = mean of hit - score over the n[q] points of group q
        value  = sum_q n[q] / n |gap[q]|
        by_chance = sum_q n[q] / n sqrt(2 v[q] / pi),      squared = sum_q n[q] / n (gap[q]^2 - v[q])
        v[q] = I / (I - 1) sum_i (sum over image i's points in q of hit - score - gap[q])^2 / n[q]^2

    A gap scatters about its true value with variance v, so `value` is above zero even for perfect scores: with few
    points, far above. v is the variance of a ratio over whole images, as points of one image err together. Within
    a group, gaps of either sign may cancel; more bins see finer, and scatter more.

    Args:
        score: (N, K), probabilities in [0, 1].
        hit: (N, K), 1 for a hit and 0 for a miss; a point that has NaN here or there does not count.
        image_ids: (N,) integers; None: every row is an image of its own.
        bins: groups of about equal size, from `groups_by_score`.
    Returns:
        CalibrationError. NaN where no point counts; the latter two also where a group's points are of one image.
    Source:
        Naeini et al. 2015 (AAAI); Nguyen and O'Connor 2015 for groups of equal size; Kumar et al. 2019,
        arXiv:1909.10155, for the squared error without bias, here with the variance over images.
    Example:
        >>> score = torch.rand(4000, 1, generator=torch.Generator().manual_seed(0))
        >>> hit = torch.bernoulli(score, generator=torch.Generator().manual_seed(1))
        >>> found = ece(score, hit)
        >>> bool(abs(found.value - found.by_chance) < 0.008), bool(found.squared.abs() < 0.0002)
        (True, True)
    """
    score, hit, group = _grouped(score, hit, bins)
    ids = torch.arange(len(score), device=score.device) if image_ids is None else image_ids
    gaps, variances, sizes = _gaps(hit - score, group, ids)
    share = sizes / sizes.sum()
    if not len(gaps):
        return CalibrationError(*score.new_full((3,), torch.nan))
    return CalibrationError(
        value=(share * gaps.abs()).sum(),
        by_chance=(share * (2 * variances / torch.pi).sqrt()).sum(),
        squared=(share * (gaps.square() - variances)).sum(),
    )


def squared_gap_interval(
    score: Tensor,
    hit: Tensor,
    image_ids: Tensor,
    *,
    bins: int = 10,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Tensor:
    """Bootstrap interval of the mean squared gap, `ece(...).squared`, over images; groups stay as they are.

        ends = quantiles of sum_q n*[q] / n* gap*[q]^2  -  2 sum_q n[q] / n v[q]

    A measured gap scatters about the true one, and a resampled gap about the measured: both variances are taken off.
    An interval that begins at or below zero says that nothing but chance has been seen. Of ECE's absolute values the
    bias is not known, and a plain interval of it leaves out zero, for perfect scores, two times in three.

    Args:
        score, hit, image_ids, bins: as for `ece`.
        n, level, seed: see `bootstrap_interval`.
    Returns:
        (2,) float64. NaN where fewer than two images have a point.
    Example:
        >>> score = torch.full((400, 1), 0.9)
        >>> ends = squared_gap_interval(score, (torch.arange(400) % 2)[:, None], torch.arange(400))
        >>> low, high = ends.sqrt()
        >>> bool(0.34 < low < 0.4 < high < 0.46)
        True
    """
    score, hit, group = _grouped(score, hit, bins)
    if image_ids[(group >= 0).any(1)].unique().numel() < 2:
        return score.new_full((2,), torch.nan)
    sums, counts = _sums(hit - score, group)
    _, variances, sizes = _gaps(hit - score, group, image_ids)

    def squared(weights: Tensor) -> Tensor:
        size = weights @ counts
        return ((weights @ sums).square() / size.clamp_min(1)).sum(1) / size.sum(1)

    ends = bootstrap_interval(squared, image_ids, n=n, level=level, seed=seed)
    return ends - 2 * (sizes * variances).sum() / sizes.sum()


def brier(score: Tensor, hit: Tensor) -> Result:
    """Brier score: the mean square of hit - score, in [0, 1]; the lower, the better.

        BS = 1/|V| sum_(n, k in V) (hit[n, k] - score[n, k])^2

    A proper score: no other number costs less than the true probability. A score that is always 1/2 has 1/4.

    Args:
        score: (N, K), probabilities in [0, 1].
        hit: (N, K), 1 for a hit and 0 for a miss; a point that has NaN here or there does not count.
    Returns:
        Result of a scalar and (K,), float64. NaN where there is no point.
    Source:
        Brier 1950, Monthly Weather Review 78.
    Example:
        >>> brier(torch.tensor([[0.8], [0.4]]), torch.tensor([[1.0], [0.0]])).total
        tensor(0.1000, dtype=torch.float64)
    """
    return pooled_mean((hit.to(torch.float64) - score.to(torch.float64)).square())


class ECE(ScoredMetric):
    """`ece` over batches, of scores that are the probability of an error of at most `distance` lengths.

    Every instance counts as an image of its own.

    Args:
        distance: a hit's largest error, in lengths.
        bins: groups of about equal size.
    Example:
        >>> metric = ECE(distance=1.0)
        >>> preds, visible = torch.tensor([[[3.0, 0.0]], [[0.0, 0.0]]]), torch.ones(2, 1).bool()
        >>> metric.update(preds, torch.zeros(2, 1, 2), visible, score=torch.full((2, 1), 0.75), lengths=torch.ones(2))
        >>> metric.compute().value
        tensor(0.2500, dtype=torch.float64)
    """

    higher_is_better = False

    def __init__(self, distance: float, bins: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        (self.distance,) = check_thresholds([distance])
        self.bins = bins

    def compute(self) -> CalibrationError:
        """`ece` of everything added since the last reset."""
        hit = within(normalized_distances(self.distances(), self.lengths()), self.distance)
        return ece(self.scores(), hit, bins=self.bins)


def _grouped(score: Tensor, hit: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and hits as float64, and the group of each point."""
    score, hit = score.to(torch.float64), hit.to(torch.float64)
    counts = ~(score + hit).isnan()
    return score, hit, groups_by_score(score, counts, bins)


def _sums(values: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the values (N, K) of each row in each group, and how many there are: (N, Q) twice."""
    groups = int(group.max()) + 1 if group.numel() else 0
    members = [group == g for g in range(groups)]
    none = values.new_zeros(len(values), 0)
    sums = [torch.where(part, values, 0.0).sum(1, keepdim=True) for part in members]
    return torch.cat([none, *sums], 1), torch.cat([none, *(part.sum(1, keepdim=True) for part in members)], 1)


def _gaps(values: Tensor, group: Tensor, image_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of each group, its variance over images, and how many points it has: (Q,) each."""
    sums, counts = _sums(values, group)
    images, place = image_ids.unique(return_inverse=True)
    by_image, held = (m.new_zeros(len(images), m.shape[1]).index_add_(0, place, m) for m in (sums, counts))
    size = held.sum(0)
    gap = by_image.sum(0) / size
    number = (held > 0).sum(0)
    square = (by_image - gap * held).square().sum(0) / size.square()
    return gap, torch.where(number > 1, square * number / (number - 1), torch.nan), size
