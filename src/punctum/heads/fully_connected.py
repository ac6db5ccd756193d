"""Fully connected regression: every cell of every heatmap has a say in every coordinate."""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from punctum import ops
from punctum.heads.base import Head, Prediction, Target, conv1x1


@final
class FullyConnected(Head):
    """Softmax maps, flattened, and one linear layer to all coordinates, trained by the Euclidean distance.

        c = W p + b,     p = softmax(z) per map, all K maps in one vector

    The paper's baseline "FC". It is tied to one feature size, and it cannot generalize over places: each cell
    has weights of its own. They start such that flat maps give the centre of the image exactly.

    Its maps are hidden units: nothing makes a cell's value speak of a point at that cell. So it has no `logits` for
    a stacked network to feed back, and no heatmap to show.

    Args:
        in_channels: channels C of the features.
        num_keypoints: K.
        size: spatial size S of the features, the only one it takes.
    Source:
        Nibali et al. 2018, arXiv:1801.07372, Section 6.2.
    Example:
        >>> head = FullyConnected(8, 3, (7, 7))
        >>> head.decode(head(torch.zeros(1, 8, 7, 7))).coords[0, 0].abs() < 1e-6
        tensor([True, True])
    """

    name = "fully_connected"

    def __init__(self, in_channels: int, num_keypoints: int, size: Sequence[int]) -> None:
        super().__init__()
        self.size, self.num_keypoints = tuple(size), num_keypoints
        self.conv = conv1x1(in_channels, num_keypoints, len(size), bias=False)
        self.linear = nn.Linear(num_keypoints * math.prod(size), num_keypoints * len(size))
        # Each map's mass is one, so the fan-in is K, not K * cells; weights that sum to zero over a map make a
        # flat one count for nothing, while its gradient is whole.
        weight = torch.randn(len(self.linear.weight), num_keypoints, math.prod(size)) / math.sqrt(num_keypoints)
        with torch.no_grad():
            self.linear.weight.copy_((weight - weight.mean(-1, keepdim=True)).flatten(1))
            self.linear.bias.zero_()

    def forward(self, features: Tensor) -> Tensor:
        """Coordinates (B, K, D), at least float32.

        Raises:
            ValueError: the features have another size than the one it was built for.
        """
        if tuple(features.shape[2:]) != self.size:
            raise ValueError(
                f"head 'fully_connected' was built for features of size {self.size}, got "
                f"{tuple(features.shape[2:])}: give images of the training size, or use a convolutional head"
            )
        heatmaps = ops.normalize(ops.as_float(self.conv(features)))
        # Autocast would compute coordinates in bfloat16, whose steps near 1 are 1/128 of the image.
        with torch.autocast(features.device.type, enabled=False):
            coords = self.linear(heatmaps.flatten(1).to(self.linear.weight.dtype))
        # Not len(): a graph would be recorded for one batch size alone.
        return ops.as_float(coords).reshape(features.shape[0], self.num_keypoints, len(self.size))

    def losses(self, output: Tensor, target: Target) -> dict[str, Tensor]:
        """The Euclidean distance in normalized units, "euclidean"."""
        return {"euclidean": ops.euclidean_losses(output, target.coords)}

    def decode(self, output: Tensor) -> Prediction:
        """The coordinates, with a score of 0.5 everywhere: this head has no opinion on how far to trust them."""
        return Prediction(output, torch.full_like(output[..., 0], 0.5))
