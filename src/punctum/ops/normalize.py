"""From a network's logits to heatmaps that sum to one."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from punctum.ops.coords import as_float, spatial_size

Activation = Literal["softmax", "abs", "relu", "sigmoid"]

# Below this peak a rectified map counts as without mass: dividing by less would blow gradients up to infinity.
_MASS_FLOOR = 1e-12


def normalize(logits: Tensor, activation: Activation = "softmax", beta: float = 1.0) -> Tensor:
    """Rectified logits, divided by their sum over all cells.

        p_i = r(z_i) / sum_j r(z_j),   r = exp(beta z), |z|, max(0, z) or 1 / (1 + exp(-z))

    A map without any mass (all -inf under softmax or sigmoid; no value above 1e-12 under relu or abs) becomes
    uniform: still a distribution, with zero gradient.

    Args:
        logits: (B, K, *S), any real type; computed in float32 or wider.
        activation: the rectifier r.
        beta: inverse temperature of the softmax; the other rectifiers do not use it.
    Returns:
        (B, K, *S) in the type of the logits (float32 for integers), non-negative, summing to one over S.
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
        heatmaps = _softmax(flat, beta)
    elif activation == "sigmoid":
        # sigmoid(z) / sum = softmax(log sigmoid(z)), which also holds where sigmoid(z) itself underflows.
        heatmaps = _softmax(F.logsigmoid(flat), 1.0)
    elif activation == "abs":
        heatmaps = _divide_by_sum(flat.abs())
    elif activation == "relu":
        heatmaps = _divide_by_sum(flat.relu())
    else:
        raise ValueError(f"unknown activation {activation!r}: choose one of {', '.join(get_args(Activation))}")
    return heatmaps.reshape(logits.shape).to(logits.dtype if logits.is_floating_point() else heatmaps.dtype)


def _softmax(flat: Tensor, beta: float) -> Tensor:
    empty = (flat == -torch.inf).all(-1, keepdim=True)
    return torch.softmax(beta * torch.where(empty, 0.0, flat), dim=-1)


def _divide_by_sum(rectified: Tensor) -> Tensor:
    # Divide by the peak first: a sum of huge values overflows.
    peak = rectified.amax(-1, keepdim=True).detach()
    empty = peak <= _MASS_FLOOR
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
    flat = values.flatten(2)
    totals = flat.sum(-1)
    off = (totals - 1).abs() > _rounding(heatmaps.dtype, flat.shape[-1])
    if off.any():
        index = off.nonzero()[0].tolist()
        total = totals[tuple(index)].item()
        raise ValueError(f"heatmaps{index} sums to {total:.4g}, not to 1: pass logits through ops.normalize first")


def _rounding(dtype: torch.dtype, cells: int) -> float:
    """How far from one a sum of so many cells may lie, when each was rounded to the type (or to float32)."""
    if not dtype.is_floating_point:
        return 1e-4
    # Normal numbers: eps / 2 in all, whatever the number of cells. Subnormal ones: half a step for each cell.
    info = torch.finfo(dtype)
    return max(1e-4, 2 * info.eps + cells * info.tiny * info.eps / 2)
