"""Distances between predicted and true coordinates, and their average over the points that count."""

import torch
from torch import Tensor

from punctum.ops.coords import as_float


def _difference(coords: Tensor, target: Tensor) -> Tensor:
    if coords.shape != target.shape:
        raise ValueError(f"coords {tuple(coords.shape)} and target {tuple(target.shape)} differ in shape")
    return as_float(coords) - as_float(target)


def euclidean_losses(coords: Tensor, target: Tensor) -> Tensor:
    """Euclidean distance of each point from its target; its gradient at zero distance is zero, not NaN.

    Args:
        coords, target: (B, K, D) in the same units.
    Returns:
        (B, K); at least float32.
    Raises:
        ValueError: the shapes differ.
    Source:
        Nibali et al. 2018, arXiv:1801.07372, Eq. 2.
    Example:
        >>> euclidean_losses(torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 1, 2))
        tensor([[5.]])
    """
    return torch.linalg.vector_norm(_difference(coords, target), dim=-1)


def l1_losses(coords: Tensor, target: Tensor) -> Tensor:
    """Sum over axes of the absolute difference.

    Args:
        coords, target: (B, K, D) in the same units.
    Returns:
        (B, K); at least float32.
    Raises:
        ValueError: the shapes differ.
    Source:
        Sun et al. 2018, arXiv:1711.08229.
    Example:
        >>> l1_losses(torch.tensor([[[3.0, -4.0]]]), torch.zeros(1, 1, 2))
        tensor([[7.]])
    """
    return _difference(coords, target).abs().sum(-1)


def mse_losses(coords: Tensor, target: Tensor) -> Tensor:
    """Sum over axes of the squared difference.

    Args:
        coords, target: (B, K, D) in the same units.
    Returns:
        (B, K); at least float32.
    Raises:
        ValueError: the shapes differ.
    Example:
        >>> mse_losses(torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 1, 2))
        tensor([[25.]])
    """
    return _difference(coords, target).square().sum(-1)


def average_loss(losses: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean loss over the points that count; zero when none does.

    Points left out are selected away, not multiplied by zero, so a NaN among them stays out of the value. To
    keep it out of the *gradient* too, replace the target before computing the loss, as `heads.Target` does.

    Args:
        losses: (B, K).
        mask: (B, K) bool, True where the point counts; None counts all.
    Returns:
        A scalar; at least float32.
    Raises:
        ValueError: the mask is not bool or has another shape.
    Source:
        Nibali et al. 2018, Section 5: averaged over visible points.
    Example:
        >>> average_loss(torch.tensor([[1.0, 3.0, torch.nan]]), torch.tensor([[True, True, False]]))
        tensor(2.)
    """
    losses = as_float(losses)
    if mask is None:
        return losses.sum() / max(losses.numel(), 1)
    if mask.dtype != torch.bool or mask.shape != losses.shape:
        raise ValueError(f"mask must be bool of shape {tuple(losses.shape)}, got {mask.dtype} {tuple(mask.shape)}")
    return torch.where(mask, losses, 0.0).sum() / mask.sum().clamp_min(1)
