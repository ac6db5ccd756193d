"""The conformance suite is tried on heads that break one promise each: it must not let any of them through."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conformance import SIZES, GraphHeadConformance, HeadCase, HeadConformance, TrainedHeadConformance
from punctum import heads, ops
from punctum.heads import Head, Prediction, Target
from punctum.heads.base import conv1x1


class Sound(Head):
    """Soft-argmax and L1: the smallest head that keeps every promise.

    Args:
        beta: inverse temperature.
    """

    name = "sound"

    def __init__(self, in_channels: int, num_keypoints: int, size: Sequence[int], *, beta: float = 1.0) -> None:
        super().__init__()
        self.beta, self.progress = beta, 0.0
        self.conv = conv1x1(in_channels, num_keypoints, len(size), bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.logits(features)

    def logits(self, features: Tensor) -> Tensor:
        return self.conv(features)

    def losses(self, output: Tensor, target: Target) -> dict[str, Tensor]:
        return {"l1": ops.l1_losses(ops.soft_argmax(output, self.beta), target.coords)}

    def decode(self, output: Tensor) -> Prediction:
        heatmaps = ops.normalize(ops.as_float(output), beta=self.beta)
        coords = ops.dsnt(heatmaps)
        return Prediction(coords, heatmaps.flatten(2).amax(-1), ops.covariance(heatmaps, coords), heatmaps)


def l1(head: Head, output: Tensor, target: Target) -> Tensor:
    return Sound.losses(head, output, target)["l1"]


def moved(move: Callable[[Head, Tensor], Tensor]) -> Callable[[Head, Tensor], Prediction]:
    """A decoder that puts the coordinates elsewhere."""

    def decode(head: Head, output: Tensor) -> Prediction:
        right = Sound.decode(head, output)
        return Prediction(move(head, right.coords), right.score, heatmap=right.heatmap)

    return decode


def nan_behind_a_mask(head: Head, output: Tensor, target: Target) -> dict[str, Tensor]:
    """The value is masked, its gradient is not: zero times infinity, as a missing point stands at zero."""
    relative = ops.l1_losses(ops.soft_argmax(output) / target.coords, torch.ones_like(target.coords))
    return {"l1": torch.where(target.visible, relative, 0.0)}


def against_the_mean(head: Head, output: Tensor, target: Target) -> dict[str, Tensor]:
    """Each point's loss knows where the others are, and so whether they are there."""
    centred = target.coords - target.coords.mean(1, keepdim=True)
    return {"l1": ops.l1_losses(ops.soft_argmax(output), centred)}


def plain_exponential(head: Head, output: Tensor, target: Target) -> dict[str, Tensor]:
    rectified = ops.as_float(output).exp()
    heatmaps = rectified / rectified.flatten(2).sum(-1).reshape(*output.shape[:2], *[1] * (output.ndim - 2))
    return {"l1": ops.l1_losses(ops.dsnt(heatmaps), target.coords)}


def looks_at_values(head: Head, output: Tensor) -> Prediction:
    right = Sound.decode(head, output)
    return right if right.coords.abs().max() < 0.5 else Prediction(right.coords.clamp(-1, 1), right.score)


def in_the_networks_precision(head: Head, output: Tensor) -> Prediction:
    right = Sound.decode(head, output)
    return Prediction(right.coords.to(output.dtype).float(), right.score)


def extent_between_centres(head: Head, coords: Tensor) -> Tensor:
    cells = torch.tensor(head.size[::-1])
    return coords * cells / (cells - 1)


def wrong_way_within_a_cell(head: Head, output: Tensor) -> Prediction:
    """A sub-pixel step with its sign turned round."""
    right = Sound.decode(head, output)
    return Prediction(2 * ops.argmax(output) - right.coords, right.score)


def noisy(head: Head, output: Tensor, target: Target) -> dict[str, Tensor]:
    return {"l1": l1(head, output + torch.randn_like(output), target)}


def initialised(extra: Callable[[Head], None]) -> Callable[..., None]:
    """The constructor, and one thing more."""

    def init(head: Head, in_channels: int, num_keypoints: int, size: Sequence[int], *, beta: float = 1.0) -> None:
        Sound.__init__(head, in_channels, num_keypoints, size, beta=beta)
        head.size = tuple(size)
        extra(head)

    return init


def keeps_a_secret(head: Head) -> None:
    head.secret = torch.randn(())


def says_one_thing_twice(head: Head) -> None:
    head.register_buffer("again", head.conv.weight.detach())


def forgets_where_it_was(head: Head, fraction: float) -> None:
    head.beta = 0.9 * head.beta + fraction


def everything(head: Head, target: Target) -> Tensor:
    return torch.ones_like(target.visible)


@dataclass(frozen=True)
class Fault:
    """One promise broken: by which methods, and the tests that must see it, in so many axes."""

    methods: dict[str, Any]
    caught_by: list[str]
    dims: int = 2


def fault(*caught_by: str, dims: int = 2, **methods: Any) -> Fault:
    return Fault(methods, list(caught_by), dims)


NO_SIZE = initialised(lambda head: None)

FAULTS = {
    "nan_behind_a_mask": fault("test_invisible_points_touch_nothing", losses=nan_behind_a_mask),
    "points_meet": fault("test_what_is_missing_at_one_point_changes_no_other_points_loss", losses=against_the_mean),
    "samples_meet": fault(
        "test_samples_of_a_batch_do_not_meet",
        forward=lambda head, features: head.conv(features) - head.conv(features).mean(0, keepdim=True),
    ),
    "ignores_flips": fault(
        "test_logits_move_and_flip_with_the_features",
        "test_flips_along_every_axis",
        logits=lambda head, features: head.conv(features).roll(1, dims=2),
    ),
    "half_a_cell_off": fault(
        "test_flips_along_every_axis",
        __init__=NO_SIZE,
        decode=moved(lambda head, coords: coords + 1 / torch.tensor(head.size[::-1])),
    ),
    "y_before_x": fault("test_fits_a_batch", decode=moved(lambda head, coords: coords.flip(-1))),
    "other_grid": fault(
        "test_follows_a_step_along_every_axis",
        "test_maps_may_be_one_cell_thin",
        dims=3,
        __init__=NO_SIZE,
        decode=moved(extent_between_centres),
    ),
    "wrong_way_within_a_cell": fault("test_part_of_a_step_leads_between_its_ends", decode=wrong_way_within_a_cell),
    "noisy": fault("test_noise_is_for_training_alone", losses=noisy),
    "score_above_one": fault(
        "test_prediction_has_the_shapes_types_and_ranges_of_the_contract",
        decode=lambda head, output: Prediction(ops.soft_argmax(output), 2 + ops.soft_argmax(output)[..., 0]),
    ),
    "averages_by_itself": fault(
        "test_losses_and_gradients_are_finite",
        losses=lambda head, output, target: {"l1": l1(head, output, target).mean()},
    ),
    "overflows": fault("test_extreme_features_keep_losses_and_gradients_finite", losses=plain_exponential),
    "bfloat16": fault("test_autocast_computes_losses_and_coordinates_in_float32", decode=in_the_networks_precision),
    "counts_everything": fault(
        "test_absent_points_count_only_where_the_head_says_so",
        "test_nothing_visible_gives_zero_gradients",
        counts=everything,
    ),
    "keeps_a_secret": fault(
        "test_state_dict_is_all_there_is_to_know",
        "test_saved_and_loaded_it_predicts_the_same",
        __init__=initialised(keeps_a_secret),
        decode=moved(lambda head, coords: coords + head.secret),
    ),
    "says_one_thing_twice": fault(
        "test_saved_and_loaded_it_predicts_the_same", __init__=initialised(says_one_thing_twice)
    ),
    "forgets_where_it_was": fault(
        "test_training_goes_through_its_progress_and_nothing_else_is_remembered", set_progress=forgets_where_it_was
    ),
    "needs_contiguous": fault(
        "test_memory_may_lie_in_any_order",
        forward=lambda head, features: head.conv(features.view(-1).view(features.shape)),
    ),
    "float32_only": fault("test_float64_is_taken", forward=lambda head, features: head.conv(features.float())),
    "squeezes": fault("test_one_sample_of_one_point_is_enough", decode=moved(lambda head, coords: coords.squeeze())),
    "looks_at_values": fault("test_exports", "test_compiles_into_one_graph", decode=looks_at_values),
    "undocumented": fault("test_every_option_is_documented_and_typed", __doc__="A head."),
}


def promises() -> dict[str, Callable[..., None]]:
    """Every test of the suite by its name."""
    suites = (HeadConformance(), TrainedHeadConformance(), GraphHeadConformance())
    return {name: test for suite in suites for name, test in inspect.getmembers(suite) if name.startswith("test_")}


def run(promise: str, case: HeadCase, folder: Path) -> None:
    """One test of the suite, with whatever it asks for: of its parameters the last values."""
    test = promises()[promise]
    given = {"tmp_path": folder, **{mark.args[0]: mark.args[1][-1] for mark in getattr(test, "pytestmark", [])}}
    wanted = inspect.signature(test).parameters.keys() & given.keys()
    test(case, **{name: given[name] for name in wanted})


@pytest.mark.parametrize("promise", promises())
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{len(size)}d")
def test_a_sound_head_passes(
    promise: str, size: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "_found", lambda: {"sound": Sound})
    run(promise, HeadCase("sound", size), tmp_path)


@pytest.mark.parametrize(
    ("name", "promise"), [(name, promise) for name, fault in FAULTS.items() for promise in fault.caught_by]
)
def test_a_broken_promise_is_caught(name: str, promise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = type(name, (Sound,), {"__doc__": Sound.__doc__, "name": name, **FAULTS[name].methods})
    monkeypatch.setattr(heads, "_found", lambda: {name: broken})
    # Some break in the middle of torch instead of failing an assertion: a pytest failure is neither.
    with pytest.raises((AssertionError, RuntimeError, pytest.fail.Exception)):
        run(promise, HeadCase(name, SIZES[FAULTS[name].dims - 1]), tmp_path)


def test_no_promise_goes_untried() -> None:
    kept_by_the_registry = {"test_unknown_options_are_named"}
    tried = {promise for fault in FAULTS.values() for promise in fault.caught_by}
    assert tried | kept_by_the_registry == set(promises())
