"""Whether predictions are drawn towards the middle of the map, and how far from its border that reaches."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from punctum.metrics.bootstrap import mean_interval

EDGES = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
"""Distances to the border, in cells, at which bins begin: finer where the pull is expected."""

Given = Literal["truth", "prediction"]


@dataclass(frozen=True)
class BorderBin:
    """Coordinates between two distances to the border.

    Args:
        low: distance in cells at which the bin begins.
        high: at which it ends.
        n: coordinates in it; a point has one per axis.
        pull: mean error towards the middle, in cells; negative is outwards.
        interval_95: of that mean, over images; None with fewer than two of them.
    """

    low: float
    high: float
    n: int
    pull: float
    interval_95: tuple[float, float] | None


def border_bias(
    predicted: Tensor,
    truth: Tensor,
    size: Sequence[int],
    image_ids: Tensor,
    *,
    given: Given = "truth",
    edges: Sequence[float] = EDGES,
    seed: int = 0,
) -> list[BorderBin]:
    """Mean error towards the map's middle, as a function of the distance to its border.

        pull = (x' - x) sign(middle - x),     distance = min(x + 1/2, n - 1/2 - x),     on each axis, in cells

    A mean over a softmax that never is zero is drawn towards the middle; so is whatever is trained against a Gaussian
    that the border cuts off. But so is every honest guess: who is not sure of a point at the border has only one side
    to err to. Asked by the prediction's place instead (`given`), the honest mean of what may be has no pull, and what
    is left is a bias of the decoder or of the training.

    Args:
        predicted: (N, K, D), in cells; 0 is the centre of the first one.
        truth: (N, K, D), in cells; NaN where it does not count.
        size: (H, W) or (D, H, W) of the heatmap.
        image_ids: (N,) integers; intervals resample images.
        given: bin by the distance of the truth, or of the prediction.
        edges: distances at which bins begin, rising from 0; those beyond the map's middle are left out.
        seed: of the bootstrap.
    Returns:
        The bins that hold something, from the border inwards.
    Raises:
        ValueError: shapes do not fit; another word than truth or prediction.
    Example:
        >>> truth = torch.tensor([[[0.0]], [[7.0]], [[3.0]]])
        >>> [(b.low, b.n, b.pull) for b in border_bias(truth.clamp(1, 6), truth, (8,), torch.arange(3))]
        [(0.0, 2, 1.0), (3.0, 1, 0.0)]
    """
    if given not in get_args(Given):
        raise ValueError(f"given must be {' or '.join(get_args(Given))}, got {given!r}")
    if predicted.shape != truth.shape or truth.ndim != 3 or truth.shape[-1] != len(size):
        raise ValueError(
            f"predicted and truth must both be (N, K, {len(size)}), "
            f"got {tuple(predicted.shape)} and {tuple(truth.shape)}"
        )
    extent = torch.tensor(list(size)[::-1], dtype=torch.float64)
    middle = (extent - 1) / 2
    truth, predicted = truth.double(), predicted.double()
    place = truth if given == "truth" else predicted
    # At the very middle neither way leads inwards.
    pull = torch.where(truth.isfinite(), (predicted - truth) * (middle - place).sign(), torch.nan)
    distance = extent / 2 - (place - middle).abs()
    pull, distance = pull.flatten(1), distance.flatten(1)
    ends = [edge for edge in edges if edge < extent.max() / 2] + [float(extent.max() / 2)]
    bins = []
    for low, high in pairwise(ends):
        # What lies on the border or beyond it belongs to the first bin, the middle itself to the last.
        held = ((distance >= low) | (low == 0)) & ((distance < high) | (high == ends[-1]))
        values = torch.where(held, pull, torch.nan)
        count = int(values.isfinite().sum())
        if count:
            ends_95 = mean_interval([values], image_ids, seed=seed)[:, 0].tolist()
            interval = None if any(e != e for e in ends_95) else (ends_95[0], ends_95[1])
            bins.append(BorderBin(low, high, count, float(values.nanmean()), interval))
    return bins
