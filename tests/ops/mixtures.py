"""Mixtures to test with, and their density by SciPy."""

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from punctum import ops

GROUPS = {"cells": 5, "centre": 1, "background": 2}


def random_mixture(
    dims: int, groups: dict[str, int] = GROUPS, lead: tuple[int, int] = (2, 3), seed: int = 0, apart: float = 1.0
) -> ops.GaussianMixture:
    """Weights, places and covariances of all sorts, float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*lead, *shape, generator=generator, dtype=torch.float64)

    count = sum(groups.values())
    root = normal(len(groups), dims, dims)
    covariances = root @ root.mT + 0.1 * torch.eye(dims, dtype=torch.float64)
    return ops.GaussianMixture(normal(count).log_softmax(-1), apart * normal(count, dims), covariances, groups)


def two_gaussians(distance: float, share: float = 0.6, spread: float = 1.0, dims: int = 2) -> ops.GaussianMixture:
    """Two equal round Gaussians on the first axis, a distance apart."""
    means = torch.zeros(1, 1, 2, dims, dtype=torch.float64)
    means[0, 0, 1, 0] = distance
    weights = torch.tensor([[[share, 1 - share]]], dtype=torch.float64)
    covariances = spread**2 * torch.eye(dims, dtype=torch.float64).expand(1, 1, 1, dims, dims)
    return ops.GaussianMixture(weights.log(), means, covariances, {"cells": 2})


def scipy_density(mixture: ops.GaussianMixture, b: int, k: int, points: Tensor) -> np.ndarray:
    """Of points (..., D), component by component."""
    weights, means, covariances = (x[b, k].numpy() for x in (mixture.log_weights, mixture.means, mixture.covariances))
    group = [g for g, count in enumerate(mixture.groups.values()) for _ in range(count)]
    total = np.zeros(points.shape[:-1])
    for w, m, g in zip(np.exp(weights), means, group, strict=True):
        total += w * stats.multivariate_normal(m, covariances[g]).pdf(points.numpy())
    return total


def grid(reach: float, n: int, dims: int = 2) -> tuple[Tensor, float]:
    """The centres (n^D, D) of a grid over [-reach, reach]^D, and the volume of a cell; float64."""
    axis = (torch.arange(n, dtype=torch.float64) + 0.5) * (2 * reach / n) - reach
    return torch.stack(torch.meshgrid(*[axis] * dims, indexing="ij"), -1).reshape(-1, dims), (2 * reach / n) ** dims


def some(seed: int, *shape: int) -> Tensor:
    """Normal numbers, float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
