"""DSNT: the heatmap's mean is the coordinate, and the loss is on the coordinate."""

from collections.abc import Sequence
from typing import Literal, final, get_args

from torch import Tensor

from punctum import ops
from punctum.heads.base import Head, Prediction, Target, conv1x1
from punctum.heads.decoding import Decoder, read_off
from punctum.heads.scores import concentration
from punctum.ops.gaussian import Units
from punctum.ops.normalize import Activation
from punctum.registry import check_choice, check_positive

Loss = Literal["euclidean", "l1"]
Regularizer = Literal["none", "variance", "kl", "js"]

PAPER_WEIGHTS: dict[Regularizer, float] = {"none": 0.0, "variance": 100.0, "kl": 1.0, "js": 1.0}


@final
class DSNT(Head):
    """Differentiable spatial to numerical transform: mean of a normalized heatmap, trained on coordinates.

        mu = sum_i p_i x_i,     loss = |mu - t| + reg_weight * R(p, t)

    Args:
        in_channels: channels C of the features.
        num_keypoints: K.
        size: spatial size S of the features; other sizes work too.
        activation: how logits become a heatmap: softmax, or abs, relu, sigmoid divided by their sum.
        loss: distance between coordinates, in normalized units.
        regularizer: what shapes the heatmap: its variance, or its KL or JS divergence from a Gaussian at the truth.
        reg_weight: weight of the regularizer; None takes the paper's: 1 for kl and js, 100 for variance.
        sigma: standard deviation that the regularizer asks for, in heatmap pixels.
        beta: inverse temperature of the softmax.
        units: units in which the variance regularizer compares, "normalized" (the paper's) or "pixels"; "pixels"
            makes it (n / 2)^4 times as large, so it wants a reg_weight of its own.
        decoder: the coordinate is the heatmap's "mean", or "local", the mean of the cells around its peak, which of
            two candidates takes the higher one. Training is the same.
    Raises:
        ValueError: an option's value is none of its choices, or out of range.
    Source:
        Nibali et al. 2018, arXiv:1801.07372.
    Example:
        >>> import torch
        >>> head = DSNT(8, 3, (7, 7))
        >>> head.decode(head(torch.randn(2, 8, 7, 7))).coords.shape
        torch.Size([2, 3, 2])
    """

    name = "dsnt"

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        size: Sequence[int],
        *,
        activation: Activation = "softmax",
        loss: Loss = "euclidean",
        regularizer: Regularizer = "js",
        reg_weight: float | None = None,
        sigma: float = 1.0,
        beta: float = 1.0,
        units: Units = "normalized",
        decoder: Decoder = "mean",
    ) -> None:
        super().__init__()
        check_choice("decoder", decoder, get_args(Decoder))
        check_choice("activation", activation, get_args(Activation))
        check_choice("loss", loss, get_args(Loss))
        check_choice("regularizer", regularizer, get_args(Regularizer))
        check_choice("units", units, get_args(Units))
        check_positive("sigma", sigma)
        check_positive("beta", beta)
        if reg_weight is not None:
            check_positive("reg_weight", reg_weight, zero=True)
        self.activation, self.loss, self.regularizer, self.units = activation, loss, regularizer, units
        self.reg_weight = PAPER_WEIGHTS[regularizer] if reg_weight is None else reg_weight
        self.sigma, self.beta, self.decoder = sigma, beta, decoder
        self.conv = conv1x1(in_channels, num_keypoints, len(size), bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K, *S)."""
        return self.logits(features)

    def logits(self, features: Tensor) -> Tensor:
        """Logits (B, K, *S)."""
        return self.conv(features)

    def losses(self, output: Tensor, target: Target) -> dict[str, Tensor]:
        """The distance, under its name, and the weighted regularizer, under its own."""
        if self.activation == "softmax":
            return self._fused_losses(output, target)
        heatmaps = self._heatmaps(output)
        distance = ops.euclidean_losses if self.loss == "euclidean" else ops.l1_losses
        terms: dict[str, Tensor] = {self.loss: distance(ops.dsnt(heatmaps), target.coords)}
        if self.regularizer != "none":
            terms[self.regularizer] = self.reg_weight * self._regularize(heatmaps, target.coords)
        return terms

    def decode(self, output: Tensor) -> Prediction:
        """Mean of the heatmap (or around its peak) and covariance; the score is its `concentration` there."""
        heatmaps = self._heatmaps(output)
        coords = read_off(heatmaps, self.decoder)
        score = concentration(heatmaps, coords)
        return Prediction(coords, score, ops.covariance(heatmaps, ops.dsnt(heatmaps)), heatmaps)

    def _fused_losses(self, output: Tensor, target: Target) -> dict[str, Tensor]:
        distance, shape = ops.dsnt_terms(
            output,
            target.coords,
            distance=self.loss,
            regularizer=self.regularizer,
            sigma=self.sigma,
            beta=self.beta,
            units=self.units,
        )
        return {self.loss: distance} | (
            {} if self.regularizer == "none" else {self.regularizer: self.reg_weight * shape}
        )

    def _heatmaps(self, logits: Tensor) -> Tensor:
        return ops.normalize(ops.as_float(logits), self.activation, self.beta)

    def _regularize(self, heatmaps: Tensor, truth: Tensor) -> Tensor:
        if self.regularizer == "variance":
            return ops.variance_losses(heatmaps, self.sigma, self.units)
        divergence = ops.kl_losses if self.regularizer == "kl" else ops.js_losses
        return divergence(heatmaps, truth, self.sigma)
