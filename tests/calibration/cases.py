"""Predictions whose errors follow a known law, with heatmaps or without, in one to three dimensions."""

import numpy as np
import torch

from punctum.calibration import MapSet
from punctum.heads import Prediction
from punctum.ops import normalize, normalized_grid

SIZES = {1: (16,), 2: (8, 10), 3: (5, 6, 7)}


def to_image_matrices(rng, n, dims):
    """Crops of different sizes and places, turned about where there is something to turn."""
    matrices = np.tile(np.eye(dims + 1), (n, 1, 1))
    angle = rng.uniform(-0.5, 0.5, n)
    if dims > 1:
        matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle)
        matrices[:, 0, 1], matrices[:, 1, 0] = -np.sin(angle), np.sin(angle)
    matrices[:, :dims, :dims] *= rng.uniform(40, 120, n)[:, None, None]
    matrices[:, :dims, dims] = rng.uniform(50, 400, (n, dims))
    return matrices


def maps(
    n=150, keypoints=3, dims=2, seed=0, *, heatmap=True, covariance=True, per_image=1, hidden=0.0, shared=0.5,
    dtype=torch.float32,
):  # fmt: skip
    """N instances whose errors grow with an uncertainty that the head knows, and that an image's points share.

    Errors are sd (sqrt(shared) of the image, the rest of the point) times a heavy-tailed draw, sd from 0.3 to
    about 3 cells; the heatmap is a Gaussian of that sd about the prediction, its covariance alike.
    """
    rng = np.random.default_rng(seed)
    size = SIZES[dims]
    cells = np.array(size[::-1])
    sd = 0.7 * np.exp(0.4 * (np.sqrt(shared) * rng.normal(size=(n, 1)) + rng.normal(size=(n, keypoints)) / 2))
    coords = rng.uniform(-0.4, 0.4, (n, keypoints, dims))
    draws = (
        rng.standard_t(5, (n, keypoints, dims)) * np.sqrt(1 - shared) + rng.normal(size=(n, 1, dims)) * shared**0.5
    )
    truth = coords + draws * sd[..., None] * (2 / cells)
    matrices = to_image_matrices(rng, n, dims)
    pixels = np.einsum("nij,nkj->nki", matrices[:, :dims, :dims], truth) + matrices[:, None, :dims, dims]
    images = np.repeat(np.arange(n), per_image)[:n]
    visible = rng.uniform(size=(n, keypoints)) >= hidden
    pixels[~visible] = np.nan

    def tensor(a):
        return torch.from_numpy(a).to(dtype)

    own = (sd[..., None, None] ** 2) * np.diag((2 / cells) ** 2.0)
    grid = normalized_grid(size).flatten(0, -2).numpy()
    square = (((grid - coords[:, :, None]) / (2 / cells)) ** 2).sum(-1) / sd[..., None] ** 2
    prediction = Prediction(
        tensor(coords),
        tensor(1 / (1 + sd)),
        tensor(own) if covariance else None,
        normalize(tensor(-square / 2).reshape(n, keypoints, *size)) if heatmap else None,
    )
    return MapSet(
        prediction,
        torch.from_numpy(matrices),
        torch.from_numpy(pixels),
        torch.from_numpy(visible),
        torch.from_numpy(images),
        torch.from_numpy(2 * np.abs(matrices[:, 0, :dims]).max(-1)),
    )
