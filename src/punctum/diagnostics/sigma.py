"""Which Gaussian a heatmap looks like most, by Pearson's chi-square."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from punctum.diagnostics.activation import activation_curve, cell_distances, cell_of
from punctum.ops.coords import as_float, spatial_size
from punctum.ops.gaussian import log_gaussian

COVERED = 0.8
"""Mass that the window must hold more than: the paper's A(s) > 0.8, Appendix A.3."""

LEAST_RADIUS = 2
"""Cells on either side at least: three cells per axis hold a peak, but hardly a shape."""

BACKGROUND = 0.01
"""Share of the template that is spread evenly over the window; see `best_sigma`."""

LEAST_SIGMA = 0.2
"""Cells. Below it a Gaussian on a cell's centre is that cell alone (1 - 4e-6 of the mass): widths look alike."""

_RATIO, _STEPS = 1.25, 10  # of the grid of sigmas; of the golden section, which leaves 0.4 % of uncertainty


class SigmaFit(NamedTuple):
    """The best sigma, (B, K) in cells; chi-square there, (B, K); and s of the window it was fitted in, (B, K)."""

    sigma: Tensor
    statistic: Tensor
    radius: Tensor


def best_sigma(heatmaps: Tensor, centre: Tensor) -> SigmaFit:
    """The Gaussian that a heatmap looks like most: the sigma with the smallest Pearson chi-square.

        X(sigma) = sum_(i in W) (h_i - T_i)^2 / T_i,     T_i = (1 - a) G_i(sigma) + a / |W|

    W is the smallest window of 2 s + 1 cells per axis around `centre` that holds more than 0.8 of the mass (at least
    5 cells wide), as in the paper, but for each heatmap on its own; h and G sum to one over W, and G stands exactly
    at `centre`. A narrow Gaussian leaves cells of W empty, exp(-50) and less, and one stray thousandth of the mass in
    such a cell outweighs all others: the paper's tables say "> 1000" there. So the template holds a = 0.01 of its
    mass as an even background. The statistic then judges the shape where the mass is, is bounded by |W| / a, and
    the sigmas of clean Gaussians are found within two per cent.

    The minimum is looked for on a logarithmic grid, steps of 1.25, then by golden section beside the best of them.

    Args:
        heatmaps: (B, K, *S), summing to one.
        centre: (B, K, D), normalized: where the Gaussian stands, usually the map's own mean, or its peak's.
    Returns:
        sigma within [0.2, the longest side of the map] in cells; a fit at either end says "at most" or "at least".
    Raises:
        ValueError: centre is not (B, K, D).
    Source:
        Gu et al. 2022 (ICLR), Section 4.2 and Appendix A.3; window by map, background and refinement are our own.
    Example:
        >>> from punctum.ops import render_gaussian
        >>> mean = torch.tensor([[[0.1, -0.2]]])
        >>> fit = best_sigma(render_gaussian(mean, 2.0, (32, 32)), mean)
        >>> round(fit.sigma.item(), 1), fit.radius.item()
        (2.0, 3)
    """
    size = spatial_size(heatmaps)
    radius = covering_radius(heatmaps, centre)
    inside = cell_distances(cell_of(centre, size), size) <= radius.reshape(*radius.shape, *([1] * len(size)))
    observed = torch.where(inside, as_float(heatmaps), 0.0).flatten(2)
    observed = observed / observed.sum(-1, keepdim=True).clamp_min(torch.finfo(observed.dtype).tiny)
    inside = inside.flatten(2)

    def statistic(sigma: Tensor) -> Tensor:
        logs = log_gaussian(centre, sigma, size, normalize=False).flatten(2).masked_fill(~inside, -torch.inf)
        # A window all outside the map has no cells; whatever it gives is not asked for.
        template = (1 - BACKGROUND) * logs.softmax(-1) + BACKGROUND / inside.sum(-1, keepdim=True).clamp_min(1)
        return torch.where(inside, (observed - template) ** 2 / template, 0.0).sum(-1)

    sigma, value = _minimum(statistic, radius.to(observed.dtype), LEAST_SIGMA, float(max(size)))
    return SigmaFit(sigma, value, radius)


def covering_radius(heatmaps: Tensor, centre: Tensor) -> Tensor:
    """The smallest s with A(s) > 0.8 around a place, (B, K) int64; at least 2.

    Example:
        >>> covering_radius(torch.full((1, 1, 9), 1 / 9), torch.zeros(1, 1, 1))
        tensor([[4]])
    """
    reach = max(*spatial_size(heatmaps), LEAST_RADIUS)
    curve = activation_curve(heatmaps, centre, reach)
    return (curve <= COVERED).sum(-1).clamp(LEAST_RADIUS, reach)


def _minimum(function: Callable[[Tensor], Tensor], like: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Where each of a batch of functions of one positive number is least, and its value."""
    ends = torch.tensor([low, max(high, low)], dtype=like.dtype).log()
    count = max(2, int((ends[1] - ends[0]) / torch.tensor(_RATIO).log()) + 2)
    grid = torch.linspace(ends[0].item(), ends[1].item(), count, dtype=like.dtype, device=like.device)
    values = torch.stack([function(torch.full_like(like, step.exp().item())) for step in grid])
    best = values.argmin(0)
    left, right = grid[(best - 1).clamp_min(0)], grid[(best + 1).clamp_max(count - 1)]
    golden = (5**0.5 - 1) / 2
    for _ in range(_STEPS):
        inner_left, inner_right = right - golden * (right - left), left + golden * (right - left)
        lower = function(inner_left.exp()) < function(inner_right.exp())
        left, right = torch.where(lower, left, inner_left), torch.where(lower, inner_right, right)
    middle = ((left + right) / 2).exp()
    found, on_grid = function(middle), values.gather(0, best[None])[0]
    # A minimum at an end of the grid stays there.
    return torch.where(found <= on_grid, middle, grid[best].exp()), torch.minimum(found, on_grid)
