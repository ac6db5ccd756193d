"""Predicted densities: what they give the truth, and whether their levels are hit as often as they say."""

from typing import NamedTuple

import torch
from torch import Tensor

from punctum.metrics.bootstrap import bootstrap_interval, mean_interval
from punctum.metrics.pooling import Result, pooled_mean


def nll(log_prob: Tensor) -> Result:
    """Negative log likelihood: how many nats a point's true place costs on average; the lower, the better.

        NLL = -1/|V| sum_(n, k in V) log p[n, k](y[n, k])

    A proper score: no other density costs less than the one that the truth was drawn from. It depends on the unit:
    of densities per pixel^D, pictures of twice the size cost D log 2 more. Infinite where one place was
    thought impossible.

    Args:
        log_prob: (N, K), in nats per pixel^D; NaN where a point does not count.
    Returns:
        Result of a scalar and (K,), float64.
    Source:
        Good 1952, JRSS B 14; Gneiting and Raftery 2007, JASA 102, Section 4.1.
    Example:
        >>> nll(torch.tensor([[-1.0, -2.0], [torch.nan, -4.0]]))
        Result(total=tensor(2.3333, dtype=torch.float64), per_keypoint=tensor([1., 3.], dtype=torch.float64))
    """
    return pooled_mean(-log_prob.to(torch.float64))


def pit_distance(level: Tensor) -> Result:
    """Kolmogorov-Smirnov distance of the highest-density levels from uniform: 0 is perfect, 1 the farthest.

        KS = sup_u |F(u) - u|,     F(u) = share of the points whose level is at most u

    A point's level is the probability of all places denser than its own. Are the densities right, levels are uniform:
    half of the points below 0.5. Too wide ones crowd them near 0, too narrow ones near 1.

    Its p-value in tables is for independent points, and those of one image are not: `pit_chance` says what is
    to be expected by chance.

    Args:
        level: (N, K), NaN where a point does not count; beyond 0 and 1 they count as 0 and 1.
    Returns:
        Result of a scalar and (K,), float64. NaN where there is no point.
    Source:
        Kolmogorov 1933; levels of highest-density regions as a probability integral transform: Hyndman 1996,
        The American Statistician 50(2).
    Example:
        >>> pit_distance(torch.tensor([[0.1], [0.4], [0.6], [0.9]])).total  # at 0.4: (0.5 - 0.4)
        tensor(0.1500, dtype=torch.float64)
    """
    values = level.to(torch.float64).clamp(0, 1)
    return Result(_distances(values.reshape(-1, 1))[0], _distances(values))


def _distances(values: Tensor) -> Tensor:
    """(N, M) to (M,)."""
    ordered = values.sort(dim=0).values  # NaN comes last
    count = (~values.isnan()).sum(0)
    rank = torch.arange(1, len(values) + 1, dtype=torch.float64, device=values.device)[:, None]
    above, below = rank / count - ordered, ordered - (rank - 1) / count
    found = torch.maximum(above, below).masked_fill(ordered.isnan(), -torch.inf)
    largest = found.amax(0) if len(values) else values.new_zeros(values.shape[1])
    return torch.where(count > 0, largest, torch.nan)


def pit_chance(level: Tensor, image_ids: Tensor, *, n: int = 1000, share: float = 0.95, seed: int = 0) -> Tensor:
    """How large `pit_distance` may be by chance alone: its 95th percentile, were the densities right.

        sup_u |F*(u) - F(u)| in resamples F* of images has about the law of sup_u |F(u) - u| when levels are uniform

    Resampling whole images keeps what points of one image have in common; independent points in their number would
    give 1.36 / sqrt(|V|), which can be several times too small.

    Args:
        level: (N, K), NaN where a point does not count.
        image_ids: (N,) integers.
        n, seed: see `bootstrap_interval`.
        share: of resamples that stay below, more than a half.
    Returns:
        A float64 scalar. NaN where fewer than two images have a point.
    Source:
        Bickel and Freedman 1981, Annals of Statistics 9, Section 4: bootstrapping the empirical process.
    Example:
        >>> levels = torch.rand(400, 1, generator=torch.Generator().manual_seed(0))
        >>> bool(abs(pit_chance(levels, torch.arange(400)) - 1.36 / 20) < 0.01)
        True
    """
    counts = ~level.isnan()
    row = counts.nonzero()[:, 0]
    if image_ids[row].unique().numel() < 2:
        return torch.tensor(torch.nan, dtype=torch.float64, device=level.device)
    _, place, size = level[counts].clamp(0, 1).unique(return_inverse=True, return_counts=True)
    measured = size.cumsum(0) / size.sum()

    def distance(weights: Tensor) -> Tensor:
        upto = weights.new_zeros(len(weights), len(size)).index_add_(1, place, weights[:, row]).cumsum(1)
        return (upto / upto[:, -1:] - measured).abs().amax(1)

    # The upper end of an interval that leaves out as much below as above.
    return bootstrap_interval(distance, image_ids, n=n, level=2 * share - 1, seed=seed, cost=len(row))[1]


class Histogram(NamedTuple):
    """What `pit_histogram` returns, for Q bins of equal width on [0, 1].

    Args:
        density: (Q,), share of the points in a bin over its width: 1 everywhere for uniform levels.
        interval: (2, Q), its 95 % interval over images.
        edges: (Q + 1,).
    """

    density: Tensor
    interval: Tensor
    edges: Tensor


def pit_histogram(level: Tensor, image_ids: Tensor, *, bins: int = 10, n: int = 1000, seed: int = 0) -> Histogram:
    """How the highest-density levels are spread over [0, 1].

    Args:
        level: (N, K), NaN where a point does not count; beyond 0 and 1 they count as 0 and 1.
        image_ids: (N,) integers.
        bins: Q.
        n, seed: see `bootstrap_interval`.
    Returns:
        Histogram; NaN where there is no point.
    Example:
        >>> pit_histogram(torch.tensor([[0.1], [0.2], [0.3], [0.7]]), torch.arange(4), bins=2).density
        tensor([1.5000, 0.5000], dtype=torch.float64)
    """
    values = level.to(torch.float64).clamp(0, 1)
    bin_of = (values * bins).floor().clamp_max(bins - 1)
    held = [torch.where(values.isnan(), torch.nan, (bin_of == b).double() * bins) for b in range(bins)]
    return Histogram(
        density=torch.stack([pooled_mean(h).total for h in held]),
        interval=mean_interval(held, image_ids, n=n, seed=seed),
        edges=torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=level.device),
    )
