"""A density over places: the softmax map is the probability of where the point is, trained as a classifier is."""

from collections.abc import Sequence
from typing import final, get_args

import torch
from torch import Tensor, nn

from punctum import ops
from punctum.heads.base import Head, Prediction, Target, conv1x1
from punctum.heads.decoding import Decoder, read_off
from punctum.heads.scores import concentration
from punctum.registry import check_choice, check_positive


@final
class Density(Head):
    """Cross-entropy of a softmax map against the truth's multilinear weights on its 2^D neighbouring cells.

        loss = KL(w || p) = sum_k w_k (log w_k - log p_k),     p = softmax(z)

    Where truths scatter, the best p is their mean E[w], whose own mean is the mean of the truths: sub-cell, without
    bias, and with the scatter's width in it. (The likelihood of the interpolated density, -log sum_k w_k p_k, looks
    alike but is best at a single cell, half a cell off.) The entropy of w, a constant of the data, is
    taken off, so that the loss can reach zero.

    With `absent`, one more logit per keypoint, from the mean of the features over all places, competes in the same
    softmax: the probability that the point is not in the picture. Points known to be absent train it.

    Args:
        in_channels: channels C of the features.
        num_keypoints: K.
        size: spatial size S of the features; other sizes work too.
        smear: standard deviation of a Gaussian that spreads the weights, in heatmap cells; 0 for none. It keeps the
            mean, also at the border.
        absent: whether there is an 'absent' logit.
        decoder: the coordinate is the heatmap's "mean", or "local", the mean of the cells around its peak, which of
            two candidates takes the higher one. Training is the same.
    Raises:
        ValueError: an option's value is none of its choices, or out of range.
    Example:
        >>> head = Density(8, 3, (7, 7), smear=0.5)
        >>> head.decode(head(torch.randn(2, 8, 7, 7))).coords.shape
        torch.Size([2, 3, 2])
    """

    name = "density"

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        size: Sequence[int],
        *,
        smear: float = 0.0,
        absent: bool = True,
        decoder: Decoder = "mean",
    ) -> None:
        super().__init__()
        check_choice("decoder", decoder, get_args(Decoder))
        check_positive("smear", smear, zero=True)
        self.smear, self.decoder = smear, decoder
        self.conv = conv1x1(in_channels, num_keypoints, len(size), bias=False)
        self.presence = nn.Linear(in_channels, num_keypoints) if absent else None

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Logits (B, K, *S) of the places, and with `absent` the logit of there being none, (B, K)."""
        logits = self.logits(features)
        if self.presence is None:
            return (logits,)
        return logits, self.presence(features.flatten(2).mean(-1))

    def logits(self, features: Tensor) -> Tensor:
        """Logits (B, K, *S)."""
        return self.conv(features)

    def counts(self, target: Target) -> Tensor:
        """The visible points, and with `absent` those known to be absent."""
        if self.presence is None or target.absent is None:
            return target.visible
        return target.visible | target.absent

    def losses(self, output: tuple[Tensor, ...], target: Target) -> dict[str, Tensor]:
        """The divergence, "kl", in nats; of an absent point the surprise at its absence."""
        weights = ops.multilinear_weights(target.coords, ops.spatial_size(output[0]), self.smear)
        weights = weights.to(ops.as_float(output[0]).dtype).flatten(2)
        classes = [ops.as_float(output[0]).flatten(2)]
        if len(output) > 1:
            absent = self.counts(target) & ~target.visible
            weights = torch.where(absent[..., None], 0.0, weights)
            weights = torch.cat([weights, absent[..., None].to(weights.dtype)], -1)
            classes.append(ops.as_float(output[1])[..., None])
        log_p = torch.log_softmax(torch.cat(classes, -1), -1)
        return {"kl": -(torch.special.entr(weights) + weights * log_p).sum(-1)}

    def decode(self, output: tuple[Tensor, ...]) -> Prediction:
        """Coordinate and covariance of the map, given that the point is in the picture, and the probability of that.

            score = P(present) sum_i p_i exp(-|i - c|^2 / (2 * 2^2)),     i and the coordinate c in heatmap pixels

        The second factor is the map's concentration around it. Without `absent` the first is one.
        """
        logits = ops.as_float(output[0])
        heatmaps = ops.normalize(logits)
        coords = read_off(heatmaps, self.decoder)
        score, present = concentration(heatmaps, coords), None
        if len(output) > 1:
            present = torch.sigmoid(torch.logsumexp(logits.flatten(2), -1) - ops.as_float(output[1]))
            score = score * present
        return Prediction(coords, score, ops.covariance(heatmaps, ops.dsnt(heatmaps)), heatmaps, present)
