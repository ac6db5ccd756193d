"""Every rule's answer is the best there is, as Monte Carlo, SciPy's optimizer and brute force see it."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from ops.mixtures import grid, random_mixture, some, two_gaussians
from punctum import ops
from punctum.ops.decisions import Rule

DIMENSIONS = pytest.mark.parametrize("dims", [1, 2, 3])


def many(mixture: ops.GaussianMixture, n: int = 2**15) -> np.ndarray:
    """Draws of the last map."""
    return mixture.map(lambda x: x[-1:, -1:]).draw(n)[0, 0].numpy()


@DIMENSIONS
def test_expected_oks_is_that_of_draws(dims: int) -> None:
    mixture, points = random_mixture(dims), some(1, 2, 3, 4, dims)
    lengths = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    found = ops.expected_oks_at(mixture, points, lengths)
    draws = many(mixture)
    for n in range(4):
        distance2 = ((draws - points[1, 2, n].numpy()) ** 2).sum(-1)
        assert found[1, 2, n].item() == pytest.approx(np.exp(-distance2 / (2 * 2.0**2)).mean(), abs=2e-3)
    torch.testing.assert_close(ops.expected_oks_at(mixture, points[:, :, 0], lengths), found[..., 0])


@DIMENSIONS
def test_expected_oks_by_the_formula_with_determinants(dims: int) -> None:
    mixture, point, length = random_mixture(dims), some(2, 2, 3, dims), 0.7
    identity, found = np.eye(dims), ops.expected_oks_at(mixture, point, length)
    total = 0.0
    for m, g in enumerate(mixture.group.tolist()):
        spread, offset = mixture.covariances[1, 2, g].numpy(), (point[1, 2] - mixture.means[1, 2, m]).numpy()
        exponent = -0.5 * offset @ np.linalg.inv(spread + length**2 * identity) @ offset
        factor = np.linalg.det(identity + spread / length**2) ** -0.5
        total += mixture.log_weights[1, 2, m].exp().item() * factor * np.exp(exponent)
    assert found[1, 2].item() == pytest.approx(total)


@DIMENSIONS
def test_expected_pck_of_a_round_gaussian_is_the_noncentral_chi_square(dims: int) -> None:
    for spread in (1e-3, 0.1, 1.0, 30.0):
        gaussian = ops.single_gaussian(
            torch.zeros(1, 1, dims, dtype=torch.float64), spread**2 * torch.eye(dims, dtype=torch.float64)[None, None]
        )
        for distance in (0.0, 0.5, 0.9999, 1.0, 1.001, 3.0):
            direction = torch.nn.functional.normalize(some(3, 1, 1, dims), dim=-1)
            wanted = stats.ncx2(dims, (distance / spread) ** 2 + 1e-12).cdf(1 / spread**2)
            found = ops.expected_pck_at(gaussian, distance * direction, 1.0).item()
            assert found == pytest.approx(wanted, abs=3e-4)


@settings(max_examples=20, deadline=None)
@given(dims=st.integers(1, 3), lead=st.tuples(st.integers(1, 2), st.integers(1, 3)), radius=st.floats(0.1, 4))
def test_expected_pck_is_the_share_of_draws(dims: int, lead: tuple[int, int], radius: float) -> None:
    mixture, points = random_mixture(dims, lead=lead), some(4, *lead, dims)
    found = ops.expected_pck_at(mixture, points, radius)[-1, -1].item()
    share = (np.linalg.norm(many(mixture) - points[-1, -1].numpy(), axis=-1) <= radius).mean()
    assert found == pytest.approx(share, abs=5e-3)


@pytest.mark.parametrize("ratio", [10.0, 1000.0])
def test_expected_pck_of_a_needle_is_that_along_its_axis(ratio: float) -> None:
    """A needle through the disk at a distance of 0.6 of its middle leaves a chord of 1.6."""
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
    covariance = turn @ torch.diag(torch.tensor([1.0, ratio**-2], dtype=torch.float64)) @ turn.T
    gaussian = ops.single_gaussian(torch.zeros(1, 1, 2, dtype=torch.float64), covariance[None, None])
    point = (turn @ torch.tensor([0.3, 0.6], dtype=torch.float64))[None, None]
    draws = np.random.default_rng(0).multivariate_normal([0, 0], covariance.numpy(), 400_000)
    share = (np.linalg.norm(draws - point[0, 0].numpy(), axis=-1) <= 1).mean()
    found = ops.expected_pck_at(gaussian, point, 1.0).item()
    assert found == pytest.approx(share, abs=3e-3)
    if ratio > 100:
        assert found == pytest.approx(stats.norm.cdf(1.1) - stats.norm.cdf(-0.5), abs=1e-3)


def test_float32_agrees() -> None:
    mixture, points = random_mixture(2), some(5, 2, 3, 2)
    single = mixture.map(torch.Tensor.float)
    for of in (ops.expected_oks_at, ops.expected_pck_at):
        found = of(single, points.float(), 0.5)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), of(mixture, points, 0.5), rtol=1e-4, atol=1e-5)


def test_expectations_have_right_gradients() -> None:
    mixture, points = random_mixture(2, {"cells": 2}, (1, 2)), some(6, 1, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: ops.expected_oks_at(mixture, y, 0.7), points)


@DIMENSIONS
def test_mean_is_of_the_least_squared_distance_of_all_but_the_background(dims: int) -> None:
    mixture = random_mixture(dims)
    draws = many(mixture.without("background"))
    assert ops.decode(mixture, "mean")[1, 2].numpy() == pytest.approx(draws.mean(0), abs=2e-3)


@DIMENSIONS
def test_median_is_of_the_least_distance(dims: int) -> None:
    mixture = random_mixture(dims, apart=2.0)
    draws, found = many(mixture), ops.decode(mixture, "median")[1, 2].numpy()

    def expected(x: np.ndarray) -> float:
        return np.linalg.norm(draws - x, axis=-1).mean()

    best = optimize.minimize(expected, found, method="Nelder-Mead", tol=1e-6)
    assert expected(found) <= best.fun + 1e-4
    assert found == pytest.approx(best.x, abs=0.02)


def test_median_of_a_needle_is_its_middle() -> None:
    needle = torch.diag(torch.tensor([100.0, 0.01], dtype=torch.float64))[None, None]
    found = ops.geometric_median(ops.single_gaussian(torch.full((1, 1, 2), 7.0, dtype=torch.float64), needle))
    assert found.flatten().tolist() == pytest.approx([7, 7], abs=0.1)


def test_oks_is_of_the_highest_expected_oks() -> None:
    points, _ = grid(5, 200)
    for seed in range(4):
        mixture = random_mixture(2, lead=(1, 1), seed=seed, apart=2.0)
        for length in (0.1, 0.5, 2.0):
            best = ops.expected_oks_at(mixture, points[None, None], length).max().item()
            found = ops.expected_oks_at(mixture, ops.decode(mixture, "oks", length=length), length).item()
            assert found >= best - 1e-6


@pytest.mark.parametrize("distance", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("radius", [0.2, 1.0, 2.0])
def test_pck_is_the_disk_of_most_mass(distance: float, radius: float) -> None:
    mixture = two_gaussians(distance, spread=0.5)
    axis = torch.linspace(-1, distance + 1, 101, dtype=torch.float64)
    points = torch.stack([axis, torch.zeros_like(axis)], -1)
    best = ops.expected_pck_at(mixture, points[None, None], radius).max().item()
    place = ops.decode(mixture, "pck", radius=radius)
    assert ops.expected_pck_at(mixture, place, radius).item() >= best - 1e-3


def test_pck_of_maps_is_not_beaten_by_a_grid() -> None:
    heatmaps = (2 * some(7, 2, 4, 7, 6)).flatten(2).softmax(-1).reshape(2, 4, 7, 6)
    mixture = ops.heatmap_mixture(heatmaps, ops.dsnt(heatmaps), None, (7, 6))
    points, _ = grid(1, 24)
    radius = torch.tensor([0.1, 0.2, 0.4, 0.8], dtype=torch.float64)
    best = ops.expected_pck_at(mixture, points.expand(2, 4, -1, 2), radius).amax(-1)
    found = ops.expected_pck_at(mixture, ops.decode(mixture, "pck", radius=radius), radius)
    assert (found > best - 0.005).all()


def test_each_rule_is_best_by_its_own_measure() -> None:
    """A wide likely place and a narrow less likely one: the answers differ, and each wins its own contest."""
    mixture = ops.GaussianMixture(
        torch.tensor([[[0.65, 0.35]]], dtype=torch.float64).log(),
        torch.tensor([[[[0.0, 0.0], [4.0, 0.0]]]], dtype=torch.float64),
        torch.stack([torch.eye(2), 0.04 * torch.eye(2)]).double()[None, None],
        {"wide": 1, "narrow": 1},
    )
    asked = {"oks": {"length": 2.0}, "pck": {"radius": 3.0}}
    answers = {rule: ops.decode(mixture, rule, **asked.get(rule, {})) for rule in get_args(Rule)}
    draws = mixture.draw(4096)
    values = {
        "mean": lambda x: -(draws - x.unsqueeze(2)).square().sum(-1).mean(),
        "median": lambda x: -(draws - x.unsqueeze(2)).norm(dim=-1).mean(),
        "mode": mixture.log_prob,
        "oks": lambda x: ops.expected_oks_at(mixture, x, 2.0),
        "pck": lambda x: ops.expected_pck_at(mixture, x, 3.0),
    }
    for rule, value in values.items():
        scores = {other: value(place).item() for other, place in answers.items()}
        assert scores[rule] >= max(scores.values()) - 2e-3, (rule, scores)
    assert answers["mode"][0, 0, 0] > 3.9
    assert answers["oks"][0, 0, 0] < 1


@DIMENSIONS
@pytest.mark.parametrize("rule", ["mean", "mode", "median", "oks", "pck"])
def test_every_rule_answers_every_map(rule: str, dims: int) -> None:
    """Empty, one-hot and NaN maps included, in the mixture's own units."""
    size = (4, 5, 3)[:dims]
    heatmaps = torch.zeros(2, 3, *size)
    heatmaps[0, 0] = 1
    heatmaps[0, 1].view(-1)[3] = 1
    heatmaps[1, 0] = torch.nan
    coords = ops.dsnt(heatmaps)
    mixture = ops.heatmap_mixture(heatmaps, coords, None, size)
    matrix = torch.eye(dims + 1) * 50
    matrix[-1, -1], matrix[:-1, -1] = 1, 1000
    found = ops.decode(mixture.transform(matrix), rule, length=5.0, radius=torch.tensor([3.0, 4.0, 5.0]))
    assert found.shape == (2, 3, dims)
    assert found.isfinite().all()
    assert ((found - 1000).abs() < 60).all()


def test_what_is_missing_is_told() -> None:
    mixture = two_gaussians(3)
    with pytest.raises(ValueError, match="unknown rule"):
        ops.decode(mixture, "best")
    with pytest.raises(ValueError, match="needs a length"):
        ops.decode(mixture, "oks")
    with pytest.raises(ValueError, match="needs a radius"):
        ops.decode(mixture, "pck")
    with pytest.raises(ValueError, match="radius must be positive"):
        ops.decode(mixture, "pck", radius=0.0)
    with pytest.raises(ValueError, match="do not fit"):
        ops.expected_pck_at(mixture, torch.zeros(1, 2, 2), 1.0)
