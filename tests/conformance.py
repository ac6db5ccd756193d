"""What every head promises, as a test class to inherit; parametrized over `head_case` by whoever collects it.

A new head in `punctum.heads` runs through all of it without being named anywhere.
"""

from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from punctum import heads, ops
from punctum.heads import Head, Prediction, Target
from punctum.registry import options_of

KEYPOINTS, BATCH = 3, 4
CHANNELS = 2 * KEYPOINTS
SIZES = [(13,), (11, 14), (7, 8, 9)]


@dataclass(frozen=True)
class HeadCase:
    """A head's name, the size of the features it is tried on, and its options."""

    name: str
    size: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        options = [f"{key}={value}" for key, value in self.options.items()]
        return "-".join([self.name, f"{len(self.size)}d", *options])

    def build(self) -> Head:
        torch.manual_seed(1)
        return heads.build(self.name, CHANNELS, KEYPOINTS, self.size, **self.options)

    def features(self, batch: int = BATCH) -> Tensor:
        return torch.randn(batch, CHANNELS, *self.size, generator=torch.Generator().manual_seed(2))

    def target(self, batch: int = BATCH) -> Target:
        coords = torch.rand(batch, KEYPOINTS, len(self.size), generator=torch.Generator().manual_seed(3)) - 0.5
        return Target(coords, torch.ones(batch, KEYPOINTS, dtype=torch.bool))


def default_cases() -> list[HeadCase]:
    """Every head with its defaults, in 1-D, 2-D and 3-D."""
    return [HeadCase(name, size) for name in heads.available() for size in SIZES]


def all_cases() -> list[HeadCase]:
    """Those, and in 2-D every choice of every option that is a `Literal`, one at a time."""
    cases = default_cases()
    for name, cls in heads.available().items():
        hints = get_type_hints(cls.__init__)
        for option, parameter in options_of(cls).items():
            choices = [choice for choice in get_args(hints[option]) if isinstance(choice, str)]
            cases += [HeadCase(name, SIZES[1], {option: c}) for c in choices if c != parameter.default]
    return cases


def total(losses: dict[str, Tensor], visible: Tensor) -> Tensor:
    """What a trainer minimizes."""
    return ops.average_loss(torch.stack(list(losses.values())).sum(0), visible)


def gradients(head: Head, features: Tensor, target: Target) -> list[Tensor]:
    """Of the total loss with respect to the features and every parameter, with the same noise at each call."""
    torch.manual_seed(5)
    features = features.clone().requires_grad_()
    loss = total(head.losses(head(features), target), target.visible)
    return list(torch.autograd.grad(loss, [features, *head.parameters()]))


def bumps(coords: Tensor, size: tuple[int, ...]) -> Tensor:
    """Features that show the way: a Gaussian per keypoint at its place, and the Gaussian's logarithm."""
    logs = ops.log_gaussian(coords, sigma=1.0, size=size, normalize=False)
    return torch.cat([logs.exp(), logs.clamp_min(-30)], dim=1)


def has_logits(head: Head) -> bool:
    """Whether the head can be fed back: whether it says anything of its own about logits."""
    return type(head).logits is not Head.logits


def trained(case: HeadCase, steps: int = 150) -> tuple[Head, Tensor, Target, list[float]]:
    """The head after a few steps on one small batch, with that batch and the losses on the way."""
    head, target = case.build(), case.target()
    features, optimizer = bumps(target.coords, case.size), torch.optim.Adam(head.parameters(), lr=0.2)
    history = []
    for step in range(steps):
        head.set_progress(step / steps)
        optimizer.zero_grad()
        loss = total(head.losses(head(features), target), target.visible)
        loss.backward()
        optimizer.step()
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


class HeadConformance:
    """The promises of `heads.base`. `case` runs over `all_cases()`."""

    def test_prediction_has_the_shapes_types_and_ranges_of_the_contract(self, case: HeadCase) -> None:
        head, dims = case.build(), len(case.size)
        prediction = head.decode(head(case.features()))
        assert isinstance(prediction, Prediction)
        assert prediction.coords.shape == (BATCH, KEYPOINTS, dims)
        assert prediction.score.shape == (BATCH, KEYPOINTS)
        assert prediction.score.min() >= 0
        assert prediction.score.max() <= 1
        if prediction.covariance is not None:
            assert prediction.covariance.shape == (BATCH, KEYPOINTS, dims, dims)
            assert torch.linalg.eigvalsh(prediction.covariance).min() >= -1e-6
        if prediction.heatmap is not None:
            assert prediction.heatmap.shape == (BATCH, KEYPOINTS, *case.size)
        tensors = [prediction.coords, prediction.score, prediction.covariance, prediction.heatmap]
        assert all(t.dtype == torch.float32 and t.isfinite().all() for t in tensors if t is not None)

    def test_losses_and_gradients_are_finite(self, case: HeadCase) -> None:
        head, target = case.build(), case.target()
        losses = head.losses(head(case.features()), target)
        assert losses
        assert all(value.shape == (BATCH, KEYPOINTS) and value.isfinite().all() for value in losses.values())
        assert all(gradient.isfinite().all() for gradient in gradients(head, case.features(), target))

    @pytest.mark.parametrize("scale", [0.0, 1e4])
    def test_extreme_features_keep_losses_and_gradients_finite(self, case: HeadCase, scale: float) -> None:
        head, target = case.build(), case.target()
        found = gradients(head, scale * case.features(), target)
        assert all(gradient.isfinite().all() for gradient in found)
        prediction = head.decode(head(scale * case.features()))
        assert prediction.coords.isfinite().all()
        assert prediction.score.isfinite().all()

    def test_autocast_computes_losses_and_coordinates_in_float32(self, case: HeadCase) -> None:
        head, target = case.build(), case.target()
        torch.manual_seed(5)
        wanted = head.losses(head(case.features()), target)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = head(case.features())
            torch.manual_seed(5)
            losses, prediction = head.losses(output, target), head.decode(output)
            found = gradients(head, case.features(), target)
        assert all(value.dtype == torch.float32 for value in losses.values())
        assert prediction.coords.dtype == prediction.score.dtype == torch.float32
        assert all(gradient.isfinite().all() for gradient in found)
        # The output may be rounded to bfloat16 on its way; what follows may not be.
        for term, value in losses.items():
            torch.testing.assert_close(value, wanted[term], rtol=0.05, atol=0.02)
        widened = tree_map(lambda value: value.float(), output)
        torch.testing.assert_close(prediction.coords, head.decode(widened).coords, rtol=0, atol=1e-6)
        torch.testing.assert_close(prediction.score, head.decode(widened).score, rtol=0, atol=1e-6)
        torch.manual_seed(5)
        for term, value in head.losses(widened, target).items():
            torch.testing.assert_close(losses[term], value, rtol=1e-5, atol=1e-6)
        assert not torch.equal(prediction.coords, prediction.coords.bfloat16().float()), "computed in bfloat16"

    def test_invisible_points_touch_nothing(self, case: HeadCase) -> None:
        head, coords = case.build(), case.target().coords
        visible = torch.rand(coords.shape[:2], generator=torch.Generator().manual_seed(4)) > 0.4
        assert visible.any()
        assert not visible.all()
        found = []
        for value in (torch.nan, torch.inf, 0.3, -50.0):
            spoilt = torch.where(visible[..., None], coords, value)
            target = Target(spoilt, visible)
            losses = head.losses(head(case.features()), target)
            assert all(term.isfinite().all() for term in losses.values())
            found.append(gradients(head, case.features(), target))
        assert any(gradient.abs().max() > 0 for gradient in found[0])
        for other in found[1:]:
            assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))

    def test_nothing_visible_gives_zero_gradients(self, case: HeadCase) -> None:
        coords = torch.full((BATCH, KEYPOINTS, len(case.size)), torch.nan)
        target = Target(coords, torch.zeros(BATCH, KEYPOINTS, dtype=torch.bool))
        assert all((gradient == 0).all() for gradient in gradients(case.build(), case.features(), target))

    def test_samples_of_a_batch_do_not_meet(self, case: HeadCase) -> None:
        head, target, features = case.build().eval(), case.target(), case.features()
        together = head.losses(head(features), target)
        prediction = head.decode(head(features))
        for i in range(BATCH):
            one = Target(target.coords[i : i + 1], target.visible[i : i + 1])
            output = head(features[i : i + 1])
            alone = head.decode(output)
            torch.testing.assert_close(alone.coords[0], prediction.coords[i], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(alone.score[0], prediction.score[i], rtol=1e-4, atol=1e-5)
            for term, value in head.losses(output, one).items():
                torch.testing.assert_close(value[0], together[term][i], rtol=1e-4, atol=1e-5)

    def test_state_dict_is_all_there_is_to_know(self, case: HeadCase) -> None:
        head = case.build().eval()
        torch.manual_seed(99)
        other = heads.build(case.name, CHANNELS, KEYPOINTS, case.size, **case.options).eval()
        other.load_state_dict(head.state_dict())
        a, b = (h.decode(h(case.features())) for h in (head, other))
        assert torch.equal(a.coords, b.coords)
        assert torch.equal(a.score, b.score)

    def test_progress_is_taken_from_start_to_end(self, case: HeadCase) -> None:
        head = case.build()
        for fraction in (0.0, 0.5, 1.0):
            head.set_progress(fraction)
            assert head.decode(head(case.features())).coords.isfinite().all()

    def test_logits_move_and_flip_with_the_features(self, case: HeadCase) -> None:
        head, features = case.build().eval(), case.features()
        if not has_logits(head):
            with pytest.raises(TypeError, match=f"{case.name!r} has no heatmap logits"):
                head.logits(features)
            return
        logits = head.logits(features)
        assert logits.shape == (BATCH, KEYPOINTS, *case.size)
        rolled = head.logits(features.roll(2, dims=-1))
        torch.testing.assert_close(rolled, logits.roll(2, dims=-1))
        torch.testing.assert_close(head.logits(features.flip(-1)), logits.flip(-1))


class TrainedHeadConformance:
    """Promises of a head that has learnt something. `case` runs over `default_cases()`: no options."""

    def test_fits_a_batch_and_then_follows_it(self, case: HeadCase) -> None:
        head, features, target, history = trained(case)
        # A likelihood need not fall to zero: the coordinates below are what counts.
        assert history[-1] < history[0]
        found = head.decode(head(features)).coords
        cell = 2 / torch.tensor(case.size[::-1])
        error = ((found - target.coords) / cell).norm(dim=-1)
        assert error.median() < 0.5, f"median error {error.median():.3f} cells after training"
        if not has_logits(head):
            return
        # Points at the grid's middle, so that what moves stays away from the borders.
        middle = target.coords * 0.2
        start = head.decode(head(bumps(middle, case.size))).coords
        for axis in range(len(case.size)):
            step = torch.zeros(len(case.size))
            step[axis] = cell[axis]
            moved = head.decode(head(bumps(middle + step, case.size))).coords
            off = ((moved - start - step) / cell).abs().max()
            assert off < 0.1, f"a step of one cell along axis {axis} was followed with an error of {off:.3f} cells"
        flipped = head.decode(head(features.flip(-1))).coords
        mirror = torch.ones(len(case.size))
        mirror[0] = -1
        torch.testing.assert_close(flipped, found * mirror, rtol=0, atol=1e-4)

    def test_exports(self, case: HeadCase) -> None:
        module, features = Decoder(case.build()).eval(), case.features()
        exported = torch.export.export(module, (features,)).module()
        for found, wanted in zip(exported(features), module(features), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)

    def test_unknown_options_are_named(self, case: HeadCase) -> None:
        with pytest.raises(ValueError, match="has no option 'no_such_option'") as caught:
            heads.build(case.name, CHANNELS, KEYPOINTS, case.size, no_such_option=1)
        assert all(option in str(caught.value) for option in options_of(heads.available()[case.name]))

    def test_every_option_is_documented_and_typed(self, case: HeadCase) -> None:
        cls = heads.available()[case.name]
        hints, text = get_type_hints(cls.__init__), cls.__doc__ or ""
        assert "Args:" in text
        for option in options_of(cls):
            assert option in hints
            assert f"\n        {option}: " in text
