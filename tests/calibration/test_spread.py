"""The fitted covariance against SciPy's optimum, against the law that errors were drawn from, and with few data."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from punctum.calibration.spread import Spread, gaussian_surprise, mahalanobis


def draw(n, keypoints, dims, seed, scale, floor):
    """Errors under A = a S + B, with S of very different sizes."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, keypoints, dims, dims)) * rng.lognormal(size=(n, keypoints, 1, 1))
    own = root @ root.swapaxes(-1, -2)
    lower = np.linalg.cholesky(scale * own + floor)
    errors = (lower @ rng.normal(size=(n, keypoints, dims, 1)))[..., 0]
    return torch.from_numpy(errors), torch.from_numpy(own)


@given(st.integers(1, 3), st.integers(0, 2**31))
@settings(deadline=None)
def test_surprise_and_distance_are_those_of_scipy(dims, seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(5, 3, dims, dims))
    covariance = root @ root.swapaxes(-1, -2) + 0.1 * np.eye(dims)
    errors = rng.normal(size=(5, 3, dims))
    expected = [[-stats.multivariate_normal(np.zeros(dims), c).logpdf(e) for e, c in zip(*rows, strict=True)]
                for rows in zip(errors, covariance, strict=True)]  # fmt: skip
    found = gaussian_surprise(torch.from_numpy(errors), torch.from_numpy(covariance))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    square = np.einsum("nki,nkij,nkj->nk", errors, np.linalg.inv(covariance), errors)
    distances = mahalanobis(torch.from_numpy(errors), torch.from_numpy(covariance))
    np.testing.assert_allclose(distances**2, square, rtol=1e-6)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_law_of_the_errors_is_found(dims):
    rng = np.random.default_rng(3)
    floor = np.diag(rng.uniform(0.1, 2, dims)) + 0.05
    spread = Spread.fit(*draw(3000, 2, dims, 0, 2.5, floor))
    np.testing.assert_allclose(spread.scale, 2.5, rtol=0.15)
    np.testing.assert_allclose(spread.floor, np.broadcast_to(floor, (2, dims, dims)), atol=0.1 * floor.max())


def test_no_other_scale_and_floor_are_likelier():
    """Of two keypoints alike, whose optimum is that of all: SciPy finds the same, another way."""
    errors, own = draw(400, 1, 2, 1, 0.7, np.array([[0.5, 0.2], [0.2, 0.3]]))
    errors, own = errors.expand(-1, 2, -1), own.expand(-1, 2, -1, -1)
    spread = Spread.fit(errors, own)

    def surprise(t):
        lower = np.array([[np.exp(t[1]), 0], [t[2], np.exp(t[3])]])
        covariances = np.exp(t[0]) * own[:, 0].numpy() + lower @ lower.T
        square = np.einsum("ni,nij,nj->n", errors[:, 0], np.linalg.inv(covariances), errors[:, 0])
        return 0.5 * np.mean(square + np.linalg.slogdet(covariances)[1])

    best = optimize.minimize(surprise, np.zeros(4), method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-6})
    lower = np.array([[np.exp(best.x[1]), 0], [best.x[2], np.exp(best.x[3])]])
    np.testing.assert_allclose(spread.scale, np.exp(best.x[0]), rtol=0.01)
    np.testing.assert_allclose(spread.floor[0], lower @ lower.T, rtol=0.02)


def test_ellipses_of_the_fit_hold_what_they_say_and_are_not_round():
    errors, own = draw(4000, 1, 2, 2, 0.4, np.diag([0.2, 4.0]))
    spread = Spread.fit(errors[:2000], own[:2000])
    held = mahalanobis(errors[2000:], spread(own[2000:])) <= stats.chi(2).ppf(0.9)
    assert abs(held.double().mean() - 0.9) < 0.03


def test_a_keypoint_with_few_points_is_like_the_others_and_one_with_many_like_itself():
    errors, own = draw(200, 6, 2, 4, 1.0, np.eye(2))
    errors[:, 0] *= 2
    errors[3:, 1] = torch.nan
    errors[:, 5] = torch.nan
    spread = Spread.fit(errors, own)
    area = torch.linalg.det(spread.floor).sqrt()
    common = area[2:5].mean()
    assert area[0] > 3 * common
    assert 0.4 < area[1] / common < 3
    assert 0.7 < area[5] / common < 3  # between all, which keypoint 0 belongs to


def test_the_same_data_give_the_same_numbers():
    data = draw(30, 4, 2, 5, 1.0, np.eye(2))
    one, two = Spread.fit(*data), Spread.fit(*data)
    assert torch.equal(one.scale, two.scale)
    assert torch.equal(one.floor, two.floor)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.sampled_from([1e-6, 1.0, 1e4]), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_any_data_give_covariances_that_are_some(n, keypoints, dims, size, seed):
    rng = np.random.default_rng(seed)
    errors = torch.from_numpy(rng.normal(size=(n, keypoints, dims)) * size)
    spread = Spread.fit(errors, torch.zeros(n, keypoints, dims, dims))
    assert (torch.linalg.eigvalsh(spread.floor) > 0).all()
    assert spread.scale.isfinite().all()


def test_errors_of_zero_and_no_points_at_all():
    spread = Spread.fit(torch.zeros(8, 1, 2), torch.zeros(8, 1, 2, 2))
    assert (torch.linalg.eigvalsh(spread.floor) > 0).all()
    with pytest.raises(ValueError, match="no point is visible"):
        Spread.fit(torch.full((8, 1, 2), torch.nan), torch.zeros(8, 1, 2, 2))
