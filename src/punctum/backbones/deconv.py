"""SimpleBaseline's neck: transposed convolutions that make features eight times finer."""

import math

from torch import nn


class DeconvNeck(nn.Sequential):
    """Three 4 x 4 transposed convolutions of stride 2, each with batch normalization and ReLU.

    Args:
        in_channels: channels of the features (B, C, H, W).
        channels: channels of the result (B, channels, 8 H, 8 W).
    Source:
        Xiao et al. 2018, arXiv:1804.06208, Section 2.
    Example:
        >>> import torch
        >>> DeconvNeck(16, 8)(torch.zeros(1, 16, 3, 5)).shape
        torch.Size([1, 8, 24, 40])
    """

    scale = 8

    def __init__(self, in_channels: int, channels: int = 256) -> None:
        layers: list[nn.Module] = []
        for width in (in_channels, channels, channels):
            layers += [
                nn.ConvTranspose2d(width, channels, kernel_size=4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)
        for layer in self:
            if isinstance(layer, nn.ConvTranspose2d):
                # Kaiming's rule by hand: at stride 2 each output meets 2 x 2 of the 4 x 4 taps, of every input.
                nn.init.normal_(layer.weight, std=math.sqrt(2 / (4 * layer.in_channels)))
