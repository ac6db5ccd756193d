"""What the conformance suite is run on: heads, features, targets, and a head that has learnt a batch."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor, nn

from punctum import heads, ops
from punctum.heads import Head, Target
from punctum.registry import options_of

KEYPOINTS, BATCH = 3, 4
CHANNELS = 2 * KEYPOINTS
SIZES = [(13,), (11, 14), (7, 8, 9)]

# Maps of one cell, or of one row: what a deep network leaves of a small picture.
THIN_SIZES = {1: [(1,), (2,)], 2: [(1, 8), (8, 1)], 3: [(1, 1, 5), (2, 1, 2)]}


@dataclass(frozen=True)
class HeadCase:
    """A head's name, the size of the features it is tried on, and its options."""

    name: str
    size: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        options = [f"{key}={value}" for key, value in self.options.items()]
        return "-".join([self.name, f"{len(self.size)}d", *options])

    def build(self, keypoints: int = KEYPOINTS) -> Head:
        torch.manual_seed(1)
        return heads.build(self.name, CHANNELS, keypoints, self.size, **self.options)

    def features(self, batch: int = BATCH) -> Tensor:
        return torch.randn(batch, CHANNELS, *self.size, generator=torch.Generator().manual_seed(2))

    def target(self, batch: int = BATCH, keypoints: int = KEYPOINTS) -> Target:
        coords = torch.rand(batch, keypoints, len(self.size), generator=torch.Generator().manual_seed(3)) - 0.5
        return Target(coords, torch.ones(batch, keypoints, dtype=torch.bool))


def default_cases() -> list[HeadCase]:
    """Every head with its defaults, in 1-D, 2-D and 3-D."""
    return [HeadCase(name, size) for name in heads.available() for size in SIZES]


def all_cases() -> list[HeadCase]:
    """Those, and in 2-D every choice of every option that is a `Literal` or a switch, one at a time."""
    cases = default_cases()
    for name, cls in heads.available().items():
        hints = get_type_hints(cls.__init__)
        for option, parameter in options_of(cls).items():
            choices = [choice for choice in get_args(hints[option]) if isinstance(choice, str)]
            choices += [False, True] if hints[option] is bool else []
            cases += [HeadCase(name, SIZES[1], {option: c}) for c in choices if c != parameter.default]
    return cases


def some_points(case: HeadCase, seed: int) -> Tensor:
    """(B, K) bool: true for about 3 in 5 of the points, and never for all or none."""
    chosen = torch.rand(BATCH, KEYPOINTS, generator=torch.Generator().manual_seed(seed)) > 0.4
    assert chosen.any()
    assert not chosen.all()
    return chosen


def losses_of(head: Head, output: Any, target: Target) -> dict[str, Tensor]:
    """The losses, with the same noise at each call where a head draws any."""
    torch.manual_seed(5)
    return head.losses(output, target)


def total(losses: dict[str, Tensor], counts: Tensor) -> Tensor:
    """What a trainer minimizes."""
    return ops.average_loss(torch.stack(list(losses.values())).sum(0), counts)


def gradients(head: Head, features: Tensor, target: Target) -> list[Tensor]:
    """Of the total loss with respect to the features and every parameter."""
    features = features.clone().requires_grad_()
    loss = total(losses_of(head, head(features), target), head.counts(target))
    return list(torch.autograd.grad(loss, [features, *head.parameters()]))


def bumps(coords: Tensor, size: tuple[int, ...]) -> Tensor:
    """Features that show the way: a Gaussian per keypoint at its place, and the Gaussian's logarithm."""
    logs = ops.log_gaussian(coords, sigma=1.0, size=size, normalize=False)
    return torch.cat([logs.exp(), logs.clamp_min(-30)], dim=1)


def has_logits(head: Head) -> bool:
    """Whether the head can be fed back: whether it says anything of its own about logits."""
    return type(head).logits is not Head.logits


@functools.cache
def trained(case: HeadCase, steps: int = 150) -> tuple[Head, Tensor, Target, list[float]]:
    """The head after a few steps on one small batch, with that batch and the losses on the way.

    One for all tests of a case: they must not change it.
    """
    head, target = case.build(), case.target()
    features, optimizer = bumps(target.coords, case.size), torch.optim.Adam(head.parameters(), lr=0.05)
    schedule, history = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, steps), []
    for step in range(steps):
        head.set_progress(step / steps)
        optimizer.zero_grad()
        loss = total(head.losses(head(features), target), head.counts(target))
        loss.backward()
        optimizer.step()
        schedule.step()
        history.append(loss.item())
    return head.eval(), features, target, history


class Decoder(nn.Module):
    """Forward and decode in one, as they are exported."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        prediction = self.head.decode(self.head(features))
        return prediction.coords, prediction.score


class Trainer(nn.Module):
    """All that a head computes, in one, as it is compiled."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, coords: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        output, target = self.head(features), Target(coords, visible)
        prediction = self.head.decode(output)
        return prediction.coords, prediction.score, self.head.losses(output, target)


@contextmanager
def compiled(module: nn.Module) -> Iterator[Any]:
    """The module as one graph, or an error; run without a compiler of machine code, which takes minutes."""
    torch._dynamo.reset()
    yield torch.compile(module, backend="eager", fullgraph=True)
    torch._dynamo.reset()
