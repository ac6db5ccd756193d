"""Highest-density regions: levels are uniform, volumes those of ellipses and of a brute-force grid."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ops.mixtures import grid, random_mixture, scipy_density, some, two_gaussians
from punctum import ops

LEVELS = (0.5, 0.8, 0.9, 0.95)


def numpy_draws(mixture: ops.GaussianMixture, n: int, seed: int) -> torch.Tensor:
    """(1, 1, n, D) draws that owe nothing to `draw`."""
    random = np.random.default_rng(seed)
    weights = mixture.log_weights[0, 0].exp().numpy()
    component = random.choice(len(weights), n, p=weights / weights.sum())
    roots = np.linalg.cholesky(mixture.covariances[0, 0].numpy())[mixture.group.numpy()[component]]
    noise = random.standard_normal((n, mixture.means.shape[-1]))
    return torch.tensor(mixture.means[0, 0].numpy()[component] + (roots @ noise[..., None])[..., 0])[None, None]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_level_of_a_draw_is_uniform(dims: int) -> None:
    mixture = random_mixture(dims, lead=(1, 1), apart=3.0)
    log_prob = mixture.log_prob(numpy_draws(mixture, 4000, seed=1))[0]
    regions = ops.HighestDensity(mixture)
    regions.surprises = regions.surprises.expand(1, 4000, -1).contiguous()
    level = regions.level_of(log_prob).clamp(max=1)
    # 0.026 is the 1 % point of 4000 numbers.
    assert stats.kstest(level.flatten(), "uniform").statistic < 0.026
    for q in LEVELS:
        assert (level <= q).double().mean().item() == pytest.approx(q, abs=0.025)


def test_regions_hold_their_share_of_truths_over_many_maps() -> None:
    """A truth of each map, drawn from it: {level <= q} holds a share q of them."""
    size = (8, 10)
    heatmaps = (2 * some(0, 40, 25, *size)).flatten(2).softmax(-1).reshape(40, 25, *size)
    mixture = ops.heatmap_mixture(heatmaps, ops.dsnt(heatmaps), None, size, background=0.02)
    truth = torch.stack([mixture.map(lambda x, i=i: x[i : i + 1]).draw(25 * 7)[0] for i in range(40)])
    truth = truth[:, torch.arange(25), 7 * torch.arange(25)]
    regions = ops.HighestDensity(mixture, 256)
    level = regions.level(truth)
    assert stats.kstest(level.flatten().clamp(max=1), "uniform").pvalue > 0.01
    for q in LEVELS:
        inside = mixture.log_prob(truth) >= regions.threshold(q)
        assert inside.double().mean().item() == pytest.approx(q, abs=0.03)
        assert torch.equal(inside, level <= q)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_regions_of_a_gaussian_are_its_ellipses(dims: int) -> None:
    root = some(2, 1, 1, dims, dims)
    covariance = root @ root.mT + 0.1 * torch.eye(dims, dtype=torch.float64)
    regions = ops.HighestDensity(ops.single_gaussian(some(3, 1, 1, dims), covariance))
    ball = {1: 2.0, 2: torch.pi, 3: 4 / 3 * torch.pi}[dims]
    for q in LEVELS:
        distance2 = stats.chi2(dims).ppf(q)
        volume = ball * distance2 ** (dims / 2) * covariance.det().sqrt().item()
        assert regions.volume(q).item() == pytest.approx(volume, rel=0.04)
        # At the 95 % border 0.12 nats are 0.006 of probability.
        log_norm = -0.5 * covariance.logdet().item() - dims / 2 * np.log(2 * np.pi)
        assert regions.threshold(q).item() == pytest.approx(log_norm - distance2 / 2, abs=0.12)


@pytest.mark.parametrize("distance", [1.0, 3.0, 6.0])
def test_regions_of_two_gaussians_are_those_of_a_grid(distance: float) -> None:
    mixture = two_gaussians(distance)
    points, area = grid(10, 400)
    density = np.sort(scipy_density(mixture, 0, 0, points))[::-1]
    held = np.cumsum(density) * area
    regions = ops.HighestDensity(mixture)
    for q in LEVELS:
        cells = np.searchsorted(held, q)
        assert regions.volume(q).item() == pytest.approx(cells * area, rel=0.04)
        assert regions.threshold(q).item() == pytest.approx(np.log(density[cells]), abs=0.12)


def test_a_narrow_mode_beside_a_wide_one_comes_first() -> None:
    """Of a hundredth of the area and half of the mass: at 0.4 the region is inside the narrow one."""
    mixture = ops.GaussianMixture(
        torch.tensor([[[0.5, 0.5]]]).log(),
        torch.tensor([[[[0.0, 0.0], [9.0, 0.0]]]]),
        torch.stack([0.01 * torch.eye(2), torch.eye(2)])[None, None],
        {"a": 1, "b": 1},
    )
    regions = ops.HighestDensity(mixture)
    assert regions.volume(0.4).item() == pytest.approx(-2 * np.log(0.2) * 0.01 * np.pi, rel=0.05)
    assert regions.level(torch.tensor([[[9.0, 0.0]]])).item() == pytest.approx(0.5, abs=0.03)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 70), level=st.floats(0.001, 1.5))
def test_threshold_is_the_inverse_of_level(n: int, level: float) -> None:
    regions = ops.HighestDensity(random_mixture(2), n)
    threshold = regions.threshold(level)
    torch.testing.assert_close(regions.level_of(threshold), torch.full((2, 3), level, dtype=torch.float64))


def test_levels_thresholds_and_volumes_are_monotone_and_outliers_keep_their_order() -> None:
    regions = ops.HighestDensity(random_mixture(2), 64)
    levels = torch.linspace(0, 0.98, 99).tolist()
    volumes = torch.stack([regions.volume(q) for q in levels])
    assert (volumes[1:] > volumes[:-1]).all()
    assert (volumes[0] == 0).all()
    thresholds = torch.stack([regions.threshold(q) for q in levels])
    assert (thresholds[1:] < thresholds[:-1]).all()
    assert (thresholds[0] == torch.inf).all()
    assert (regions.volume(0.99) == torch.inf).all()
    far = torch.stack([regions.level(torch.full((2, 3, 2), x, dtype=torch.float64)) for x in (10.0, 20.0, 40.0)])
    assert (far > 1).all()
    assert (far[1:] > far[:-1]).all()
    assert regions.level(torch.full((2, 3, 2), torch.nan)).isnan().all()


def test_levels_are_per_keypoint_or_per_point() -> None:
    regions = ops.HighestDensity(random_mixture(2), 64)
    levels = torch.tensor([0.5, 0.8, 0.9])
    for of in (regions.threshold, regions.volume):
        found = of(levels)
        torch.testing.assert_close(found, torch.stack([of(q)[:, k] for k, q in enumerate(levels.tolist())], -1))
        torch.testing.assert_close(found, of(levels.expand(2, 3)))


def test_ties_are_broken_by_the_noise() -> None:
    """Draws of equal density are one step of the distribution; noise spreads the point evenly over it."""
    regions = ops.HighestDensity(ops.single_gaussian(torch.zeros(1, 1, 1), torch.ones(1, 1, 1, 1)), 4)
    regions.surprises = torch.tensor([[[1.0, 2.0, 2.0, 2.0]]])
    tied = torch.tensor([[-2.0]])
    found = [regions.level_of(tied, torch.tensor([[noise]])).item() for noise in (0.0, 0.5, 1.0)]
    assert found == pytest.approx([2 / 5, 3 / 5, 4 / 5])
    assert regions.level_of(tied).item() == pytest.approx(3 / 5)


def test_a_negative_level_is_told() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        ops.HighestDensity(random_mixture(2), 8).volume(-0.1)
