"""The flip test: a picture and its mirror image, predicted as one."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from punctum.heads import Prediction
from punctum.ops import transform_covariance, transform_points


def mirrored_mean(prediction: Prediction, mirrored: Prediction, flip_order: Sequence[int]) -> Prediction:
    """The flip test: a prediction averaged with that of the mirrored picture, as one mixture of the two.

        mu = (mu_1 + M mu_2) / 2,     S = (S_1 + M S_2 M) / 2 + (mu_1 - M mu_2) (mu_1 - M mu_2)^T / 4

    with M = diag(-1, 1, ...) in normalized coordinates, where left and right points trade places. For a head that
    reads off the mean of its heatmap this is the mean and covariance of the two heatmaps' average, and it is
    defined for heads without a heatmap as well. A head that reads off a peak gets the mean of its two peaks.

    Args:
        prediction: of the picture, (B, K, D) coordinates.
        mirrored: of its mirror image.
        flip_order: the keypoint that stands at each place of the mirror image.
    Returns:
        Coordinates and mean score; covariance, heatmap and probability of being present where both have them.
    Example:
        >>> left, right = torch.tensor([[[-0.5, 0.0], [0.25, 0.0]]]), torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]])
        >>> mean = mirrored_mean(Prediction(left, torch.ones(1, 2)), Prediction(right, torch.zeros(1, 2)), [1, 0])
        >>> mean.coords.tolist(), mean.score.tolist()
        ([[[-0.5, 0.0], [0.375, 0.0]]], [[0.5, 0.5]])
    """
    other = _moved_back(mirrored, list(flip_order))
    covariance = _mean(prediction.covariance, other.covariance)
    if covariance is not None:
        half = (prediction.coords - other.coords) / 2
        covariance = covariance + half[..., :, None] * half[..., None, :]
    return Prediction(
        coords=(prediction.coords + other.coords) / 2,
        score=(prediction.score + other.score) / 2,
        covariance=covariance,
        heatmap=_mean(prediction.heatmap, other.heatmap),
        present=_mean(prediction.present, other.present),
    )


def _moved_back(mirrored: Prediction, order: list[int]) -> Prediction:
    """What was found in the mirror image, where it lies in the picture."""
    found = mirrored.map(lambda t: t[:, order])
    mirror = torch.diag(found.coords.new_tensor([-1.0] + [1.0] * found.coords.shape[-1]))
    return replace(
        found,
        coords=transform_points(found.coords, mirror),
        covariance=None if found.covariance is None else transform_covariance(found.covariance, mirror),
        # Cells lie symmetrically from edge to edge: mirrored, they fall on each other.
        heatmap=None if found.heatmap is None else found.heatmap.flip(-1),
    )


def _mean(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else (first + second) / 2
