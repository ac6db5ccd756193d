"""Mixtures of Gaussians: their densities are SciPy's, and what is said to be exact is."""

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from punctum import ops


def draw_mixture(
    dims: int, groups: dict[str, int], lead: tuple[int, int] = (2, 3), seed: int = 0
) -> ops.GaussianMixture:
    generator = torch.Generator().manual_seed(seed)
    count = sum(groups.values())
    root = torch.randn(*lead, len(groups), dims, dims, generator=generator, dtype=torch.float64)
    return ops.GaussianMixture(
        torch.randn(*lead, count, generator=generator, dtype=torch.float64).log_softmax(-1),
        torch.randn(*lead, count, dims, generator=generator, dtype=torch.float64),
        root @ root.mT + 0.1 * torch.eye(dims, dtype=torch.float64),
        groups,
    )


def density(mixture: ops.GaussianMixture, b: int, k: int, points: Tensor) -> np.ndarray:
    """SciPy's, component by component."""
    weights, means, covariances = (x[b, k].numpy() for x in (mixture.log_weights, mixture.means, mixture.covariances))
    group = [g for g, count in enumerate(mixture.groups.values()) for _ in range(count)]
    return sum(
        np.exp(w) * stats.multivariate_normal(m, covariances[g]).pdf(points.numpy())
        for w, m, g in zip(weights, means, group, strict=True)
    )


def test_density_is_scipys() -> None:
    for dims in (1, 2, 3):
        mixture = draw_mixture(dims, {"cells": 4, "centre": 1, "background": 2})
        points = torch.randn(2, 3, 7, dims, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        found = mixture.log_prob(points).exp().numpy()
        for b in range(2):
            for k in range(3):
                np.testing.assert_allclose(found[b, k], density(mixture, b, k, points[b, k]), rtol=1e-10)
        torch.testing.assert_close(mixture.log_prob(points[:, :, 0]), mixture.log_prob(points)[..., 0])
