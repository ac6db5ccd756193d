"""From a picture's features to a volume's: depth out of channels."""

from torch import Tensor, nn


class Lift(nn.Module):
    """A 1 x 1 convolution to `channels * depth` maps, read as `channels` volumes of `depth` layers.

    With as many channels as keypoints, and a head's 1 x 1 x 1 convolution behind, it says all that integral
    regression's single layer of K * depth maps says.

    Args:
        in_channels: of the features (B, in_channels, H, W).
        channels: of the result (B, channels, depth, H, W).
        depth: layers.
    Source:
        Sun et al. 2018, arXiv:1711.08229, Section 3.2.
    Example:
        >>> import torch
        >>> Lift(16, 3, depth=8)(torch.zeros(2, 16, 5, 6)).shape
        torch.Size([2, 3, 8, 5, 6])
    """

    def __init__(self, in_channels: int, channels: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.conv = nn.Conv2d(in_channels, channels * depth, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, depth, H, W)."""
        return self.conv(features).unflatten(1, (-1, self.depth))
