"""Triangulated points are the most likely ones, as SciPy finds them, and lie as far off as they say."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import least_squares

from punctum.downstream import triangulate

Array = np.ndarray[Any, Any]

CENTRES = [(0, 0, -5), (2, 1, -5), (-3, 0.5, -4), (1, -2, -6), (-1, -1, -5.5), (3, 0, -3)]


def camera(centre: Any, focal: float = 1000.0) -> Array:
    """K [R | t] of a camera that looks at the origin."""
    c = np.asarray(centre, dtype=float)
    forward = -c / np.linalg.norm(c)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return np.array([[focal, 0, 320], [0, focal, 240], [0, 0, 1]]) @ np.c_[rotation, -rotation @ c]


def rig(views: int) -> Array:
    return np.stack([camera(c) for c in CENTRES[:views]])


def project(cameras: Array, points: Array) -> Array:
    """(V, ..., 2), one camera after the other."""
    homogeneous = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)
    seen = [homogeneous @ p.T for p in cameras]
    return np.stack([s[..., :2] / s[..., 2:] for s in seen])


def covariances(rng: np.random.Generator, *shape: int) -> Array:
    """Random ones whose axes differ up to a hundredfold."""
    root = rng.normal(size=(*shape, 2, 2)) * rng.choice([0.3, 1.0, 3.0], size=(*shape, 1, 1))
    return root @ root.swapaxes(-1, -2) + 0.05 * np.eye(2)


def noisy(rng: np.random.Generator, pixels: Array, spread: Array) -> Array:
    return pixels + (np.linalg.cholesky(spread) @ rng.normal(size=(*pixels.shape, 1)))[..., 0]


def by_scipy(pixels: Array, cameras: Array, spread: Array, start: Array) -> tuple[Array, Array, float]:
    """Most likely point, inverse of J^T J, and chi-square of one point seen by (V, 2), from SciPy's own optimizer."""
    seen = ~np.isnan(pixels).any(-1)
    pixels, cameras = pixels[seen], cameras[seen]
    whiten = np.linalg.inv(np.linalg.cholesky(spread[seen]))

    def residuals(x: Array) -> Array:
        return np.concatenate([w @ r for w, r in zip(whiten, pixels - project(cameras, x), strict=True)])

    found = least_squares(residuals, start, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15)
    jacobian = np.stack([(residuals(found.x + h) - residuals(found.x - h)) / 2e-5 for h in 1e-5 * np.eye(3)], axis=-1)
    return found.x, np.linalg.inv(jacobian.T @ jacobian), 2 * found.cost


@settings(max_examples=25, deadline=None)
@given(views=st.integers(2, 6), shape=st.lists(st.integers(1, 3), max_size=2), missing=st.floats(0, 0.6),
       seed=st.integers(0, 10**6))  # fmt: skip
def test_points_are_the_most_likely_ones(views: int, shape: list[int], missing: float, seed: int) -> None:
    rng, cameras = np.random.default_rng(seed), rig(views)
    truth = 0.5 * rng.normal(size=(*shape, 3))
    spread = covariances(rng, views, *shape)
    pixels = noisy(rng, project(cameras, truth), spread)
    pixels[rng.random(pixels.shape[:-1]) < missing] = np.nan
    found = triangulate(pixels, cameras, spread)
    assert found.points.shape == truth.shape
    assert found.residuals.shape == pixels.shape
    np.testing.assert_array_equal(found.views, (~np.isnan(pixels[..., 0])).sum(0))
    for index in np.ndindex(*shape):
        here = (slice(None), *index)
        if found.views[index] < 2:
            assert np.isnan([*found.points[index], *found.covariance[index].flat, found.chi2[index]]).all()
            continue
        point, covariance, chi2 = by_scipy(pixels[here], cameras, spread[here], truth[index])
        sigma = np.sqrt(np.diagonal(covariance))
        np.testing.assert_array_less(np.abs(found.points[index] - point), 1e-4 * sigma)
        np.testing.assert_allclose(found.covariance[index], covariance, rtol=1e-4, atol=1e-4 * sigma.min() ** 2)
        np.testing.assert_allclose(found.chi2[index], chi2, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found.residuals[here], pixels[here] - project(cameras, point), atol=1e-3)
        assert found.p_value[index] == pytest.approx(stats.chi2.sf(chi2, 2 * found.views[index] - 3), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(views=st.integers(2, 6), offset=st.sampled_from([0.0, 1e5]), unit=st.sampled_from([1e-3, 1.0, 1e4]),
       seed=st.integers(0, 10**6))  # fmt: skip
def test_exact_without_noise_in_any_unit_and_far_from_the_origin(
    views: int, offset: float, unit: float, seed: int
) -> None:
    rng, cameras = np.random.default_rng(seed), rig(views)
    truth = rng.normal(size=(5, 3))
    pixels = project(cameras, truth)
    move = np.eye(4)
    move[:3] = np.c_[np.eye(3) / unit, [-offset] * 3]
    found = triangulate(pixels, cameras @ move, covariances(rng, views, 5))
    np.testing.assert_allclose(found.points / unit - offset, truth, atol=1e-9 + 1e-13 * offset * 100)
    np.testing.assert_allclose(found.residuals, 0, atol=1e-6)


def test_stated_covariance_is_the_scatter_over_draws() -> None:
    rng, cameras, draws = np.random.default_rng(0), rig(3), 20_000
    truth = np.array([0.3, -0.2, 0.4])
    spread = covariances(rng, 3)
    pixels = noisy(rng, np.repeat(project(cameras, truth)[:, None], draws, 1), np.repeat(spread[:, None], draws, 1))
    found = triangulate(pixels, cameras, np.repeat(spread[:, None], draws, 1))
    stated = np.linalg.inv(np.linalg.inv(found.covariance).mean(0))
    whiten = np.linalg.inv(np.linalg.cholesky(stated))
    # The scatter, in units of what is stated; its own standard error is sqrt(2 / draws) = 0.01.
    np.testing.assert_allclose(whiten @ np.cov(found.points.T) @ whiten.T, np.eye(3), atol=0.04)
    error = found.points - truth
    inside = np.einsum("ni,nij,nj->n", error, np.linalg.inv(found.covariance), error) < stats.chi2.ppf(0.95, 3)
    assert abs(inside.mean() - 0.95) < 0.006
    assert stats.kstest(found.p_value, "uniform").pvalue > 1e-3


def test_weighted_beats_unweighted_by_what_theory_says() -> None:
    """Four views, one of them ten times less exact. J of the cameras, the covariances: all known beforehand."""
    rng, cameras, draws = np.random.default_rng(1), rig(4), 4000
    truth = np.zeros((draws, 3))
    sigma = np.array([1.0, 1.0, 1.0, 10.0])
    spread = np.broadcast_to(sigma[:, None, None, None] ** 2 * np.eye(2), (4, draws, 2, 2))
    pixels = noisy(rng, project(cameras, truth), spread)

    def rms(found: Any) -> float:
        return float(np.sqrt((found.points**2).sum(-1).mean()))

    weighted, alike = rms(triangulate(pixels, cameras, spread)), rms(triangulate(pixels, cameras))
    step = 1e-6 * np.eye(3)
    jacobian = np.stack([(project(cameras, h) - project(cameras, -h)).ravel() / 2e-6 for h in step], axis=-1)
    variance = np.repeat(sigma**2, 2)
    best = np.linalg.inv(jacobian.T @ (jacobian / variance[:, None]))
    inverse = np.linalg.pinv(jacobian)
    plain = (inverse * variance) @ inverse.T
    assert weighted == pytest.approx(np.sqrt(np.trace(best)), rel=0.03)
    assert alike == pytest.approx(np.sqrt(np.trace(plain)), rel=0.03)
    assert alike > 2.5 * weighted
    assert rms(triangulate(pixels[:3], cameras[:3])) > weighted  # the bad view still helps


def test_by_hand() -> None:
    """Two cameras side by side, b apart: depth f b / disparity, its deviation depth^2 sqrt(2) sigma / (f b)."""
    left = np.array([[800.0, 0, 320, 0], [0, 800, 240, 0], [0, 0, 1, 0]])
    right = left.copy()
    right[0, 3] = -80.0  # f b, b = 0.1
    found = triangulate([[320.0, 240.0], [280.0, 240.0]], [left, right], np.stack([0.25 * np.eye(2)] * 2))
    np.testing.assert_allclose(found.points, [0, 0, 2], atol=1e-12)
    assert np.sqrt(found.covariance[2, 2]) == pytest.approx(4 * np.sqrt(2) * 0.5 / 80)
    assert found.views == 2


def test_a_camera_in_a_mirror_and_one_at_infinity() -> None:
    """A reflected camera has a determinant below zero, a telecentric one no centre: both see."""
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[0, 3] = 4  # the plane x = 2
    straight = camera((0, 0, -5))
    parallel = np.array([[100.0, 0, 0, 50], [0, 0, 100, 50], [0, 0, 0, 1]])
    truth = np.random.default_rng(0).normal(size=(20, 3))
    for cameras in (np.stack([straight, straight @ mirror]), np.stack([straight, parallel])):
        found = triangulate(project(cameras, truth), cameras)
        np.testing.assert_allclose(found.points, truth, atol=1e-9)
        assert not found.behind.any()


def test_no_place_without_depth() -> None:
    cameras = np.stack([camera((0, 0, -5)), camera((1, 0, -5))])
    point = np.array([0.2, 0.1, 0.0])
    # The same camera twice, with and without noise.
    twice = cameras[[0, 0]]
    pixels = project(twice, point[None] + np.zeros((50, 1)))
    noise = np.random.default_rng(0).normal(size=pixels.shape)
    for seen in (pixels, pixels + noise):
        found = triangulate(seen, twice)
        assert np.isnan(found.points).all()
        assert (found.views == 2).all()
    # On the line through both centres every depth fits.
    along = np.stack([camera((0, 0, -5)), camera((0.5, 0, -4))])
    assert np.isnan(triangulate(project(along, np.array([2.0, 0, -1])), along).points).all()
    # Infinitely far: only a disparity above two of its deviations makes a point, one time in 44.
    far = (cameras[..., :3] @ [0.1, 0.0, 1.0])[:, None]
    noise = np.random.default_rng(0).normal(size=(2, 10_000, 2))
    found = triangulate(far[..., :2] / far[..., 2:] + noise, cameras)
    assert np.isfinite(found.points[:, 0]).mean() == pytest.approx(stats.norm.sf(2), abs=0.006)
    assert np.isnan(triangulate(project(cameras, np.array([[0, 0, 1e4]])), cameras).points).all()
    # Rays that part in front of the cameras meet behind them.
    behind = project(cameras, np.array([[0.5, 0.0, -8.0]]))
    found = triangulate(behind, cameras)
    assert found.behind.all()
    assert np.isnan(found.points).all()


def test_gate_takes_away_the_view_that_errs() -> None:
    rng, cameras = np.random.default_rng(2), rig(5)
    truth = 0.5 * rng.normal(size=(400, 3))
    spread = covariances(rng, 5, 400)
    pixels = noisy(rng, project(cameras, truth), spread)
    wrong = rng.integers(5, size=400)
    bad = np.arange(400) < 200
    pixels[wrong[bad], np.flatnonzero(bad)] += 80 * rng.choice([-1, 1], size=(200, 2))
    kept, gated = triangulate(pixels, cameras, spread), triangulate(pixels, cameras, spread, gate=1e-3)
    assert kept.used.all()
    dropped = ~gated.used
    assert dropped[wrong[bad], np.flatnonzero(bad)].mean() > 0.98
    assert dropped[:, ~bad].any(0).mean() < 0.01
    assert (gated.p_value >= 1e-3).all()
    errors = [np.linalg.norm(f.points - truth, axis=-1)[bad].mean() for f in (kept, gated)]
    assert errors[1] < errors[0] / 5
    assert np.isfinite(gated.residuals).all()  # those of dropped views too


def test_gate_keeps_two_views_and_gives_up_quietly() -> None:
    cameras = rig(3)
    pixels = project(cameras, np.zeros((1, 3)))
    pixels[0] += 300
    found = triangulate(pixels, cameras, gate=1e-3)
    assert found.views == 2
    assert not found.used[0]
    np.testing.assert_allclose(found.points, 0, atol=1e-9)
    same, around = cameras[[0, 0, 0]], np.array([[[1.0]], [[2]], [[3]]])
    found = triangulate(project(same, np.zeros((1, 3))) + around, same, gate=0.01)
    assert np.isnan(found.points).all()


def test_nothing_measured_is_no_error() -> None:
    cameras = rig(3)
    found = triangulate(np.full((3, 2, 4, 2), np.nan), cameras, np.full((3, 2, 4, 2, 2), np.nan))
    assert found.points.shape == (2, 4, 3)
    assert np.isnan(found.points).all()
    assert (found.views == 0).all()
    assert np.isnan(found.p_value).all()
    assert triangulate(np.zeros((3, 0, 2)), cameras).points.shape == (0, 3)
    infinite = np.full((3, 1, 2, 2), np.inf)
    infinite[:2] = np.eye(2)
    assert triangulate(project(cameras, np.zeros((1, 3))), cameras, infinite).views == 2


def test_mistakes_are_told() -> None:
    cameras = rig(2)
    pixels = np.zeros((2, 3, 4, 2))
    with pytest.raises(ValueError, match="two or more views"):
        triangulate(pixels[:1], cameras[:1])
    with pytest.raises(ValueError, match=r"points must be \(V, ..., 2\) with V = 2"):
        triangulate(pixels[..., :1], cameras)
    with pytest.raises(ValueError, match="need covariances"):
        triangulate(pixels, cameras, np.zeros((2, 3, 2, 2)))
    spread = np.broadcast_to(np.eye(2), (*pixels.shape, 2)).copy()
    spread[1, 2, 3] = [[1, 1], [1, 1]]
    with pytest.raises(ValueError, match="view 1, index 2, index 3 is not positive definite: no measurement"):
        triangulate(pixels, cameras, spread)
    spread[1, 2, 3] = [[1, 0.5], [0, 1]]
    with pytest.raises(ValueError, match="view 1, index 2, index 3 is not symmetric"):
        triangulate(pixels, cameras, spread)
    cameras[1, 2] = cameras[1, 1]
    with pytest.raises(ValueError, match="camera 1 is no projection"):
        triangulate(pixels, cameras)
    with pytest.raises(ValueError, match="gate must be a probability"):
        triangulate(pixels, rig(2), gate=5)
