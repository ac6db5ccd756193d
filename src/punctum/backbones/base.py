"""What every backbone agrees on."""

import abc
from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor, nn

from punctum.registry import check_positive

WIDEST = 8


class Backbone(nn.Module, abc.ABC):
    """Images to features. One file a family; a new one is found by itself.

    A concrete backbone is final, sets `name` (its word on the command line), and takes keyword-only options
    alone, which with their types and defaults are the command line's `--backbone.OPTION`. An option called
    `weights` says where to take pretrained weights from; it is used when a model is first made, never when one
    is loaded.
    """

    name: ClassVar[str]

    picture_axes: ClassVar[int] = 2
    """Axes of the pictures it takes: 2 for images, 3 for volumes."""

    finds_layers: ClassVar[bool] = False
    """Whether each column of a picture becomes a sample of its own, for heads that find a depth in it."""

    in_channels: int = 3
    """Channels of the images it takes: 3 for RGB."""

    channels: int
    """Channels C of every feature map it returns; final after `connect`."""

    num_stages: int
    """How many feature maps it returns; each gets a head of its own, and the last one's is the answer."""

    @abc.abstractmethod
    def feature_size(self, input_size: tuple[int, ...]) -> tuple[int, ...]:
        """Spatial size of the features for images of this size, without running anything."""

    def connect(self, num_keypoints: int) -> None:
        """Called once, before training or loading: how many keypoints, so heatmaps, each stage's head has.

        For networks whose own layers depend on it: those that feed heatmaps back, or lift features to volumes.
        """

    @abc.abstractmethod
    def forward(self, images: Tensor, feedback: Sequence[Callable[[Tensor], Tensor]] = ()) -> list[Tensor]:
        """Features (B, C, *S), one per stage, of normalized images.

        Args:
            images: (B, in_channels, *input_size).
            feedback: one function per stage, from that stage's features to its head's logits (B, K, *S): a
                network of several stages feeds them into the next one. The last is not called.
        """


def check_width(width: float) -> None:
    """Refuse a multiplier of all channels that is not positive, or beyond any network that fits into memory.

    Raises:
        ValueError: it is one of those.
    """
    check_positive("width", width)
    if width > WIDEST:
        raise ValueError(f"width must be at most {WIDEST}, got {width:g}")


def scaled(channels: int, width: float) -> int:
    """Channels of a network made `width` times as wide; at least one.

    Example:
        >>> scaled(64, 0.25), scaled(64, 0.001)
        (16, 1)
    """
    return max(1, round(channels * width))
