"""What heads say about how far to trust a coordinate, where several say it alike."""

from torch import Tensor

from punctum import ops

CLOSE = 2.0  # standard deviation of closeness, in heatmap pixels


def concentration(heatmaps: Tensor, coords: Tensor) -> Tensor:
    """Expected closeness of a draw from the heatmap to a place: how much of its mass lies there.

        score = sum_i p_i exp(-|i - c|^2 / (2 * 2^2)),     i and c in heatmap pixels

    One for all mass on the place, small for flat and for two-peaked maps whose mean lies between. It is a measure
    of concentration, not a calibrated probability.

    Args:
        heatmaps: (B, K, *S), non-negative, summing to one over S.
        coords: (B, K, D), normalized; usually the heatmaps' own mean.
    Returns:
        (B, K), in [0, 1].
    Example:
        >>> import torch
        >>> heatmaps = torch.tensor([[[0, 0, 1.0, 0, 0], [0.5, 0, 0, 0, 0.5]]])
        >>> [round(value, 3) for value in concentration(heatmaps, ops.dsnt(heatmaps))[0].tolist()]
        [1.0, 0.607]
    """
    closeness = ops.render_gaussian(coords, sigma=CLOSE, size=ops.spatial_size(heatmaps), normalize=False)
    return (heatmaps * closeness).flatten(2).sum(-1).clamp(0, 1)
