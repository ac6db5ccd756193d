"""The flip test: a picture and its mirror image, predicted as one."""

from collections.abc import Sequence

import torch

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
        Coordinates, mean score, and covariance where both have one; no heatmap.
    Example:
        >>> left, right = torch.tensor([[[-0.5, 0.0], [0.25, 0.0]]]), torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]])
        >>> mean = mirrored_mean(Prediction(left, torch.ones(1, 2)), Prediction(right, torch.zeros(1, 2)), [1, 0])
        >>> mean.coords.tolist(), mean.score.tolist()
        ([[[-0.5, 0.0], [0.375, 0.0]]], [[0.5, 0.5]])
    """
    order = list(flip_order)
    dims = prediction.coords.shape[-1]
    mirror = torch.diag(prediction.coords.new_tensor([-1.0] + [1.0] * dims))
    coords = transform_points(mirrored.coords[:, order], mirror)
    covariance = None
    if prediction.covariance is not None and mirrored.covariance is not None:
        within = (prediction.covariance + transform_covariance(mirrored.covariance[:, order], mirror)) / 2
        half = (prediction.coords - coords) / 2
        covariance = within + half[..., :, None] * half[..., None, :]
    return Prediction(
        coords=(prediction.coords + coords) / 2,
        score=(prediction.score + mirrored.score[:, order]) / 2,
        covariance=covariance,
    )
