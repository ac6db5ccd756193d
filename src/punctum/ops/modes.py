"""Where a mixture is dense: ascent to its modes, and the several places that one point may be in."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from punctum.ops.cholesky import cholesky, log_determinant, precision, solve
from punctum.ops.mixture import GaussianMixture
from punctum.ops.mixture_terms import in_parts, log_sum, log_terms

# Components whose own density is looked at; places to start from; steps of the ascent.
_CANDIDATES, _STARTS, _STEPS = 64, 16, 12


def mode(mixture: GaussianMixture) -> Tensor:
    """The densest place of each mixture.

    Args:
        mixture: B x K densities.
    Returns:
        (B, K, D), not differentiable.
    Example:
        >>> from punctum.ops import GaussianMixture
        >>> mixture = GaussianMixture(
        ...     torch.tensor([[[0.6, 0.4]]]).log(), torch.tensor([[[[2.0], [-5.0]]]]),
        ...     torch.tensor([1.0, 0.01]).reshape(1, 1, 2, 1, 1), {"wide": 1, "narrow": 1},
        ... )
        >>> mode(mixture)
        tensor([[[-5.]]])
    """

    def of_part(part: GaussianMixture) -> Tensor:
        ends = ascend(part, spaced_starts(part, _STARTS // 4)[0])
        return _at(ends, part.log_prob(ends).argmax(-1, keepdim=True)).squeeze(2)

    with torch.no_grad():
        return in_parts(of_part, mixture, terms=_STARTS // 4 * mixture.log_weights.shape[-1])


def modes(mixture: GaussianMixture, k: int, apart: float | Tensor = 0.0) -> tuple[Tensor, Tensor]:
    """The k places that hold most probability, each with all that belongs to its hill.

    A component belongs to the start nearest to it, and each start to the mode that its ascent ends on. Modes within
    one deviation of a component there, or nearer than `apart`, are one place: the denser of them. The background is
    no place: it is left out first.

    Args:
        mixture: B x K densities.
        k: places wanted.
        apart: distance from which on two places are two, in the mixture's unit; a number or a tensor that broadcasts
            with (B, K). A density narrower than its map's cells has a mode in each of them: ask for a cell or more.
    Returns:
        places (B, K, k, D) and mass (B, K, k), the heaviest first, NaN and 0 where there are fewer; not
        differentiable.
    Raises:
        ValueError: k is not in 1 to 16.
    Example:
        >>> mixture = GaussianMixture(
        ...     torch.tensor([[[0.5, 0.2, 0.3]]]).log(), torch.tensor([[[[2.0], [2.0], [-5.0]]]]),
        ...     torch.ones(1, 1, 1, 1, 1), {"cells": 3},
        ... )
        >>> places, mass = modes(mixture, 3)
        >>> places.flatten(), mass.flatten()
        (tensor([ 2., -5., nan]), tensor([0.7000, 0.3000, 0.0000]))
    """
    if not 1 <= k <= _STARTS:
        raise ValueError(f"k must be 1 to {_STARTS} places, got {k}")
    mixture = mixture.without("background")
    distance = torch.as_tensor(apart, dtype=mixture.means.dtype, device=mixture.means.device)
    with torch.no_grad():
        found = in_parts(
            lambda part, apart: _heaviest_hills(part, k, apart),
            mixture,
            distance.expand(mixture.log_weights.shape[:2]),
            terms=_STARTS * mixture.log_weights.shape[-1],
        )
    places, mass = found[..., :-1], found[..., -1]
    return torch.where(mass[..., None] > 0, places, torch.nan), mass


def _heaviest_hills(mixture: GaussianMixture, k: int, apart: Tensor) -> Tensor:
    """Places and, last, their mass, (B, K, k, D + 1)."""
    starts, owner = spaced_starts(mixture, _STARTS, apart)
    ends = ascend(mixture, starts)
    value, _, _, curvature = _Slopes.of(mixture).at(ends)
    left = torch.zeros_like(value).scatter_add(-1, owner, mixture.log_weights.exp())
    hills = []
    for _ in range(_STARTS):
        # The densest end of which something is left, with all the ends about it.
        top = torch.where(left > 0, value, -torch.inf).argmax(-1, keepdim=True)
        place = _at(ends, top)
        here = _near(ends - place, _at(curvature.flatten(-2), top).unflatten(-1, curvature.shape[-2:]), apart)
        hills.append(torch.cat([place.squeeze(2), torch.where(here, left, 0.0).sum(-1, keepdim=True)], -1))
        left = left.masked_fill(here, 0.0)
    found = torch.stack(hills, 2)
    return _at(found, found[..., -1].argsort(dim=-1, descending=True, stable=True)[..., :k])


def spaced_starts(mixture: GaussianMixture, n: int, apart: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Means of components to start an ascent from: the densest first, none within a deviation of another.

    Args:
        mixture: B x K densities.
        n: starts; where fewer are to be had, the first of them is repeated.
        apart: (B, K), distance that they keep at least besides.
    Returns:
        starts (B, K, n, D), and for each component the nearest of them, (B, K, M) int64.
    """
    weights, group, inverses = mixture.log_weights, mixture.group, _inverses(mixture).flatten(-2)
    heights = weights - 0.5 * log_determinant(cholesky(mixture.covariances))[..., group]
    index = heights.topk(min(_CANDIDATES, weights.shape[-1]), dim=-1).indices
    candidates = _at(mixture.means, index)
    left = mixture.log_prob(candidates).masked_fill(weights.gather(-1, index) == -torch.inf, -torch.inf)
    starts: list[Tensor] = []
    distances: list[Tensor] = []
    for _ in range(n):
        top = left.argmax(-1, keepdim=True)
        start = _at(candidates, top)
        any_left = (left > -torch.inf).any(-1)[..., None, None]
        starts.append(torch.where(any_left, start, starts[0] if starts else start))
        inverse = _at(inverses, group[index].gather(-1, top)).unflatten(-1, (start.shape[-1], -1))
        left = left.masked_fill(_near(candidates - start, inverse, apart), -torch.inf)
        distances.append((mixture.means - starts[-1]).norm(dim=-1))
    return torch.cat(starts, 2), torch.stack(distances, -1).argmin(-1)


def ascend(mixture: GaussianMixture, starts: Tensor, steps: int = _STEPS) -> Tensor:
    """Uphill from each start to a mode: Newton's step where it leads up, else mean shift.

        x <- (sum_m r_m P_m)^-1 sum_m r_m P_m mu_m,     r_m = w_m N(x; mu_m, S_m) / p(x),     P = S^-1

    Mean shift is expectation maximization for the place of an observation: no step of it lowers the density.

    Args:
        mixture: B x K densities.
        starts: (B, K, N, D).
        steps: how often the density is looked at.
    Returns:
        (B, K, N, D), nowhere less dense than the starts.
    Source:
        Carreira-Perpinan 2000, Mode-finding for mixtures of Gaussian distributions.
    Example:
        >>> from punctum.ops import single_gaussian
        >>> ascend(single_gaussian(torch.ones(1, 1, 1), torch.ones(1, 1, 1, 1)), torch.tensor([[[[3.0], [-2.0]]]]))
        tensor([[[[1.],
                  [1.]]]])
    """
    # About its own mean a mixture's numbers have more digits than far from the origin.
    middle = mixture.moments()[0].unsqueeze(2)
    slopes = _Slopes.of(replace(mixture, means=mixture.means - middle))
    x = starts - middle
    value, newton, shift, _ = slopes.at(x)
    bold = torch.ones_like(value, dtype=torch.bool)
    for _ in range(steps):
        proposal = torch.where((bold & newton.isfinite().all(-1))[..., None], newton, shift)
        found, next_newton, next_shift, _ = slopes.at(proposal)
        # Where Newton's step led down, or nowhere, mean shift from the same place is next.
        bold = found > value
        up = bold[..., None]
        x, value = torch.where(up, proposal, x), torch.maximum(value, found)
        newton, shift = torch.where(up, next_newton, newton), torch.where(up, next_shift, shift)
    return x + middle


@dataclass(frozen=True)
class _Slopes:
    """A mixture, and what its slopes need at each step: P of each group; 1, mu_i, mu_i mu_j of each component."""

    mixture: GaussianMixture
    inverses: Tensor
    features: Tensor

    @classmethod
    def of(cls, mixture: GaussianMixture) -> "_Slopes":
        means = mixture.means
        products = (means[..., None] * means[..., None, :]).flatten(-2)
        return cls(mixture, _inverses(mixture), torch.cat([torch.ones_like(means[..., :1]), means, products], -1))

    def at(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log density (B, K, N) of places (B, K, N, D), where Newton and mean shift go from there, and sum r P."""
        logs = log_terms(self.mixture, x)
        value = log_sum(logs)
        curvature, gradient, spread = self._moments((logs - value[..., None]).clamp_min(-80).exp(), x)
        bend = curvature + gradient[..., None] * gradient[..., None, :] - spread
        newton = solve(cholesky(bend), gradient)
        # Farther than two deviations of what is here, a parabola knows nothing.
        near = _quadratic(newton, curvature) < 4
        newton = torch.where(near[..., None], x + newton, torch.nan)
        return value, newton, x + solve(cholesky(curvature), gradient), curvature

    def _moments(self, responsible: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A = sum r P, the gradient sum r P (mu - x), and sum r P (mu - x) (mu - x)^T P."""
        dims = x.shape[-1]
        counts = list(self.mixture.groups.values())
        total = torch.zeros_like(x[..., None] * x[..., None, :])
        curvature, gradient, spread = total, total[..., 0], total
        # Autocast would run the products in half precision.
        with torch.autocast(x.device.type, enabled=False):
            groups = zip(responsible.split(counts, -1), self.features.split(counts, -2), strict=True)
            for (r, features), inverse in zip(groups, self.inverses.unsqueeze(2).unbind(3), strict=True):
                weight, first, second = (r @ features).split([1, dims, dims * dims], -1)
                offset = first - weight * x
                about = second.unflatten(-1, (dims, dims)) - x[..., None] * first[..., None, :]
                about = about - offset[..., None] * x[..., None, :]
                curvature = curvature + weight[..., None] * inverse
                gradient = gradient + (inverse @ offset[..., None])[..., 0]
                spread = spread + inverse @ about @ inverse
        return curvature, gradient, spread


def _inverses(mixture: GaussianMixture) -> Tensor:
    """P = S^-1 of each group, (B, K, G, D, D)."""
    lower = precision(cholesky(mixture.covariances))
    axes = range(len(lower))
    return torch.stack([torch.stack([lower[max(i, j)][min(i, j)] for j in axes], -1) for i in axes], -2)


def _quadratic(offset: Tensor, matrix: Tensor) -> Tensor:
    """v^T M v of vectors (..., D)."""
    return ((matrix * offset[..., None, :]).sum(-1) * offset).sum(-1)


def _near(offset: Tensor, inverse: Tensor, apart: Tensor | None) -> Tensor:
    """Within a deviation, or within the distance `apart`."""
    near = _quadratic(offset, inverse) < 1
    return near if apart is None else near | (offset.norm(dim=-1) < apart[..., None])


def _at(values: Tensor, index: Tensor) -> Tensor:
    """Values (B, K, N, F) at indices (B, K, n)."""
    return values.gather(2, index[..., None].expand(*index.shape, values.shape[-1]))
