"""Likelihoods and levels: against SciPy, and chance against chance itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, multivariate_normal

from punctum.metrics.calibration import nll, pit_chance, pit_distance, pit_histogram
from punctum.ops.highest_density import HighestDensity
from punctum.ops.mixture import GaussianMixture, single_gaussian


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 30), k=st.integers(1, 3), seed=st.integers(0, 10**6), steps=st.sampled_from([4, 10**6]))
def test_distance_is_that_of_scipy(n, k, seed, steps):
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, steps + 1, (n, k)) / steps
    levels[rng.random((n, k)) < 0.2] = np.nan
    found = pit_distance(torch.from_numpy(levels))
    for ours, values in zip([found.total, *found.per_keypoint], [levels.ravel(), *levels.T], strict=True):
        known = values[~np.isnan(values)]
        assert float(ours) == pytest.approx(kstest(known, "uniform").statistic if len(known) else np.nan, nan_ok=True)


def test_levels_beyond_the_ends_count_as_the_ends():
    assert (
        pit_distance(torch.tensor([[-3.0], [0.5], [9.0]])).total
        == pit_distance(torch.tensor([[0.0], [0.5], [1.0]])).total
    )
    bars = pit_histogram(torch.tensor([[-3.0], [0.5], [9.0], [torch.nan]]), torch.arange(4), bins=3)
    assert bars.density.tolist() == [1, 1, 1]
    assert pit_distance(torch.full((2, 2), torch.nan)).total.isnan()
    assert pit_distance(torch.zeros(0, 2)).per_keypoint.isnan().all()


def test_what_chance_does_to_independent_points_and_to_points_of_one_image():
    """95 % of data sets with uniform levels stay below `pit_chance`, whatever the points of an image share."""
    generator = torch.Generator().manual_seed(0)
    for shared in (0.0, 0.8):
        below, values = 0, []
        for _ in range(60):
            common, own = (torch.randn(80, k, generator=generator, dtype=torch.float64) for k in (1, 6))
            level = torch.special.ndtr(shared**0.5 * common + (1 - shared) ** 0.5 * own)
            chance = pit_chance(level, torch.arange(80), n=120)
            below += bool(pit_distance(level).total <= chance)
            values.append(float(chance))
        assert below >= 53  # of 57 expected; fewer than 53 in one run of 30
        independent = 1.358 / np.sqrt(480)
        assert (
            np.mean(values) == pytest.approx(independent, rel=0.1)
            if shared == 0
            else np.mean(values) > 1.5 * independent
        )


def test_spreads_that_are_wrong_show():
    """Truths of unit spread; predictions half and twice as wide crowd the levels near 1 and near 0."""
    truth = torch.randn(300, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = {}
    for spread in (0.5, 1.0, 2.0):
        mixture = single_gaussian(torch.zeros(300, 2, 2), spread**2 * torch.eye(2).expand(300, 2, 2, 2))
        level = HighestDensity(mixture).level(truth)
        bars = pit_histogram(level, torch.arange(300), bins=5, n=100)
        chance = pit_chance(level, torch.arange(300), n=100)
        found[spread] = (
            bars.density,
            bool(pit_distance(level).total > chance),
            float(nll(mixture.log_prob(truth)).total),
        )
    assert [wrong for _, wrong, _ in found.values()] == [True, False, True]
    assert found[0.5][0].argmax() == 4
    assert found[2.0][0].argmax() == 0
    torch.testing.assert_close(found[1.0][0], torch.ones(5).double(), atol=0.3, rtol=0)
    # Proper: the true spread costs the fewest nats.
    assert found[1.0][2] < min(found[0.5][2], found[2.0][2])
    assert found[1.0][2] == pytest.approx(1 + np.log(2 * np.pi), abs=0.1)  # entropy of a unit Gaussian in the plane


def test_nats_are_those_of_scipy():
    points = torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    log_prob = single_gaussian(torch.zeros(4, 2, 2).double(), covariance.expand(4, 2, 2, 2)).log_prob(points)
    log_prob[1, 0] = torch.nan
    expected = -multivariate_normal([0, 0], covariance.numpy()).logpdf(points.numpy())
    expected[1, 0] = np.nan
    found = nll(log_prob)
    assert float(found.total) == pytest.approx(np.nanmean(expected))
    np.testing.assert_allclose(found.per_keypoint.numpy(), np.nanmean(expected, 0))
    assert nll(torch.tensor([[-1.0], [-torch.inf]])).total == torch.inf


def test_the_histogram_counts():
    rng = np.random.default_rng(0)
    levels = rng.random((40, 3)) ** 2
    levels[3] = np.nan
    bars = pit_histogram(torch.from_numpy(levels), torch.arange(40) // 2, bins=8, n=50)
    counted, edges = np.histogram(levels[~np.isnan(levels)], bins=8, range=(0, 1), density=True)
    np.testing.assert_allclose(bars.density.numpy(), counted)
    np.testing.assert_allclose(bars.edges.numpy(), edges)
    assert (bars.interval[0] <= bars.density).all()
    assert (bars.density <= bars.interval[1]).all()
    assert pit_chance(torch.from_numpy(levels), torch.zeros(40, dtype=torch.long)).isnan()


def test_two_peaks_of_unlike_size_are_uniform_too():
    """Truth from a mixture of 70 % and 30 %, levels from its draws."""
    generator = torch.Generator().manual_seed(2)
    mixture = GaussianMixture(
        torch.tensor([0.7, 0.3]).log().expand(500, 1, 2),
        torch.tensor([[0.0, 0.0], [6.0, 2.0]]).expand(500, 1, 2, 2),
        torch.stack([torch.eye(2), torch.diag(torch.tensor([0.1, 0.6]))]).expand(500, 1, 2, 2, 2),
        {"near": 1, "far": 1},
    )
    far = torch.rand(500, 1, 1, generator=generator) < 0.3
    noise = torch.randn(500, 1, 2, generator=generator)
    truth = torch.where(far, torch.tensor([6.0, 2.0]) + noise * torch.tensor([0.1, 0.6]).sqrt(), noise)
    level = HighestDensity(mixture).level(truth)
    assert kstest(level.flatten().numpy(), "uniform").pvalue > 0.01
