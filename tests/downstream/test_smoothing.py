"""The smoother is exact Gaussian inference, its regions hold what they promise, and it finds its own settings.

The oracles know nothing of filters: one large linear system over all states, with the precision of every assumption,
and the joint density of all measurements from the covariance function of the motion.
"""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import expm
from scipy.optimize import minimize_scalar

from punctum.downstream import smooth
from punctum.downstream.inference import likeliest
from punctum.downstream.kalman import Tracks, log_likelihood, transition

Array = np.ndarray[Any, Any]


def covariances(rng: np.random.Generator, *shape: int) -> Array:
    """(*shape, D), random and full, for shapes that end in D."""
    root = rng.normal(size=(*shape, shape[-1]))
    return root @ root.swapaxes(-1, -2) + 0.2 * np.eye(shape[-1])


def by_van_loan(step: float, dims: int) -> tuple[Array, Array]:
    """F and Q of unit white acceleration, by a matrix exponential (Van Loan 1978)."""
    drift, noise = np.kron([[0.0, 1], [0, 0]], np.eye(dims)), np.kron([[0.0, 0], [0, 1]], np.eye(dims))
    block = expm(step * np.block([[-drift, noise], [np.zeros_like(drift), drift.T]]))
    move = block[2 * dims :, 2 * dims :].T
    return move, move @ block[: 2 * dims, 2 * dims :]


def dense(y: Array, spread: Array, times: Array, power: float, speed: float) -> tuple[Array, Array]:
    """Means (T, 2 D) and covariances (T, 2 D, 2 D) of one track: the inverse of the precision of everything."""
    count, dims = y.shape
    n = 2 * dims
    precision, right = np.zeros((count * n, count * n)), np.zeros(count * n)
    seen = ~np.isnan(y).any(-1)
    first = int(seen.argmax())
    velocity = slice(first * n + dims, (first + 1) * n)
    precision[velocity, velocity] += np.eye(dims) / speed**2
    for t in range(count - 1):
        move, added = by_van_loan(times[t + 1] - times[t], dims)
        both = slice(t * n, (t + 2) * n)
        rows = np.hstack([-move, np.eye(n)])
        precision[both, both] += rows.T @ np.linalg.inv(power * added) @ rows
    for t in np.flatnonzero(seen):
        place = slice(t * n, t * n + dims)
        precision[place, place] += np.linalg.inv(spread[t])
        right[place] += np.linalg.solve(spread[t], y[t])
    inverse = np.linalg.inv(precision)
    blocks = np.stack([inverse[t * n : (t + 1) * n, t * n : (t + 1) * n] for t in range(count)])
    return (inverse @ right).reshape(count, n), blocks


def joint_log_density(y: Array, spread: Array, times: Array, power: float, speed: float) -> float:
    """log p(y_2, ..., y_T | y_1) of one track without gaps, from the covariance of y_t - y_1."""
    since, dims = times[1:] - times[0], y.shape[-1]
    low, high = np.minimum.outer(since, since), np.maximum.outer(since, since)
    walk = power * (low**3 / 3 + low**2 * (high - low) / 2) + speed**2 * np.outer(since, since)
    count = len(since)
    total = np.kron(walk, np.eye(dims)) + np.kron(np.ones((count, count)), spread[0])
    for t in range(count):
        total[t * dims : (t + 1) * dims, t * dims : (t + 1) * dims] += spread[t + 1]
    return float(stats.multivariate_normal.logpdf((y[1:] - y[0]).ravel(), np.zeros(count * dims), total))


def moving(rng: np.random.Generator, times: Array, count: int, dims: int, power: float) -> tuple[Array, Array]:
    """True positions and velocities (T, K, D)."""
    state = rng.normal(size=(count, 2 * dims)) * np.repeat([100, 30], dims)
    states = [state]
    for step in np.diff(times):
        move, added = by_van_loan(step, dims)
        root = np.linalg.cholesky(power * added)
        state = state @ move.T + rng.normal(size=state.shape) @ root.T
        states.append(state)
    path = np.stack(states)
    return path[..., :dims], path[..., dims:]


def noisy(rng: np.random.Generator, places: Array, spread: Array) -> Array:
    return places + (np.linalg.cholesky(spread) @ rng.normal(size=(*places.shape, 1)))[..., 0]


def lengths(error: Array, spread: Array) -> Array:
    """Squared Mahalanobis lengths."""
    return (error * np.linalg.solve(spread, error[..., None])[..., 0]).sum(-1)


@settings(max_examples=30, deadline=None)
@given(frames=st.integers(2, 12), count=st.integers(1, 3), dims=st.integers(1, 3), missing=st.floats(0, 0.7),
       power=st.sampled_from([1.0, 100.0, 1e4]), seed=st.integers(0, 10**6))  # fmt: skip
def test_equals_one_large_linear_system(
    frames: int, count: int, dims: int, missing: float, power: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    times = 5 + rng.uniform(0.1, 1.5, size=frames).cumsum()
    y, spread = 20 * rng.normal(size=(frames, count, dims)), covariances(rng, frames, count, dims)
    y[rng.random((frames, count)) < missing] = np.nan
    found = smooth(y, spread, times=times, acceleration=power, speed=50.0)
    for k in range(count):
        if np.isnan(y[:, k, 0]).all():
            assert np.isnan(found.keypoints[:, k]).all()
            assert np.isnan(found.acceleration[k])
            continue
        mean, covariance = dense(y[:, k], spread[:, k], times, power, 50.0)
        close = {"rtol": 1e-7, "atol": 1e-7}
        np.testing.assert_allclose(found.keypoints[:, k], mean[:, :dims], **close)
        np.testing.assert_allclose(found.velocity[:, k], mean[:, dims:], **close)
        np.testing.assert_allclose(found.covariance[:, k], covariance[:, :dims, :dims], **close)
        np.testing.assert_allclose(found.velocity_covariance[:, k], covariance[:, dims:, dims:], **close)


def test_a_plain_case_to_eight_digits() -> None:
    rng, times = np.random.default_rng(0), np.arange(15) / 3
    y, spread = rng.normal(size=(15, 1, 2)), covariances(rng, 15, 1, 2)
    found = smooth(y, spread, fps=3, acceleration=2.0, speed=3.0)
    mean, covariance = dense(y[:, 0], spread[:, 0], times, 2.0, 3.0)
    np.testing.assert_allclose(found.keypoints[:, 0], mean[:, :2], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.covariance[:, 0], covariance[:, :2, :2], rtol=0, atol=1e-9)


def test_chi2_is_the_distance_from_what_the_others_say() -> None:
    """Leaving each frame out in turn, by doing so."""
    rng = np.random.default_rng(1)
    times = rng.uniform(0.5, 1.5, size=9).cumsum()
    y, spread = 3 * rng.normal(size=(9, 2, 2)), covariances(rng, 9, 2, 2)
    y[4, 1] = np.nan
    found = smooth(y, spread, times=times, acceleration=2.0, speed=3.0)
    for t, k in np.argwhere(~np.isnan(y[..., 0])):
        if t == 0:
            continue  # the prior of the velocity moves to the frame that is first then
        others = y[:, k].copy()
        others[t] = np.nan
        mean, covariance = dense(others, spread[:, k], times, 2.0, 3.0)
        wanted = lengths(y[t, k] - mean[t, :2], covariance[t, :2, :2] + spread[t, k])
        assert found.chi2[t, k] == pytest.approx(wanted, rel=1e-8)
    assert np.isnan(found.chi2[4, 1])


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_transition_by_van_loan(dims: int) -> None:
    for mine, theirs in zip(transition(0.7, dims), by_van_loan(0.7, dims), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-14)


@settings(max_examples=20, deadline=None)
@given(frames=st.integers(2, 10), dims=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_likelihood_is_that_of_the_joint_density(frames: int, dims: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = rng.uniform(0.1, 2, size=frames).cumsum()
    y, spread = 3 * rng.normal(size=(frames, 2, dims)), covariances(rng, frames, 2, dims)
    steps = np.concatenate([[0.0], np.diff(times)])
    tracks = Tracks(y, spread, np.ones((frames, 2), dtype=bool), steps, np.array([2.0, 7.0]))
    powers = np.array([[0.0, 0.1], [1.0, 30.0], [1e3, 1e3]])
    found = log_likelihood(tracks, powers)
    for g, k in np.ndindex(powers.shape):
        wanted = joint_log_density(y[:, k], spread[:, k], times, powers[g, k], tracks.speed[k])
        assert found[g, k] == pytest.approx(wanted, rel=1e-9, abs=1e-8)


def test_acceleration_is_where_scipy_finds_the_highest_likelihood() -> None:
    rng, times = np.random.default_rng(3), np.arange(40.0)
    places, _ = moving(rng, times, 3, 1, 4.0)
    spread = covariances(rng, 40, 3, 1)
    y = noisy(rng, places, spread)
    tracks = Tracks(y, spread, np.ones((40, 3), dtype=bool), np.ones(40), np.full(3, 30.0))
    found = np.log10(likeliest(tracks))
    for k in range(3):
        best = minimize_scalar(
            lambda power, k=k: -joint_log_density(y[:, k], spread[:, k], times, 10**power, 30.0),
            bounds=(-2, 3),
            method="bounded",
        )
        assert found[k] == pytest.approx(best.x, abs=0.01)


def test_acceleration_is_recovered_and_regions_hold_what_they_promise() -> None:
    """Irregular frames, a tenth of them missing, covariances of all shapes; nothing is told but those."""
    rng = np.random.default_rng(0)
    times = rng.uniform(0.02, 0.05, size=120).cumsum()
    places, velocities = moving(rng, times, 40, 2, 3000.0)
    spread = covariances(rng, 120, 40, 2)
    y = noisy(rng, places, spread)
    y[rng.random((120, 40)) < 0.1] = np.nan
    found = smooth(y, spread, times=times)
    ratio = np.log10(found.acceleration / 3000)
    assert abs(ratio.mean()) < 0.05
    assert ratio.std() < 0.2
    limit = stats.chi2.ppf(0.95, 2)
    for error, covariance in (
        (found.keypoints - places, found.covariance),
        (found.velocity - velocities, found.velocity_covariance),
    ):
        # Neighbouring frames err alike: 4800 of them are worth about 900.
        assert (lengths(error, covariance) < limit).mean() == pytest.approx(0.95, abs=0.015)
    assert np.nanmean(found.chi2) == pytest.approx(2, abs=0.05)
    seen = ~np.isnan(y[..., 0])
    raw, smoothed = (np.square(p - places)[seen].sum(-1).mean() for p in (y, found.keypoints))
    assert smoothed < raw / 4


def test_weighted_beats_unweighted() -> None:
    """Every third frame ten times less exact: to know which is worth a third of the error."""
    rng, times = np.random.default_rng(1), np.arange(120) / 30
    places, _ = moving(rng, times, 20, 2, 2000.0)
    sigma = np.where(np.arange(120) % 3 == 0, 5.0, 0.5)
    spread = np.broadcast_to(sigma[:, None, None, None] ** 2 * np.eye(2), (120, 20, 2, 2))
    y = noisy(rng, places, spread)
    alike = np.broadcast_to((sigma**2).mean() * np.eye(2), spread.shape)
    weighted, plain = (
        np.sqrt(np.square(smooth(y, s, fps=30, acceleration=2000.0).keypoints - places).sum(-1).mean())
        for s in (spread, alike)
    )
    assert plain > 2.5 * weighted


def test_exact_without_noise() -> None:
    times = np.array([0.0, 0.1, 0.5, 0.6, 2.0, 2.1])
    y = (np.array([3.0, -1.0]) + times[:, None] * np.array([10.0, 5.0]))[:, None]
    y[3] = np.nan
    found = smooth(y, np.broadcast_to(1e-6 * np.eye(2), (6, 1, 2, 2)), times=times)
    line = np.array([3.0, -1.0]) + times[:, None] * np.array([10.0, 5.0])
    np.testing.assert_allclose(found.keypoints[:, 0], line, atol=1e-7)
    np.testing.assert_allclose(found.velocity[:, 0], [[10.0, 5.0]] * 6, atol=1e-6)
    assert found.chi2[3] != found.chi2[3]


def test_knowledge_fades_in_gaps_and_beyond_the_ends() -> None:
    y = np.full((12, 1, 1), np.nan)
    y[[3, 4, 7, 8], 0, 0] = [3.0, 4.0, 7.0, 8.0]
    found = smooth(y, np.full((12, 1, 1, 1), 0.01), fps=1, acceleration=0.1)
    variance = found.covariance[:, 0, 0, 0]
    assert (np.diff(variance[:4]) < 0).all()
    assert (np.diff(variance[8:]) > 0).all()
    assert variance[5] > variance[4]
    np.testing.assert_allclose(found.keypoints[:, 0, 0], np.arange(12), atol=0.02)
    assert (np.linalg.eigvalsh(found.covariance) > 0).all()


def test_time_runs_both_ways_and_its_unit_does_not_matter() -> None:
    rng, times = np.random.default_rng(2), np.random.default_rng(2).uniform(0.5, 1.5, size=40).cumsum()
    y, spread = rng.normal(size=(40, 2, 2)), covariances(rng, 40, 2, 2)
    y[rng.random((40, 2)) < 0.2] = np.nan
    found = smooth(y, spread, times=times, acceleration=0.5, speed=1e4)
    turned = smooth(y[::-1], spread[::-1], times=-times[::-1], acceleration=0.5, speed=1e4)
    np.testing.assert_allclose(turned.keypoints[::-1], found.keypoints, atol=1e-5)
    np.testing.assert_allclose(turned.velocity[::-1], -found.velocity, atol=1e-5)
    first, second = smooth(y, spread, times=times), smooth(10 * y, 100 * spread, times=1000 * times)
    np.testing.assert_allclose(second.keypoints, 10 * first.keypoints, rtol=1e-9)
    np.testing.assert_allclose(second.velocity, first.velocity / 100, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(second.acceleration, first.acceleration / 1e7, rtol=1e-9)


def test_gate_drops_what_is_wrong_and_counts_it() -> None:
    """A tenth of the frames anywhere in the picture, the first ones too; nothing else is lost for it."""
    rng, times = np.random.default_rng(5), np.arange(60) / 30
    places, _ = moving(rng, times, 6, 2, 2000.0)
    spread = covariances(rng, 60, 6, 2)
    y = noisy(rng, places, spread)
    wrong = rng.random((60, 6)) < 0.1
    wrong[:2, :3] = True
    y[wrong] += rng.choice([-1, 1], size=(wrong.sum(), 2)) * rng.uniform(20, 200, size=(wrong.sum(), 2))
    found = smooth(y, spread, fps=30, gate=1e-4)
    assert found.dropped[wrong].mean() > 0.97
    assert found.dropped[~wrong].mean() < 0.005
    np.testing.assert_array_equal(found.dropped, ~found.used)
    told = smooth(np.where(wrong[..., None], np.nan, y), spread, fps=30)
    np.testing.assert_allclose(np.log10(found.acceleration / told.acceleration), 0, atol=0.1)
    inside = lengths(found.keypoints - places, found.covariance) < stats.chi2.ppf(0.95, 2)
    assert inside[:, 3:].mean() == pytest.approx(0.95, abs=0.04)
    clean = noisy(rng, places, spread)
    assert smooth(clean, spread, fps=30, gate=1e-4, acceleration=2000.0).dropped.mean() < 0.001


def test_two_measurements_that_disagree_are_both_kept() -> None:
    y = np.array([0.0, 1000.0])[:, None, None]
    found = smooth(y, np.ones((2, 1, 1, 1)), fps=1, acceleration=1.0, speed=1.0, gate=0.01)
    assert found.used.all()


def test_one_frame_none_and_no_points() -> None:
    y, spread = np.array([[[3.0, 4.0], [np.nan, np.nan]]]), np.broadcast_to(np.eye(2), (1, 2, 2, 2))
    found = smooth(y, spread, times=[7.0])
    np.testing.assert_array_equal(found.keypoints, y)
    np.testing.assert_array_equal(found.covariance[0, 0], np.eye(2))
    assert np.isnan(found.covariance[0, 1]).all()
    assert np.isnan(found.velocity).all()
    # Nobody knows where it was at any other time.
    later = smooth(np.concatenate([y, y * np.nan]), np.concatenate([spread] * 2), fps=5, gate=0.01)
    np.testing.assert_array_equal(later.keypoints[0], y[0])
    assert np.isnan(later.keypoints[1]).all()
    assert later.used.sum() == 1
    assert not later.dropped.any()
    # Unless one knows how fast it may be.
    told = smooth(np.concatenate([y, y * np.nan]), np.concatenate([spread] * 2), fps=5, speed=10.0, acceleration=0.0)
    np.testing.assert_allclose(told.keypoints[1, 0], [3, 4])
    np.testing.assert_allclose(told.covariance[1, 0], (1 + 2**2) * np.eye(2))
    assert smooth(np.zeros((4, 0, 2)), np.zeros((4, 0, 2, 2)), fps=1).keypoints.shape == (4, 0, 2)


def test_straight_lines_are_ordinary_least_squares() -> None:
    rng = np.random.default_rng(0)
    times = rng.uniform(0, 1, size=30).cumsum()
    y = 2 + 3 * times + rng.normal(size=30)
    found = smooth(y[:, None, None], np.ones((30, 1, 1, 1)), times=times, acceleration=0, speed=1e5)
    fit, covariance = np.polyfit(times, y, 1, cov="unscaled")
    np.testing.assert_allclose(found.keypoints[:, 0, 0], np.polyval(fit, times), atol=1e-6)
    np.testing.assert_allclose(found.velocity_covariance[:, 0, 0, 0], covariance[0, 0], rtol=1e-6)


def test_a_long_track_stays_positive() -> None:
    """Where nearly nothing changes, and where nearly everything does."""
    rng = np.random.default_rng(0)
    y, spread = rng.normal(size=(400, 2, 2)), np.broadcast_to(np.diag([1e-4, 1e2]), (400, 2, 2, 2))
    for power in (0.0, 1e-12, 1e12):
        found = smooth(y, spread, fps=1000, acceleration=power)
        assert (np.linalg.eigvalsh(found.covariance) > 0).all()
        assert (np.linalg.eigvalsh(found.velocity_covariance) > 0).all()


def test_mistakes_are_told() -> None:
    y, spread = np.zeros((3, 2, 2)), np.broadcast_to(np.eye(2), (3, 2, 2, 2)).copy()
    for options, message in [
        ({}, "either times"),
        ({"fps": 3, "times": [0, 1, 2]}, "either times"),
        ({"fps": 0}, "fps must be a positive number"),
        ({"times": [0, 1]}, "times must be 3 finite numbers"),
        ({"times": [0, 2, 2]}, "frame 2 is at 2 s and the one before at 2 s"),
        ({"fps": 3, "gate": 1.0}, "gate must be a probability"),
        ({"fps": 3, "acceleration": -1}, "acceleration must be finite and not negative"),
        ({"fps": 3, "acceleration": [1, 2, 3]}, "acceleration must be one number or 2"),
        ({"fps": 3, "speed": 0}, "speed must be finite and positive"),
    ]:
        with pytest.raises(ValueError, match=message):
            smooth(y, spread, **options)
    with pytest.raises(ValueError, match="keypoints must be"):
        smooth(y[0], spread, fps=1)
    with pytest.raises(ValueError, match="need covariances"):
        smooth(y, spread[..., :1], fps=1)
    spread[2, 1] = 0
    with pytest.raises(ValueError, match="frame 2, keypoint 1 is not positive definite"):
        smooth(y, spread, fps=1)
    y[2, 1] = math.nan
    smooth(y, spread, fps=1)
