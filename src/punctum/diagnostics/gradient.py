"""Where the gradient of an integral loss acts on a heatmap: value factor times location factor."""

from typing import NamedTuple

import torch
from torch import Tensor

from punctum.diagnostics.activation import cell_distances, cell_of, check_places
from punctum.ops.coords import as_float, axis_centres, spatial_size
from punctum.ops.moments import dsnt
from punctum.ops.peak import peak_index

NEAR = 2
"""Cells around the truth, and around the peak, that `gradient_shares` adds up: the paper's A(2)."""


class GradientFactors(NamedTuple):
    """Value factor and location factor, both (B, K, *S); their product is the gradient by the logits."""

    value: Tensor
    location: Tensor


class GradientShares(NamedTuple):
    """Shares of the gradient's absolute mass, which add up to one, and that mass itself; all (B, K).

    Near the truth, within 2 cells; near the peak but not near the truth; and elsewhere.
    """

    truth: Tensor
    peak: Tensor
    elsewhere: Tensor
    total: Tensor


def gradient_factors(heatmaps: Tensor, coords: Tensor, beta: float = 1.0) -> GradientFactors:
    """The two factors of the gradient of the L1 loss of soft-argmax by each logit.

        dL / dz_p = (beta h_p) (sum_axis sign(mu - J) (p - mu)),     L = |J - mu|_1,     h = softmax(beta z)

    The value factor leaves alone what the map holds empty; the location factor is a plane through mu that grows
    towards the far corners. Where the product is positive, descent lowers the logit.

    Args:
        heatmaps: (B, K, *S), summing to one.
        coords: (B, K, D), normalized: the true places.
        beta: inverse temperature of the softmax.
    Returns:
        Both factors, (B, K, *S); the location's in normalized units, as the loss is. At least float32.
    Raises:
        ValueError: coords are not (B, K, D).
    Source:
        Gu et al. 2022 (ICLR), Eq. 10, Appendix A.6.
    Example:
        >>> value, location = gradient_factors(torch.tensor([[[0.5, 0.5, 0.0, 0.0]]]), torch.full((1, 1, 1), 0.5))
        >>> value * location  # the mean is at -0.5: what lies left of it shall sink, what lies right of it rise
        tensor([[[ 0.1250, -0.1250, -0.0000, -0.0000]]])
    """
    size = spatial_size(heatmaps)
    check_places(heatmaps, coords)
    values = as_float(heatmaps)
    mean = dsnt(values)
    sign = (mean - coords.to(mean.dtype)).sign()
    location = torch.zeros_like(values)
    for axis, n in enumerate(reversed(size)):
        offset = axis_centres(n, dtype=mean.dtype, device=mean.device) - mean[..., axis, None]
        shape = [*offset.shape[:2], *([1] * len(size))]
        shape[-1 - axis] = n
        location = location + (sign[..., axis, None] * offset).reshape(shape)
    return GradientFactors(beta * values, location)


def gradient_shares(heatmaps: Tensor, coords: Tensor, beta: float = 1.0) -> GradientShares:
    """How much of the gradient acts where: sums of |value factor x location factor|.

    Args:
        heatmaps, coords, beta: as `gradient_factors` takes them.
    Returns:
        Shares near the truth, near the peak and elsewhere, and the total; where the total is zero, so are the shares.
    Example:
        >>> shares = gradient_shares(torch.tensor([[[0.5, 0.5] + [0.0] * 6]]), torch.full((1, 1, 1), 0.9))
        >>> [s.item() for s in shares]  # all of it at the peak, none where the point is
        [0.0, 1.0, 0.0, 0.125]
    """
    size = spatial_size(heatmaps)
    value, location = gradient_factors(heatmaps, coords, beta)
    mass = (value * location).abs()
    total = mass.flatten(2).sum(-1)
    at_truth = cell_distances(cell_of(coords, size), size) <= NEAR
    at_peak = (cell_distances(peak_index(heatmaps), size) <= NEAR) & ~at_truth
    floor = torch.finfo(mass.dtype).tiny
    truth, peak = (
        torch.where(near, mass, 0.0).flatten(2).sum(-1) / total.clamp_min(floor) for near in (at_truth, at_peak)
    )
    rest = torch.where(at_truth | at_peak, 0.0, mass).flatten(2).sum(-1) / total.clamp_min(floor)
    return GradientShares(truth, peak, rest, total)
