"""The sums behind a mixture's density, over many maps with little memory."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from punctum.ops.cholesky import cholesky, log_determinant, precision
from punctum.ops.kernels import native_mixture
from punctum.ops.recording import is_exporting

if TYPE_CHECKING:
    from punctum.ops.mixture import GaussianMixture

# Numbers that an operation over many maps holds at a time: they stay in a core's cache.
_AT_A_TIME = 2**18


def log_density(mixture: "GaussianMixture", points: Tensor) -> Tensor:
    """log p of points (B, K, N, D), (B, K, N).

    Where no gradient is wanted a kernel (`ops.kernels`) computes it, if there is one: in one pass, as the same sum.
    """
    tensors = (mixture.log_weights, mixture.means, mixture.covariances, points)
    if native_mixture.serves(*tensors):
        heights, forms = _heights_and_forms(mixture)
        return native_mixture.log_density(heights, mixture.means, forms, list(mixture.groups.values()), points)
    terms = mixture.log_weights.shape[-1]
    some = max(1, _AT_A_TIME // max(1, terms))

    def of_part(part: "GaussianMixture", places: Tensor) -> Tensor:
        return torch.cat([log_sum(log_terms(part, some_of)) for some_of in places.split(some, 2)], -1)

    return in_parts(of_part, mixture, points, terms=min(points.shape[2], some) * terms)


def log_terms(mixture: "GaussianMixture", points: Tensor) -> Tensor:
    """log w_m N(y; mu_m, S_g(m)) of every component on its own, (B, K, N, M), for points (B, K, N, D).

    The products of offsets are the planes of a matrix product with P's entries: few passes over much memory, and few
    more for their gradient.
    """
    dims, counts = points.shape[-1], list(mixture.groups.values())
    heights, forms = (x.flatten(0, 1) for x in _heights_and_forms(mixture))
    places = points.flatten(0, 1).unbind(-1)
    parts = []
    for g, (height, means) in enumerate(
        zip(heights.split(counts, -1), mixture.means.flatten(0, 1).split(counts, -2), strict=True)
    ):
        # One plane for each coordinate: numbers that lie side by side are read several times faster.
        planes = means.movedim(-1, 0).contiguous().unbind(0)
        offsets = [place.unsqueeze(-1) - plane.unsqueeze(1) for place, plane in zip(places, planes, strict=True)]
        products = torch.stack([offsets[i] * offsets[j] for i in range(dims) for j in range(i + 1)], 1)
        # Autocast would run the product in half precision.
        with torch.autocast(points.device.type, enabled=False):
            distance2 = torch.bmm(forms[:, g, None], products.flatten(2)).reshape(offsets[0].shape)
        parts.append(height.unsqueeze(1) + distance2)
    return torch.cat(parts, -1).unflatten(0, points.shape[:2])


def _heights_and_forms(mixture: "GaussianMixture") -> tuple[Tensor, Tensor]:
    """What a component has at its mean, (B, K, M), and what -d^2 / 2 is made of, (B, K, G, D (D + 1) / 2).

        d^2 = sum_ij P_ij (y - mu)_i (y - mu)_j,     P = S^-1

    P's lower triangle row by row, times -1/2 on the diagonal, and twice that beside it.
    """
    dims, factor = mixture.means.shape[-1], cholesky(mixture.covariances)
    log_norm = -0.5 * (log_determinant(factor) + dims * math.log(2 * math.pi))
    spread = [log_norm[..., g, None].expand(*log_norm.shape[:-1], n) for g, n in enumerate(mixture.groups.values())]
    entries = [(-0.5 if i == j else -1.0) * p for i, row in enumerate(precision(factor)) for j, p in enumerate(row)]
    return mixture.log_weights + torch.cat(spread, -1), torch.stack(entries, -1)


def log_sum(logs: Tensor) -> Tensor:
    """log sum exp over the last axis, in which nothing is smaller than exp(-80) of the largest term.

    Far components are the rule: on a processor their exponentials, below the smallest normal number, take eight times
    as long as others. 1e-35 of a sum is no part of it in float64 either.
    """
    top = logs.detach().amax(-1, keepdim=True).clamp_min(torch.finfo(logs.dtype).min)
    return F.threshold(logs - top, -80.0, -80.0).exp().sum(-1).log() + top[..., 0]


def in_parts(
    function: Callable[..., Tensor],
    mixture: "GaussianMixture",
    *others: Tensor,
    terms: int,
    at_a_time: int = _AT_A_TIME,
) -> Tensor:
    """`function(mixture, *others)` over some maps at a time, so that what it holds stays in a core's cache.

    Args:
        function: of a mixture of (1, R) maps and of tensors (1, R, ...), to a tensor (1, R, ...).
        mixture: of B x K maps.
        others: (B, K, ...).
        terms: numbers that the function holds for each map, at a time.
        at_a_time: numbers to hold at most, unless one map has more.
    Returns:
        (B, K, ...).
    """
    if is_exporting():
        # How many maps there are is not known yet.
        return function(mixture, *others)
    lead = mixture.log_weights.shape[:2]
    size = max(1, at_a_time // max(1, terms))
    if math.prod(lead) <= size:
        return function(mixture, *others)
    # `split`, not slices: the gradient of each slice would be as large as the whole.
    tensors = (mixture.log_weights, mixture.means, mixture.covariances, *others)
    parts = [
        function(replace(mixture, log_weights=weights, means=means, covariances=covariances), *rest)
        for weights, means, covariances, *rest in zip(
            *(x.flatten(0, 1).unsqueeze(0).split(size, 1) for x in tensors), strict=True
        )
    ]
    return torch.cat(parts, 1).unflatten(1, lead).squeeze(0)
