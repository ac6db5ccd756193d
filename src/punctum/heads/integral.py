"""Integral regression: the softmax's mean is the coordinate, with a prior on the heatmap's shape."""

from collections.abc import Sequence
from typing import Literal, final, get_args

from torch import Tensor

from punctum import ops
from punctum.heads.base import Head, Prediction, Target, conv1x1
from punctum.heads.decoding import Decoder, read_off
from punctum.heads.scores import concentration
from punctum.ops.dsnt_losses import Regularizer
from punctum.registry import check_choice, check_positive

Prior = Literal["none", "kl", "reverse_kl"]
Background = Literal["median", "zero"]


@final
class Integral(Head):
    """Mean of a softmax map, trained by the L1 distance and by a Gaussian prior on the map.

        loss = coord_weight * |mu - t|_1 + prior_weight * KL(G || p),     mu = sum_i p_i x_i,     p = softmax(beta z)

    G is a Gaussian at the truth. The paper says "a Kullback-Leibler divergence loss between the non-normalized
    heatmap and a Gaussian heatmap": neither which comes first nor how the maps are made to sum to one. Taken by the
    word it would be no divergence: sum_i G_i log(G_i / z_i) has no lower bound in z, and no value where z_i < 0. Here
    p is the softmax. `kl` puts G first, as the loss of that name in common libraries does, and as fits what the paper
    wants the prior for: its gradient beta (p - G) tells every cell, empty ones too, what to hold.

    Args:
        in_channels: channels C of the features.
        num_keypoints: K.
        size: spatial size S of the features; other sizes work too.
        prior: what shapes the heatmap: nothing, KL(G || p), or with "reverse_kl" KL(p || G), which is DSNT's `kl`.
        sigma: standard deviation of the prior's Gaussian, in heatmap pixels; the paper tries 0.5 to 4.
        coord_weight: weight of the L1 distance, which is summed over axes, in normalized units.
        prior_weight: weight of the prior, in nats. At 1 : 1 both start at about the same height, as the paper's do.
        beta: inverse temperature of the softmax.
        debias: decode without the pull of the softmax's background towards the middle. Training stays on the plain
            mean: through the compensation, which is steep where a map is nearly flat, it settles on wrong maps.
        background: the background's logit for `debias`: each map's median, or zero.
        decoder: the coordinate is the heatmap's "mean", or "local", the mean of the cells around its peak, which of
            two candidates takes the higher one. Training is the same.
    Raises:
        ValueError: an option's value is none of its choices, or out of range; `debias` with another decoder than
            the mean.
    Source:
        Sun et al. 2018, arXiv:1711.08229; Gu et al. 2022, "Dive Deeper Into Integral Pose Regression" (ICLR), Eqs. 2
        and 4, Section 4.2, Appendix A.4; Gu et al. 2021 (ICCV) for `debias`.
    Example:
        >>> import torch
        >>> head = Integral(8, 3, (7, 7), prior="none")
        >>> head.decode(head(torch.randn(2, 8, 7, 7))).coords.shape
        torch.Size([2, 3, 2])
    """

    name = "integral"

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        size: Sequence[int],
        *,
        prior: Prior = "kl",
        sigma: float = 1.0,
        coord_weight: float = 1.0,
        prior_weight: float = 1.0,
        beta: float = 1.0,
        debias: bool = False,
        background: Background = "median",
        decoder: Decoder = "mean",
    ) -> None:
        super().__init__()
        check_choice("decoder", decoder, get_args(Decoder))
        if debias and decoder != "mean":
            raise ValueError("debias mends the mean of the whole map, and decoder='local' has no need of it")
        check_choice("prior", prior, get_args(Prior))
        check_choice("background", background, get_args(Background))
        check_positive("sigma", sigma)
        check_positive("beta", beta)
        check_positive("coord_weight", coord_weight, zero=True)
        check_positive("prior_weight", prior_weight, zero=True)
        self.prior, self.sigma, self.beta = prior, sigma, beta
        self.coord_weight, self.prior_weight = coord_weight, prior_weight
        self.debias, self.background, self.decoder = debias, background, decoder
        self.conv = conv1x1(in_channels, num_keypoints, len(size), bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K, *S)."""
        return self.logits(features)

    def logits(self, features: Tensor) -> Tensor:
        """Logits (B, K, *S)."""
        return self.conv(features)

    def losses(self, output: Tensor, target: Target) -> dict[str, Tensor]:
        """The weighted distance, "l1", and the weighted prior under its own name."""
        regularizer: dict[str, Regularizer] = {"none": "none", "kl": "kl_from_gaussian", "reverse_kl": "kl"}
        distance, prior = ops.dsnt_terms(
            output,
            target.coords,
            distance="l1",
            regularizer=regularizer[self.prior],
            sigma=self.sigma,
            beta=self.beta,
        )
        terms = {"l1": self.coord_weight * distance}
        return terms if self.prior == "none" else terms | {self.prior: self.prior_weight * prior}

    def decode(self, output: Tensor) -> Prediction:
        """Mean of the softmax (compensated with `debias`, or around its peak), covariance, concentration there."""
        logits = ops.as_float(output)
        heatmaps = ops.normalize(logits, "softmax", self.beta)
        coords = read_off(heatmaps, self.decoder)
        if self.debias:
            coords = ops.debias(logits, self.beta, "median" if self.background == "median" else 0.0)
        return Prediction(
            coords, concentration(heatmaps, coords), ops.covariance(heatmaps, ops.dsnt(heatmaps)), heatmaps
        )
