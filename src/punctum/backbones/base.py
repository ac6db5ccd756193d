"""What every backbone agrees on."""

import abc
from typing import ClassVar

from torch import Tensor, nn


class Backbone(nn.Module, abc.ABC):
    """Images to features. One file a family; a new one is found by itself.

    A concrete backbone is final, sets `name` (its word on the command line), and takes keyword-only options
    alone, which with their types and defaults are the command line's `--backbone.OPTION`. An option called
    `weights` says where to take pretrained weights from; it is used when a model is first made, never when one
    is loaded.
    """

    name: ClassVar[str]

    channels: int
    """Channels C of every feature map it returns."""

    num_stages: int
    """How many feature maps it returns; each gets a head of its own, and the last one's is the answer."""

    @abc.abstractmethod
    def feature_size(self, input_size: tuple[int, ...]) -> tuple[int, ...]:
        """Spatial size of the features for images of this size, without running anything."""

    @abc.abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """Features (B, C, *S), one per stage, of normalized images (B, 3, *input_size)."""
