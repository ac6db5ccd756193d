"""Bias compensation: the soft-argmax without the pull of the softmax's background towards the grid's middle."""

import math
from typing import Literal

import torch
from torch import Tensor

from punctum.ops.coords import as_float, spatial_size
from punctum.ops.moments import soft_argmax

# With a smaller part of the mass in the foreground, rounding and noise have more of a say than the peak.
_LEAST_FOREGROUND = 1e-3


def debias(logits: Tensor, beta: float = 1.0, background: float | Literal["median"] = 0.0) -> Tensor:
    """Mean of what a heatmap's softmax holds above its background: soft-argmax without the pull to the middle.

        x_hat = (x - N w x_mean) / (1 - N w),     w = exp(beta b - logsumexp(beta z))

    x is the plain soft-argmax, N the number of cells, b the background's logit and w its softmax: N w is the part of
    the mass that a flat map of height w takes, all of it with the grid's mean x_mean. What is left, p - w, has the
    mean x_hat. In normalized coordinates x_mean is zero, so x_hat = x / (1 - N w).

    The foreground's mean is the truth where the peak is symmetric, not cut off by the border, and wide enough
    for the grid: a large beta sharpens p until it sits on the nearest cell, and no compensation moves it off.

    Where less than 1/1000 of the mass is foreground, x_hat goes over into x, and is x where there is none: a flat map
    gives the grid's middle, and all gradients are finite. Cells below the background count against it; should they
    carry the mean out of the picture, it stays at the edge.

    Args:
        logits: (B, K, *S).
        beta: inverse temperature of the softmax.
        background: the logit b of cells where nothing is: 0 for maps trained against Gaussians; "median" takes each
            map's own, for maps whose zero means nothing. The median is background where a peak covers less than
            half of the cells; where it is -inf there is none to compensate.
    Returns:
        (B, K, D) normalized, within [-1, 1]; at least float32.
    Raises:
        ValueError: there is no spatial axis; the background is neither a finite number nor "median".
    Source:
        Gu et al. 2021, "Removing the Bias of Integral Pose Regression" (ICCV), for zero background in 2-D.
    Example:
        >>> from punctum.ops import render_gaussian, to_normalized, to_pixels
        >>> truth = to_normalized(torch.tensor([[[16.3, 40.0]]]), (64, 64))
        >>> logits = 8 * render_gaussian(truth, 2.0, (64, 64), normalize=False)
        >>> to_pixels(soft_argmax(logits), (64, 64)), to_pixels(debias(logits), (64, 64))
        (tensor([[[20.4222, 37.6944]]]), tensor([[[16.2991, 40.0000]]]))
    """
    cells = math.prod(spatial_size(logits))
    values = as_float(logits)
    flat = values.flatten(2)
    # A map without any mass counts as flat, as everywhere.
    flat = torch.where((flat == -torch.inf).all(-1, keepdim=True), 0.0, flat)
    if background == "median":
        level = flat.median(-1, keepdim=True).values
    elif isinstance(background, str) or not math.isfinite(background):
        raise ValueError(f"background must be a finite logit or 'median', got {background!r}")
    else:
        level = torch.full_like(flat[..., :1], background)
    none = level == -torch.inf
    # Counted from the background the logarithms are small where it matters: where their difference is nearly zero.
    relative = flat - torch.where(none, 0.0, level)
    log_share = math.log(cells) - torch.logsumexp(beta * relative, -1, keepdim=True)
    foreground = torch.where(none, 1.0, -torch.expm1(log_share.clamp_max(1.0)))
    trust = (foreground / _LEAST_FOREGROUND).clamp(0, 1)
    factor = trust / foreground.clamp_min(_LEAST_FOREGROUND) + (1 - trust)
    return (factor * soft_argmax(relative.reshape(values.shape), beta)).clamp(-1, 1)
