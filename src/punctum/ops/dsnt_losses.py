"""The whole of DSNT's loss, from logits to numbers: distance of the mean, and what shapes the map."""

from typing import Literal, get_args

import torch
from torch import Tensor

from punctum.ops import kernels
from punctum.ops.coords import as_float, spatial_size
from punctum.ops.gaussian import Units, check_sigma, js_losses, kl_losses, log_gaussian, variance_losses
from punctum.ops.losses import euclidean_losses, l1_losses
from punctum.ops.moments import dsnt
from punctum.ops.normalize import normalize

Distance = Literal["euclidean", "l1"]
Regularizer = Literal["none", "variance", "kl", "js", "kl_from_gaussian"]


def dsnt_losses(
    logits: Tensor,
    target: Tensor,
    sigma: float = 1.0,
    regularizer: Regularizer = "js",
    reg_weight: float = 1.0,
    beta: float = 1.0,
) -> Tensor:
    """DSNT's loss of each map: |mu - t| + reg_weight R(p, t), p the softmax of the logits and mu its mean.

    Args:
        logits: (B, K, *S).
        target: (B, K, D), normalized: the ground truth.
        sigma: standard deviation that the regularizer asks for, in heatmap pixels.
        regularizer: as in `dsnt_terms`.
        reg_weight: weight of the regularizer.
        beta: inverse temperature of the softmax.
    Returns:
        (B, K); at least float32.
    Raises:
        ValueError: as `dsnt_terms`.
    Source:
        Nibali et al. 2018, arXiv:1801.07372, Eqs. 2 to 7.
    Example:
        >>> dsnt_losses(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2), sigma=100.0).abs() < 1e-5
        tensor([[True]])
    """
    distance, shape = dsnt_terms(logits, target, sigma=sigma, regularizer=regularizer, beta=beta)
    return distance + reg_weight * shape


def dsnt_terms(
    logits: Tensor,
    target: Tensor,
    *,
    distance: Distance = "euclidean",
    regularizer: Regularizer = "js",
    sigma: float = 1.0,
    beta: float = 1.0,
    units: Units = "normalized",
) -> tuple[Tensor, Tensor]:
    """Distance of each map's mean from the truth, and the regularizer of its shape, as two terms.

        p = softmax(beta z),     mu = sum_i p_i x_i,     |mu - t|   and   R(p, t)

    Kernels (`ops.kernels`) compute both from one read of the logits, and keep no map for the backward pass.

    Args:
        logits: (B, K, *S).
        target: (B, K, D), normalized: the ground truth.
        distance: Euclidean, or the sum over axes of absolute differences.
        regularizer: `js` or `kl` as in `js_losses`, `kl_losses`: with G, a Gaussian at the truth; `kl_from_gaussian`
            is KL(G || p), which asks every cell for its share; `variance` as in `variance_losses`; or `none`: zero.
        sigma: standard deviation that the regularizer asks for, in heatmap pixels.
        beta: inverse temperature of the softmax.
        units: of the variance regularizer.
    Returns:
        Two of (B, K), at least float32; the regularizer is not weighted.
    Raises:
        ValueError: an unknown choice; sigma is not positive; the target has another shape.
    Source:
        Nibali et al. 2018, arXiv:1801.07372; Gu et al. 2022 for `kl_from_gaussian`.
    Example:
        >>> distance, js = dsnt_terms(torch.zeros(1, 1, 2, 2), torch.tensor([[[0.3, 0.4]]]))
        >>> distance
        tensor([[0.5000]])
    """
    size = spatial_size(logits)
    wanted = (*logits.shape[:2], len(size))
    if target.shape != wanted:
        raise ValueError(f"target must be {wanted} for logits {tuple(logits.shape)}, got {tuple(target.shape)}")
    for what, value, choices in (
        ("distance", distance, get_args(Distance)),
        ("regularizer", regularizer, get_args(Regularizer)),
        ("units", units, get_args(Units)),
    ):
        if value not in choices:
            raise ValueError(f"unknown {what} {value!r}: choose one of {', '.join(choices)}")
    check_sigma(sigma)
    options = {"distance": distance, "regularizer": regularizer, "sigma": sigma, "beta": beta, "units": units}
    kernel = kernels.choose("dsnt_terms", logits, target, **options)
    if kernel is not None:
        return kernel.dsnt_terms(logits, target, **options)
    heatmaps = normalize(as_float(logits), "softmax", beta)
    measure = euclidean_losses if distance == "euclidean" else l1_losses
    apart = measure(dsnt(heatmaps), target.to(heatmaps.dtype))
    if regularizer == "none":
        return apart, torch.zeros_like(apart)
    if regularizer == "variance":
        return apart, variance_losses(heatmaps, sigma, units)
    if regularizer == "kl_from_gaussian":
        return apart, _kl_from_gaussian(logits, target, sigma, beta)
    divergence = kl_losses if regularizer == "kl" else js_losses
    return apart, divergence(heatmaps, target, sigma)


def _kl_from_gaussian(logits: Tensor, target: Tensor, sigma: float, beta: float) -> Tensor:
    flat = as_float(logits).flatten(2)
    # As in `normalize`: a map of nothing but -inf is uniform.
    flat = torch.where((flat == -torch.inf).all(-1, keepdim=True), 0.0, flat)
    log_g = log_gaussian(target.to(flat.dtype), sigma, spatial_size(logits)).flatten(2)
    log_p = torch.log_softmax(beta * flat, dim=-1)
    g = log_g.exp()
    # A cell that neither has mass in adds nothing, not zero times infinity.
    return torch.where(g > 0, g * (log_g - log_p), 0.0 * g).sum(-1)
