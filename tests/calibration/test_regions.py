"""Scores and volumes of regions against closed forms, and against counting places that they hold."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from punctum.calibration.regions import DRAWS, KINDS, Regions, depth, score_at
from punctum.ops.mixture import GaussianMixture, single_gaussian


def gaussian(dims, seed):
    """One point with the density that its covariance says."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(dims, dims)) * 3
    covariance = torch.from_numpy(root @ root.T + np.eye(dims))[None, None]
    keypoint = torch.from_numpy(rng.uniform(50, 400, (1, 1, dims)))
    return Regions(keypoint, covariance, single_gaussian(keypoint, covariance))


@given(st.integers(1, 3), st.floats(0.05, 0.99), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_of_a_gaussian_ellipse_and_densest_region_are_one(dims, level, seed):
    """At the chi quantile; the volume of an ellipsoid; and a ball of the same bound is at least as large."""
    regions = gaussian(dims, seed)
    radius = float(stats.chi(dims).ppf(level))
    volume = regions.volume("ellipse", radius)
    sides = np.linalg.eigvalsh(regions.covariance[0, 0].numpy()) ** 0.5
    unit = {1: 2.0, 2: np.pi, 3: 4 * np.pi / 3}[dims]
    assert volume.item() == pytest.approx(unit * radius**dims * sides.prod(), rel=1e-6)
    assert regions.volume("hdr", level).item() == pytest.approx(volume.item(), rel=0.15)
    assert regions.volume("ball", radius) >= volume * (1 - 1e-9)
    away = torch.from_numpy(np.linalg.cholesky(regions.covariance[0, 0].numpy())[:, 0]) * radius
    place = regions.keypoints + away
    assert regions.score("ellipse", place).item() == pytest.approx(radius, rel=1e-6)
    assert regions.score("hdr", place).item() == pytest.approx(level, abs=0.02)
    spread = regions.covariance[0, 0].diagonal().mean().sqrt()
    assert regions.score("ball", place).item() == pytest.approx(float(away.norm() / spread), rel=1e-6)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_beyond_all_draws_volumes_go_on(dims):
    """At a depth of 12 there is one draw in 160000: none of ours."""
    regions = gaussian(dims, 0)
    bound = float(score_at("hdr", torch.tensor(12.0)))
    assert bound > 1
    threshold = regions.densest.threshold(bound).item()
    peak = regions.mixture.log_prob(regions.keypoints).item()
    wanted = regions.volume("ellipse", float(np.sqrt(2 * (peak - threshold)))).item()
    assert regions.volume("hdr", bound).item() == pytest.approx(wanted, rel=0.1)


def two_hills():
    means = torch.tensor([[[[10.0, 10.0], [40.0, 12.0]]]], dtype=torch.float64)
    covariances = torch.stack([torch.diag(torch.tensor([9.0, 4.0])), torch.diag(torch.tensor([4.0, 25.0]))])
    mixture = GaussianMixture(
        torch.tensor([[[0.7, 0.3]]], dtype=torch.float64).log(),
        means,
        covariances.double()[None, None],
        {"one": 1, "two": 1},
    )
    mean, covariance = mixture.moments()
    return Regions(mean, covariance, mixture)


@pytest.mark.parametrize("kind", KINDS)
def test_volumes_are_those_of_the_places_that_are_held(kind):
    """Counting places of a fine grid; the densest region is two hills, and the smallest of the three."""
    regions, bounds = two_hills(), {"ball": 1.8, "ellipse": 1.5, "hdr": 0.9}
    axis = torch.arange(-80.0, 120, 0.5, dtype=torch.float64)
    places = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 1, 2)
    many = regions.mixture.map(lambda t: t.expand(len(places), *t.shape[1:]))
    everywhere = Regions(regions.keypoints.expand(len(places), -1, -1), regions.covariance, many)
    if kind == "hdr":
        held = many.log_prob(places) >= regions.densest.threshold(bounds[kind])
    else:
        held = everywhere.score(kind, places) <= bounds[kind]
    assert regions.volume(kind, bounds[kind]).item() == pytest.approx(held.sum().item() * 0.25, rel=0.04)


def test_the_densest_region_of_two_hills_is_the_smallest_that_holds_as_much():
    regions = two_hills()
    draws = regions.mixture.draw(256)[0, 0]
    volumes = {}
    for kind in KINDS:
        scores = torch.stack([regions.score(kind, y[None, None]) for y in draws]).flatten()
        volumes[kind] = regions.volume(kind, scores.quantile(0.9)).item()
    assert volumes["hdr"] < 0.5 * min(volumes["ball"], volumes["ellipse"])


@given(st.lists(st.floats(0, 30), min_size=1, max_size=20))
@settings(deadline=None)
def test_depths_go_back_and_keep_the_order(depths):
    values = torch.tensor(sorted(depths), dtype=torch.float64)
    scores = score_at("hdr", values)
    assert (scores.diff() >= 0).all()
    torch.testing.assert_close(depth("hdr", scores), values)
    assert depth("hdr", torch.tensor(DRAWS / (DRAWS + 1), dtype=torch.float64)).item() == pytest.approx(
        np.log(DRAWS + 1)
    )
    assert depth("ball", values) is values


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_that_is_nan_lies_nowhere(kind):
    regions = gaussian(2, 1)
    score = regions.score(kind, torch.full((1, 1, 2), torch.nan))
    assert score.isnan().all()
    assert not (score <= 1e9).any()
