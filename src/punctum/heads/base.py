"""What every head agrees on: what it is given, what it owes, and what it returns."""

import abc
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from punctum.ops import as_float


@dataclass(frozen=True)
class Target:
    """True coordinates, safe to compute with: where a point is not visible its coordinates become zero.

    `NaN * 0` is NaN and so is the gradient of a masked NaN; replaced here, once, a missing point cannot
    reach a loss. A NaN that is marked visible is left in, to fail loudly.

    Args:
        coords: (B, K, D), normalized in the crop; anything, NaN included, where not visible.
        visible: (B, K) bool.
        absent: (B, K) bool: known not to be in the picture, which is more than not visible: an unlabelled point
            may be anywhere. None: nothing is known. A visible point is never absent.
    Raises:
        ValueError: shapes do not fit, or `visible` or `absent` is not bool.
    Example:
        >>> Target(torch.tensor([[[torch.nan, 0.5]]]), torch.tensor([[False]])).coords
        tensor([[[0., 0.]]])
    """

    coords: Tensor
    visible: Tensor
    absent: Tensor | None = None

    def __post_init__(self) -> None:
        if self.absent is None:
            object.__setattr__(self, "absent", torch.zeros_like(self.visible))
        elif self.absent.dtype != torch.bool or self.absent.shape != self.visible.shape:
            raise ValueError(
                f"absent must be bool of shape {tuple(self.visible.shape)}, "
                f"got {self.absent.dtype} {tuple(self.absent.shape)}"
            )
        else:
            object.__setattr__(self, "absent", self.absent & ~self.visible)
        if self.visible.dtype != torch.bool or self.coords.shape[:-1] != self.visible.shape:
            raise ValueError(
                f"visible must be bool of shape {tuple(self.coords.shape[:-1])}, "
                f"got {self.visible.dtype} {tuple(self.visible.shape)}"
            )
        object.__setattr__(self, "coords", torch.where(self.visible[..., None], as_float(self.coords), 0.0))


@dataclass(frozen=True)
class Prediction:
    """Coordinates and how far to trust them.

    Args:
        coords: (B, K, D), normalized in the crop.
        score: (B, K) in [0, 1]; higher is surer. Each head's `decode` says what it measures.
        covariance: (B, K, D, D) in normalized units squared, or None where the head knows no spread.
        heatmap: (B, K, *S), or None.
        present: (B, K), the probability that the point is in the picture at all, or None where the head does not say.
    """

    coords: Tensor
    score: Tensor
    covariance: Tensor | None = None
    heatmap: Tensor | None = None
    present: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> "Prediction":
        """The same with `function` applied to every tensor: `prediction.map(Tensor.cpu)`."""
        return replace(
            self, **{f.name: function(v) for f in fields(self) if (v := getattr(self, f.name)) is not None}
        )


class Head(nn.Module, abc.ABC):
    """What a network's last features become. One file a head; a new file is found by itself.

    A concrete head is final, sets `name` (its word on the command line), and takes
    `(in_channels, num_keypoints, size, *, options)`: `size` is the feature map's spatial size S, and the
    keyword-only options, with their types and defaults, are the command line's `--head.OPTION`.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def forward(self, features: Tensor) -> Any:
        """Raw output, from features (B, C, *S): what `losses` and `decode` take."""

    @abc.abstractmethod
    def losses(self, output: Any, target: Target) -> dict[str, Tensor]:
        """Every loss term by name, each (B, K) and already weighted: their sum is what is minimized.

        Values at points that do not count are finite, and the caller's mask leaves them out. In training mode
        a head may draw noise from torch's global generator, which is seeded before each step; in evaluation mode the
        losses are a function of output and target.
        """

    def counts(self, target: Target) -> Tensor:
        """(B, K) bool: the points whose losses count. A head that learns from absent points adds them."""
        return target.visible

    @abc.abstractmethod
    def decode(self, output: Any) -> Prediction:
        """Coordinates, score, and what else the head knows."""

    def logits(self, features: Tensor) -> Tensor:
        """Heatmap logits (B, K, *S), for a network that feeds them back; a head without any refuses."""
        raise TypeError(f"head {self.name!r} has no heatmap logits, so a stacked network cannot feed them back")

    def set_progress(self, fraction: float) -> None:
        """Called before each training step with the part of training done, in [0, 1]."""


def conv1x1(in_channels: int, out_channels: int, dims: int, *, bias: bool) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
    """The 1 x 1 convolution from features to one map per keypoint, for 1, 2 or 3 spatial axes."""
    kinds: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
        1: nn.Conv1d,
        2: nn.Conv2d,
        3: nn.Conv3d,
    }
    return kinds[dims](in_channels, out_channels, kernel_size=1, bias=bias)
