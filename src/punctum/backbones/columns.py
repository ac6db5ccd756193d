"""One column of features for each column of a picture: what finds a depth per column, as in OCT scans."""

from collections.abc import Callable, Sequence
from typing import Literal, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from punctum.backbones.base import Backbone, check_width
from punctum.registry import check_choice

OutputStride = Literal[1, 2, 4]


@final
class Columns(Backbone):
    """A U-Net over the whole picture, whose columns then become samples of their own.

        images (B, 3, H, W)  ->  features (B, C, H / output_stride, W)  ->  (B W, C, H / output_stride)

    Every column sees its neighbours through the U-Net, and each is handed to the head as one signal along the
    rows: the head works in one dimension, its K keypoints are K layers, and its one coordinate is a depth. Column
    w of image b is sample b W + w.

    Args:
        width: multiplier of all channels; 1 is 32 channels at full size.
        depth: how often the picture is halved on the way down: 3 lets a column see about 60 columns around it.
        output_stride: rows per feature cell: 1, 2 or 4. Columns keep their full resolution.
    Raises:
        ValueError: an option's value is none of its choices or out of range.
    Source:
        Ronneberger et al. 2015, arXiv:1505.04597, for the U-Net; He et al. 2019 (MICCAI, Fully convolutional
        boundary regression for retina OCT segmentation), for depths by soft-argmax per column.
    Example:
        >>> network = Columns(width=0.25)
        >>> network.feature_size((64, 40))
        (32,)
        >>> network(torch.zeros(2, 3, 64, 40))[0].shape
        torch.Size([80, 16, 32])
    """

    name = "columns"
    finds_layers = True
    num_stages = 1

    def __init__(self, *, width: float = 0.5, depth: int = 3, output_stride: OutputStride = 2) -> None:
        super().__init__()
        check_choice("output_stride", output_stride, get_args(OutputStride))
        check_width(width)
        if not (isinstance(depth, int) and 2 <= depth <= 6):
            raise ValueError(f"depth must be a whole number from 2 to 6, got {depth!r}")
        planes = [max(1, round(32 * width * 2 ** min(level, 3))) for level in range(depth + 1)]
        # The levels finer than the output are left out on the way up.
        self.finest = get_args(OutputStride).index(output_stride)
        self.output_stride, self.channels = output_stride, planes[self.finest]
        self.down = nn.ModuleList(_double(a, b) for a, b in zip([3, *planes[:-1]], planes, strict=True))
        self.up = nn.ModuleList(
            _double(planes[level] + planes[level + 1], planes[level]) for level in range(self.finest, depth)
        )

    def feature_size(self, input_size: tuple[int, ...]) -> tuple[int, ...]:
        """(ceil(H / output_stride),): one axis, the rows.

        Raises:
            ValueError: the size is not two positive integers.
        """
        if len(input_size) != 2 or min(input_size) < 1:
            raise ValueError(f"this network takes images of size (H, W), got {tuple(input_size)}")
        return (-(-input_size[0] // self.output_stride),)

    def forward(self, images: Tensor, feedback: Sequence[Callable[[Tensor], Tensor]] = ()) -> list[Tensor]:
        """One feature map (B W, channels, H / output_stride)."""
        levels = []
        x = images
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else F.max_pool2d(x, kernel_size=2, ceil_mode=True))
            levels.append(x)
        for level, block in zip(reversed(range(self.finest, len(levels) - 1)), reversed(self.up), strict=True):
            skip = levels[level]
            x = block(torch.cat([skip, _enlarged(x, (2, 2), skip.shape[2:])], dim=1))
        x = _enlarged(x, (1, self.output_stride), (x.shape[2], images.shape[3]))
        return [x.permute(0, 3, 1, 2).flatten(0, 1)]


def _double(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        conv = nn.Conv2d(channels, out_channels, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        layers += [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _enlarged(x: Tensor, factors: tuple[int, int], size: Sequence[int]) -> Tensor:
    """Enlarged by whole factors, then cut: the last cell may look past an odd edge, and must not move the others."""
    scale = tuple(map(float, factors))
    larger = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
    return larger[..., : size[0], : size[1]]
