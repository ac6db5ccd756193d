"""From a network's logits to heatmaps that sum to one."""

from typing import Literal, get_args

import torch
from torch import Tensor

from punctum.ops.coords import as_float, spatial_size

Activation = Literal["softmax", "abs", "relu", "sigmoid"]


def normalize(logits: Tensor, activation: Activation = "softmax", beta: float = 1.0) -> Tensor:
    """Rectified logits, divided by their sum over all cells.

        p_i = r(z_i) / sum_j r(z_j),   r = exp(beta z), |z|, max(0, z) or 1 / (1 + exp(-z))

    A map without any mass (all -inf under softmax, nothing positive under relu) becomes uniform: still a
    distribution, with zero gradient.

    Args:
        logits: (B, K, *S), any floating type; computed in float32 or wider.
        activation: the rectifier r.
        beta: inverse temperature of the softmax; the other rectifiers do not use it.
    Returns:
        (B, K, *S) in the type of the logits, non-negative, summing to one over S.
    Raises:
        ValueError: unknown activation, or no spatial axis.
    Source:
        Nibali et al. 2018, arXiv:1801.07372, Section 4.1 and Table 2.
    Example:
        >>> normalize(torch.tensor([[[0.0, 1.0, -3.0, 3.0]]]), "relu")
        tensor([[[0.0000, 0.2500, 0.0000, 0.7500]]])
    """
    spatial_size(logits)
    flat = as_float(logits).flatten(2)
    if activation == "softmax":
        empty = (flat == -torch.inf).all(-1, keepdim=True)
        heatmaps = torch.softmax(beta * torch.where(empty, 0.0, flat), dim=-1)
    else:
        heatmaps = _divide_by_sum(_rectify(flat, activation))
    return heatmaps.reshape(logits.shape).to(logits.dtype)


def _rectify(flat: Tensor, activation: Activation) -> Tensor:
    if activation == "abs":
        return flat.abs()
    if activation == "relu":
        return flat.relu()
    if activation == "sigmoid":
        return flat.sigmoid()
    raise ValueError(f"unknown activation {activation!r}: choose one of {', '.join(get_args(Activation))}")


def _divide_by_sum(rectified: Tensor) -> Tensor:
    # Divide by the peak first: a sum of huge values overflows, a sum of tiny ones underflows.
    peak = rectified.amax(-1, keepdim=True).detach()
    empty = peak <= torch.finfo(rectified.dtype).tiny
    scaled = torch.where(empty, 1.0, rectified / torch.where(empty, 1.0, peak))
    return scaled / scaled.sum(-1, keepdim=True)


def check_heatmaps(heatmaps: Tensor) -> None:
    """Raise a ValueError that names the first heatmap that is negative somewhere or does not sum to one.

    Example:
        >>> check_heatmaps(torch.full((1, 2, 4), 0.3))
        Traceback (most recent call last):
        ValueError: heatmaps[0, 0] sums to 1.2, not to 1: pass logits through ops.normalize first
    """
    spatial_size(heatmaps)
    values = as_float(heatmaps)
    bad = (values < 0) | ~values.isfinite()
    if bad.any():
        index = bad.nonzero()[0].tolist()
        raise ValueError(
            f"heatmaps{index} is {values[tuple(index)].item():.4g}: "
            "heatmaps must be finite and non-negative; pass logits through ops.normalize first"
        )
    # Rounding each of N cells to the input's type moves the sum by at most eps / 2 in all, whatever N.
    tolerance = max(1e-4, 2 * torch.finfo(heatmaps.dtype).eps)
    totals = values.flatten(2).sum(-1)
    off = (totals - 1).abs() > tolerance
    if off.any():
        index = off.nonzero()[0].tolist()
        total = totals[tuple(index)].item()
        raise ValueError(f"heatmaps{index} sums to {total:.4g}, not to 1: pass logits through ops.normalize first")
