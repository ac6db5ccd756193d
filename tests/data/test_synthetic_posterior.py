"""Scenes with a known posterior: labels follow it, the picture tells it, and tells nothing more."""

import json
from typing import get_args

import numpy as np
import pytest
import torch
from scipy import stats

from punctum.data import read, synthetic_posterior
from punctum.data.synthetic_posterior import (
    KINDS,
    REACH,
    Kind,
    make_posterior_scene,
    posterior_of,
    read_posterior,
    write_posterior_scenes,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("posterior")
    return write_posterior_scenes(folder, 9, seed=5, size=64, split="some")


@pytest.fixture
def unpainted(monkeypatch):
    """Labels without pictures, by the thousand."""
    monkeypatch.setattr(synthetic_posterior, "_picture", lambda *_: np.zeros((0, 0, 3), np.uint8))


def transformed(scene, points):
    """(N, 2) numbers that are uniform where the posterior is right: F(x) and F(y | x), by SciPy."""
    weights, means, spread = scene.weights, scene.means, scene.covariances
    x, y = points[:, :1], points[:, 1:]
    deviation = np.sqrt(spread[:, 0, 0])
    first = (weights * stats.norm.cdf(x, means[:, 0], deviation)).sum(1)
    share = weights * stats.norm.pdf(x, means[:, 0], deviation)
    share /= share.sum(1, keepdims=True)
    slope = spread[:, 0, 1] / spread[:, 0, 0]
    rest = np.sqrt(spread[:, 1, 1] - slope * spread[:, 0, 1])
    return np.stack([first, (share * stats.norm.cdf(y, means[:, 1] + slope * (x - means[:, 0]), rest)).sum(1)], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_one_picture_follow_its_posterior(kind, unpainted):
    scenes = [make_posterior_scene(11, kind, again=i) for i in range(800)]
    uniform = transformed(scenes[0], np.array([scene.keypoint for scene in scenes]))
    for axis in uniform.T:
        assert stats.kstest(axis, "uniform").pvalue > 0.005
    assert abs(stats.spearmanr(*uniform.T).statistic) < 0.12
    nearest = [np.linalg.norm(scene.means - scene.place, axis=1).argmin() for scene in scenes]
    assert np.bincount(nearest) / 800 == pytest.approx(scenes[0].weights, abs=0.055)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_many_pictures_follow_their_posteriors(kind, unpainted):
    scenes = [make_posterior_scene([3, i], kind) for i in range(800)]
    uniform = np.concatenate([transformed(scene, scene.keypoint[None]) for scene in scenes])
    for axis in uniform.T:
        assert stats.kstest(axis, "uniform").pvalue > 0.005


def test_the_density_is_that_of_scipy():
    points = np.random.default_rng(0).uniform(0, 63, (1, 1, 50, 2))
    for kind in KINDS:
        scene = make_posterior_scene(2, kind, 64)
        density = sum(
            w * stats.multivariate_normal(mean, spread).pdf(points[0, 0])
            for w, mean, spread in zip(scene.weights, scene.means, scene.covariances, strict=True)
        )
        found = posterior_of([scene]).log_prob(torch.from_numpy(points))[0, 0]
        assert found.exp().numpy() == pytest.approx(density, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_does_not_tell_what_it_hides(kind):
    for seed in range(2):
        scenes = [make_posterior_scene(seed, kind, 64, again=i) for i in range(8)]
        assert all((scene.image == scenes[0].image).all() for scene in scenes)
        assert len({tuple(scene.keypoint) for scene in scenes}) == 8
        assert all((scene.means == scenes[0].means).all() for scene in scenes)


@pytest.mark.parametrize("size", [64, 96, 150])
def test_the_card_covers_every_end_within_its_reach_and_little_more(size):
    layout = synthetic_posterior._layout(np.random.default_rng(4), "occluded", size)
    along = (layout.ends[0] - layout.hinge) / np.linalg.norm(layout.ends[0] - layout.hinge)
    spread = synthetic_posterior._hidden_spread(layout.card, size)

    def painted(z):
        return synthetic_posterior._picture(layout, layout.ends + z * spread * along, np.random.default_rng(0), size)

    for z in (-REACH, -2, 1, REACH):
        np.testing.assert_array_equal(painted(z), painted(0))
    assert (painted(REACH + 1.5) != painted(0)).any()  # it is really painted there


def test_a_knob_lies_where_the_posterior_says():
    offsets = []
    y, x = np.ogrid[:96, :96]
    for seed in range(60):
        scene = make_posterior_scene(seed, "even")
        for px, py in scene.means:
            light = scene.image.min(-1).astype(float) - 200
            light = np.where(np.hypot(x - px, y - py) < 5, light, 0).clip(0)
            offsets.append([(light * x).sum() / light.sum() - px, (light * y).sum() / light.sum() - py])
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.03
    assert np.std(offsets) < 0.15  # against the labels' noise of 2 px


def test_a_card_lies_where_the_posterior_says():
    for seed in range(10):
        scene = make_posterior_scene(seed, "occluded")
        (along,) = (np.linalg.eigh(spread)[1][:, 1] for spread in scene.covariances)
        across = np.array([-along[1], along[0]])
        widths = []
        for direction in (across, -across):  # there is no rod on these sides
            steps = np.arange(0, 30, 0.25)
            places = np.rint(scene.means[0] + steps[:, None] * direction).astype(int).clip(0, 95)
            colours = scene.image[places[:, 1], places[:, 0]].astype(float)
            other = np.abs(colours - colours[:20].mean(0)).max(-1) > 25  # the card's dark edge
            widths.append(steps[other.argmax()])
        assert 14 < np.mean(widths) < 25
        assert widths[0] == pytest.approx(widths[1], abs=1.5)


def test_the_light_knob_is_the_likelier_one():
    for seed in range(5):
        scene = make_posterior_scene(seed, "uneven")
        light, dark = (scene.image[tuple(np.rint(place).astype(int)[::-1])].mean() for place in scene.means)
        assert light > 150 > 90 > dark
        assert scene.weights.tolist() == [0.7, 0.3]


def test_the_same_seed_gives_the_same_scene_and_another_one_another():
    a, b = make_posterior_scene([1, 2], "occluded", 64), make_posterior_scene((1, 2), "occluded", 64)
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.keypoint, b.keypoint)
    assert (make_posterior_scene([1, 3], "occluded", 64).image != a.image).any()


def test_files_hold_what_the_scenes_do(written):
    annotations = read(written)
    mixture, kinds = read_posterior(written.with_name("some-posterior.npz"))
    assert kinds.tolist() == [KINDS[i % 4] for i in range(9)]
    assert annotations.visibility[:, 0].tolist() == [1 if kind == "occluded" else 2 for kind in kinds]
    assert annotations.keypoints.shape == (9, 1, 2)
    inside = mixture.log_prob(torch.from_numpy(annotations.keypoints))
    assert (inside > -12).all()  # every label is a draw from its own posterior
    assert (mixture.log_prob(torch.from_numpy(np.roll(annotations.keypoints, 1, axis=0))) < -12).any()
    assert mixture.log_weights.exp().sum(-1).numpy() == pytest.approx(1)
    assert mixture.moments()[1].dtype == torch.float64


def test_more_scenes_begin_with_the_same_ones(written, tmp_path):
    more = write_posterior_scenes(tmp_path, 10, seed=5, size=64, split="some")
    other = write_posterior_scenes(tmp_path, 2, seed=5, size=64, split="other", kinds=["visible"])
    few, many = (json.loads(path.read_text())["annotations"] for path in (written, more))
    assert few == many[:9]
    name = "images/some_00003.png"
    assert (written.parent / name).read_bytes() == (more.parent / name).read_bytes()
    assert json.loads(other.read_text())["annotations"][0] != few[0]
    assert read_posterior(tmp_path / "other-posterior.npz")[0].means.shape == (2, 1, 1, 2)


def test_what_cannot_be_made_is_refused(tmp_path):
    assert get_args(Kind) == KINDS
    with pytest.raises(ValueError, match="kind must be one of visible, occluded, even, uneven, got 'odd'"):
        make_posterior_scene(0, "odd")
    with pytest.raises(ValueError, match="at least 64 px"):
        make_posterior_scene(0, "even", 63)
    for words in ({"count": 0, "seed": 0}, {"count": 1, "seed": -1}, {"count": 1, "seed": 0, "kinds": []}):
        with pytest.raises(ValueError, match="count must be at least 1"):
            write_posterior_scenes(tmp_path, **words)
    assert not list(tmp_path.iterdir())
