"""Mean and spread of a heatmap: DSNT, soft-argmax, covariance."""

import torch
from torch import Tensor

from punctum.ops import kernels
from punctum.ops.coords import as_float, axis_centres, spatial_size
from punctum.ops.normalize import check_heatmaps, normalize


def marginals(heatmaps: Tensor) -> list[Tensor]:
    """A heatmap's sums along every other axis, in the order of coordinates: x first.

    Args:
        heatmaps: (B, K, *S).
    Returns:
        One (B, K, n) per axis: x (the last axis of S) first. At least float32.
    Example:
        >>> marginals(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
        [tensor([[[4., 6.]]]), tensor([[[3., 7.]]])]
    """
    axes = range(2, 2 + len(spatial_size(heatmaps)))
    values = as_float(heatmaps)
    others = ([a for a in axes if a != kept] for kept in reversed(axes))
    return [values.sum(dim=other) if other else values for other in others]


def dsnt(heatmaps: Tensor, *, validate: bool = False) -> Tensor:
    """Expected location of each heatmap, in normalized coordinates.

        mu = sum_i heatmap[i] * ((2 i + 1) / n - 1)      per axis

    Args:
        heatmaps: (B, K, *S), non-negative, summing to one over S.
        validate: look at every value, and raise on a heatmap that is no distribution.
    Returns:
        (B, K, D) as (x, y[, z]), within [-1 + 1/n, 1 - 1/n]. At least float32.
    Raises:
        ValueError: there is no spatial axis; with `validate`, a heatmap is negative or does not sum to one.
    Source:
        Nibali et al. 2018, arXiv:1801.07372, Eq. 1.
    Example:
        >>> dsnt(torch.tensor([[[[0.0, 0.1, 0.0], [0.1, 0.6, 0.1], [0.0, 0.1, 0.0]]]]))
        tensor([[[0., 0.]]])
    """
    if validate:
        check_heatmaps(heatmaps)
    sums = marginals(heatmaps)
    centres = [axis_centres(m.shape[-1], dtype=m.dtype, device=m.device) for m in sums]
    return torch.stack([(m * c).sum(-1) for m, c in zip(sums, centres, strict=True)], dim=-1)


def soft_argmax(logits: Tensor, beta: float = 1.0) -> Tensor:
    """DSNT of the softmax: a differentiable stand-in for the position of the largest logit.

    Args:
        logits: (B, K, *S).
        beta: inverse temperature; the larger, the closer to argmax.
    Returns:
        (B, K, D) normalized coordinates. At least float32.
    Raises:
        ValueError: there is no spatial axis.
    Source:
        Luvizon et al. 2017, arXiv:1710.02322; Sun et al. 2018, arXiv:1711.08229.
    Example:
        >>> soft_argmax(torch.tensor([[[0.0, 0.0, 5.0, 0.0]]]))
        tensor([[[0.2434]]])
    """
    kernel = kernels.choose("soft_argmax", logits, beta=beta)
    if kernel is not None:
        return kernel.soft_argmax(logits, beta)
    return dsnt(normalize(as_float(logits), "softmax", beta))


def moments(logits: Tensor, beta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the softmax of the logits.

        mu = sum_i p_i x_i,     Sigma = sum_i p_i (x_i - mu) (x_i - mu)^T,     p = softmax(beta z)

    Args:
        logits: (B, K, *S).
        beta: inverse temperature.
    Returns:
        mean (B, K, D) and covariance (B, K, D, D), in normalized units; at least float32.
    Raises:
        ValueError: there is no spatial axis.
    Source:
        Nibali et al. 2018, arXiv:1801.07372, Eqs. 1 and 4.
    Example:
        >>> mean, covariance = moments(torch.zeros(1, 1, 2, 2))
        >>> mean, covariance
        (tensor([[[0., 0.]]]), tensor([[[[0.2500, 0.0000],
                  [0.0000, 0.2500]]]]))
    """
    kernel = kernels.choose("moments", logits, beta=beta)
    if kernel is not None:
        return kernel.moments(logits, beta)
    heatmaps = normalize(as_float(logits), "softmax", beta)
    mean = dsnt(heatmaps)
    return mean, covariance(heatmaps, mean)


def covariance(heatmaps: Tensor, mean: Tensor) -> Tensor:
    """Covariance of each heatmap about its mean: sum_i p_i (x_i - mu) (x_i - mu)^T.

    Args:
        heatmaps: (B, K, *S), summing to one.
        mean: (B, K, D), from `dsnt`.
    Returns:
        (B, K, D, D), symmetric, in normalized units squared; at least float32.
    Source:
        Nibali et al. 2018, arXiv:1801.07372, Eq. 4.
    Example:
        >>> heatmaps = torch.tensor([[[0.5, 0.0, 0.0, 0.5]]])
        >>> covariance(heatmaps, dsnt(heatmaps))
        tensor([[[[0.5625]]]])
    """
    heatmaps, mean = as_float(heatmaps), as_float(mean)
    dims = len(spatial_size(heatmaps))
    entries = [[_second_moment(heatmaps, mean, i, j) for j in range(i + 1)] for i in range(dims)]
    rows = [torch.stack([entries[max(i, j)][min(i, j)] for j in range(dims)], -1) for i in range(dims)]
    return torch.stack(rows, dim=-2)


def _second_moment(heatmaps: Tensor, mean: Tensor, i: int, j: int) -> Tensor:
    """E[(x_i - mu_i) (x_j - mu_j)] of each heatmap, (B, K)."""
    dims = heatmaps.ndim - 2
    weighted = heatmaps
    for axis in (i, j):
        n = heatmaps.shape[-1 - axis]
        offset = axis_centres(n, dtype=mean.dtype, device=mean.device) - mean[..., axis, None]
        # Coordinate `axis` lies on the tensor's axis -1 - axis.
        shape = [*offset.shape[:2], *([1] * dims)]
        shape[-1 - axis] = n
        weighted = weighted * offset.reshape(shape)
    return weighted.flatten(2).sum(-1)
