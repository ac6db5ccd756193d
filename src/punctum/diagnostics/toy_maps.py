"""What of a head can be set free: the map behind its loss, without a network in front of it."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_type_hints

import torch
from torch import Tensor

from punctum import heads, ops
from punctum.heads import Head, Prediction, Target
from punctum.registry import options_of

Size = tuple[int, int]
Free = Literal["heights", "logits", "axes", "features"]

SIZE: Size = (64, 48)
SIGMA = 2.0
BETA = 10.0
"""Of the softmax over heights, a head's own beta included: an empty cell is left exp(-10) of the peak."""

# The options that say what is minimized; the others say how, or how the map is read off.
_MINIMIZED = ("loss", "regularizer", "prior", "estimator")


@dataclass(frozen=True)
class Loss:
    """What is minimized: a head's own losses, summed over their terms.

    Args:
        label: its name in tables.
        head: one of `heads.available()`.
        options: the head's.
        weight: the loss is multiplied by it; it changes nothing but the scale of gamma.
    """

    label: str
    head: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0

    def build(self, size: Size) -> Head:
        """The head, for one map of one channel, in float64; its own weights, where they count, drawn from seed 0."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            head = heads.build(self.head, 1, 1, size, **self.options).double()
        return head.requires_grad_(False)


def paper_losses(size: Size = SIZE) -> dict[str, Loss]:
    """The paper's two, in its units, so that one gamma serves both: "detection" (Eq. 3) and "regression" (Eq. 4).

    Squares are summed over cells, not averaged. Coordinates are in the head's normalized units, times half the mean
    side: cells, but for a map that is not square, on which a cell of the shorter side counts a little more.

    Args:
        size: (H, W).
    """
    detection = Loss("detection", "heatmap", {"sigma": SIGMA, "decoder": "argmax"}, weight=float(math.prod(size)))
    regression = Loss("regression", "integral", {"prior": "none", "beta": BETA}, weight=sum(size) / 4)
    return {"detection": detection, "regression": regression}


def losses() -> dict[str, Loss]:
    """Every head with its defaults, and with each other choice of what it minimizes, one at a time.

    A new head is in here by itself. What it minimizes are its options `loss`, `regularizer`, `prior`, `estimator`.

    Example:
        >>> [name for name in losses() if name.startswith("integral")]
        ['integral', 'integral prior=none', 'integral prior=reverse_kl']
    """
    found: dict[str, Loss] = {}
    for name, cls in heads.available().items():
        found[name] = Loss(name, name)
        hints, options = get_type_hints(cls.__init__), options_of(cls)
        for option in (option for option in _MINIMIZED if option in options):
            others = [choice for choice in get_args(hints[option]) if choice != options[option].default]
            for choice in others:
                label = f"{name} {option}={choice}"
                found[label] = Loss(label, name, {option: choice})
    return found


class NoMapError(ValueError):
    """A head has no map to set free."""


def free_of(head: Head, size: Size) -> Free:
    """What of a head can be set free, found by trying it on features of one channel.

        heights    its output is a map, which it decodes as it stands
        logits     its output holds a map, which it makes a heatmap of
        axes       its output is a vector for each axis, so many bins to a cell, x first
        features   its output is something else, but its loss depends on where the features are high

    Raises:
        NoMapError: none of these.
    Example:
        >>> free_of(heads.build("oks", 1, 1, (6, 5)), (6, 5))
        'logits'
    """
    head = copy.deepcopy(head).double().requires_grad_(False)
    zeros = torch.zeros(1, 1, *size, dtype=torch.float64)
    output = head(zeros)
    leaves = _leaves(output)
    if sum(leaf.shape == zeros.shape for leaf in leaves) == 1:
        (at,) = (i for i, leaf in enumerate(leaves) if leaf.shape == zeros.shape)
        shown = head.decode(output).heatmap
        return "heights" if shown is not None and torch.equal(shown, leaves[at]) else "logits"
    if len(leaves) == len(size) and all(_bins(leaf, n) for leaf, n in zip(leaves, reversed(size), strict=True)):
        return "axes"
    features = torch.linspace(0, 1, zeros.numel(), dtype=zeros.dtype).reshape(zeros.shape).requires_grad_()
    _look_through(head)
    loss = total(head, head(features), target_at(torch.full((1, 2), 0.5, dtype=zeros.dtype)))
    if loss.requires_grad and bool(torch.autograd.grad(loss.sum(), features)[0].any()):
        return "features"
    raise NoMapError(
        f"head {head.name!r} has no map: neither is there one in its output, nor does its loss change with where a "
        "map of one channel is high"
    )


def _leaves(output: Any) -> list[Tensor]:
    """The tensors of a raw output, if it is a tensor or a sequence of them."""
    if isinstance(output, Tensor):
        return [output]
    plain = type(output) in (tuple, list) and all(isinstance(leaf, Tensor) for leaf in output)
    return list(output) if plain else []


def _bins(leaf: Tensor, cells: int) -> int:
    """Bins per cell of an axis' logits (1, 1, bins); zero if they are none."""
    return leaf.shape[-1] // cells if leaf.ndim == 3 and leaf.shape[-1] % cells == 0 else 0


def _look_through(head: Head) -> None:
    """Make each 1 x 1 convolution from one channel to one the identity: its map is the features then."""
    for module in head.modules():
        if isinstance(module, torch.nn.Conv2d) and tuple(module.weight.shape) == (1, 1, 1, 1):
            torch.nn.init.ones_(module.weight)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)


def target_at(coords: Tensor) -> Target:
    """One visible point at each of coords (B, D)."""
    return Target(coords[:, None], torch.ones(len(coords), 1, dtype=torch.bool))


def total(head: Head, output: Any, target: Target) -> Tensor:
    """The sum of the head's losses, (B,)."""
    return torch.stack(list(head.losses(output, target).values())).sum(0)[:, 0]


class FreeMap:
    """A head whose map is free: `start` makes the free tensors, `output` puts them back where they came from.

    Args:
        loss: what is minimized.
        size: (H, W).
    Raises:
        NoMapError: the head has none.
    Example:
        >>> free = FreeMap(Loss("density", "density"), (6, 5))
        >>> [tuple(tensor.shape) for tensor in free.start(torch.zeros(2, 6, 5))]
        [(2, 1, 6, 5), (2, 1)]
    """

    def __init__(self, loss: Loss, size: Size) -> None:
        self.loss, self.head = loss, loss.build(size)
        self.free: Free = free_of(self.head, size)
        self.like = self.head(torch.zeros(1, 1, *size, dtype=torch.float64))
        self.size = size
        if self.free == "features":
            _look_through(self.head)

    def start(self, heights: Tensor) -> list[Tensor]:
        """From heights (B, H, W)."""
        sharpen = 1.0 if self.free == "heights" else BETA / float(getattr(self.head, "beta", 1.0))
        maps = sharpen * heights[:, None]
        if self.free == "features":
            return [maps]
        if self.free == "axes":
            marginals = ops.marginals(ops.normalize(maps))
            bins = [leaf.shape[-1] // n for leaf, n in zip(self.like, reversed(self.size), strict=True)]
            return [(p / n).log().repeat_interleave(n, -1) for p, n in zip(marginals, bins, strict=True)]
        # What else there is in the output, such as a logit for absence, is as free, and starts at zero.
        return [
            maps if leaf.shape[2:] == maps.shape[2:] else leaf.new_zeros(len(maps), *leaf.shape[1:])
            for leaf in _leaves(self.like)
        ]

    def output(self, tensors: Sequence[Tensor]) -> Any:
        """What the head's `losses` and `decode` take."""
        if self.free == "features":
            return self.head(tensors[0])
        return tensors[0] if isinstance(self.like, Tensor) else type(self.like)(tensors)

    def shown(self, tensors: Sequence[Tensor], prediction: Prediction) -> Tensor:
        """(B, 1, H, W): the heatmap, or where the head has none the softmax of the features."""
        return ops.normalize(tensors[0]) if prediction.heatmap is None else prediction.heatmap
