"""NME: the normalized mean error of each instance, and how many instances fail by it."""

from typing import Any, NamedTuple

from torch import Tensor

from punctum.metrics.normalizer import normalized_distances
from punctum.metrics.pck import under_curve
from punctum.metrics.pooling import check_thresholds, within
from punctum.metrics.stateful import PointMetric


class NMEResult(NamedTuple):
    """What `nme` returns; NaN where there is no point.

    Args:
        total: (), mean over instances.
        per_keypoint: (K,), mean of d / length over the points of each keypoint.
        per_instance: (N,), NaN for an instance without a point or without a length.
        failure_rate: (), share of instances whose error is above the failure threshold.
        auc: (), area under the curve of the share of instances below t, from 0 to the failure threshold, over it.
    """

    total: Tensor
    per_keypoint: Tensor
    per_instance: Tensor
    failure_rate: Tensor
    auc: Tensor


def nme(distances: Tensor, lengths: Tensor, failure_threshold: float = 0.1) -> NMEResult:
    """Normalized mean error: first over the points of an instance, then over instances.

        NME = 1/N sum_n 1/|V_n| sum_(k in V_n) d[n, k] / length[n]

    So an instance weighs the same however many of its points are visible; PCK, in contrast, pools points.

    Args:
        distances: (N, K) in pixels, NaN where a point does not count.
        lengths: (N,) in pixels, from a `Normalizer`; NaN leaves the instance out.
        failure_threshold: an instance above it has failed; in lengths.
    Returns:
        NMEResult, as shares (0.04 is 4 %); with lengths of 1, in pixels.
    Raises:
        ValueError: shapes do not fit; a length is zero or negative; the threshold is not positive.
    Source:
        Sagonas et al. 2013 (300-W) for the mean and the curve; failures above 10 % as in Wu et al. 2018 (WFLW).
    Example:
        >>> import torch
        >>> result = nme(torch.tensor([[1.0, 3.0], [6.0, torch.nan]]), torch.tensor([40.0, 40.0]))
        >>> result.per_instance, result.total, result.failure_rate
        (tensor([0.0500, 0.1500]), tensor(0.1000), tensor(0.5000))
    """
    (failure_threshold,) = check_thresholds([failure_threshold])
    values = normalized_distances(distances, lengths)
    per_instance = values.nanmean(1)
    return NMEResult(
        total=per_instance.nanmean(),
        per_keypoint=values.nanmean(0),
        per_instance=per_instance,
        failure_rate=1 - within(per_instance, failure_threshold).nanmean(),
        auc=under_curve(per_instance, failure_threshold).nanmean(),
    )


class NME(PointMetric):
    """`nme` over batches: compute() returns what `nme` returns on all of them together.

    Args:
        failure_threshold: an instance above it has failed; in lengths.
    """

    higher_is_better = False

    def __init__(self, failure_threshold: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        (self.failure_threshold,) = check_thresholds([failure_threshold])

    def update(self, preds: Tensor, target: Tensor, visible: Tensor, lengths: Tensor) -> None:
        """Add a batch; arguments as for `distances`, and lengths (N,) from a `Normalizer`."""
        self.add(preds, target, visible, lengths=lengths)

    def compute(self) -> NMEResult:
        """`nme` of everything added since the last reset."""
        return nme(self.distances(), self.lengths(), self.failure_threshold)
