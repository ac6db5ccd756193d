"""A prediction as a density: one mixture of Gaussians for each point, in whatever units its places are in.

    p(y) = sum_m w_m N(y; mu_m, S_g(m)),     sum_m w_m = 1

Components stand in groups that share a covariance, as the cells of a heatmap do. Affine maps, widening by a Gaussian
and moments are exact; what needs draws takes the same numbers for every map, so that nothing depends on its batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from punctum.ops.cholesky import cholesky
from punctum.ops.coords import as_float, transform_covariance, transform_points
from punctum.ops.mixture_terms import log_density


@dataclass(frozen=True)
class GaussianMixture:
    """One mixture of M Gaussians for each of B x K points.

    Args:
        log_weights: (B, K, M); their exponentials sum to one over M, and -inf is no weight at all.
        means: (B, K, M, D).
        covariances: (B, K, G, D, D), one for each group of components; symmetric, positive definite.
        groups: how many components each group has, in their order: {"cells": 144, "centre": 1, "background": 1}.
    Raises:
        ValueError: the shapes do not fit.
    Example:
        >>> mixture = GaussianMixture(
        ...     torch.zeros(1, 1, 1), torch.zeros(1, 1, 1, 2), torch.eye(2).expand(1, 1, 1, 2, 2), {"centre": 1}
        ... )
        >>> mixture.log_prob(torch.zeros(1, 1, 2)).exp() * 2 * torch.pi
        tensor([[1.0000]])
    """

    log_weights: Tensor
    means: Tensor
    covariances: Tensor
    groups: dict[str, int]

    def __post_init__(self) -> None:
        for name in ("log_weights", "means", "covariances"):
            object.__setattr__(self, name, as_float(getattr(self, name)))
        leading, dims = self.log_weights.shape[:-1], self.means.shape[-1]
        wanted = {
            "log_weights": (*leading, sum(self.groups.values())),
            "means": (*self.log_weights.shape, dims),
            "covariances": (*leading, len(self.groups), dims, dims),
        }
        for name, shape in wanted.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(
                    f"{name} must have shape {shape} beside log_weights {tuple(self.log_weights.shape)} and groups "
                    f"{self.groups}, got {tuple(getattr(self, name).shape)}"
                )

    @property
    def group(self) -> Tensor:
        """(M,) int64: which covariance each component has."""
        counts = torch.tensor(list(self.groups.values()), device=self.means.device)
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)

    def map(self, function: Callable[[Tensor], Tensor]) -> "GaussianMixture":
        """The same with `function` applied to every tensor, all of which begin with (B, K).

        Example:
            >>> mixture = single_gaussian(torch.zeros(3, 5, 2), torch.eye(2).expand(3, 5, 2, 2))
            >>> mixture.map(lambda x: x[:2].double()).means.shape
            torch.Size([2, 5, 1, 2])
        """
        return replace(
            self,
            log_weights=function(self.log_weights),
            means=function(self.means),
            covariances=function(self.covariances),
        )

    def log_prob(self, points: Tensor) -> Tensor:
        """Log density at points, in nats per unit^D.

            log p(y) = log sum_m exp(log w_m - d_m^2 / 2 - log |S_g| / 2 - D/2 log 2 pi)

        Args:
            points: (B, K, D), or (B, K, N, D) for N points of each map.
        Returns:
            (B, K) or (B, K, N); differentiable in everything.
        Raises:
            ValueError: the points do not fit the mixture.
        """
        lead, dims = self.log_weights.shape[:-1], self.means.shape[-1]
        if points.shape[:2] != lead or points.shape[-1] != dims or points.ndim not in (3, 4):
            raise ValueError(
                f"points must be {(*lead, dims)} or {(*lead, 'N', dims)} for this mixture, got {tuple(points.shape)}"
            )
        places = as_float(points).to(self.means.dtype)
        places = places.unsqueeze(2) if points.ndim == 3 else places
        return log_density(self, places).reshape(points.shape[:-1])

    def transform(self, matrix: Tensor) -> "GaussianMixture":
        """The mixture under an affine map, A mu + t and A S A^T: exactly the density of mapped places.

        Args:
            matrix: (D + 1, D + 1) homogeneous, or (B, D + 1, D + 1); invertible.
        Example:
            >>> mixture = single_gaussian(torch.zeros(1, 1, 1), torch.ones(1, 1, 1, 1))
            >>> moved = mixture.transform(torch.tensor([[3.0, 5.0], [0.0, 1.0]]))
            >>> moved.moments()
            (tensor([[[5.]]]), tensor([[[[9.]]]]))
        """
        matrix = matrix.to(self.means)
        means, covariances = transform_points(self.means, matrix), transform_covariance(self.covariances, matrix)
        return replace(self, means=means, covariances=covariances)

    def widen(self, variance: float | Tensor) -> "GaussianMixture":
        """The density of a place plus isotropic Gaussian noise: S + v I.

        Args:
            variance: v of the noise, in unit^2; a number or a tensor that broadcasts with (B, K).
        Example:
            >>> single_gaussian(torch.zeros(1, 1, 2), torch.eye(2).expand(1, 1, 2, 2)).widen(3.0).covariances
            tensor([[[[[4., 0.],
                       [0., 4.]]]]])
        """
        noise = torch.as_tensor(variance, dtype=self.means.dtype, device=self.means.device)[..., None, None, None]
        identity = torch.eye(self.means.shape[-1], dtype=self.means.dtype, device=self.means.device)
        return replace(self, covariances=self.covariances + noise * identity)

    def without(self, group: str) -> "GaussianMixture":
        """The density given that the place is not from a group: its weight is shared out among the others.

        A mixture in which nothing else has any weight stays as it is, and so does one without such a group.

        Example:
            >>> mixture = GaussianMixture(
            ...     torch.tensor([[[0.9, 0.1]]]).log(), torch.tensor([[[[2.0], [-5.0]]]]),
            ...     torch.ones(1, 1, 2, 1, 1), {"centre": 1, "background": 1},
            ... )
            >>> mixture.moments()[0], mixture.without("background").moments()[0]
            (tensor([[[1.3000]]]), tensor([[[2.]]]))
        """
        if group not in self.groups:
            return self
        left_out = self.group == list(self.groups).index(group)
        others = self.log_weights.masked_fill(left_out, -torch.inf)
        any_left = (others > -torch.inf).any(-1, keepdim=True)
        return replace(self, log_weights=torch.where(any_left, others, self.log_weights).log_softmax(-1))

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and covariance: mu = sum_m w_m mu_m, and S = sum_m w_m (S_g(m) + (mu_m - mu) (mu_m - mu)^T).

        Returns:
            mean (B, K, D) and covariance (B, K, D, D).
        """
        weights = self.log_weights.exp()
        mean = (weights[..., None] * self.means).sum(-2)
        of_groups = torch.stack([w.sum(-1) for w in weights.split(list(self.groups.values()), -1)], -1)
        within = (of_groups[..., None, None] * self.covariances).sum(-3)
        offset = self.means - mean[..., None, :]
        rows = [(weights[..., None] * offset[..., i, None] * offset).sum(-2) for i in range(mean.shape[-1])]
        return mean, within + torch.stack(rows, -2)

    def draw(self, n: int = 1024) -> Tensor:
        """Draws that spread evenly: the same scrambled Sobol numbers in every map, so no batch changes a draw.

        The first number of each picks the component by the inverse of the cumulated weights, the others its place.

        Args:
            n: draws of each map; a power of two spreads best.
        Returns:
            (B, K, n, D), not differentiable.
        Source:
            Owen 1998, Scrambling Sobol' and Niederreiter-Xing points (the even spread).
        Example:
            >>> draws = single_gaussian(torch.ones(1, 1, 1), torch.ones(1, 1, 1, 1)).draw(1024)
            >>> abs(draws.mean() - 1) < 0.01, abs(draws.var() - 1) < 0.01
            (tensor(True), tensor(True))
        """
        if n < 1:
            raise ValueError(f"n must be at least 1 draw, got {n}")
        base = _base_numbers(n, self.means.shape[-1] + 1).to(self.means.device)
        log_weights, means = self.log_weights.detach(), self.means.detach()
        # In float64, and by its own last value: the numbers are below one, so none finds a component of no weight.
        cumulated = log_weights.double().exp().cumsum(-1)
        wanted = (base[:, 0] * cumulated[..., -1:]).contiguous()
        component = torch.searchsorted(cumulated, wanted, right=True).clamp_max(log_weights.shape[-1] - 1)
        normal = torch.special.ndtri(base[:, 1:]).to(means.dtype)
        centre = means.gather(-2, component[..., None].expand(*component.shape, means.shape[-1]))
        group = self.group[component]
        offsets = []
        for row in cholesky(self.covariances.detach()):
            entries = (entry.gather(-1, group) * z for entry, z in zip(row, normal.unbind(-1), strict=False))
            offsets.append(sum(entries, start=torch.zeros_like(centre[..., 0])))
        return centre + torch.stack(offsets, -1)

    def marginal_cdf(self, points: Tensor) -> Tensor:
        """Probability of lying below, on each axis on its own: F_a(y) = sum_m w_m Phi((y_a - mu_ma) / sqrt(S_aa)).

        Args:
            points: (B, K, D), or (B, K, N, D).
        Returns:
            The points' shape, in [0, 1].
        Example:
            >>> single_gaussian(torch.zeros(1, 1, 1), torch.ones(1, 1, 1, 1)).marginal_cdf(torch.tensor([[[1.96]]]))
            tensor([[[0.9750]]])
        """
        places = as_float(points).to(self.means.dtype)[..., None, :]
        deviations = self.covariances.diagonal(dim1=-2, dim2=-1).sqrt()[..., self.group, :]
        means, weights = self.means, self.log_weights.exp()[..., None]
        if points.ndim == self.means.ndim:
            deviations, means, weights = deviations.unsqueeze(2), means.unsqueeze(2), weights.unsqueeze(2)
        return (weights * torch.special.ndtr((places - means) / deviations)).sum(-2)


def single_gaussian(mean: Tensor, covariance: Tensor) -> GaussianMixture:
    """One Gaussian as a mixture.

    Args:
        mean: (B, K, D).
        covariance: (B, K, D, D), positive definite.
    Example:
        >>> single_gaussian(torch.zeros(2, 3, 2), torch.eye(2).expand(2, 3, 2, 2)).log_weights.shape
        torch.Size([2, 3, 1])
    """
    mean = as_float(mean)
    weights = mean.new_zeros(*mean.shape[:-1], 1)
    return GaussianMixture(weights, mean.unsqueeze(-2), covariance.unsqueeze(-3), {"centre": 1})


@lru_cache(maxsize=8)
def _base_numbers(n: int, dims: int) -> Tensor:
    """(n, dims) scrambled Sobol numbers strictly between 0 and 1, float64, always the same."""
    engine = torch.quasirandom.SobolEngine(dims, scramble=True, seed=0)
    return engine.draw(n, dtype=torch.float64).clamp(2.0**-32, 1 - 2.0**-32)
