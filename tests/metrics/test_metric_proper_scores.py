"""CRPS and energy score: against closed forms, integrals, loops and Monte Carlo; and are they proper?"""

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from punctum.metrics.calibration import crps, energy_score
from punctum.ops.mixture import GaussianMixture, single_gaussian


def random_mixture(b: int, k: int, m: int, dims: int, seed: int) -> GaussianMixture:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(b, k, 2, dims, dims, generator=generator, dtype=torch.float64)
    return GaussianMixture(
        torch.randn(b, k, m + 1, generator=generator, dtype=torch.float64).log_softmax(-1),
        3 * torch.randn(b, k, m + 1, dims, generator=generator, dtype=torch.float64),
        factor @ factor.mT + 0.05 * torch.eye(dims),
        {"cells": m, "background": 1},
    )


def drawn(mixture: GaussianMixture, n: int, seed: int) -> torch.Tensor:
    """Independent draws, (B, K, n, D)."""
    generator = torch.Generator().manual_seed(seed)
    weights = mixture.log_weights.exp()
    which = torch.multinomial(weights.flatten(0, 1), n, replacement=True, generator=generator)
    which = which.reshape(*weights.shape[:2], n)
    dims = mixture.means.shape[-1]
    means = mixture.means.gather(2, which[..., None].expand(*which.shape, dims))
    factors = torch.linalg.cholesky(mixture.covariances)
    some = factors.gather(2, mixture.group[which][..., None, None].expand(*which.shape, dims, dims))
    return means + (some @ torch.randn(*which.shape, dims, 1, generator=generator, dtype=torch.float64))[..., 0]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_crps_is_the_integral(dims):
    """integral (F(y) - [y >= t])^2 dy, axis by axis, by quadrature over SciPy's normal distributions."""
    mixture = random_mixture(1, 2, 3, dims, seed=dims)
    points = torch.randn(1, 2, dims, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found = crps(mixture, points)
    for k in range(2):
        expected = 0.0
        for axis in range(dims):
            weights = mixture.log_weights[0, k].exp().numpy()
            means = mixture.means[0, k, :, axis].numpy()
            spreads = mixture.covariances[0, k, :, axis, axis].sqrt().numpy()[mixture.group.numpy()]
            t = float(points[0, k, axis])

            def square(y: float, w=weights, m=means, s=spreads, t=t) -> float:
                return float((w * norm.cdf(y, m, s)).sum() - (y >= t)) ** 2

            low, high = (means - 12 * spreads).min(), (means + 12 * spreads).max()
            expected += quad(square, min(low, t), t, limit=200)[0] + quad(square, t, max(high, t), limit=200)[0]
        assert float(found[0, k]) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    b=st.integers(0, 3), k=st.integers(1, 3), m=st.integers(1, 5), dims=st.integers(1, 3), seed=st.integers(0, 999)
)
def test_crps_against_loops(b, k, m, dims, seed):
    mixture = random_mixture(b, k, m, dims, seed)
    points = torch.randn(dims, k, b, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).permute(
        2, 1, 0
    )
    found = crps(mixture, points)
    assert found.shape == (b, k)

    def size(mean: float, variance: float) -> float:
        s = math.sqrt(variance)
        return 2 * s * norm.pdf(mean / s) + mean * (2 * norm.cdf(mean / s) - 1)

    for i in range(b):
        for j in range(k):
            weights = mixture.log_weights[i, j].exp().tolist()
            variances = [mixture.covariances[i, j, g].diagonal().tolist() for g in mixture.group.tolist()]
            means = mixture.means[i, j].tolist()
            total = 0.0
            for a in range(dims):
                t = float(points[i, j, a])
                total += sum(w * size(mu[a] - t, v[a]) for w, mu, v in zip(weights, means, variances, strict=True))
                for w, mu, v in zip(weights, means, variances, strict=True):
                    for w2, mu2, v2 in zip(weights, means, variances, strict=True):
                        total -= w * w2 * size(mu[a] - mu2[a], v[a] + v2[a]) / 2
            assert float(found[i, j]) == pytest.approx(total, rel=1e-9)


def test_a_certain_prediction_is_judged_by_its_distance():
    narrow = single_gaussian(torch.zeros(1, 1, 2), 1e-12 * torch.eye(2).expand(1, 1, 2, 2))
    assert float(crps(narrow, torch.tensor([[[3.0, -4.0]]]))) == pytest.approx(7, rel=1e-5)
    assert crps(narrow, torch.tensor([[[torch.nan, 0.0]]])).isnan().all()
    with pytest.raises(ValueError, match="points must be"):
        crps(narrow, torch.zeros(1, 2, 2))


def test_a_component_without_weight_changes_nothing():
    mixture = random_mixture(2, 2, 3, 2, seed=0)
    more = GaussianMixture(
        torch.cat([mixture.log_weights, torch.full((2, 2, 1), -torch.inf)], -1),
        torch.cat([mixture.means, torch.full((2, 2, 1, 2), 77.0).double()], 2),
        mixture.covariances,
        {"cells": 3, "background": 2},
    )
    points = torch.zeros(2, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(crps(more, points), crps(mixture, points))


def test_many_maps_of_many_components_take_little_memory_and_time():
    mixture = random_mixture(40, 10, 144, 2, seed=0).map(torch.Tensor.float)
    points = torch.zeros(40, 10, 2)
    begin = time.process_time()
    found = crps(mixture, points)
    assert time.process_time() - begin < 20
    torch.testing.assert_close(found[3:5], crps(mixture.map(lambda x: x[3:5]), points[3:5]))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_fair_energy_score_is_unbiased(dims):
    """The mean over many small sets of draws is that of one very large set."""
    mixture = random_mixture(1, 1, 2, dims, seed=dims)
    points = torch.full((1, 1, dims), 0.7, dtype=torch.float64)
    many = drawn(mixture, 6000, seed=1).reshape(1, 1000, 6, dims)
    each = energy_score(many, points.expand(1, 1000, dims))
    large = drawn(mixture, 2000, seed=2)
    exact = energy_score(large, points)
    error = math.hypot(float(each.std()) / 1000**0.5, float(large.std()) / 2000**0.5)
    assert abs(float(each.mean() - exact)) < 4 * error
    # With n squared the spread between draws is a sixth too small: by far more than chance.
    assert float(energy_score(many, points.expand(1, 1000, dims), fair=False).mean() - exact) > 3 * error


def test_on_one_axis_the_energy_score_is_the_crps():
    mixture = random_mixture(2, 3, 4, 1, seed=4)
    points = torch.randn(2, 3, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = crps(mixture, points)
    torch.testing.assert_close(energy_score(drawn(mixture, 2000, seed=0), points), exact, rtol=0.1, atol=0.05)
    # Evenly spread draws, as a mixture makes them, come much nearer with few, not left unpaired with themselves.
    torch.testing.assert_close(energy_score(mixture.draw(512), points, fair=False), exact, rtol=0.01, atol=0.005)


def test_the_energy_score_against_loops():
    rng = np.random.default_rng(0)
    draws, points = rng.normal(size=(2, 2, 5, 3)), rng.normal(size=(2, 2, 3))
    for fair in (True, False):
        found = energy_score(torch.from_numpy(draws), torch.from_numpy(points), fair=fair).numpy()
        for b, k in np.ndindex(2, 2):
            y = draws[b, k]
            pairs = sum(np.linalg.norm(p - q) for p in y for q in y) / (40 if fair else 50)
            assert found[b, k] == pytest.approx(np.mean([np.linalg.norm(p - points[b, k]) for p in y]) - pairs)
    with pytest.raises(ValueError, match="two or more"):
        energy_score(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 2))
    with pytest.raises(ValueError, match="two or more"):
        energy_score(torch.zeros(1, 1, 4, 2), torch.zeros(1, 2, 2))
    # Small differences far from the origin survive.
    far = 1e6 + torch.tensor([[[[0.0], [0.25]]]])
    assert energy_score(far, torch.full((1, 1, 1), 1e6)) == 0


def test_the_truth_scores_best():
    """2,000 truths drawn from one distribution: moved, wider and narrower ones, and one of its two peaks alone, score
    worse by either score."""
    truth = GaussianMixture(
        torch.tensor([[[0.7, 0.3]]]).double().log(),
        torch.tensor([[[[0.0, 0.0], [5.0, 1.0]]]]).double(),
        torch.eye(2).expand(1, 1, 1, 2, 2).double(),
        {"cells": 2},
    )
    points = drawn(truth, 2000, seed=0)[0]  # (1, 2000, 2)

    def scores(mixture: GaussianMixture) -> tuple[float, float]:
        same = mixture.map(lambda x: x.expand(1, 2000, *x.shape[2:]))
        draws = mixture.draw(64).expand(1, 2000, 64, 2)
        return float(crps(same, points).mean()), float(energy_score(draws, points, fair=False).mean())

    best = scores(truth)
    moved = truth.map(lambda x: x + 0.5 if x.shape == (1, 1, 2, 2) else x)
    others = {
        "moved": moved,
        "wider": truth.map(lambda x: x * 3 if x.ndim == 5 else x),
        "narrower": truth.map(lambda x: x / 9 if x.ndim == 5 else x),
        "one peak": truth.map(lambda x: torch.tensor([[[1.0, 1e-9]]]).double().log() if x.ndim == 3 else x),
        "one wide Gaussian": single_gaussian(*truth.moments()),
    }
    for name, other in others.items():
        assert all(worse > good + 0.005 for worse, good in zip(scores(other), best, strict=True)), name
