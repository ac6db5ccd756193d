"""Proper scores in pixels: a predicted distribution is judged by its distance to what happened."""

import math

import torch
from torch import Tensor

from punctum.ops.mixture import GaussianMixture

# Pairs of components or draws that are held at a time.
_AT_A_TIME = 2**21


def crps(mixture: GaussianMixture, points: Tensor) -> Tensor:
    """Continuous ranked probability score of a mixture's marginals, in closed form, summed over axes.

        CRPS = sum_axes E|Y - t| - E|Y - Y'| / 2  =  sum_axes integral (F(y) - [y >= t])^2 dy

        E|Y - t|  = sum_i w_i A(mu_i - t, s_i^2)
        E|Y - Y'| = sum_ij w_i w_j A(mu_i - mu_j, s_i^2 + s_j^2)
        A(m, v)   = E|N(m, v)| = m erf(m / sqrt(2 v)) + sqrt(2 v / pi) exp(-m^2 / 2 v)

    In the unit of the points; of a certain prediction it is the distance, axis by axis. Proper: on average no
    other marginals score lower than those of the truth. O(M^2) in time, not in memory.

    Args:
        mixture: (B, K, M) of M components.
        points: (B, K, D), NaN where unknown.
    Returns:
        (B, K), non-negative; NaN where the point is.
    Raises:
        ValueError: the points do not fit the mixture.
    Source:
        Grimit et al. 2006, QJRMS 132; Gneiting and Raftery 2007, JASA 102, Eq. 21.
    Example:
        >>> one = GaussianMixture(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1), {"a": 1})
        >>> crps(one, torch.zeros(1, 1, 1))  # (sqrt 2 - 1) / sqrt pi
        tensor([[0.2337]])
    """
    lead, dims = mixture.log_weights.shape[:2], mixture.means.shape[-1]
    if points.shape != (*lead, dims):
        raise ValueError(f"points must be {(*lead, dims)} for this mixture, got {tuple(points.shape)}")
    weights = mixture.log_weights.exp().flatten(0, 1)
    means = mixture.means.flatten(0, 1)
    variances = mixture.covariances.diagonal(dim1=-2, dim2=-1)[:, :, mixture.group].flatten(0, 1)
    truth = points.to(means).flatten(0, 1)
    rows = max(1, _AT_A_TIME // max(1, weights.shape[-1] ** 2))
    parts = zip(*(values.split(rows) for values in (weights, means, variances, truth)), strict=True)
    found = [_crps(*part) for part in parts]
    return torch.cat(found).reshape(lead)


def _crps(weights: Tensor, means: Tensor, variances: Tensor, truth: Tensor) -> Tensor:
    """Of R mixtures (R, M), (R, M, D) twice, and (R, D): (R,)."""
    total = torch.zeros_like(weights[:, 0])
    for mean, variance, place in zip(*(v.unbind(-1) for v in (means, variances, truth)), strict=True):
        error = (weights * _expected_size(mean - place[:, None], variance)).sum(-1)
        apart, both = mean[:, :, None] - mean[:, None], variance[:, :, None] + variance[:, None]
        spread = torch.einsum("ri,rij,rj->r", weights, _expected_size(apart, both), weights)
        total = total + error - spread / 2
    return total


def _expected_size(mean: Tensor, variance: Tensor) -> Tensor:
    """E|N(mean, variance)|."""
    scale = (2 * variance).sqrt()
    ratio = mean / scale
    return mean * torch.erf(ratio) + scale / math.sqrt(math.pi) * torch.exp(-ratio.square())


def energy_score(draws: Tensor, points: Tensor, *, fair: bool = True) -> Tensor:
    """Energy score, from draws of the predicted distribution: the CRPS of whole places, by distance in the plane.

        ES = E|Y - t| - E|Y - Y'| / 2
           ~ 1/n sum_i |y_i - t| - 1/(2 n (n - 1)) sum_(i != j) |y_i - y_j|

    Proper: on average no other distribution scores lower than the truth's. On one axis it is the CRPS. With n - 1 it
    is unbiased for independent draws, however few (it may then be negative); low-discrepancy draws stand farther
    apart than independent ones, and n squared in place of n (n - 1), `fair=False`, comes nearer for them.

    Args:
        draws: (B, K, n, D), independent of each other; n of 256 is plenty, as time grows by its square.
        points: (B, K, D), NaN where unknown.
        fair: whether no draw is paired with itself.
    Returns:
        (B, K), in the unit of the points; NaN where the point is.
    Raises:
        ValueError: shapes do not fit, or there are fewer than two draws.
    Source:
        Gneiting and Raftery 2007, JASA 102, Eq. 22; Ferro 2014, QJRMS 140, for n - 1.
    Example:
        >>> draws = torch.tensor([[[[0.0, 0.0], [6.0, 8.0]]]])
        >>> energy_score(draws, torch.zeros(1, 1, 2)), energy_score(draws, torch.zeros(1, 1, 2), fair=False)
        (tensor([[0.]]), tensor([[2.5000]]))
    """
    n = draws.shape[-2] if draws.ndim == 4 else 0
    if draws.ndim != 4 or points.shape != (*draws.shape[:2], draws.shape[-1]) or n < 2:
        raise ValueError(
            f"draws must be (B, K, n, D) with two or more of each, and points (B, K, D), got "
            f"{tuple(draws.shape)} and {tuple(points.shape)}"
        )
    points = points.to(draws)
    error = torch.linalg.vector_norm(draws - points[:, :, None], dim=-1).mean(-1)
    flat = draws.flatten(0, 1)
    # Distances by way of a matrix product would lose the small ones to rounding.
    apart = [_sum_of_distances(part) for part in flat.split(max(1, _AT_A_TIME // n**2))]
    total = torch.cat(apart).reshape(error.shape) if apart else error
    return error - total / (2 * n * (n - 1 if fair else n))


def _sum_of_distances(draws: Tensor) -> Tensor:
    return torch.cdist(draws, draws, compute_mode="donot_use_mm_for_euclid_dist").sum((-2, -1))
