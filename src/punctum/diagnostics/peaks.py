"""The hills of a heatmap: two candidates for one point, and maps with no candidate at all."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from punctum.ops.coords import as_float, spatial_size, to_normalized
from punctum.ops.recording import is_exporting

SECOND_SHARE = 0.5
"""The second hill's mass or height, as a share of the first's, from which on a map has two candidates: at a half, a
small change of the picture may turn them round, and the mean lies a third of the way towards the second."""

SECOND_HEIGHT = 0.25
"""The second top's height, as a share of the first's, that it has at least: a mound that is lower is background."""

SECOND_DISTANCE = 3.0
"""Cells that their tops are apart at least, more than: nearer, two tops are one point on a bumpy map."""

SECOND_MASS = 0.1
"""Of the whole map, that the second hill holds at least: a high but narrow spike with less moves no decoder."""

FLAT = 0.5
"""Share of the map's cells that the mass is spread over, as its entropy counts them, from which on a map is flat."""


# Turns on the way to the tops where the size is not known yet: ways of up to 4096 cells.
_TURNS = 12


class Peaks(NamedTuple):
    """The highest hill of each map, then the heaviest other one beyond `SECOND_DISTANCE`.

    Args:
        coords: (B, K, 2, D), their tops, normalized; the second is NaN where there is none.
        mass: (B, K, 2), of the cells from which it goes uphill to the top; 0 where there is none.
        height: (B, K, 2), of the top's cell.
        distance: (B, K), of the two tops, in cells; NaN where there is no second.
    """

    coords: Tensor
    mass: Tensor
    height: Tensor
    distance: Tensor

    @property
    def two(self) -> Tensor:
        """(B, K) bool: there are two candidates, by the constants above."""
        height = _ratio(self.height)
        share = torch.maximum(_ratio(self.mass), height)
        return (self.mass[..., 1] >= SECOND_MASS) & (height >= SECOND_HEIGHT) & (share >= SECOND_SHARE)


def find_peaks(heatmaps: Tensor) -> Peaks:
    """The highest hill of each heatmap and the heaviest one far from it, with the mass that belongs to each.

    From every cell the way leads to the highest of its 3^D neighbours, and on, until there is none higher: all cells
    whose ways end on one top are its hill. On a plateau it leads to the neighbour that stands first.

    Args:
        heatmaps: (B, K, *S), summing to one.
    Returns:
        See `Peaks`.
    Example:
        >>> peaks = find_peaks(torch.tensor([[[0.1, 0.4, 0.1, 0.0, 0.0, 0.1, 0.3, 0.0]]]))
        >>> peaks.mass, peaks.distance, peaks.two
        (tensor([[[0.6000, 0.4000]]]), tensor([[5.]]), tensor([[True]]))
    """
    size = spatial_size(heatmaps)
    values = as_float(heatmaps)
    flat = values.flatten(2)
    hill = _tops(values)
    mass = torch.zeros_like(flat).scatter_add(-1, hill, flat)
    first = flat.argmax(-1)
    cells = _places(torch.arange(flat.shape[-1], device=flat.device), size).to(flat.dtype)
    apart = (cells - cells[first][..., None, :]).norm(dim=-1)
    # Tops are their own hill's end; others hold no mass.
    candidates = torch.where(apart > SECOND_DISTANCE, mass, 0.0)
    second_mass, second = candidates.max(-1)
    there = second_mass > 0
    index = torch.stack([first, second], -1)
    kept = torch.stack([torch.ones_like(there), there], -1)
    coords = to_normalized(cells[index], size)
    return Peaks(
        torch.where(kept[..., None], coords, torch.nan),
        torch.where(kept, mass.gather(-1, index), 0.0),
        torch.where(kept, flat.gather(-1, index), 0.0),
        torch.where(there, apart.gather(-1, second[..., None])[..., 0], torch.nan),
    )


def effective_cells(heatmaps: Tensor) -> Tensor:
    """Over how many cells a heatmap is spread: exp of its entropy.

        exp(-sum_i h_i log h_i):     1 for a single cell, N for an even map

    Args:
        heatmaps: (B, K, *S), summing to one.
    Returns:
        (B, K), within [1, N]; at least float32.
    Example:
        >>> effective_cells(torch.tensor([[[0.5, 0.5, 0.0, 0.0]]]))
        tensor([[2.]])
    """
    spatial_size(heatmaps)
    return torch.special.entr(as_float(heatmaps).flatten(2)).sum(-1).exp()


def _tops(values: Tensor) -> Tensor:
    """The flat index of the top that each cell's way leads to, (B, K, N)."""
    pools = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
    _, way = pools[values.ndim - 2](values, 3, stride=1, padding=1, return_indices=True)
    way = way.flatten(2)
    # Each turn doubles the steps taken; no way is longer than N.
    for _ in range(_TURNS if is_exporting() else way.shape[-1].bit_length()):
        further = way.gather(-1, way)
        if not is_exporting() and torch.equal(further, way):
            break
        way = further
    return way


def _places(index: Tensor, size: tuple[int, ...]) -> Tensor:
    """Flat indices as cells (..., D), x first."""
    parts = []
    for n in reversed(size):
        # Not %: its ONNX form wants a number that is known beforehand.
        rows = torch.div(index, n, rounding_mode="floor")
        parts.append(index - rows * n)
        index = rows
    return torch.stack(parts, -1)


def _ratio(pair: Tensor) -> Tensor:
    return pair[..., 1] / pair[..., 0].clamp_min(torch.finfo(pair.dtype).tiny)
