"""What every head promises, as test classes to inherit; parametrized over `case` by whoever collects them.

A new head in `punctum.heads` runs through all of it without being named anywhere. `tests/test_conformance_catches.py`
shows that a head that breaks a promise is caught.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._pytree import tree_map

from conformance_cases import (
    BATCH,
    CHANNELS,
    KEYPOINTS,
    SIZES,
    THIN_SIZES,
    Decoder,
    HeadCase,
    Trainer,
    all_cases,
    bumps,
    compiled,
    default_cases,
    gradients,
    has_logits,
    losses_of,
    some_points,
    trained,
)
from punctum import heads
from punctum.heads import Prediction, Target
from punctum.model import KeypointModel, ModelConfig
from punctum.registry import options_of
from punctum.schema import Schema

__all__ = [
    "SIZES",
    "GraphHeadConformance",
    "HeadCase",
    "HeadConformance",
    "TrainedHeadConformance",
    "all_cases",
    "default_cases",
]


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
        losses = losses_of(head, head(case.features()), target)
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
        wanted = losses_of(head, head(case.features()), target)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = head(case.features())
            losses, prediction = losses_of(head, output, target), head.decode(output)
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
        for term, value in losses_of(head, widened, target).items():
            torch.testing.assert_close(losses[term], value, rtol=1e-5, atol=1e-6)
        assert not torch.equal(prediction.coords, prediction.coords.bfloat16().float()), "computed in bfloat16"

    def test_invisible_points_touch_nothing(self, case: HeadCase) -> None:
        head, coords = case.build(), case.target().coords
        visible, found = some_points(case, seed=4), []
        for value in (torch.nan, torch.inf, 0.3, -50.0):
            spoilt = torch.where(visible[..., None], coords, value)
            target = Target(spoilt, visible)
            losses = losses_of(head, head(case.features()), target)
            assert all(term.isfinite().all() for term in losses.values())
            found.append(gradients(head, case.features(), target))
        assert any(gradient.abs().max() > 0 for gradient in found[0])
        for other in found[1:]:
            assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))

    def test_what_is_missing_at_one_point_changes_no_other_points_loss(self, case: HeadCase) -> None:
        head, target = case.build(), case.target()
        visible, output = some_points(case, seed=4), head(case.features())
        wanted = losses_of(head, output, target)
        for term, value in losses_of(head, output, Target(target.coords, visible)).items():
            torch.testing.assert_close(value[visible], wanted[term][visible], rtol=1e-5, atol=1e-6)

    def test_nothing_visible_gives_zero_gradients(self, case: HeadCase) -> None:
        coords = torch.full((BATCH, KEYPOINTS, len(case.size)), torch.nan)
        target = Target(coords, torch.zeros(BATCH, KEYPOINTS, dtype=torch.bool))
        assert all((gradient == 0).all() for gradient in gradients(case.build(), case.features(), target))

    def test_noise_is_for_training_alone(self, case: HeadCase) -> None:
        head, target = case.build().eval(), case.target()
        output = head(case.features())
        assert_same(head.decode(output), head.decode(head(case.features())))
        losses = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            losses.append(head.losses(output, target))
        assert all(torch.equal(value, losses[1][term]) for term, value in losses[0].items())

    def test_absent_points_count_only_where_the_head_says_so(self, case: HeadCase) -> None:
        head, visible = case.build(), some_points(case, seed=4)
        absent = some_points(case, seed=6) & ~visible
        coords = torch.where(visible[..., None], case.target().coords, torch.nan)
        plain, target = Target(coords, visible), Target(coords, visible, absent)
        counts = head.counts(target)
        assert counts.dtype == torch.bool
        assert counts.shape == (BATCH, KEYPOINTS)
        assert (counts >= visible).all(), "a visible point does not count"
        assert (counts <= visible | absent).all(), "a point counts of which nothing is known"
        assert torch.equal(head.counts(plain), visible)
        losses = losses_of(head, head(case.features()), target)
        assert all(term.isfinite().all() for term in losses.values())
        found, without = (gradients(head, case.features(), t) for t in (target, plain))
        assert all(gradient.isfinite().all() for gradient in found)
        if torch.equal(counts, visible):
            assert all(torch.equal(a, b) for a, b in zip(found, without, strict=True))
        else:
            assert not all(torch.equal(a, b) for a, b in zip(found, without, strict=True))

    def test_samples_of_a_batch_do_not_meet(self, case: HeadCase) -> None:
        head, target, features = case.build().eval(), case.target(), case.features()
        together = losses_of(head, head(features), target)
        prediction = head.decode(head(features))
        for i in range(BATCH):
            one = Target(target.coords[i : i + 1], target.visible[i : i + 1])
            output = head(features[i : i + 1])
            alone = head.decode(output)
            torch.testing.assert_close(alone.coords[0], prediction.coords[i], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(alone.score[0], prediction.score[i], rtol=1e-4, atol=1e-5)
            for term, value in losses_of(head, output, one).items():
                torch.testing.assert_close(value[0], together[term][i], rtol=1e-4, atol=1e-5)

    def test_state_dict_is_all_there_is_to_know(self, case: HeadCase) -> None:
        head = case.build().eval()
        torch.manual_seed(99)
        other = heads.build(case.name, CHANNELS, KEYPOINTS, case.size, **case.options).eval()
        other.load_state_dict(head.state_dict())
        assert_same(*(h.decode(h(case.features())) for h in (head, other)))

    def test_saved_and_loaded_it_predicts_the_same(self, case: HeadCase, tmp_path: Path) -> None:
        """In 2-D as part of a whole model, with its options through JSON."""
        if len(case.size) == 2:
            backbone = {"name": "resnet18", "width": 0.0625, "output_stride": 8}
            schema = Schema(tuple("abc"))
            model = KeypointModel(ModelConfig(schema, (24, 32), backbone, {"name": case.name, **case.options})).eval()
            model.save(tmp_path)
            other, images = KeypointModel.load(tmp_path), torch.rand(2, 3, 24, 32)
            assert_same(model.decode(model(images)), other.decode(other(images)))
            return
        head, other = case.build().eval(), case.build().eval()
        save_file({name: value + 1 for name, value in head.state_dict().items()}, tmp_path / "head.safetensors")
        for each in (head, other):
            each.load_state_dict(load_file(tmp_path / "head.safetensors"))
        assert_same(head.decode(head(case.features())), other.decode(other(case.features())))

    def test_training_goes_through_its_progress_and_nothing_else_is_remembered(self, case: HeadCase) -> None:
        head, target, seen = case.build(), case.target(), {}
        for fraction in (0.0, 0.25, 0.5, 1.0, 0.5, 0.0):
            head.set_progress(fraction)
            found = gradients(head, case.features(), target)
            assert all(gradient.isfinite().all() for gradient in found)
            assert head.decode(head(case.features())).coords.isfinite().all()
            # A resumed run says 0.5 to a head that has never heard of 0.25.
            before = seen.setdefault(fraction, found)
            assert all(torch.equal(a, b) for a, b in zip(before, found, strict=True))

    def test_memory_may_lie_in_any_order(self, case: HeadCase) -> None:
        head, target, features = case.build().eval(), case.target(), case.features()
        channels_last = features.movedim(1, -1).contiguous().movedim(-1, 1)
        assert torch.equal(channels_last, features)
        assert channels_last.stride() != features.stride()
        spread_out = torch.stack([target.coords, torch.zeros_like(target.coords)], dim=-1)[..., 0]
        a, b = head(features), head(channels_last)
        torch.testing.assert_close(head.decode(a).coords, head.decode(b).coords, rtol=1e-4, atol=1e-5)
        wanted = losses_of(head, a, target)
        for term, value in losses_of(head, b, replace(target, coords=spread_out)).items():
            torch.testing.assert_close(value, wanted[term], rtol=1e-4, atol=1e-5)

    def test_float64_is_taken(self, case: HeadCase) -> None:
        head, target = case.build().double(), case.target()
        target = replace(target, coords=target.coords.double())
        prediction = head.decode(head(case.features().double()))
        assert prediction.coords.dtype in (torch.float32, torch.float64)
        assert prediction.coords.isfinite().all()
        assert prediction.score.isfinite().all()
        assert all(gradient.isfinite().all() for gradient in gradients(head, case.features().double(), target))
        single = case.build()
        wanted = single.decode(single(case.features())).coords
        torch.testing.assert_close(prediction.coords.float(), wanted, rtol=1e-3, atol=1e-3)

    def test_one_sample_of_one_point_is_enough(self, case: HeadCase) -> None:
        head = case.build(keypoints=1)
        prediction = head.decode(head(case.features(batch=1)))
        assert prediction.coords.shape == (1, 1, len(case.size))
        assert prediction.score.shape == (1, 1)
        found = gradients(head, case.features(batch=1), case.target(batch=1, keypoints=1))
        assert all(gradient.isfinite().all() for gradient in found)

    def test_maps_may_be_one_cell_thin(self, case: HeadCase) -> None:
        for size in THIN_SIZES[len(case.size)]:
            thin = replace(case, size=size)
            head = thin.build()
            prediction = head.decode(head(thin.features()))
            assert prediction.coords.shape == (BATCH, KEYPOINTS, len(size))
            assert prediction.coords.isfinite().all()
            assert 0 <= prediction.score.min() <= prediction.score.max() <= 1
            if prediction.covariance is not None:
                assert torch.linalg.eigvalsh(prediction.covariance).min() >= -1e-6
            assert all(gradient.isfinite().all() for gradient in gradients(head, thin.features(), thin.target()))

    def test_logits_move_and_flip_with_the_features(self, case: HeadCase) -> None:
        head, features = case.build().eval(), case.features()
        if not has_logits(head):
            with pytest.raises(TypeError, match=f"{case.name!r} has no heatmap logits"):
                head.logits(features)
            return
        logits = head.logits(features)
        assert logits.shape == (BATCH, KEYPOINTS, *case.size)
        for axis in range(2, features.ndim):
            torch.testing.assert_close(head.logits(features.roll(2, dims=axis)), logits.roll(2, dims=axis))
            torch.testing.assert_close(head.logits(features.flip(axis)), logits.flip(axis))


def assert_same(a: Prediction, b: Prediction) -> None:
    """To the bit."""
    assert torch.equal(a.coords, b.coords)
    assert torch.equal(a.score, b.score)


class TrainedHeadConformance:
    """Promises of a head that has learnt something. `case` runs over `default_cases()`: no options."""

    def test_fits_a_batch(self, case: HeadCase) -> None:
        head, features, target, history = trained(case)
        # A likelihood need not fall to zero: the coordinates below are what counts.
        assert history[-1] < history[0]
        found = head.decode(head(features)).coords
        error = ((found - target.coords) * torch.tensor(case.size[::-1]) / 2).norm(dim=-1)
        assert error.median() < 0.5, f"median error {error.median():.3f} cells after training"

    @pytest.mark.parametrize("cells", [1.0, -1.0])
    def test_follows_a_step_along_every_axis(self, case: HeadCase, cells: float) -> None:
        for axis, moved in self.steps(case, cells):
            off = (moved - cells * torch.eye(len(case.size))[axis]).abs().max()
            assert off < 0.1, f"{cells} cells along axis {axis} were followed with an error of {off:.3f} cells"

    def test_part_of_a_step_leads_between_its_ends(self, case: HeadCase) -> None:
        """How far is the head's own: some stay on a cell's centre until the next one is nearer."""
        before, after = dict(self.steps(case, 0.3)), dict(self.steps(case, 0.7))
        for axis in before:
            along, further = before[axis][..., axis], after[axis][..., axis]
            assert (along > -0.1).all(), f"0.3 cells along axis {axis} lead {-along.min():.3f} cells back"
            assert (further > along - 0.1).all(), f"0.7 cells along axis {axis} lead less far than 0.3"
            assert (further < 1.1).all(), f"0.7 cells along axis {axis} lead {further.max():.3f} cells on"

    @staticmethod
    def steps(case: HeadCase, cells: float) -> Iterator[tuple[int, torch.Tensor]]:
        """For each axis, how far coordinates go, in cells, when the features go so many cells along it."""
        head, _, target, _ = trained(case)
        if not has_logits(head):
            return
        # Points at the grid's middle, so that what moves stays away from the borders.
        middle, cell = target.coords * 0.2, 2 / torch.tensor(case.size[::-1])
        start = head.decode(head(bumps(middle, case.size))).coords
        for axis, step in enumerate(cells * torch.diag(cell)):
            yield axis, (head.decode(head(bumps(middle + step, case.size))).coords - start) / cell

    def test_flips_along_every_axis(self, case: HeadCase) -> None:
        head, features, _, _ = trained(case)
        if not has_logits(head):
            return
        found = head.decode(head(features))
        for axis in range(len(case.size)):
            flipped = head.decode(head(features.flip(-1 - axis)))
            mirror = torch.ones(len(case.size))
            mirror[axis] = -1
            torch.testing.assert_close(flipped.coords, found.coords * mirror, rtol=0, atol=1e-4)
            torch.testing.assert_close(flipped.score, found.score, rtol=0, atol=1e-4)

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


class GraphHeadConformance:
    """All that a head computes is one graph: seconds to look at. `case` runs over `all_cases()`."""

    def test_compiles_into_one_graph(self, case: HeadCase) -> None:
        target = case.target()
        module, inputs = Trainer(case.build()), (case.features(), target.coords, target.visible)
        with compiled(module) as run:
            torch.manual_seed(5)
            found = run(*inputs)
        torch.manual_seed(5)
        torch.testing.assert_close(found, module(*inputs), rtol=1e-5, atol=1e-6)

    def test_exports(self, case: HeadCase) -> None:
        module, features = Decoder(case.build()).eval(), case.features()
        exported = torch.export.export(module, (features,)).module()
        for found, wanted in zip(exported(features), module(features), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
