"""PCK: the share of correct keypoints, and the area under its curve."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from punctum.metrics.normalizer import normalized_distances
from punctum.metrics.pooling import Result, check_thresholds, pooled_mean, pooled_share
from punctum.metrics.stateful import PointMetric


def pck(distances: Tensor, lengths: Tensor, thresholds: Sequence[float]) -> Result:
    """Percentage of correct keypoints, as a share in [0, 1], pooled over all points that count.

        PCK(t) = share of points with d / length <= t

    Args:
        distances: (N, K) in pixels, NaN where a point does not count.
        lengths: (N,) in pixels, from a `Normalizer`; NaN leaves the instance out.
        thresholds: T positive numbers, in lengths.
    Returns:
        Result of (T,) and (T, K), in [0, 1]; NaN where there is no point.
    Raises:
        ValueError: shapes do not fit; a length is zero or negative; no thresholds, or one that is not positive.
    Source:
        Yang and Ramanan 2013, TPAMI 35(12); Andriluka et al. 2014 (PCKh) for pooling over points.
    Example:
        >>> result = pck(torch.tensor([[1.0, 2.0], [3.0, torch.nan]]), torch.tensor([10.0, 10.0]), [0.1, 0.2])
        >>> result.total
        tensor([0.3333, 0.6667])
        >>> result.per_keypoint
        tensor([[0.5000, 0.0000],
                [0.5000, 1.0000]])
    """
    return pooled_share(normalized_distances(distances, lengths), thresholds)


def pck_auc(distances: Tensor, lengths: Tensor, max_threshold: float) -> Result:
    """Area under the PCK curve from 0 to the largest threshold, over that threshold: exact, without a grid.

        1/T int_0^T PCK(t) dt = mean over points of max(0, 1 - d / (T length))

    Args:
        distances: (N, K) in pixels, NaN where a point does not count.
        lengths: (N,) in pixels; NaN leaves the instance out.
        max_threshold: T, in lengths.
    Returns:
        Result of a scalar and (K,), in [0, 1]; NaN where there is no point.
    Raises:
        ValueError: shapes do not fit; a length is zero or negative; the threshold is not positive.
    Example:
        >>> pck_auc(torch.tensor([[1.0], [2.0]]), torch.tensor([10.0, 10.0]), 0.2).total
        tensor(0.2500)
    """
    return pooled_mean(under_curve(normalized_distances(distances, lengths), max_threshold))


def under_curve(values: Tensor, max_threshold: float) -> Tensor:
    """Each value's part of the area under the curve of the shares: max(0, 1 - value / T); NaN stays NaN.

    Example:
        >>> under_curve(torch.tensor([0.0, 0.5, 3.0, torch.nan]), 2.0)
        tensor([1.0000, 0.7500, 0.0000,    nan])
    """
    (limit,) = check_thresholds([max_threshold])
    return torch.clamp(1 - values / limit, min=0)


class PCK(PointMetric):
    """`pck` over batches: compute() returns what `pck` returns on all of them together.

    Args:
        thresholds: T positive numbers, in lengths.
    Example:
        >>> metric = PCK([0.1, 0.5])
        >>> preds, visible = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[True]])
        >>> metric.update(preds, torch.zeros(1, 1, 2), visible, lengths=torch.tensor([10.0]))
        >>> metric.compute().total
        tensor([0., 1.], dtype=torch.float64)
    """

    higher_is_better = True

    def __init__(self, thresholds: Sequence[float] = (0.05, 0.1, 0.2, 0.5), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.thresholds = check_thresholds(thresholds)

    def update(self, preds: Tensor, target: Tensor, visible: Tensor, lengths: Tensor) -> None:
        """Add a batch; arguments as for `distances`, and lengths (N,) from a `Normalizer`."""
        self.add(preds, target, visible, lengths=lengths)

    def compute(self) -> Result:
        """`pck` of everything added since the last reset."""
        return pck(self.distances(), self.lengths(), self.thresholds)


class PCKAUC(PointMetric):
    """`pck_auc` over batches: compute() returns what `pck_auc` returns on all of them together.

    Args:
        max_threshold: where the curve ends, in lengths.
    """

    higher_is_better = True

    def __init__(self, max_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        (self.max_threshold,) = check_thresholds([max_threshold])

    def update(self, preds: Tensor, target: Tensor, visible: Tensor, lengths: Tensor) -> None:
        """Add a batch; arguments as for `distances`, and lengths (N,) from a `Normalizer`."""
        self.add(preds, target, visible, lengths=lengths)

    def compute(self) -> Result:
        """`pck_auc` of everything added since the last reset."""
        return pck_auc(self.distances(), self.lengths(), self.max_threshold)
