"""The heatmap as a probability over places: the weights of a truth on the grid, and what a place may expect."""

import math

import torch
from torch import Tensor

from punctum.ops.coords import Size, as_float, spatial_size, to_pixels


def multilinear_weights(coords: Tensor, size: Size, smear: float = 0.0) -> Tensor:
    """Each point as a distribution on its 2^D neighbouring cells, with exactly the point as its mean.

        w_i = prod over axes of max(0, 1 - |i - t|),     i and t in heatmap pixels

    With `smear`, each cell's weight is spread by a Gaussian. A Gaussian that the border cuts off on one side would
    move the mean inwards; this one is cut off on both sides alike, at the nearer border or three sigma, so that it
    keeps the mean. Towards the border it narrows; the outermost cells are not spread at all.

    A point outside of the outermost cells' centres (within half a cell of the border, or beyond) is moved to the
    nearest place between them: no distribution on the cells has its mean farther out. So a point in
    the picture is off by at most half a cell, and on average over one cell's width at the border by a quarter.

    Args:
        coords: (B, K, D), normalized.
        size: (W,), (H, W) or (D, H, W) of the grid.
        smear: standard deviation of the spread, in cells, before it is cut off; 0 for none.
    Returns:
        (B, K, *size), non-negative, summing to one, with `dsnt` of it the point itself; at least float32.
    Raises:
        ValueError: coords is not (B, K, D); size and coords differ in the number of axes; smear is negative.
    Example:
        >>> multilinear_weights(torch.tensor([[[0.125]]]), size=(4,))
        tensor([[[0.0000, 0.2500, 0.7500, 0.0000]]])
    """
    if coords.ndim != 3:
        raise ValueError(f"coords must be (B, K, D), got shape {tuple(coords.shape)}")
    if not 0 <= smear < math.inf:
        raise ValueError(f"smear must be a non-negative number of cells, got {smear}")
    pixels = to_pixels(coords, size)
    total = pixels.new_ones(*pixels.shape[:2], *([1] * len(size)))
    for axis, n in enumerate(reversed(size)):
        place = pixels[..., axis].clamp(0, n - 1)
        # A NaN shall come out as NaN, and not as an index far outside.
        index = place.detach().nan_to_num().long().clamp(0, max(n - 2, 0))
        upper_part = (place - index)[..., None]
        spread = _spread(n, smear, place)
        weights = spread[index] * (1 - upper_part) + spread[(index + 1).clamp_max(n - 1)] * upper_part
        shape = [*weights.shape[:2], *([1] * len(size))]
        shape[-1 - axis] = n
        total = total * weights.reshape(shape)
    return total


def _spread(n: int, smear: float, like: Tensor) -> Tensor:
    """(n, n): row j is a Gaussian about cell j, cut off on both sides alike, so that its mean is j."""
    cells = torch.arange(n, dtype=like.dtype, device=like.device)
    distance = (cells - cells[:, None]).abs()
    reach = torch.minimum(cells, n - 1 - cells).clamp_max(math.ceil(3 * smear))[:, None]
    # A narrower Gaussian than this has nothing beside its middle, and its square would underflow.
    rows = torch.exp(-0.5 * (distance / max(smear, 1e-3)) ** 2)
    rows = torch.where(distance <= reach, rows, 0.0)
    return rows / rows.sum(-1, keepdim=True)


def expected_oks(heatmaps: Tensor, length: float | Tensor) -> Tensor:
    """Expected object keypoint similarity of saying each cell, when the truth is drawn from the heatmap.

        E_j = sum_i p_i exp(-|i - j|^2 / (2 length^2)),     i and j in heatmap pixels

    The kernel is not normalized and not cut off: its sums are separable, O(N n) for N cells, n along an axis.

    Args:
        heatmaps: (B, K, *S), summing to one.
        length: s k of the OKS, in heatmap pixels; a number or a tensor that broadcasts with (B, K).
    Returns:
        (B, K, *S), in [0, 1]; at least float32.
    Raises:
        ValueError: there is no spatial axis.
    Source:
        Purkrabek and Matas 2025, arXiv:2412.02254 (the expected OKS of a map, in 2-D).
    Example:
        >>> expected_oks(torch.tensor([[[0.0, 1.0, 0.0]]]), length=1.0)
        tensor([[[0.6065, 1.0000, 0.6065]]])
    """
    values = as_float(heatmaps)
    width = torch.as_tensor(length, dtype=values.dtype, device=values.device)[..., None, None]
    # Autocast would run the products below in half precision.
    with torch.autocast(values.device.type, enabled=False):
        for n in reversed(spatial_size(values)):
            cells = torch.arange(n, dtype=values.dtype, device=values.device)
            kernel = torch.exp(-0.5 * ((cells - cells[:, None]) / width) ** 2)
            rows = values.flatten(2, -2) if values.ndim > 3 else values[:, :, None]
            # The last axis is done; it moves to the front of S.
            values = (rows @ kernel).reshape(values.shape).movedim(-1, 2)
    return values
