"""How a heatmap that is a probability is read off: by its mean, or by the mean around its peak."""

from typing import Literal

import torch
from torch import Tensor

from punctum import ops

Decoder = Literal["mean", "local"]

# Cells on either side of the peak: a point's own weights, and a little scatter.
RADIUS = 2


def read_off(heatmaps: Tensor, decoder: Decoder) -> Tensor:
    """Coordinates of heatmaps that sum to one.

        mean    mu = sum_i p_i x_i over all cells: what most of these heads are trained by
        local   the same over the 5 cells per axis around the peak: of two candidates it takes the higher one, where
                the mean lies between them

    Args:
        heatmaps: (B, K, *S), non-negative, summing to one over S.
        decoder: which of them.
    Returns:
        (B, K, D) normalized; at least float32.
    Example:
        >>> heatmaps = torch.tensor([[[0.0, 0.6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.4]]])
        >>> read_off(heatmaps, "mean"), read_off(heatmaps, "local")
        (tensor([[[-0.0250]]]), tensor([[[-0.6250]]]))
    """
    if decoder == "mean":
        return ops.dsnt(heatmaps)
    heatmaps = ops.as_float(heatmaps)
    return ops.local_soft_argmax(heatmaps.clamp_min(torch.finfo(heatmaps.dtype).tiny).log(), RADIUS)
