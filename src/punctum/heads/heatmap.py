"""Heatmap matching: the network draws a Gaussian at each point, and the coordinate is read off its peak."""

import math
from collections.abc import Sequence
from typing import Literal, final, get_args

import torch
from torch import Tensor, nn

from punctum import ops
from punctum.heads.base import Head, Prediction, Target, conv1x1
from punctum.registry import check_choice, check_positive

Decoder = Literal["argmax", "quarter", "dark", "local"]
Centre = Literal["exact", "rounded"]


@final
class Heatmap(Head):
    """Heatmaps matched to Gaussians of height one by their mean squared error; decoded at the peak.

        loss = mean_i (h_i - G_i)^2,     G_i = exp(-|i - t|^2 / (2 sigma^2)),     i and t in heatmap pixels

    The mean is over cells, so the loss is small, and the smaller the finer the map: predicting nothing at all
    costs pi sigma^2 / (H W), 0.0008 at 64 x 64 with sigma 1. Adam and RMSprop do not mind; plain SGD needs a
    learning rate, and gradient clipping a threshold, to match.

    Args:
        in_channels: channels C of the features.
        num_keypoints: K.
        size: spatial size S of the features; other sizes work too.
        sigma: standard deviation of the Gaussians, in heatmap pixels.
        decoder: how the coordinate is read off: the peak's cell, that moved a quarter of a cell towards the
            higher neighbour, DARK's Newton step, or the mean of the squared heatmap in a window around the peak.
        radius: of the local decoder's window, in sigmas.
        centre: where the Gaussian stands: at the point itself, or at its cell's centre as Newell et al. do.
    Raises:
        ValueError: an option's value is none of its choices, or out of range.
    Source:
        Tompson et al. 2014, arXiv:1406.2984; Newell et al. 2016, arXiv:1603.06937; Zhang et al. 2020,
        arXiv:1910.06278; the covariance: CCNet, ICML 2024.
    Example:
        >>> head = Heatmap(8, 3, (16, 16), decoder="quarter")
        >>> head.decode(head(torch.randn(2, 8, 16, 16))).coords.shape
        torch.Size([2, 3, 2])
    """

    name = "heatmap"

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        size: Sequence[int],
        *,
        sigma: float = 1.0,
        decoder: Decoder = "dark",
        radius: float = 2.5,
        centre: Centre = "exact",
    ) -> None:
        super().__init__()
        check_choice("decoder", decoder, get_args(Decoder))
        check_choice("centre", centre, get_args(Centre))
        check_positive("sigma", sigma)
        check_positive("radius", radius)
        self.sigma, self.decoder, self.centre = sigma, decoder, centre
        self.radius = math.ceil(radius * sigma)
        self.conv = conv1x1(in_channels, num_keypoints, len(size), bias=True)
        # The target is nearly zero everywhere: start there.
        nn.init.normal_(self.conv.weight, std=0.001)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Heatmaps (B, K, *S), neither bounded nor normalized."""
        return self.logits(features)

    def logits(self, features: Tensor) -> Tensor:
        """The heatmaps (B, K, *S) themselves, which this head never normalizes."""
        return self.conv(features)

    def losses(self, output: Tensor, target: Target) -> dict[str, Tensor]:
        """The mean squared error over cells, "mse"."""
        heatmaps = ops.as_float(output)
        size = ops.spatial_size(heatmaps)
        mean = target.coords
        if self.centre == "rounded":
            mean = ops.to_normalized(ops.to_pixels(mean, size).round(), size)
        wanted = ops.render_gaussian(mean, self.sigma, size, normalize=False)
        return {"mse": (heatmaps - wanted).square().flatten(2).mean(-1)}

    def decode(self, output: Tensor) -> Prediction:
        """The peak; its height within [0, 1] as score; and the spread of the truth that would make it that low.

        A network that cannot tell where the point is draws the mean of the Gaussians it may be asked for, which is
        lower and wider than one: `ops.peak_covariance` reads the spread from the height.
        """
        heatmaps = ops.as_float(output)
        coords, score = self._coords(heatmaps), heatmaps.flatten(2).amax(-1).clamp(0, 1)
        return Prediction(coords, score, ops.peak_covariance(heatmaps, self.sigma, coords), heatmaps)

    def _coords(self, heatmaps: Tensor) -> Tensor:
        if self.decoder == "argmax":
            return ops.argmax(heatmaps)
        if self.decoder == "quarter":
            return ops.quarter_shift(heatmaps)
        if self.decoder == "local":
            # Squared, cells are weighed by how far they stand out of the noise; a squared Gaussian is one still.
            logs = heatmaps.clamp_min(1e-10).log()
            return ops.local_soft_argmax(logs, self.radius, beta=2.0, sigma=self.sigma)
        # DARK blurs by convolution, which autocast would run in bfloat16: no place for a sub-pixel step.
        with torch.autocast(heatmaps.device.type, enabled=False):
            return ops.dark(heatmaps, self.sigma)
