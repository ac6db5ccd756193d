"""A drop-in for dsntnn 0.5.4: its names, arguments, defaults and results, over `punctum.ops`.

    from punctum.compat import dsntnn     # instead of: import dsntnn

Coordinates are (x, y[, z]) and sizes (H, W) or (D, H, W), on the grid of `punctum.ops`. Results in float32 and
float64 are dsntnn's. What differs everywhere: sums over maps of half precision come back as float32; what fails
an assertion there is a ValueError here; a point whose target is NaN or infinite has a loss that is so too, but
a gradient of zero, so that a mask keeps it out of both.
"""

import math
from collections.abc import Callable, Sequence
from typing import overload

import torch
from torch import Tensor

from punctum import ops

__all__ = [
    "average_loss",
    "dsnt",
    "euclidean_losses",
    "flat_softmax",
    "js_reg_losses",
    "kl_reg_losses",
    "l1_losses",
    "linear_expectation",
    "make_gauss",
    "mse_losses",
    "normalized_linspace",
    "normalized_to_pixel_coordinates",
    "pixel_to_normalized_coordinates",
    "sharpen_heatmaps",
    "soft_argmax",
    "variance_reg_losses",
]

# dsntnn adds this to every probability before its logarithm: -55.3 is the lowest one.
_FLOOR = 1e-24


def flat_softmax(inp: Tensor) -> Tensor:
    """Softmax over all axes but the first two.

    Differs: a map of nothing but -inf is uniform, not NaN; memory may lie in any order.

    Args:
        inp: logits (B, L, *S).
    Returns:
        (B, L, *S) in the type of the logits, summing to one over S.
    Raises:
        ValueError: not 1, 2 or 3 spatial axes.
    Example:
        >>> flat_softmax(torch.zeros(1, 1, 2, 2))
        tensor([[[[0.2500, 0.2500],
                  [0.2500, 0.2500]]]])
    """
    return ops.normalize(inp, "softmax")


def normalized_linspace(
    length: int | Tensor, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Normalized centres (2 i + 1) / n - 1 of n cells.

    Differs: half precision is rounded once, at the end.

    Args:
        length: n; a tensor of one integer is taken too.
        dtype: None is torch's default.
    Returns:
        (n,).
    Example:
        >>> normalized_linspace(4)
        tensor([-0.7500, -0.2500,  0.2500,  0.7500])
    """
    dtype = torch.get_default_dtype() if dtype is None else dtype
    place = None if device is None else torch.device(device)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return ops.axis_centres(int(length), dtype=wide, device=place).to(dtype)


def linear_expectation(probs: Tensor, values: Sequence[Tensor]) -> Tensor:
    """Expected value along each axis, in the order of the axes: y before x.

        E_axis = sum_i p_i values[axis][i_axis]

    Args:
        probs: (B, L, *S).
        values: one tensor per axis of S, that broadcasts with (B, L, n).
    Returns:
        (B, L, D).
    Raises:
        ValueError: there are not as many values as axes.
    Example:
        >>> probs = torch.tensor([[[[0.0, 0.5], [0.0, 0.5]]]])
        >>> linear_expectation(probs, [torch.tensor([0.0, 10.0]), torch.tensor([0.0, 1.0])])
        tensor([[[5., 1.]]])
    """
    marginals = ops.marginals(probs)[::-1]
    if len(values) != len(marginals):
        raise ValueError(f"probs have {len(marginals)} spatial axes, but there are values for {len(values)}")
    return torch.stack([(m * v).sum(-1) for m, v in zip(marginals, values, strict=True)], dim=-1)


def soft_argmax(heatmaps: Tensor, normalized_coordinates: bool = True) -> Tensor:
    """Expected location of each heatmap. It takes probabilities; `ops.soft_argmax` takes logits.

    Args:
        heatmaps: (B, L, *S), summing to one over S.
        normalized_coordinates: False gives heatmap pixels, 0 being the first one's centre.
    Returns:
        (B, L, D) as (x, y[, z]).
    Raises:
        ValueError: not 1, 2 or 3 spatial axes.
    Example:
        >>> heatmaps = torch.tensor([[[[0.0, 0.0, 0.0], [0.0, 0.5, 0.5]]]])
        >>> soft_argmax(heatmaps), soft_argmax(heatmaps, normalized_coordinates=False)
        (tensor([[[0.3333, 0.5000]]]), tensor([[[1.5000, 1.0000]]]))
    """
    if normalized_coordinates:
        return ops.dsnt(heatmaps)
    # Not the normalized ones converted: that would be something else for maps that do not sum to one.
    kind, place = ops.as_float(heatmaps).dtype, heatmaps.device
    pixels = [torch.arange(n, dtype=kind, device=place) for n in ops.spatial_size(heatmaps)]
    return torch.stack(linear_expectation(heatmaps, pixels).unbind(-1)[::-1], dim=-1)


def dsnt(heatmaps: Tensor, *, normalized_coordinates: bool = True) -> Tensor:
    """The same as `soft_argmax`, under the paper's name.

    Source:
        Nibali et al. 2018, arXiv:1801.07372, Eq. 1.
    Example:
        >>> dsnt(torch.tensor([[[0.0, 0.0, 1.0]]]))
        tensor([[[0.6667]]])
    """
    return soft_argmax(heatmaps, normalized_coordinates)


def sharpen_heatmaps(heatmaps: Tensor, alpha: float) -> Tensor:
    """Each heatmap to the power of alpha, divided by its sum.

    Differs: dsntnn's own divides maps by one another's sums and fails on most shapes of more than one map; and
    this does not underflow.

    Args:
        heatmaps: (B, L, *S), not negative.
        alpha: 1 leaves them as they are; more is sharper.
    Returns:
        (B, L, *S), summing to one over S.
    Raises:
        ValueError: not 1, 2 or 3 spatial axes.
    Source:
        Romero et al. 2015, "FlowCap: 2D Human Pose from Optical Flow", Eq. 1.
    Example:
        >>> sharpen_heatmaps(torch.tensor([[[0.25, 0.75]], [[0.5, 0.5]]]), alpha=2)
        tensor([[[0.1000, 0.9000]],
                [[0.5000, 0.5000]]])
    """
    axes = tuple(range(2, 2 + len(ops.spatial_size(heatmaps))))
    values = ops.as_float(heatmaps)
    peak = values.detach().amax(axes, keepdim=True)
    return ops.normalize((values / torch.where(peak > 0, peak, 1.0)) ** alpha, "relu")


def make_gauss(means: Tensor, size: Sequence[int], sigma: float, normalize: bool = True) -> Tensor:
    """A Gaussian drawn at each mean.

    Differs: a normalized one sums to one however far from the map its mean is; dsntnn's fades to zeros.

    Args:
        means: (..., D) as (x, y[, z]), normalized.
        size: (H, W), (D, H, W) or (W,).
        sigma: standard deviation in pixels.
        normalize: True makes each sum to one; False makes the value at the mean one.
    Returns:
        (..., *size).
    Raises:
        ValueError: sigma is not positive; size and means differ in the number of axes.
    Example:
        >>> make_gauss(torch.tensor([0.0]), (3,), sigma=1.0, normalize=False)
        tensor([0.6065, 1.0000, 0.6065])
    """
    drawn = ops.render_gaussian(means.reshape(1, -1, means.shape[-1]), sigma, tuple(size), normalize)
    return drawn.reshape(*means.shape[:-1], *size)


def _where_known(losses_of: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """Losses of a target; what is not finite stays visible in the loss, and does not reach a gradient."""
    known = target.isfinite().all(-1)
    losses = losses_of(torch.where(known[..., None], target, 0.0))
    return torch.where(known, losses, target.detach().abs().sum(-1).to(losses.dtype))


def euclidean_losses(actual: Tensor, target: Tensor) -> Tensor:
    """Euclidean distance of each point from its target; its gradient at zero distance is zero.

    Args:
        actual, target: (B, L, D).
    Returns:
        (B, L).
    Raises:
        ValueError: the shapes differ.
    Example:
        >>> euclidean_losses(torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 1, 2))
        tensor([[5.]])
    """
    return _where_known(lambda known: ops.euclidean_losses(actual, known), target)


def l1_losses(actual: Tensor, target: Tensor) -> Tensor:
    """Mean over axes of the absolute difference; `ops.l1_losses` is their sum.

    Args:
        actual, target: (B, L, D).
    Returns:
        (B, L).
    Raises:
        ValueError: the shapes differ.
    Example:
        >>> l1_losses(torch.tensor([[[3.0, -4.0]]]), torch.zeros(1, 1, 2))
        tensor([[3.5000]])
    """
    return _where_known(lambda known: ops.l1_losses(actual, known) / target.shape[-1], target)


def mse_losses(actual: Tensor, target: Tensor) -> Tensor:
    """Mean over axes of the squared difference; `ops.mse_losses` is their sum.

    Args:
        actual, target: (B, L, D).
    Returns:
        (B, L).
    Raises:
        ValueError: the shapes differ.
    Example:
        >>> mse_losses(torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 1, 2))
        tensor([[12.5000]])
    """
    return _where_known(lambda known: ops.mse_losses(actual, known) / target.shape[-1], target)


def average_loss(losses: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean loss, weighted by a mask.

        sum_i m_i l_i / max(1, sum_i m_i)

    Differs: where the mask is zero a NaN or infinity is left out; zero times either is NaN.

    Args:
        losses: (B, L).
        mask: (B, L), bool or weights; None counts all. A sum of weights below one divides as one, dsntnn's guard
            for masks of nothing, for which the average is zero.
    Returns:
        A scalar.
    Raises:
        ValueError: the mask has another shape.
    Example:
        >>> average_loss(torch.tensor([[1.0, 3.0, torch.nan]]), torch.tensor([[1, 1, 0]]))
        tensor(2.)
    """
    losses = ops.as_float(losses)
    if mask is None:
        return ops.average_loss(losses)
    if mask.shape != losses.shape:
        raise ValueError(f"mask must be of shape {tuple(losses.shape)}, got {tuple(mask.shape)}")
    weights = mask.to(losses.dtype)
    return (weights * torch.where(mask != 0, losses, 0.0)).sum() / weights.sum().clamp_min(1)


def kl_reg_losses(heatmaps: Tensor, mu_t: Tensor, sigma_t: float) -> Tensor:
    """Kullback-Leibler divergence of each heatmap from a Gaussian at `mu_t`, with dsntnn's floor.

        sum_i p_i (log(p_i + 1e-24) - log(G_i + 1e-24))

    The floor is felt more than 10 sigma from the target: it caps the loss at 55.3, where the divergence itself,
    `ops.kl_losses`, goes on growing. It is kept, as results depend on it.

    Differs: half precision is not NaN (1e-24 is zero in it).

    Args:
        heatmaps: (B, L, *S), summing to one.
        mu_t: (B, L, D), normalized: the ground truth.
        sigma_t: of the Gaussian, in pixels.
    Returns:
        (B, L), in nats.
    Raises:
        ValueError: shapes do not fit; sigma_t is not positive.
    Example:
        >>> far = torch.tensor([[[1.0] + 63 * [0.0]]])
        >>> kl_reg_losses(far, torch.full((1, 1, 1), 0.5), sigma_t=1.0)
        tensor([[55.2620]])
    """
    _check_heatmaps(heatmaps, mu_t)
    p = ops.as_float(heatmaps)

    def divergence(mean: Tensor) -> Tensor:
        log_g = ops.log_gaussian(mean.to(p.dtype), sigma_t, ops.spatial_size(p))
        floored = torch.logaddexp(log_g, torch.full_like(log_g, math.log(_FLOOR)))
        return (p * ((p + _FLOOR).log() - floored)).flatten(2).sum(-1)

    return _where_known(divergence, mu_t)


def js_reg_losses(heatmaps: Tensor, mu_t: Tensor, sigma_t: float) -> Tensor:
    """Jensen-Shannon divergence of each heatmap and a Gaussian at `mu_t`.

    Differs: half precision is not NaN.

    Args:
        heatmaps: (B, L, *S), summing to one.
        mu_t: (B, L, D), normalized: the ground truth.
        sigma_t: of the Gaussian, in pixels.
    Returns:
        (B, L), within [0, log 2], in nats.
    Raises:
        ValueError: shapes do not fit; sigma_t is not positive.
    Example:
        >>> js_reg_losses(torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), torch.full((1, 1, 1), 0.75), sigma_t=0.05)
        tensor([[0.6931]])
    """
    _check_heatmaps(heatmaps, mu_t)
    return _where_known(lambda known: ops.js_losses(heatmaps, known, sigma_t), mu_t)


def variance_reg_losses(heatmaps: Tensor, sigma_t: float) -> Tensor:
    """Squared difference between each heatmap's variance and sigma_t^2, in pixels, summed over axes.

    In pixels where the paper has normalized units: (n / 2)^4 times as large per axis.

    Args:
        heatmaps: (B, L, *S), summing to one.
        sigma_t: wanted standard deviation, in pixels.
    Returns:
        (B, L).
    Raises:
        ValueError: sigma_t is not positive; not 1, 2 or 3 spatial axes.
    Example:
        >>> variance_reg_losses(torch.tensor([[[0.5, 0.0, 0.5]]]), sigma_t=2.0)
        tensor([[9.]])
    """
    return ops.variance_losses(heatmaps, sigma_t, "pixels")


@overload
def normalized_to_pixel_coordinates(coords: Tensor, size: Sequence[int] | Tensor) -> Tensor: ...
@overload
def normalized_to_pixel_coordinates(coords: float, size: int) -> float: ...


def normalized_to_pixel_coordinates(coords: Tensor | float, size: Sequence[int] | Tensor | int) -> Tensor | float:
    """Normalized coordinates to pixels: ((c + 1) n - 1) / 2 per axis.

    Differs: arrays are refused. dsntnn took an array's size in the order of its coordinates, against its
    documentation.

    Args:
        coords: (..., D) as (x, y[, z]), or one number.
        size: (H, W) or (D, H, W), or for a number one integer.
    Returns:
        (..., D), or a number.
    Raises:
        TypeError: coords is neither a tensor nor a number.
        ValueError: size and points differ in the number of axes.
    Example:
        >>> normalized_to_pixel_coordinates(torch.tensor([-1.0, 0.0]), size=(48, 64))
        tensor([-0.5000, 23.5000])
        >>> normalized_to_pixel_coordinates(0.0, 64)
        31.5
    """
    return _converted(ops.to_pixels, coords, size)


@overload
def pixel_to_normalized_coordinates(coords: Tensor, size: Sequence[int] | Tensor) -> Tensor: ...
@overload
def pixel_to_normalized_coordinates(coords: float, size: int) -> float: ...


def pixel_to_normalized_coordinates(coords: Tensor | float, size: Sequence[int] | Tensor | int) -> Tensor | float:
    """Pixels to normalized coordinates: (2 x + 1) / n - 1 per axis.

    Differs: arrays are refused, as by `normalized_to_pixel_coordinates`.

    Args:
        coords: (..., D) as (x, y[, z]), or one number.
        size: (H, W) or (D, H, W), or for a number one integer.
    Returns:
        (..., D), or a number.
    Raises:
        TypeError: coords is neither a tensor nor a number.
        ValueError: size and points differ in the number of axes.
    Example:
        >>> pixel_to_normalized_coordinates(torch.tensor([-0.5, 23.5]), size=(48, 64))
        tensor([-1.,  0.])
    """
    return _converted(ops.to_normalized, coords, size)


def _converted(
    convert: Callable[[Tensor, Sequence[int]], Tensor],
    coords: Tensor | float,
    size: Sequence[int] | Tensor | int,
) -> Tensor | float:
    axes = size.tolist() if isinstance(size, Tensor) else size
    if isinstance(coords, Tensor):
        return convert(coords, [axes] if isinstance(axes, int) else axes)
    if not isinstance(coords, int | float) or not isinstance(axes, int):
        raise TypeError(
            f"coords must be a tensor, or a number with one integer as size; got {type(coords).__name__} and "
            f"{size!r}: for an array use torch.as_tensor, with the size as (..., height, width)"
        )
    return convert(torch.tensor([coords], dtype=torch.float64), [axes]).item()


def _check_heatmaps(heatmaps: Tensor, mu_t: Tensor) -> None:
    wanted = (*heatmaps.shape[:2], heatmaps.ndim - 2)
    if mu_t.shape != wanted:
        raise ValueError(f"mu_t must be {wanted} for heatmaps {tuple(heatmaps.shape)}, got {tuple(mu_t.shape)}")
