"""How much of a heatmap lies near a place: the activation sum."""

import torch
from torch import Tensor

from punctum.ops.coords import as_float, spatial_size, to_pixels


def cell_of(coords: Tensor, size: tuple[int, ...]) -> Tensor:
    """The cell that a place lies in, (..., D) int64 as (x, y[, z]); outside the map it is no cell of the map's.

    Cell i reaches from i - 1/2 to i + 1/2 and holds its lower edge. A place that is not finite is in a cell far out.

    Example:
        >>> cell_of(torch.tensor([[-1.0], [-0.5], [1.0]]), (4,)).flatten().tolist()
        [0, 1, 4]
    """
    return (to_pixels(coords, size) + 0.5).floor().nan_to_num(nan=-1e6).clamp(-1e6, 1e6).long()


def cell_distances(cells: Tensor, size: tuple[int, ...]) -> Tensor:
    """Chebyshev distance of every cell of a map to one cell, (B, K, *S) int64: max over axes of |i - c|.

    Args:
        cells: (B, K, D) int64, inside the map or not.
        size: S.
    Example:
        >>> cell_distances(torch.tensor([[[1, 0]]]), (2, 3))
        tensor([[[[1, 0, 1],
                  [1, 1, 1]]]])
    """
    total = torch.zeros((*cells.shape[:2], *([1] * len(size))), dtype=torch.int64, device=cells.device)
    for axis, n in enumerate(reversed(size)):
        offset = (torch.arange(n, device=cells.device) - cells[..., axis, None]).abs()
        shape = [*offset.shape[:2], *([1] * len(size))]
        shape[-1 - axis] = n
        total = torch.maximum(total, offset.reshape(shape))
    return total


def activation_curve(heatmaps: Tensor, coords: Tensor, reach: int) -> Tensor:
    """The activation sums A(0), A(1), ..., A(reach), in one pass over the map.

    Args:
        heatmaps: (B, K, *S), summing to one.
        coords: (B, K, D), normalized: the middle of the windows.
        reach: the largest s.
    Returns:
        (B, K, reach + 1), non-decreasing along the last axis; see `activation_sum`.
    Raises:
        ValueError: reach is negative; coords are not (B, K, D).
    Example:
        >>> activation_curve(torch.tensor([[[0.1, 0.2, 0.4, 0.3]]]), torch.tensor([[[0.25]]]), reach=3)
        tensor([[[0.4000, 0.9000, 1.0000, 1.0000]]])
    """
    if reach < 0:
        raise ValueError(f"a window reaches at least 0 cells, got {reach}")
    size = spatial_size(heatmaps)
    check_places(heatmaps, coords)
    distances = cell_distances(cell_of(coords, size), size).flatten(2).clamp_max(reach + 1)
    values = as_float(heatmaps).flatten(2)
    rings = torch.zeros(*values.shape[:2], reach + 2, dtype=values.dtype, device=values.device)
    return rings.scatter_add(-1, distances, values)[..., :-1].cumsum(-1)


def activation_sum(heatmaps: Tensor, coords: Tensor, s: int) -> Tensor:
    """Activation sum: the mass of a heatmap in the window of 2 s + 1 cells per axis around a place.

        A(s) = sum_(i = J_x - s ... J_x + s) sum_(j = J_y - s ... J_y + s) h_ij,     J: the cell that holds the place

    The paper indexes cells by a coordinate and does not say how it is rounded. Here the window is centred on the cell
    in which the place lies. What of the window lies outside the map holds nothing.

    Args:
        heatmaps: (B, K, *S), summing to one.
        coords: (B, K, D), normalized; usually the true places. A place that is not finite has no mass around it.
        s: cells on either side.
    Returns:
        (B, K) in [0, 1]; at least float32.
    Raises:
        ValueError: s is negative; coords are not (B, K, D).
    Source:
        Gu et al. 2022 (ICLR), Eq. 6.
    Example:
        >>> activation_sum(torch.full((1, 1, 8, 8), 1 / 64), torch.zeros(1, 1, 2), s=1)  # 9 cells of 64
        tensor([[0.1406]])
    """
    return activation_curve(heatmaps, coords, s)[..., -1]


def check_places(heatmaps: Tensor, coords: Tensor) -> None:
    """Raise a ValueError for coordinates that are not (B, K, D), as these heatmaps want them."""
    wanted = (*heatmaps.shape[:2], heatmaps.ndim - 2)
    if tuple(coords.shape) != wanted:
        raise ValueError(f"coords must be {wanted} for heatmaps {tuple(heatmaps.shape)}, got {tuple(coords.shape)}")
