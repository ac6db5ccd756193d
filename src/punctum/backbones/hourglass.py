"""The stacked hourglass: networks in a row, each of which sees the heatmaps of the one before."""

from collections.abc import Callable, Sequence
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from punctum.backbones.base import Backbone, check_width, scaled

MOST_STACKS = 8
DEPTH = 4


class Residual(nn.Module):
    """A bottleneck with its normalization in front: x' + conv1(conv3(conv1(x))), each after batch norm and ReLU.

    Args:
        in_channels: of x (B, in_channels, H, W).
        out_channels: of the result; where they differ, a 1 x 1 convolution makes x' of x.
    Example:
        >>> import torch
        >>> Residual(4, 8)(torch.zeros(1, 4, 5, 6)).shape
        torch.Size([1, 8, 5, 6])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = max(1, out_channels // 2)
        self.bn1, self.conv1 = nn.BatchNorm2d(in_channels), nn.Conv2d(in_channels, half, kernel_size=1)
        self.bn2, self.conv2 = nn.BatchNorm2d(half), nn.Conv2d(half, half, kernel_size=3, padding=1)
        self.bn3, self.conv3 = nn.BatchNorm2d(half), nn.Conv2d(half, out_channels, kernel_size=1)
        self.skip = nn.Conv2d(in_channels, out_channels, kernel_size=1) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        inner = self.conv1(F.relu(self.bn1(x)))
        inner = self.conv2(F.relu(self.bn2(inner)))
        inner = self.conv3(F.relu(self.bn3(inner)))
        return inner + (x if self.skip is None else self.skip(x))


class Hourglass(nn.Module):
    """Down to a sixteenth and up again; at every size a branch goes straight across and is added.

    Sizes are halved upwards (5 becomes 3), and each way up ends at the size of its branch, so that every size
    fits, a single cell too.

    Args:
        channels: of all features (B, channels, H, W).
        blocks: residual modules in a row at each place.
        depth: how often the size is halved.
    """

    def __init__(self, channels: int, blocks: int, depth: int) -> None:
        super().__init__()
        self.across = _row(channels, blocks)
        self.down = _row(channels, blocks)
        self.inner = Hourglass(channels, blocks, depth - 1) if depth > 1 else _row(channels, blocks)
        self.up = _row(channels, blocks)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same."""
        across = self.across(x)
        low = self.down(F.max_pool2d(x, kernel_size=2, ceil_mode=True))
        low = self.up(self.inner(low))
        return across + F.interpolate(low, size=across.shape[2:], mode="nearest")


def _row(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(channels, channels) for _ in range(blocks)))


class Merge(nn.Module):
    """Between two hourglasses: x + conv(features) + conv(logits).

    Args:
        channels: of x and the features.
        num_keypoints: K of the logits (B, K, H, W).
    """

    def __init__(self, channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(channels, channels, kernel_size=1)
        self.logits = nn.Conv2d(num_keypoints, channels, kernel_size=1)

    def forward(self, x: Tensor, features: Tensor, logits: Tensor) -> Tensor:
        """What the next hourglass gets."""
        return x + self.features(features) + self.logits(logits)


@final
class StackedHourglass(Backbone):
    """Hourglasses in a row, each with a head of its own, at a quarter of the image's size.

        x_{i+1} = x_i + A f_i + B logits_i,     f_i = conv(residual(hourglass(x_i)))

    Every stage's losses are summed (intermediate supervision), and each stage but the first starts from what the
    one before has found: its heatmaps are mapped back into the features. Any head that has heatmaps fits.

    Args:
        stacks: hourglasses, 1 to 8.
        width: multiplier of all channels; 1 has the published 256.
        blocks: residual modules at each place of an hourglass; Nibali et al. take 1.
    Raises:
        ValueError: an option's value is out of range.
    Source:
        Newell et al. 2016, arXiv:1603.06937, Section 3. The text does not say how wide the stem is: here 64, 128,
        256, 256, which gives the 25.6 million parameters of 8 stacks that Nibali et al. 2018 compare with.
    Example:
        >>> import torch
        >>> backbone = StackedHourglass(stacks=2, width=0.0625).eval()
        >>> backbone.connect(num_keypoints=16)
        >>> [tuple(f.shape) for f in backbone(torch.zeros(1, 3, 64, 64), [lambda features: features] * 2)]
        [(1, 16, 16, 16), (1, 16, 16, 16)]
    """

    name = "hourglass"

    def __init__(self, *, stacks: int = 2, width: float = 1.0, blocks: int = 1) -> None:
        super().__init__()
        check_width(width)
        if stacks not in range(1, MOST_STACKS + 1):
            raise ValueError(f"stacks must be a whole number from 1 to {MOST_STACKS}, got {stacks!r}")
        if blocks not in range(1, MOST_STACKS + 1):
            raise ValueError(f"blocks must be a whole number from 1 to {MOST_STACKS}, got {blocks!r}")
        self.num_stages = stacks
        self.channels = channels = scaled(256, width)
        first, second = scaled(64, width), scaled(128, width)
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, kernel_size=7, stride=2, padding=3),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            Residual(first, second),
            nn.MaxPool2d(kernel_size=2, ceil_mode=True),
            Residual(second, channels),
            Residual(channels, channels),
        )
        self.stacks = nn.ModuleList(self._stage(channels, blocks) for _ in range(stacks))
        self.merges = nn.ModuleList()

    @staticmethod
    def _stage(channels: int, blocks: int) -> nn.Sequential:
        return nn.Sequential(
            Hourglass(channels, blocks, DEPTH),
            *_row(channels, blocks),
            nn.Conv2d(channels, channels, kernel_size=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )

    def connect(self, num_keypoints: int) -> None:
        """Make the convolutions that lead each stage's features and heatmaps into the next."""
        self.merges = nn.ModuleList(Merge(self.channels, num_keypoints) for _ in range(self.num_stages - 1))

    def feature_size(self, input_size: tuple[int, ...]) -> tuple[int, ...]:
        """ceil(n / 4) per axis.

        Raises:
            ValueError: the size is not two positive integers.
        Example:
            >>> StackedHourglass(stacks=1, width=0.0625).feature_size((256, 255))
            (64, 64)
        """
        if len(input_size) != 2 or min(input_size) < 1:
            raise ValueError(f"an hourglass takes images of size (H, W), got {tuple(input_size)}")
        return tuple(-(-n // 4) for n in input_size)

    def forward(self, images: Tensor, feedback: Sequence[Callable[[Tensor], Tensor]] = ()) -> list[Tensor]:
        """One feature map (B, channels, *feature_size) per stage.

        Raises:
            ValueError: there is more than one stage, and `connect` was not called or a stage's logits are missing.
        """
        if min(len(self.merges), len(feedback)) < self.num_stages - 1:
            raise ValueError(
                f"an hourglass of {self.num_stages} stacks feeds heatmaps back: call connect(num_keypoints) once, "
                "and give forward one function per stack from features to logits"
            )
        x = self.stem(images)
        features: list[Tensor] = []
        for i, stage in enumerate(self.stacks):
            if i > 0:
                x = self.merges[i - 1](x, features[-1], feedback[i - 1](features[-1]))
            features.append(stage(x))
        return features
