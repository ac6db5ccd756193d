"""The whole way, from held-out predictions to promises: are they kept, what is refused, what is flagged."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from calibration.cases import maps
from punctum.calibration import KINDS, MapSet, calibrate
from punctum.heads import Prediction

NAMES = ("nose", "left", "right")
LEVELS = (0.5, 0.9)


def apply(calibration, data):
    return calibration.apply(data.prediction, data.to_image, data.lengths)


@pytest.fixture(scope="module")
def data():
    return maps(220, 3, shared=0.6)


@pytest.fixture(scope="module")
def calibration(data):
    return calibrate(data.subset(slice(0, 120)), NAMES)


def kept_shares(calibration, new):
    """By kind and level, the share of points held alone, and of instances held together."""
    calibrated, shares = apply(calibration, new), {}
    for kind in KINDS:
        for level in calibration.levels:
            alone = calibrated.holds(kind, level, new.keypoints)[new.visible].double().mean()
            together = (
                (calibrated.holds(kind, level, new.keypoints, joint=True) | ~new.visible).all(1).double().mean()
            )
            shares[kind, level] = float(alone), float(together)
    return shares


def test_new_images_keep_every_promise_alone_and_together():
    """Over many calibration sets, as the theorem says; the errors of an image's points go together."""
    sets = 14
    found = []
    for seed in range(sets):
        both = maps(40 + 150, 3, seed=seed, shared=0.6, hidden=0.05)
        old, new = both.subset(slice(0, 40)), both.subset(slice(40, None))
        found.append(kept_shares(calibrate(old, NAMES, levels=LEVELS, seed=seed), new))
    for kind in KINDS:
        for level in LEVELS:
            alone, together = np.mean([shares[kind, level] for shares in found], axis=0)
            # 24 images: a set's own coverage is Beta distributed about the level.
            slack = 3.5 * math.sqrt(level * (1 - level) / 24 / sets)
            assert level - slack < alone < level + 1 / 23 + slack
            assert level - slack < together < level + 1 / 23 + slack


def test_a_useless_head_costs_size_and_not_coverage():
    """Heatmaps and covariances of other instances: the promise stands, and the regions are larger."""
    good, both = {}, maps(300, 2, 2, 1, shared=0.0)
    turned = both.prediction.map(lambda t: t.roll(1, 0))
    wrong = replace(both.prediction, heatmap=turned.heatmap, covariance=turned.covariance)
    for name, prediction in (("good", both.prediction), ("wrong", wrong)):
        some = replace(both, prediction=prediction)
        old, new = some.split(150, seed=0)
        calibration = calibrate(old, ("a", "b"), levels=(0.9,))
        calibrated = apply(calibration, new)
        good[name] = [float(calibrated.volume(kind, 0.9).median()) for kind in KINDS]
        for kind, (alone, _) in zip(KINDS, kept_shares(calibration, new).values(), strict=True):
            assert 0.8 < alone < 0.97, kind
    assert all(w > 1.05 * g for w, g in zip(good["wrong"], good["good"], strict=True))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("heatmap", "covariance"), [(True, True), (True, False), (False, True), (False, False)])
def test_any_head_in_any_dimension(dims, heatmap, covariance):
    both = maps(60, 2, dims, 2, heatmap=heatmap, covariance=covariance, hidden=0.1)
    calibration = calibrate(both, ("a", "b"), levels=(0.5, 0.8))
    calibrated = apply(calibration, both)
    assert calibrated.keypoints.shape == both.keypoints.shape
    assert (torch.linalg.eigvalsh(calibrated.covariance) > 0).all()
    assert ((calibrated.score >= 0) & (calibrated.score <= 1)).all()
    for kind in KINDS:
        volumes = [calibrated.volume(kind, level) for level in (0.5, 0.8)]
        assert (volumes[1] > volumes[0]).all()
        assert volumes[1].isfinite().all()
        assert (calibrated.volume(kind, 0.8, joint=True) > volumes[1]).double().mean() > 0.5
    assert calibrated.radius(0.8).shape == calibrated.threshold(0.8).shape == (60, 2)
    assert calibrated.factor(0.8).shape == (2,)
    if not (heatmap or covariance):
        assert (
            calibrated.radius(0.8)
            .div(torch.linalg.vector_norm(both.to_image[:, :dims, 0], dim=1)[:, None])
            .std(0)
            .max()
            < 1e-6
        )  # it knows no better instance from a worse one


def test_nothing_depends_on_the_batch(calibration, data):
    new = data.subset(slice(120, None))
    together, alone = apply(calibration, new), apply(calibration, new.subset([7]))
    for kind in KINDS:
        torch.testing.assert_close(together.volume(kind, 0.95)[7:8], alone.volume(kind, 0.95), rtol=1e-4, atol=0)
        there = [c.regions.score(kind, k) for c, k in ((together, new.keypoints), (alone, new.keypoints[7:8]))]
        torch.testing.assert_close(there[0][7:8], there[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.score[7:8], alone.score, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.flags.typical[7:8], alone.flags.typical)
    assert torch.equal(together.flags.any[7:8], alone.flags.any)


def test_the_same_seed_gives_the_same_promises_and_another_seed_others(data, calibration):
    again, other = (calibrate(data.subset(slice(0, 120)), NAMES, seed=seed) for seed in (0, 1))
    for kind in KINDS:
        assert torch.equal(again.bounds[kind], calibration.bounds[kind])
        assert torch.equal(again.joint[kind], calibration.joint[kind])
        assert not torch.equal(other.bounds[kind], calibration.bounds[kind])
    assert calibration.images == (48, 72)
    assert calibration.points.tolist() == [72] * 3


def test_scores_are_probabilities_of_being_near():
    both = maps(1200, 2, 2, 3, shared=0.0)
    old, new = both.split(500, seed=0)
    for within in (0.04, 0.1):
        calibrated = apply(calibrate(old, ("a", "b"), within=within), new)
        near = torch.linalg.vector_norm(calibrated.keypoints - new.keypoints, dim=-1) <= within * new.lengths[:, None]
        assert calibrated.score.std() > 0.03
        order = calibrated.score.flatten().argsort()
        for part in order.chunk(4):
            share, said = near.flatten()[part].double().mean(), calibrated.score.flatten()[part].mean()
            assert abs(share - said) < 0.09


def test_a_head_that_knows_nothing_says_the_base_rate():
    both = maps(200, 1, 2, 4, heatmap=False, covariance=False)
    both = replace(both, to_image=both.to_image[:1].expand(200, 3, 3), lengths=both.lengths[:1].expand(200))
    coords = torch.zeros_like(both.prediction.coords)
    generator = torch.Generator().manual_seed(0)
    keypoints = both.to_image[0, :2, 2] + 10 * torch.randn(200, 1, 2, generator=generator)
    both = replace(both, prediction=Prediction(coords, torch.ones(200, 1)), keypoints=keypoints)
    length = float(both.lengths[0])
    calibrated = apply(calibrate(both, ("a",), within=10 / length), both)
    assert calibrated.score.std() < 1e-6
    assert abs(calibrated.score.mean() - (1 - math.exp(-0.5))) < 0.1


def test_an_instance_without_a_length_gets_the_usual_one(calibration, data):
    new = data.subset(slice(120, None))
    known = calibration.apply(new.prediction, new.to_image, new.lengths)
    unknown = calibration.apply(new.prediction, new.to_image)
    partly = calibration.apply(new.prediction, new.to_image, torch.where(new.images % 2 == 0, new.lengths, torch.nan))
    assert torch.equal(partly.score[::2], known.score[::2])
    assert torch.equal(partly.score[1::2], unknown.score[1::2])
    assert not unknown.score.isnan().any()


def test_maps_that_break_still_get_finite_answers(calibration, data):
    new = data.subset(slice(120, 124))
    broken = new.prediction.map(Tensor.clone)
    broken.heatmap[0] = torch.nan
    broken.heatmap[1] = 0
    broken.covariance[2] = torch.nan
    calibrated = calibration.apply(broken, new.to_image)
    assert calibrated.score.isfinite().all()
    assert calibrated.covariance.isfinite().all()
    assert calibrated.volume("hdr", 0.95).isfinite().all()
    assert calibrated.flags.flat[:2].all()


def test_flags_of_images_like_those_calibrated_on_are_rare_and_p_values_even(calibration):
    flags = apply(calibration, maps(400, 3, seed=50, shared=0.6)).flags
    assert flags.wide.double().mean() < 0.04
    assert abs(flags.typical.mean() - 0.5) < 0.12
    assert (flags.typical <= 0.1).double().mean() < 0.2


def test_unlike_images_are_flagged(calibration):
    """Maps that are wide, flat, or of two hills."""
    new = maps(20, 3, seed=51)
    even = torch.full_like(new.prediction.heatmap, 1 / new.prediction.heatmap[0, 0].numel())
    two = torch.zeros_like(even)
    two[..., 2, 2], two[..., 6, 7] = 0.55, 0.45
    wide = replace(new.prediction, covariance=30 * new.prediction.covariance)
    assert calibration.apply(replace(new.prediction, heatmap=even), new.to_image).flags.flat.all()
    assert calibration.apply(replace(new.prediction, heatmap=two), new.to_image).flags.two.all()
    flags = calibration.apply(wide, new.to_image).flags
    assert flags.wide.double().mean() > 0.9
    assert (flags.typical <= 1 / 73 + 1e-9).double().mean() > 0.9


def test_of_a_head_without_a_spread_every_image_is_typical():
    both = maps(60, 2, seed=5, heatmap=False, covariance=False)
    flags = apply(calibrate(both, ("a", "b"), levels=(0.8,)), both).flags
    assert (flags.typical == 1).all()
    assert not flags.any.any()


def test_too_few_images_and_too_few_points_name_what_is_needed():
    few = maps(23, 3)
    with pytest.raises(ValueError, match=r"23 images are too few for a promise of 95 %.*19.*24 or more"):
        calibrate(few, NAMES)
    assert calibrate(maps(24, 3), NAMES).images == (5, 19)
    both = maps(60, 3)
    both.visible[12:, 1] = False
    with pytest.raises(ValueError, match=r"keypoint 'left': \d+ images are too few for a promise of 95 %, .* 19"):
        calibrate(both, NAMES)
    lenient = calibrate(both, NAMES, pooled=True)
    assert lenient.points[1] < 19 < lenient.points[0]
    assert (lenient.bounds["ball"][1] > 0).all()


def test_instances_of_one_picture_stay_together_and_count_once():
    crowded = maps(90, 2, per_image=3)
    with pytest.raises(ValueError, match="30 images are too few for a promise of 99 %"):
        calibrate(crowded, ("a", "b"), levels=(0.99,))
    calibration = calibrate(crowded, ("a", "b"), levels=(0.8,))
    assert calibration.images == (12, 18)
    assert calibration.points.tolist() == [18, 18]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"levels": ()}, "levels"),
        ({"levels": (0.5, 0.5)}, "different"),
        ({"levels": (95,)}, r"in \(0, 1\)"),
        ({"within": 0.0}, "within"),
        ({"names": ("a",)}, "1 names for 3 keypoints"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(data, change, words):
    with pytest.raises(ValueError, match=words):
        calibrate(data, **{"names": NAMES, **change})


def test_without_any_length_no_distance_can_be_stated(data):
    with pytest.raises(ValueError, match="no instance has a usable length"):
        calibrate(replace(data, lengths=torch.full_like(data.lengths, torch.nan)), NAMES)


def test_another_model_and_another_level_are_refused(calibration, data):
    with pytest.raises(ValueError, match="of 3 keypoints with 2 coordinates"):
        calibration.apply(Prediction(torch.zeros(1, 4, 2), torch.zeros(1, 4)), torch.eye(3)[None])
    with pytest.raises(ValueError, match=r"nothing was calibrated at 0\.99: the levels are 0\.5, 0\.8"):
        apply(calibration, data).radius(0.99)


def test_a_map_set_whose_shapes_do_not_fit_is_refused(data):
    with pytest.raises(ValueError, match="lengths must be"):
        replace(data, lengths=data.lengths[:-1])
    with pytest.raises(ValueError, match="visible must be bool"):
        replace(data, visible=data.visible.double())
    with pytest.raises(ValueError, match="cannot be split off"):
        data.split(220, seed=0)
    assert isinstance(data.subset([0, 3]), MapSet)
