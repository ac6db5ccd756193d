"""Coordinates from the peak of a heatmap: argmax, quarter shift, DARK."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from punctum.ops.coords import as_float, spatial_size, to_normalized


def peak_index(heatmaps: Tensor) -> Tensor:
    """Integer position of each heatmap's largest value; the first one on ties.

    Returns:
        (B, K, D) int64 as (x, y[, z]), in heatmap cells.
    Example:
        >>> peak_index(torch.tensor([[[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]]))
        tensor([[[2, 1]]])
    """
    size = spatial_size(heatmaps)
    flat = heatmaps.flatten(2).argmax(-1)
    parts = []
    for n in reversed(size):
        parts.append(flat % n)
        flat = torch.div(flat, n, rounding_mode="floor")
    return torch.stack(parts, dim=-1)


def argmax(heatmaps: Tensor) -> Tensor:
    """Centre of the cell with the largest value.

    Args:
        heatmaps: (B, K, *S); any scale.
    Returns:
        (B, K, D) normalized; at least float32. Not differentiable.
    Raises:
        ValueError: there is no spatial axis.
    Source:
        Tompson et al. 2014, arXiv:1406.2984.
    Example:
        >>> argmax(torch.tensor([[[0.0, 0.0, 5.0, 1.0]]]))
        tensor([[[0.2500]]])
    """
    return to_normalized(peak_index(heatmaps).to(as_float(heatmaps).dtype), spatial_size(heatmaps))


def quarter_shift(heatmaps: Tensor) -> Tensor:
    """Argmax, moved a quarter of a cell towards the higher neighbour on each axis.

    No shift on an axis whose neighbours are equal, or where the peak lies on the map's edge.

    Args:
        heatmaps: (B, K, *S); any scale.
    Returns:
        (B, K, D) normalized; at least float32. Not differentiable.
    Raises:
        ValueError: there is no spatial axis.
    Source:
        Newell et al. 2016, arXiv:1603.06937.
    Example:
        >>> quarter_shift(torch.tensor([[[0.0, 0.0, 5.0, 1.0]]]))
        tensor([[[0.3750]]])
    """
    size = spatial_size(heatmaps)
    values, index = as_float(heatmaps), peak_index(heatmaps)
    shifts = []
    for axis, n in enumerate(reversed(size)):
        step = _step(axis, len(size), index.device)
        difference = _value_at(values, index + step) - _value_at(values, index - step)
        inside = (index[..., axis] > 0) & (index[..., axis] < n - 1)
        shifts.append(torch.where(inside, 0.25 * difference.sign(), 0.0))
    return to_normalized(index.to(values.dtype) + torch.stack(shifts, dim=-1), size)


def dark(heatmaps: Tensor, sigma: float) -> Tensor:
    """Peak of the Gaussian that the heatmap looks like: blur, logarithm, one Newton step from the argmax.

        x = i - H^-1 g,     g, H: gradient and Hessian of log(blur(heatmap)) at the argmax i

    The step is taken where the log-heatmap is concave, and is at most one cell per axis; on an axis where the
    peak lies on the map's edge there is none.

    Args:
        heatmaps: (B, K, *S); any scale; negative values count as zero.
        sigma: of the blur, in heatmap pixels: the sigma that the maps were trained with.
    Returns:
        (B, K, D) normalized; at least float32. Not differentiable.
    Raises:
        ValueError: sigma is not positive; there is no spatial axis.
    Source:
        Zhang et al. 2020, arXiv:1910.06278, Eqs. 6 to 9.
    Example:
        >>> from punctum.ops import render_gaussian
        >>> mean = torch.tensor([[[0.13, -0.21]]])
        >>> (dark(render_gaussian(mean, 2.0, (32, 32)), sigma=2.0) - mean).abs().max() < 1e-3
        tensor(True)
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be positive (heatmap pixels), got {sigma}")
    size = spatial_size(heatmaps)
    index = peak_index(heatmaps)
    values = as_float(heatmaps).clamp_min(0)
    values = values / values.flatten(2).amax(-1).clamp_min(1e-30).reshape(*values.shape[:2], *([1] * len(size)))
    logs = _blur(values, sigma).clamp_min(1e-10).log()
    return to_normalized(index.to(values.dtype) + _newton_step(logs, index), size)


def _newton_step(logs: Tensor, index: Tensor) -> Tensor:
    """-H^-1 g of the log-heatmap at the peak, (B, K, D) in cells; zero where it cannot be trusted."""
    dims = index.shape[-1]
    steps = [_step(axis, dims, index.device) for axis in range(dims)]
    centre = _value_at(logs, index)
    last = torch.tensor(list(logs.shape[2:])[::-1], device=index.device) - 1
    inside = (index > 0) & (index < last)
    gradient = torch.stack([(_value_at(logs, index + s) - _value_at(logs, index - s)) / 2 for s in steps], -1)
    gradient = torch.where(inside, gradient, 0.0)
    rows = []
    for i, a in enumerate(steps):
        row = []
        for j, b in enumerate(steps):
            if i == j:
                entry = _value_at(logs, index + a) - 2 * centre + _value_at(logs, index - a)
                entry = torch.where(inside[..., i], entry, -1.0)
            else:
                corners = _value_at(logs, index + a + b) + _value_at(logs, index - a - b)
                entry = (corners - _value_at(logs, index + a - b) - _value_at(logs, index - a + b)) / 4
                entry = torch.where(inside[..., i] & inside[..., j], entry, 0.0)
            row.append(entry)
        rows.append(torch.stack(row, dim=-1))
    step, concave = _solve(-torch.stack(rows, dim=-2), gradient)
    return torch.where(concave[..., None], step, 0.0).clamp(-1, 1)


def _solve(matrix: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    """Solve symmetric systems of 1 to 3 unknowns by elimination, and say which are positive definite.

    Written out because torch.linalg.cholesky has no ONNX form and raises on the first bad one.
    """
    dims = vector.shape[-1]
    rows = [[matrix[..., i, j] for j in range(dims)] + [vector[..., i]] for i in range(dims)]
    definite = torch.ones_like(vector[..., 0], dtype=torch.bool)
    for k in range(dims):
        definite = definite & (rows[k][k] > 1e-6)
        pivot = torch.where(rows[k][k].abs() > 1e-6, rows[k][k], 1.0)
        rows[k] = [value / pivot for value in rows[k]]
        for i in range(dims):
            if i != k:
                factor = rows[i][k]
                rows[i] = [value - factor * top for value, top in zip(rows[i], rows[k], strict=True)]
    return torch.stack([row[-1] for row in rows], dim=-1), definite


def _step(axis: int, dims: int, device: torch.device) -> Tensor:
    return torch.tensor([int(i == axis) for i in range(dims)], device=device)


def _value_at(values: Tensor, index: Tensor) -> Tensor:
    """Values (B, K, *S) at integer positions (B, K, D), which are held inside the map."""
    size = values.shape[2:]
    flat = torch.zeros_like(index[..., 0])
    for axis, n in zip(range(len(size) - 1, -1, -1), size, strict=True):
        flat = flat * n + index[..., axis].clamp(0, n - 1)
    return values.flatten(2).gather(-1, flat[..., None])[..., 0]


def _blur(values: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian blur that does not darken the borders: weights outside the map are left out."""
    for axis in range(2, values.ndim):
        n = values.shape[axis]
        radius = min(math.ceil(3 * sigma), n - 1)
        offsets = torch.arange(-radius, radius + 1, dtype=values.dtype, device=values.device)
        kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)[None, None]
        lines = values.movedim(axis, -1)
        blurred = F.conv1d(lines.reshape(-1, 1, n), kernel, padding=radius)
        weight = F.conv1d(torch.ones_like(lines[:1].reshape(-1, 1, n)[:1]), kernel, padding=radius)
        values = (blurred / weight).reshape(lines.shape).movedim(-1, axis)
    return values
