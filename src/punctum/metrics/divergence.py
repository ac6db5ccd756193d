"""What a predicted density lacks where the true one is known, in nats; and on which of two places it stands."""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from punctum.ops import GaussianMixture


def gauss_nodes(mixture: GaussianMixture, order: int = 24) -> tuple[Tensor, Tensor]:
    """Places and weights whose sums are expectations under a mixture of few components.

        E f = sum_n w_n f(y_n),     y = mu_m + L_m z,   with z the Gauss-Hermite nodes on each axis, L_m L_m^T = S_m

    Exact for polynomials of a degree below 2 `order` in each coordinate.

    Args:
        mixture: M components.
        order: nodes per axis and component.
    Returns:
        places (B, K, N, D) and weights (B, K, N), N = M order^D; the weights sum to one.
    Raises:
        ValueError: order is below 1.
    Example:
        >>> from punctum.ops import single_gaussian
        >>> truth = single_gaussian(torch.zeros(1, 1, 1), 9 * torch.ones(1, 1, 1, 1))
        >>> places, weights = gauss_nodes(truth, order=3)
        >>> (weights * places[..., 0] ** 4).sum().round(decimals=3)  # 3 * 9^2
        tensor(243.)
    """
    if order < 1:
        raise ValueError(f"order must be at least 1 node per axis, got {order}")
    dims, (nodes, weights) = mixture.means.shape[-1], _hermite(order)
    grid = torch.cartesian_prod(*[nodes] * dims).reshape(-1, dims).to(mixture.means)
    weights = torch.cartesian_prod(*[weights] * dims).reshape(-1, dims).prod(-1).to(mixture.means)
    factors = torch.linalg.cholesky(mixture.covariances)[..., mixture.group, :, :]
    places = mixture.means.unsqueeze(-2) + grid @ factors.mT
    return places.flatten(-3, -2), (mixture.log_weights.exp()[..., None] * weights).flatten(-2)


def entropy(mixture: GaussianMixture, order: int = 24) -> Tensor:
    """Differential entropy, -E log p(y), (B, K) in nats: log(2 pi e) / 2 + log s per axis of one Gaussian.

    Args:
        mixture: of few components, as a known posterior is.
        order: nodes per axis and component.
    Example:
        >>> from punctum.ops import single_gaussian
        >>> truth = single_gaussian(torch.zeros(1, 1, 2), 4 * torch.eye(2).expand(1, 1, 2, 2))
        >>> entropy(truth), math.log(2 * math.pi * math.e * 4)
        (tensor([[4.2242]]), 4.224171427529236)
    """
    places, weights = gauss_nodes(mixture, order)
    return -_expectation(mixture.log_prob(places), weights)


def divergence(truth: GaussianMixture, predicted: GaussianMixture, order: int = 24) -> Tensor:
    """Kullback-Leibler divergence of a prediction from the truth: nats that each label costs more than it must.

        KL = E_truth[log truth(y) - log predicted(y)]

    Zero for the truth itself and positive for any other density; infinite where the truth is possible and the
    prediction says that it is not.

    Args:
        truth: (B, K) mixtures of few components.
        predicted: (B, K) mixtures in the same units.
        order: nodes per axis and component of the truth.
    Returns:
        (B, K) in nats.
    Source:
        Kullback and Leibler 1951, doi:10.1214/aoms/1177729694.
    Example:
        >>> from punctum.ops import single_gaussian
        >>> one = single_gaussian(torch.zeros(1, 1, 1), torch.ones(1, 1, 1, 1))
        >>> divergence(one, one), divergence(one, one.widen(3.0)), math.log(2) - 3 / 8
        (tensor([[0.]]), tensor([[0.3181]]), 0.3181471805599453)
    """
    places, weights = gauss_nodes(truth, order)
    return _expectation(truth.log_prob(places) - predicted.log_prob(places), weights)


def mass_nearer(mixture: GaussianMixture, a: Tensor, b: Tensor) -> Tensor:
    """Probability that the place is nearer to a than to b, in closed form.

        P = sum_m w_m Phi(n . (mu_m - (a + b) / 2) / sqrt(n . S_m n)),     n = a - b

    Args:
        mixture: (B, K).
        a: (B, K, D).
        b: (B, K, D), another place.
    Returns:
        (B, K) in [0, 1].
    Example:
        >>> two = GaussianMixture(
        ...     torch.tensor([[[0.7, 0.3]]]).log(), torch.tensor([[[[-9.0], [9.0]]]]),
        ...     torch.ones(1, 1, 1, 1, 1), {"all": 2},
        ... )
        >>> mass_nearer(two, torch.tensor([[[-9.0]]]), torch.tensor([[[9.0]]]))
        tensor([[0.7000]])
    """
    a, b = a.to(mixture.means), b.to(mixture.means)
    normal, middle = a - b, (a + b) / 2
    offset = ((mixture.means - middle.unsqueeze(-2)) * normal.unsqueeze(-2)).sum(-1)
    along = (normal[..., None, :, None] * mixture.covariances * normal[..., None, None, :]).sum((-1, -2))
    return (mixture.log_weights.exp() * torch.special.ndtr(offset / along.sqrt()[..., mixture.group])).sum(-1)


def _expectation(values: Tensor, weights: Tensor) -> Tensor:
    # A component of no weight may lie where there is no density at all.
    return torch.where(weights > 0, values * weights, 0.0).sum(-1)


@lru_cache(maxsize=8)
def _hermite(order: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of expectations under N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    return torch.from_numpy(nodes), torch.from_numpy(weights / math.sqrt(2 * math.pi))
