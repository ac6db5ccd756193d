"""A residual network for volumes, small enough for one computer."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, final, get_args

from torch import Tensor, nn

from punctum.backbones.base import Backbone, check_width
from punctum.registry import check_choice

Depth = Literal[10, 18]
OutputStride = Literal[8, 4, 2]


class Block3D(nn.Module):
    """Two 3 x 3 x 3 convolutions and a shortcut: relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)).

    Args:
        in_channels: of x.
        channels: of the result.
        stride: of the first convolution.
        dilation: of both.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, channels, stride, dilation)
        self.norm1 = _norm(channels)
        self.conv2 = _conv(channels, channels, 1, dilation)
        self.norm2 = _norm(channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            project = nn.Conv3d(in_channels, channels, kernel_size=1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(project, _norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, D, H, W) to (B, channels, ceil(D / stride), ceil(H / stride), ceil(W / stride))."""
        inner = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


@final
class ResNet3D(Backbone):
    """Residual network of volumes with one channel, up to features of a stride of one's choice.

    A strided convolution, then four stages of 32, 64, 128 and 256 channels. Stages that may not stride any more are
    dilated instead. Normalization is by groups of channels, which does not depend on the batch: volumes come in small
    batches.

    Args:
        depth: 10 (one block a stage) or 18 (two).
        output_stride: input voxels per feature cell: 8, 4 or 2.
        width: multiplier of all channels.
    Raises:
        ValueError: an option's value is none of its choices or out of range.
    Source:
        He et al. 2016, arXiv:1512.03385; Hara et al. 2018, arXiv:1711.09577, for three axes; Wu and He 2018,
        arXiv:1803.08494, for the normalization.
    Example:
        >>> import torch
        >>> backbone = ResNet3D(width=0.25)
        >>> backbone(torch.zeros(1, 1, 16, 24, 24))[0].shape
        torch.Size([1, 64, 4, 6, 6])
    """

    name = "resnet3d"
    picture_axes = 3
    in_channels = 1
    num_stages = 1

    def __init__(self, *, depth: Depth = 10, output_stride: OutputStride = 4, width: float = 1.0) -> None:
        super().__init__()
        check_choice("depth", depth, get_args(Depth))
        check_choice("output_stride", output_stride, get_args(OutputStride))
        check_width(width)
        self.output_stride = output_stride
        self.channels = max(1, round(32 * width))
        self.stem = nn.Sequential(_conv(1, self.channels, 2, 1), _norm(self.channels), nn.ReLU(inplace=True))
        stages, reached, dilation = [], 2, 1
        for i in range(4):
            channels, stride = max(1, round(32 * 2**i * width)), 1
            if i > 0 and reached < output_stride:
                stride, reached = 2, 2 * reached
            elif i > 0:
                dilation *= 2
            for block in range(1 if depth == 10 else 2):
                stages.append(Block3D(self.channels, channels, stride if block == 0 else 1, dilation))
                self.channels = channels
        self.stages = nn.Sequential(*stages)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def feature_size(self, input_size: tuple[int, ...]) -> tuple[int, ...]:
        """ceil(n / output_stride) per axis.

        Raises:
            ValueError: the size is not three positive integers.
        Example:
            >>> ResNet3D(width=0.125).feature_size((32, 48, 50))
            (8, 12, 13)
        """
        if len(input_size) != 3 or min(input_size) < 1:
            raise ValueError(f"backbone resnet3d takes volumes of size (D, H, W), got {tuple(input_size)}")
        return tuple(-(-n // self.output_stride) for n in input_size)

    def forward(self, images: Tensor, feedback: Sequence[Callable[[Tensor], Tensor]] = ()) -> list[Tensor]:
        """One feature map (B, channels, *feature_size)."""
        return [self.stages(self.stem(images))]


def _conv(in_channels: int, channels: int, stride: int, dilation: int) -> nn.Conv3d:
    return nn.Conv3d(in_channels, channels, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, channels), channels)
