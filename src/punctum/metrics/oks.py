"""OKS: how similar two sets of keypoints are, in units of how exactly people can label each of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from punctum.data import Annotations
from punctum.metrics.distance import distances
from punctum.metrics.pooling import Result
from punctum.metrics.stateful import PointMetric
from punctum.schema import Schema

COCO_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
COCO_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062),
    *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)
BOX_SHARE = 0.53
"""Area of an instance over that of its box, where only the box is known: COCO's and CrowdPose's convention."""


def keypoint_similarity(distances: Tensor, areas: Tensor, sigmas: Tensor | Sequence[float]) -> Tensor:
    """Similarity of each keypoint with its truth: 1 at the truth, exp(-1/8) one labelling sigma away.

        ks[n, k] = exp(-d[n, k]^2 / (2 area[n] (2 sigma[k])^2))

    Args:
        distances: (N, K) in pixels, NaN where a point does not count.
        areas: (N,) of the instances, in pixels squared; NaN leaves an instance out.
        sigmas: (K,), labelling spread over the square root of the area.
    Returns:
        (N, K) float64 in [0, 1]; NaN where a point does not count.
    Raises:
        ValueError: shapes do not fit; an area or a sigma is zero or negative, or a sigma is no number.
    Source:
        COCO keypoint evaluation, https://cocodataset.org/#keypoints-eval.
    Example:
        >>> keypoint_similarity(torch.tensor([[0.0, 10.0, torch.nan]]), torch.tensor([100.0]), [0.5, 0.5, 0.5])
        tensor([[1.0000, 0.6065,    nan]], dtype=torch.float64)
    """
    distances = distances.to(torch.float64)
    areas = areas.to(distances)
    scale = torch.as_tensor(sigmas, dtype=torch.float64, device=distances.device)
    if distances.ndim != 2 or areas.shape != distances.shape[:1] or scale.shape != distances.shape[1:]:
        raise ValueError(
            f"distances must be (N, K), areas (N,) and sigmas (K,), got {tuple(distances.shape)}, "
            f"{tuple(areas.shape)} and {tuple(scale.shape)}"
        )
    if not (scale > 0).all() or scale.isinf().any():
        raise ValueError(f"sigmas must be positive, finite numbers, got {scale.tolist()}")
    if (areas <= 0).any() or areas.isinf().any():
        bad = int(((areas <= 0) | areas.isinf()).nonzero()[0])
        raise ValueError(f"areas must be positive, NaN where unknown: instance {bad} has {areas[bad]:g}")
    return torch.exp(-distances.square() / (2 * areas[:, None] * (2 * scale).square()))


def oks(preds: Tensor, target: Tensor, visible: Tensor, areas: Tensor, sigmas: Tensor | Sequence[float]) -> Tensor:
    """Object keypoint similarity of each instance: the mean similarity of its labelled points.

        OKS[n] = 1/|V_n| sum_(k in V_n) exp(-d[n, k]^2 / (2 area[n] (2 sigma[k])^2))

    Args:
        preds: (N, K, D) in original-image pixels.
        target: (N, K, D) in original-image pixels; anything where not visible.
        visible: (N, K) bool: labelled, hidden or not.
        areas: (N,) in pixels squared, from `instance_areas`; NaN leaves an instance out.
        sigmas: (K,), from `sigmas_of` or `estimate_sigmas`.
    Returns:
        (N,) float64 in [0, 1]; NaN for an instance without a labelled point or an area.
    Raises:
        ValueError: what `distances` and `keypoint_similarity` raise.
    Source:
        COCO keypoint evaluation, https://cocodataset.org/#keypoints-eval.
    Example:
        >>> preds, target = torch.tensor([[[10.0, 0.0], [0.0, 0.0]]]), torch.zeros(1, 2, 2)
        >>> oks(preds, target, torch.tensor([[True, True]]), torch.tensor([100.0]), [0.5, 0.5])
        tensor([0.8033], dtype=torch.float64)
    """
    return keypoint_similarity(distances(preds, target, visible), areas, sigmas).nanmean(1)


class OKS(PointMetric):
    """Mean `oks` over batches, and the mean similarity of each keypoint.

    compute() returns a `Result`: its total is the mean over instances, each weighing the same.

    Args:
        sigmas: (K,), labelling spread over the square root of the area.
    Example:
        >>> metric = OKS([0.5, 0.5])
        >>> preds, visible = torch.tensor([[[10.0, 0.0], [0.0, 0.0]]]), torch.ones(1, 2, dtype=torch.bool)
        >>> metric.update(preds, torch.zeros(1, 2, 2), visible, areas=torch.tensor([100.0]))
        >>> metric.compute()
        Result(total=tensor(0.8033, dtype=torch.float64), per_keypoint=tensor([0.6065, 1.0000], dtype=torch.float64))
    """

    higher_is_better = True

    def __init__(self, sigmas: Sequence[float] = COCO_SIGMAS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sigmas = tuple(float(s) for s in sigmas)

    def update(self, preds: Tensor, target: Tensor, visible: Tensor, areas: Tensor) -> None:
        """Add a batch; arguments as for `oks`."""
        keypoint_similarity(torch.zeros_like(visible, dtype=torch.float64), areas, self.sigmas)  # refuses now
        self.add(preds, target, visible, lengths=areas)

    def compute(self) -> Result:
        """Mean OKS, and per keypoint, of everything added since the last reset."""
        similarity = keypoint_similarity(self.distances(), self.lengths(), self.sigmas)
        return Result(similarity.nanmean(1).nanmean(), similarity.nanmean(0))


def instance_areas(annotations: Annotations) -> Tensor:
    """Area of each instance: the file's own, else 0.53 times that of its box.

    COCO's area is that of the segmented person, about half of the box. Without one, 0.53 of the box is what
    CrowdPose and the evaluation tools take.

    Args:
        annotations: N instances.
    Returns:
        (N,) float64 in pixels squared; NaN where there is neither an area nor a box, and for volumes.
    """
    boxes = torch.from_numpy(annotations.boxes)
    if annotations.picture_axes != 2:
        return boxes.new_full((len(boxes),), torch.nan)
    from_box = BOX_SHARE * boxes[:, 2] * boxes[:, 3]
    if annotations.areas is None:
        return from_box
    own = torch.from_numpy(annotations.areas)
    return torch.where(own.isnan(), from_box, own)


def sigmas_of(schema: Schema) -> tuple[float, ...] | None:
    """The schema's sigmas; where it has none but COCO's 17 names, COCO's; else None.

    Example:
        >>> sigmas_of(Schema(COCO_NAMES))[:3], sigmas_of(Schema(("tip",)))
        ((0.026, 0.025, 0.025), None)
    """
    return schema.sigmas or (COCO_SIGMAS if schema.names == COCO_NAMES else None)


class SigmaEstimate(NamedTuple):
    """What `estimate_sigmas` returns.

    Args:
        sigmas: (K,), NaN where no instance has the point labelled twice.
        degrees: (K,) int64, labels beyond the first, summed over instances: how much a sigma rests on. Its relative
            standard error is 1 / sqrt(2 D degrees) for normal errors in D dimensions.
    """

    sigmas: Tensor
    degrees: Tensor


def estimate_sigmas(repeats: Tensor, visible: Tensor, areas: Tensor) -> SigmaEstimate:
    """Per-keypoint OKS sigmas, from instances that several people have labelled.

    COCO defines sigma^2 = E[d^2 / area], d the distance of a label from the true place. The true place is not
    known; the mean of an instance's n labels stands for it, and n - 1 in place of n makes up for that:

        sigma[k]^2 = sum_n sum_r |x[r, n, k] - mean_r x[r, n, k]|^2 / area[n]  /  sum_n (labels[n, k] - 1)

    which is unbiased for sigma^2, whatever the number of labels of each instance. (One annotator taken for the
    truth would give 2 sigma^2, the mean with n in place of n - 1 half of it for two annotators.) d is the whole
    distance, so a single axis spreads by sigma sqrt(area / D). What all annotators get wrong alike is not seen.

    Args:
        repeats: (R, N, K, D), R labellings of N instances in pixels; anything where not visible.
        visible: (R, N, K) bool: labelled by that annotator.
        areas: (N,) in pixels squared; NaN leaves an instance out.
    Returns:
        SigmaEstimate of (K,) and (K,).
    Raises:
        ValueError: shapes do not fit; fewer than two labellings; a labelled point is not finite; an area is not
            positive.
    Source:
        COCO keypoint evaluation, Section 1.3, https://cocodataset.org/#keypoints-eval.
    Example:
        >>> twice = torch.tensor([[[[0.0, 0.0]]], [[[2.0, 0.0]]]])
        >>> estimate_sigmas(twice, torch.ones(2, 1, 1, dtype=torch.bool), torch.tensor([100.0]))
        SigmaEstimate(sigmas=tensor([0.1414], dtype=torch.float64), degrees=tensor([1]))
    """
    if repeats.ndim != 4 or visible.shape != repeats.shape[:3] or areas.shape != repeats.shape[1:2]:
        raise ValueError(
            f"repeats must be (R, N, K, D), visible (R, N, K) and areas (N,), got {tuple(repeats.shape)}, "
            f"{tuple(visible.shape)} and {tuple(areas.shape)}"
        )
    if len(repeats) < 2:
        raise ValueError("sigmas need two or more labellings of the same instances")
    if visible.dtype != torch.bool or not repeats[visible].isfinite().all():
        raise ValueError("visible must be bool, and every visible label finite")
    if (areas <= 0).any():
        raise ValueError("areas must be positive, NaN where unknown")
    counted = visible & areas.isfinite()[:, None]
    places = torch.where(counted[..., None], repeats.to(torch.float64), 0.0)
    labels = counted.sum(0)
    mean = places.sum(0) / labels.clamp_min(1)[..., None]
    deviations = torch.where(counted, (places - mean).square().sum(-1), 0.0).sum(0)
    relative = deviations / torch.where(areas.isfinite(), areas, 1).to(torch.float64)[:, None]
    degrees = (labels - 1).clamp_min(0).sum(0)
    return SigmaEstimate((relative.sum(0) / degrees).sqrt(), degrees)
