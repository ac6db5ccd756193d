"""Highest-density regions: the smallest that hold a given probability, and how deep in them a place lies."""

import torch
from torch import Tensor

from punctum.ops.mixture import GaussianMixture
from punctum.ops.mixture_terms import in_parts


class HighestDensity:
    """The regions {y: p(y) >= t} of each mixture, from draws.

        level(y) = P(p(Y) > p(y)),     Y drawn from the mixture

    is uniform on [0, 1] where the truth is such a draw: the region of level q holds the truth with probability q.
    Between the sorted densities of the n draws everything is interpolated, so levels, thresholds and volumes are
    continuous, and accurate to about 1 / n.

    Args:
        mixture: B x K densities.
        n: draws of each.
    Example:
        >>> from punctum.ops import single_gaussian
        >>> regions = HighestDensity(single_gaussian(torch.zeros(1, 1, 2), torch.eye(2).expand(1, 1, 2, 2)))
        >>> regions.level(torch.tensor([[[1.0, 0.0]]]))  # exactly 1 - exp(-1/2)
        tensor([[0.39...]])
        >>> regions.volume(0.95) / torch.pi  # exactly -2 log 0.05 = 5.99
        tensor([[5.98...]])
    """

    def __init__(self, mixture: GaussianMixture, n: int = 1024) -> None:
        self.mixture = mixture
        with torch.no_grad():
            self.surprises = _surprises(mixture, n)
        """(B, K, n), -log p of the draws, ascending."""

    def level(self, points: Tensor, noise: Tensor | None = None) -> Tensor:
        """Probability of places denser than the point's.

        Below the lowest draw it goes on by the difference in log density, past 1, so that outliers keep their order.

        Args:
            points: (B, K, D).
            noise: (B, K) uniform in [0, 1], the place among draws of exactly this density; None for the middle.
        Returns:
            (B, K); NaN for a NaN point.
        """
        return self.level_of(self.mixture.log_prob(points), noise)

    def level_of(self, log_prob: Tensor, noise: Tensor | None = None) -> Tensor:
        """`level`, of a log density (B, K) that is already known."""
        s, n = self.surprises, self.surprises.shape[-1]
        x = -log_prob.to(s.dtype)[..., None].contiguous()
        denser, upto = torch.searchsorted(s, x), torch.searchsorted(s, x, right=True)
        first, last = s[..., :1], s[..., -1:]
        before, after = s.gather(-1, (denser - 1).clamp_min(0)), s.gather(-1, denser.clamp_max(n - 1))
        between = (x - before) / (after - before).clamp_min(torch.finfo(s.dtype).tiny)
        place = torch.where(denser == 0, (x - first).clamp_max(0).exp(), denser + between)
        middle = 0.5 if noise is None else noise[..., None]
        place = torch.where(upto > denser, denser + 1 + middle * (upto - denser - 1), place)
        level = torch.where(denser == n, n / (n + 1) + (x - last), place / (n + 1))
        return torch.where(x.isnan(), torch.nan, level)[..., 0]

    def threshold(self, level: float | Tensor) -> Tensor:
        """Log density at the border of the region of a level, the inverse of `level`.

        Args:
            level: not negative; a number or a tensor that broadcasts with (B, K), such as (K,).
        Returns:
            (B, K), in nats per unit^D; infinity at level 0.
        """
        s, n = self.surprises, self.surprises.shape[-1]
        place = self._place(level)
        inner = torch.minimum(s[..., :1], s[..., :1] + place.log())
        outer = s[..., -1:] + (place - n).clamp_min(0) / (n + 1)
        surprise = torch.where(place < 1, inner, torch.where(place > n, outer, _interpolate(s, place - 1)))
        return -surprise[..., 0]

    def volume(self, level: float | Tensor) -> Tensor:
        """Length, area or volume of the region of a level: the integral of 1 / p over its probability.

        Args:
            level: not negative; a number or a tensor that broadcasts with (B, K), such as (K,).
        Returns:
            (B, K), in unit^D; infinity beyond the lowest draw, of whose surroundings nothing is known.
        """
        n = self.surprises.shape[-1]
        sparsity = self.surprises.exp() / (n + 1)
        steps = (sparsity[..., 1:] + sparsity[..., :-1]) / 2
        nodes = torch.cat([torch.zeros_like(sparsity[..., :1]), sparsity[..., :1], steps], -1).cumsum(-1)
        place = self._place(level)
        return torch.where(place > n, torch.inf, _interpolate(nodes, place))[..., 0]

    def _place(self, level: float | Tensor) -> Tensor:
        """Levels as places among the n draws, (B, K, 1)."""
        s = self.surprises
        levels = torch.as_tensor(level, dtype=s.dtype, device=s.device)
        if not bool((levels >= 0).all()):
            raise ValueError(f"level must not be negative, got {level}")
        return (levels * (s.shape[-1] + 1)).expand(s.shape[:-1])[..., None]


def _surprises(mixture: GaussianMixture, n: int) -> Tensor:
    """-log p of n draws, ascending."""

    def of_part(part: GaussianMixture) -> Tensor:
        return (-part.log_prob(part.draw(n))).sort(-1).values

    return in_parts(of_part, mixture, terms=n, at_a_time=2**20)


def _interpolate(values: Tensor, place: Tensor) -> Tensor:
    """Values (B, K, n) at fractional indices (B, K, 1), held within."""
    index = place.floor().long().clamp(0, max(values.shape[-1] - 2, 0))
    lower = values.gather(-1, index)
    upper = values.gather(-1, (index + 1).clamp_max(values.shape[-1] - 1))
    return lower + (place - index).clamp(0, 1) * (upper - lower)
