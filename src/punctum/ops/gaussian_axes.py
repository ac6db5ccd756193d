"""A Gaussian on the grid, axis by axis: it is a product over axes, and each can be normalized on its own."""

import torch
from torch import Tensor

from punctum.ops.coords import Size, axis_centres

# A mean farther out (normalized) counts as this far: its square still fits into float32.
_FARTHEST = 1e12


def log_gaussian_axes(mean: Tensor, sigma: float | Tensor, size: Size, normalize: bool = True) -> list[Tensor]:
    """Logarithm of the Gaussian along each axis; that of the whole is their sum.

    Args:
        mean: (..., D), normalized coordinates; may lie outside the map.
        sigma: standard deviation in heatmap pixels; a number or a tensor that broadcasts with (...).
        size: (H, W), (D, H, W) or (W,).
        normalize: each axis sums to one; otherwise its value at the mean is one.
    Returns:
        (..., n) for each axis, x (the last axis of the size) first.
    Example:
        >>> log_gaussian_axes(torch.tensor([50.0]), sigma=1.0, size=(2,))
        [tensor([-50.,   0.])]
    """
    width = sigma.to(mean.dtype)[..., None] if isinstance(sigma, Tensor) else sigma
    terms = []
    for axis, n in enumerate(reversed(size)):
        cells = axis_centres(n, dtype=mean.dtype, device=mean.device)
        centre = mean[..., axis, None].clamp(-_FARTHEST, _FARTHEST)
        # (cell - mean)^2 is measured from the map's point nearest to the mean: far out, a plain square would
        # round all differences between cells away.
        nearest = centre.detach().clamp(1 / n - 1, 1 - 1 / n)
        offset = (cells - nearest) * (n / 2) / width
        beyond = (nearest - centre) * (n / 2) / width
        term = -0.5 * offset * (offset + 2 * beyond)
        terms.append(torch.log_softmax(term, dim=-1) if normalize else term - 0.5 * beyond**2)
    return terms
