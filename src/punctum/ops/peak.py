"""Coordinates from the peak of a heatmap: argmax, quarter shift, DARK."""

import math

import torch
from torch import Tensor

from punctum.ops.coords import as_float, spatial_size, to_normalized
from punctum.ops.gaussian import check_sigma


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
        # Not %: its ONNX form wants a number that is known beforehand.
        rows = torch.div(flat, n, rounding_mode="floor")
        parts.append(flat - rows * n)
        flat = rows
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

    The step is taken where the log-heatmap is concave; it is at most one cell per axis, and stays in the map. An
    axis of fewer than three cells has none. Where the paper's blur would reach beyond the map, it is narrower.

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
    check_sigma(sigma)
    size = spatial_size(heatmaps)
    index = peak_index(heatmaps)
    values = as_float(heatmaps).clamp_min(0)
    values = values / values.flatten(2).amax(-1).clamp_min(1e-30).reshape(*values.shape[:2], *([1] * len(size)))
    last = torch.tensor(size[::-1], device=index.device) - 1
    # A parabola is known by any three cells: at the map's edge, by the peak's and the two beside it.
    middle = torch.minimum(index.clamp_min(1), (last - 1).clamp_min(0))
    logs = _blurred_patch(values, middle, last, sigma).clamp_min(1e-10).log()
    inside = (last >= 2).expand_as(index)
    newton, concave = _newton_step(logs.flatten(2), inside)
    step = torch.where(inside & concave[..., None], middle - index + newton, 0.0).clamp(-1, 1)
    return to_normalized(torch.minimum((index + step).clamp_min(-0.5), last + 0.5), size)


def _blurred_patch(values: Tensor, index: Tensor, last: Tensor, sigma: float) -> Tensor:
    """The Gaussian-blurred map at a cell and its neighbours, (B, K, 3, ..., 3); no other cell is needed.

    All three cells of an axis are blurred by one kernel, as wide as the map allows around them: a kernel that is
    cut off on one side only would move the peak inwards, by more than a cell near the border. Products and sums,
    not a convolution: autocast would run that in half precision, and cuDNN in TF32.
    """
    radius = torch.minimum(index, last - index).sub(1).clamp(0, math.ceil(3 * sigma))
    dims = index.shape[-1]
    around = torch.arange(-1, 2, device=index.device)
    for axis in range(dims):
        n = values.shape[-1]
        offset = torch.arange(n, device=index.device) - (index[..., axis, None] + around)[..., None]
        weight = torch.exp(-0.5 * (offset.to(values.dtype) / sigma) ** 2)
        weight = torch.where(offset.abs() <= radius[..., axis, None, None], weight, 0.0)
        weight = weight / weight.sum(-1, keepdim=True).clamp_min(1e-30)
        weight = weight.reshape(*weight.shape[:2], *([1] * (dims - 1)), 3, n)
        # x is the last axis; once it is done it moves to the front of S, and y comes last.
        values = (values.unsqueeze(-2) * weight).sum(-1).movedim(-1, 2)
    return values


def _newton_step(logs: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """-H^-1 g at the middle of a 3 x ... x 3 patch (B, K, 3^D), and whether the patch is concave, (B, K).

    Axes that do not lie `inside`, (B, K, D) bool, take no part.
    """
    dims = inside.shape[-1]
    middle = 3**dims // 2
    strides = [3**axis for axis in range(dims)]

    def at(offset: int) -> Tensor:
        return logs[..., middle + offset]

    gradient = torch.stack([(at(s) - at(-s)) / 2 for s in strides], dim=-1)
    rows = []
    for i, a in enumerate(strides):
        row = []
        for j, b in enumerate(strides):
            if i == j:
                entry = torch.where(inside[..., i], at(a) - 2 * at(0) + at(-a), -1.0)
            else:
                mixed = (at(a + b) + at(-a - b) - at(a - b) - at(b - a)) / 4
                entry = torch.where(inside[..., i] & inside[..., j], mixed, 0.0)
            row.append(entry)
        rows.append(torch.stack(row, dim=-1))
    return _solve(-torch.stack(rows, dim=-2), torch.where(inside, gradient, 0.0))


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
