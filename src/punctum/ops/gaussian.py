"""Gaussians on the grid, and the regularizers that pull a heatmap towards one."""

import math
from typing import Literal

import torch
from torch import Tensor

from punctum.ops.coords import Size, as_float, axis_centres, spatial_size
from punctum.ops.gaussian_axes import log_gaussian_axes
from punctum.ops.moments import dsnt, marginals
from punctum.ops.normalize import check_heatmaps

Units = Literal["normalized", "pixels"]


def render_gaussian(mean: Tensor, sigma: float | Tensor, size: Size, normalize: bool = True) -> Tensor:
    """An isotropic Gaussian (in heatmap pixels) drawn at each mean.

        G_i ~ exp(-|i - m|^2 / (2 sigma^2)),     i and m in heatmap pixels

    Args:
        mean: (B, K, D), normalized coordinates; may lie outside the map.
        sigma: standard deviation in heatmap pixels; a number or a tensor that broadcasts with (B, K).
        size: (H, W), (D, H, W) or (W,).
        normalize: True makes each map sum to one on the grid, however far out the mean is;
            False makes the value at the mean one.
    Returns:
        (B, K, *size); at least float32.
    Raises:
        ValueError: sigma is not positive; mean is not (B, K, D); size and mean differ in the number of axes.
    Source:
        Nibali et al. 2018, arXiv:1801.07372, Eq. 6; Newell et al. 2016 for the unnormalized form.
    Example:
        >>> render_gaussian(torch.zeros(1, 1, 1), sigma=1.0, size=(3,), normalize=False)
        tensor([[[0.6065, 1.0000, 0.6065]]])
    """
    return torch.exp(log_gaussian(mean, sigma, size, normalize))


def log_gaussian(mean: Tensor, sigma: float | Tensor, size: Size, normalize: bool = True) -> Tensor:
    """Logarithm of `render_gaussian`: finite even where the Gaussian itself underflows to zero.

    The exponent is a sum over axes, so each axis is normalized on its own: O(H + W) work, then one sum.

    Example:
        >>> log_gaussian(torch.full((1, 1, 1), 50.0), sigma=1.0, size=(2,))
        tensor([[[-50.,   0.]]])
    """
    check_sigma(sigma)
    mean = as_float(mean)
    if mean.ndim != 3:
        raise ValueError(f"mean must be (B, K, D), got shape {tuple(mean.shape)}")
    if mean.shape[-1] != len(size):
        raise ValueError(f"size {tuple(size)} has {len(size)} axes, but mean has {mean.shape[-1]} coordinates")
    total: Tensor | None = None
    for axis, term in enumerate(log_gaussian_axes(mean, sigma, size, normalize)):
        shape = [*term.shape[:2], *([1] * len(size))]
        shape[-1 - axis] = term.shape[-1]
        total = term.reshape(shape) if total is None else total + term.reshape(shape)
    if total is None:
        raise ValueError("size is empty: there is no spatial axis")
    return total


def check_sigma(sigma: float | Tensor) -> None:
    """Raise a ValueError for a number that is no standard deviation; a tensor's values are not looked at."""
    if not isinstance(sigma, Tensor) and not sigma > 0:
        raise ValueError(f"sigma must be positive (heatmap pixels), got {sigma}")


def _safe_log(values: Tensor) -> Tensor:
    """log with the smallest normal number as its floor: finite value, zero gradient at zero."""
    return values.clamp_min(torch.finfo(values.dtype).tiny).log()


def _with_target(heatmaps: Tensor, mean: Tensor, sigma: float, validate: bool) -> tuple[Tensor, Tensor]:
    """Heatmaps in a type that sums survive, and the logarithm of the Gaussians that they are held against."""
    size = spatial_size(heatmaps)
    wanted = (*heatmaps.shape[:2], len(size))
    if mean.shape != wanted:
        raise ValueError(f"mean must be {wanted} for heatmaps {tuple(heatmaps.shape)}, got {tuple(mean.shape)}")
    if validate:
        check_heatmaps(heatmaps)
    p = as_float(heatmaps)
    return p, log_gaussian(mean.to(p.dtype), sigma, size)


def kl_losses(heatmaps: Tensor, mean: Tensor, sigma: float, *, validate: bool = False) -> Tensor:
    """Kullback-Leibler divergence KL(p || G) of each heatmap from a Gaussian at `mean`.

        sum_i p_i (log p_i - log G_i),    G normalized on the grid

    Args:
        heatmaps: (B, K, *S), summing to one.
        mean: (B, K, D), normalized: the ground truth.
        sigma: of the Gaussian, in heatmap pixels.
        validate: raise on a heatmap that is no distribution.
    Returns:
        (B, K), non-negative, in nats; at least float32.
    Raises:
        ValueError: sigma is not positive; mean has another shape; with `validate`, a heatmap is negative or does
            not sum to one.
    Source:
        Nibali et al. 2018, arXiv:1801.07372, Eq. 6.
    Example:
        >>> mean = torch.zeros(1, 1, 2)
        >>> kl_losses(render_gaussian(mean, 1.0, (8, 8)), mean, sigma=1.0).abs() < 1e-5
        tensor([[True]])
    """
    p, log_g = _with_target(heatmaps, mean, sigma, validate)
    return (p * (_safe_log(p) - log_g)).flatten(2).sum(-1)


def js_losses(heatmaps: Tensor, mean: Tensor, sigma: float, *, validate: bool = False) -> Tensor:
    """Jensen-Shannon divergence of each heatmap and a Gaussian at `mean`.

        KL(p || m) / 2 + KL(G || m) / 2,     m = (p + G) / 2

    Args:
        heatmaps: (B, K, *S), summing to one.
        mean: (B, K, D), normalized: the ground truth.
        sigma: of the Gaussian, in heatmap pixels.
        validate: raise on a heatmap that is no distribution.
    Returns:
        (B, K), within [0, log 2], in nats; at least float32.
    Raises:
        ValueError: sigma is not positive; mean has another shape; with `validate`, a heatmap is negative or does
            not sum to one.
    Source:
        Nibali et al. 2018, arXiv:1801.07372, Eq. 6 and Table 3.
    Example:
        >>> far = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
        >>> js_losses(far, torch.full((1, 1, 1), 0.75), sigma=0.05)
        tensor([[0.6931]])
    """
    p, log_g = _with_target(heatmaps, mean, sigma, validate)
    g = log_g.exp()
    log_m = _safe_log(p + g) - math.log(2)
    return 0.5 * (p * (_safe_log(p) - log_m) + g * (log_g - log_m)).flatten(2).sum(-1)


def variance_losses(heatmaps: Tensor, sigma: float, units: Units = "normalized", *, validate: bool = False) -> Tensor:
    """Squared difference between each heatmap's variance and a wanted one, summed over axes.

        sum_axis (Var[axis] - sigma^2)^2

    Args:
        heatmaps: (B, K, *S), summing to one.
        sigma: wanted standard deviation, in heatmap pixels whatever the units.
        units: the units in which variances are compared: "normalized" as in the paper, or "pixels", which is
            (n / 2)^4 times as large per axis.
        validate: raise on a heatmap that is no distribution.
    Returns:
        (B, K); at least float32.
    Raises:
        ValueError: unknown units; sigma is not positive; with `validate`, a heatmap is negative or does not sum
            to one.
    Source:
        Nibali et al. 2018, arXiv:1801.07372, Eqs. 4 and 5.
    Example:
        >>> variance_losses(torch.tensor([[[0.5, 0.0, 0.5]]]), sigma=2.0, units="pixels")
        tensor([[9.]])
    """
    if units not in ("normalized", "pixels"):
        raise ValueError(f"unknown units {units!r}: choose 'normalized' or 'pixels'")
    check_sigma(sigma)
    if validate:
        check_heatmaps(heatmaps)
    mean = dsnt(heatmaps)
    losses = torch.zeros(mean.shape[:2], dtype=mean.dtype, device=mean.device)
    for axis, marginal in enumerate(marginals(heatmaps)):
        n = marginal.shape[-1]
        cell = 2 / n if units == "normalized" else 1.0
        offset = (axis_centres(n, dtype=mean.dtype, device=mean.device) - mean[..., axis, None]) * (cell * n / 2)
        variance = (marginal * offset**2).sum(-1)
        losses = losses + (variance - (sigma * cell) ** 2) ** 2
    return losses
