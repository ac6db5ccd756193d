"""Expected OKS: the map says where the point may be, and the coordinate is the place that scores best on average."""

import math
from collections.abc import Sequence
from typing import Literal, final, get_args

import torch
from torch import Tensor

from punctum import ops
from punctum.heads.base import Head, Prediction, Target, conv1x1
from punctum.registry import check_choice, check_positive

Loss = Literal["log", "expected"]

_ASCENTS = 12  # steps uphill from the best cell, of which each leaves a part s^2 / (s^2 + l^2) of the way


@final
class OKS(Head):
    """A softmax map trained by the object keypoint similarity (OKS) of a draw from it with the truth.

        OKS_i = exp(-d_i^2 / (2 s^2 k^2)),     k = 2 sigma
        loss  = -log sum_i p_i OKS_i           ("log"), or
        loss  = sum_i p_i (1 - OKS_i)          ("expected", the paper's)

    d_i is the distance of cell i from the truth and s the object's size (the root of its area), both in units of the
    crop's size, the root of its area; heatmap cells count as square. So 2 sigma s is the distance, as a part of the
    crop, at which the OKS has fallen to 0.61.

    "expected" is linear in p: it is best at a single cell, whatever the truths' scatter, and its gradient
    p_i (E[OKS] - OKS_i) vanishes where the map holds no mass near the truth. "log" divides that gradient by E[OKS]:
    a wrong map is pulled as strongly as a right one, and it is a likelihood, with p the mixing weights of Gaussians
    of width s k, so that scatter wider than them shows in p.

    Args:
        in_channels: channels C of the features.
        num_keypoints: K.
        size: spatial size S of the features; other sizes work too.
        loss: the logarithm of the expected OKS, or that itself.
        scale: size s of the object relative to the crop. People in COCO, in a crop of 1.25 times their box, cover
            about a third of it: 0.6.
        sigma: of every keypoint, as COCO counts: the scatter of annotators relative to the object's size. The mean
            of COCO's 17 is 0.067.
        sigmas: one for each keypoint, instead of `sigma`.
    Raises:
        ValueError: an option's value is none of its choices, or out of range; not as many sigmas as keypoints.
    Source:
        Purkrabek and Matas 2025, arXiv:2412.02254 ("expected", and decoding by expected OKS).
    Example:
        >>> head = OKS(8, 3, (7, 7), sigmas=[0.026, 0.025, 0.079])
        >>> head.decode(head(torch.randn(2, 8, 7, 7))).coords.shape
        torch.Size([2, 3, 2])
    """

    name = "oks"

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        size: Sequence[int],
        *,
        loss: Loss = "log",
        scale: float = 0.6,
        sigma: float = 0.067,
        sigmas: list[float] | None = None,
    ) -> None:
        super().__init__()
        check_choice("loss", loss, get_args(Loss))
        check_positive("scale", scale)
        check_positive("sigma", sigma)
        each = [sigma] * num_keypoints if sigmas is None else list(sigmas)
        if len(each) != num_keypoints:
            raise ValueError(f"sigmas must be one for each of the {num_keypoints} keypoints, got {len(each)}")
        for i, value in enumerate(each):
            check_positive(f"sigmas[{i}]", value)
        self.loss = loss
        self.reach: Tensor
        self.register_buffer("reach", 2 * scale * torch.tensor(each), persistent=False)
        self.conv = conv1x1(in_channels, num_keypoints, len(size), bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K, *S)."""
        return self.logits(features)

    def logits(self, features: Tensor) -> Tensor:
        """Logits (B, K, *S)."""
        return self.conv(features)

    def losses(self, output: Tensor, target: Target) -> dict[str, Tensor]:
        """The loss, "oks"."""
        logits = ops.as_float(output)
        size = ops.spatial_size(logits)
        log_oks = ops.log_gaussian(target.coords, self._length(size), size, normalize=False).flatten(2)
        if self.loss == "expected":
            return {"oks": (ops.normalize(logits).flatten(2) * -torch.expm1(log_oks)).sum(-1)}
        return {"oks": -torch.logsumexp(torch.log_softmax(logits.flatten(2), -1) + log_oks, -1)}

    def decode(self, output: Tensor) -> Prediction:
        """The place of the largest expected OKS, that OKS as score, and the covariance of the map.

            E(x) = sum_i p_i exp(-|i - x|^2 / (2 l^2)),     l = s k in heatmap cells

        From the best cell it climbs to the maximum between cells by mean shift, x <- E_w[i] with w_i ~ p_i OKS(i, x),
        which never goes downhill.
        """
        heatmaps = ops.normalize(ops.as_float(output))
        size = ops.spatial_size(heatmaps)
        length = self._length(size)
        coords = ops.argmax(ops.expected_oks(heatmaps, length))
        for _ in range(_ASCENTS):
            coords = ops.dsnt(_divided(heatmaps * ops.render_gaussian(coords, length, size, normalize=False)))
        closeness = ops.render_gaussian(coords, length, size, normalize=False)
        score = (heatmaps * closeness).flatten(2).sum(-1).clamp(0, 1)
        return Prediction(coords, score, ops.covariance(heatmaps, ops.dsnt(heatmaps)), heatmaps)

    def _length(self, size: tuple[int, ...]) -> Tensor:
        """s k of each keypoint in heatmap cells, (K,)."""
        return self.reach * math.prod(size) ** (1 / len(size))


def _divided(values: Tensor) -> Tensor:
    return values / values.flatten(2).sum(-1).reshape(*values.shape[:2], *([1] * (values.ndim - 2)))
