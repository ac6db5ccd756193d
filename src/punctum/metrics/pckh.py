"""PCKh as the MPII benchmark measures it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from punctum.metrics.pck import pck, pck_auc
from punctum.metrics.pooling import check_thresholds
from punctum.metrics.stateful import PointMetric

LEFT_OUT = ("pelvis", "thorax")
"""Joints that the benchmark does not count."""

GROUPS = {
    "head": ("upper_neck", "head_top"),
    **{
        joint: (f"right_{joint}", f"left_{joint}") for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    },
}
"""The columns of the benchmark's table."""

PCKH_THRESHOLDS = (0.5, 0.1)


class PCKhResult(NamedTuple):
    """What `pckh` returns, as shares in [0, 1]; NaN where there is no point.

    Args:
        total: (T,), pooled over the points of all joints that count.
        per_keypoint: (T, K), NaN for the joints that do not count.
        groups: (T,) by name, for the pairs of joints that are there.
        auc: (), area under the curve of the total from 0 to the largest threshold, over that threshold.
        auc_per_keypoint: (K,).
        auc_groups: () by name.
    """

    total: Tensor
    per_keypoint: Tensor
    groups: dict[str, Tensor]
    auc: Tensor
    auc_per_keypoint: Tensor
    auc_groups: dict[str, Tensor]


def pckh(
    distances: Tensor,
    lengths: Tensor,
    names: Sequence[str],
    thresholds: Sequence[float] = PCKH_THRESHOLDS,
    max_threshold: float = 0.5,
) -> PCKhResult:
    """Percentage of correct keypoints with the head as the yardstick, as a share in [0, 1].

        PCKh(t) = share of points with d / (0.6 x diagonal of the head box) <= t

    Pelvis and thorax do not count. The total is pooled over points; a group, such as the two wrists, is the mean of
    its two joints' shares, as in the benchmark's table. The area is exact; the benchmark's own joins PCKh at 0, 0.01,
    ..., 0.5 by straight lines, which comes to the same within 0.01 %. HRNet's code differs in two names: what it
    prints as "@0.1" is PCKh at 0.11, and its "Head" is head_top alone.

    Args:
        distances: (N, K) in pixels, NaN where a point does not count.
        lengths: (N,) in pixels: 0.6 times the diagonal of the head box; NaN leaves the instance out.
        names: of the K keypoints, as MPII's readers give them; "pelvis" and "thorax" are left out by name.
        thresholds: T positive numbers, in lengths.
        max_threshold: where the area ends, in lengths.
    Returns:
        PCKhResult.
    Raises:
        ValueError: shapes do not fit; a length is zero or negative; a threshold is not positive.
    Source:
        Andriluka et al. 2014, CVPR, and its evaluation code (0.6, the joints, the pooling).
    Example:
        >>> errors = torch.tensor([[4.0, 30.0, 2.0], [6.0, 30.0, 0.0]])
        >>> result = pckh(errors, torch.tensor([10.0, 10.0]), ["right_wrist", "pelvis", "left_wrist"])
        >>> result.total, result.groups["wrist"]
        (tensor([0.7500, 0.2500]), tensor([0.7500, 0.2500]))
    """
    if len(names) != distances.shape[-1]:
        raise ValueError(f"{len(names)} names for {distances.shape[-1]} keypoints")
    skipped = torch.tensor([name in LEFT_OUT for name in names], device=distances.device)
    counted = distances.masked_fill(skipped, torch.nan)
    shares = pck(counted, lengths, thresholds)
    area = pck_auc(counted, lengths, max_threshold)
    position = {name: k for k, name in enumerate(names)}
    pairs = {group: [position[j] for j in joints] for group, joints in GROUPS.items() if {*joints} <= {*names}}
    return PCKhResult(
        total=shares.total,
        per_keypoint=shares.per_keypoint,
        groups={group: shares.per_keypoint[:, pair].mean(1) for group, pair in pairs.items()},
        auc=area.total,
        auc_per_keypoint=area.per_keypoint,
        auc_groups={group: area.per_keypoint[pair].mean() for group, pair in pairs.items()},
    )


class PCKh(PointMetric):
    """`pckh` over batches: compute() returns what `pckh` returns on all of them together.

    Args:
        names: of the K keypoints.
        thresholds: T positive numbers, in lengths.
        max_threshold: where the area ends, in lengths.
    """

    higher_is_better = True

    def __init__(
        self,
        names: Sequence[str],
        thresholds: Sequence[float] = PCKH_THRESHOLDS,
        max_threshold: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.names = tuple(names)
        self.thresholds = check_thresholds(thresholds)
        (self.max_threshold,) = check_thresholds([max_threshold])

    def update(self, preds: Tensor, target: Tensor, visible: Tensor, lengths: Tensor) -> None:
        """Add a batch; arguments as for `distances`, and lengths (N,): 0.6 times the diagonal of the head box."""
        self.add(preds, target, visible, lengths=lengths)

    def compute(self) -> PCKhResult:
        """`pckh` of everything added since the last reset."""
        return pckh(self.distances(), self.lengths(), self.names, self.thresholds, self.max_threshold)
