"""Mixtures of Gaussians: their densities are SciPy's, and what is said to be exact is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ops.mixtures import GROUPS, grid, random_mixture, scipy_density, some, two_gaussians
from punctum import ops
from punctum.ops.mixture_terms import in_parts

dimensions = pytest.mark.parametrize("dims", [1, 2, 3])


@settings(max_examples=15, deadline=None)
@given(
    dims=st.integers(1, 3),
    lead=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    n=st.integers(1, 5),
)
def test_density_is_scipys(dims: int, lead: tuple[int, int], counts: list[int], n: int) -> None:
    mixture = random_mixture(dims, {str(i): count for i, count in enumerate(counts)}, lead)
    points = some(1, *lead, n, dims)
    found = mixture.log_prob(points).exp().numpy()
    for b in range(lead[0]):
        for k in range(lead[1]):
            np.testing.assert_allclose(found[b, k], scipy_density(mixture, b, k, points[b, k]), rtol=1e-9)
    torch.testing.assert_close(mixture.log_prob(points[:, :, 0]), mixture.log_prob(points)[..., 0])


@dimensions
def test_float32_has_its_digits_far_from_the_origin_too(dims: int) -> None:
    exact = random_mixture(dims)
    exact = replace(exact, means=(exact.means + 3000).float().double())
    points = (3000 + some(2, 2, 3, 4, dims)).float()
    found = exact.map(torch.Tensor.float).log_prob(points)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact.log_prob(points.double()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_becomes_float32(dtype: torch.dtype) -> None:
    mixture = random_mixture(2).map(lambda x: x.to(dtype))
    assert mixture.means.dtype == mixture.log_prob(some(0, 2, 3, 2).to(dtype)).dtype == torch.float32


@dimensions
def test_gradients_are_right(dims: int) -> None:
    mixture, points = random_mixture(dims, {"cells": 2, "background": 1}, (1, 2)), some(3, 1, 2, 2, dims)

    def log_prob(logits: torch.Tensor, means: torch.Tensor, root: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        covariances = root @ root.mT + torch.eye(dims, dtype=torch.float64)
        return ops.GaussianMixture(logits.log_softmax(-1), means, covariances, mixture.groups).log_prob(points)

    inputs = (mixture.log_weights, mixture.means, mixture.covariances, points)
    assert torch.autograd.gradcheck(log_prob, [x.requires_grad_() for x in inputs])


def test_no_weight_is_no_component_and_no_nan() -> None:
    mixture = random_mixture(2, {"cells": 4})
    logits = some(4, 2, 3, 4).index_fill(-1, torch.tensor([1]), -torch.inf).requires_grad_()
    means = mixture.means.requires_grad_()
    of = replace(mixture, log_weights=logits.log_softmax(-1), means=means)
    of.log_prob(some(5, 2, 3, 2)).sum().backward()
    assert logits.grad.isfinite().all()
    assert means.grad.isfinite().all()
    assert (means.grad[:, :, 1] == 0).all()
    kept = torch.tensor([0, 2, 3])
    fewer = ops.GaussianMixture(of.log_weights[..., kept], means[:, :, kept], of.covariances, {"cells": 3})
    points = some(6, 2, 3, 9, 2)
    torch.testing.assert_close(of.log_prob(points), fewer.log_prob(points))
    torch.testing.assert_close(of.moments(), fewer.moments())
    torch.testing.assert_close(of.draw(64), fewer.draw(64))


def test_a_point_beyond_everything_has_little_density_and_a_finite_gradient() -> None:
    mixture = random_mixture(2).map(torch.Tensor.float)
    points = torch.full((2, 3, 2), 1e6).requires_grad_()
    found = mixture.log_prob(points)
    assert (found < -1e9).all()
    found.sum().backward()
    assert points.grad.isfinite().all()


def test_a_density_does_not_depend_on_its_neighbours_or_on_memory() -> None:
    mixture, points = random_mixture(2, lead=(4, 5)), some(7, 4, 5, 3, 2)
    whole = mixture.log_prob(points)
    torch.testing.assert_close(mixture.map(lambda x: x[2:3, 1:4]).log_prob(points[2:3, 1:4]), whole[2:3, 1:4])
    strided = mixture.map(lambda x: x.transpose(0, 1).contiguous().transpose(0, 1))
    torch.testing.assert_close(strided.log_prob(points.transpose(1, 2).contiguous().transpose(1, 2)), whole)
    torch.testing.assert_close(mixture.map(lambda x: x[2:3]).draw(32), mixture.draw(32)[2:3], rtol=0, atol=0)


def test_parts_are_the_whole() -> None:
    mixture, points = random_mixture(2, lead=(3, 5)), some(8, 3, 5, 2)

    def log_prob(part: ops.GaussianMixture, y: torch.Tensor) -> torch.Tensor:
        return part.log_prob(y)

    for at_a_time in (1, 4, 1000):
        found = in_parts(log_prob, mixture, points, terms=1, at_a_time=at_a_time)
        torch.testing.assert_close(found, mixture.log_prob(points))


def test_no_maps_are_no_densities() -> None:
    mixture = random_mixture(2, lead=(0, 3))
    assert mixture.log_prob(torch.zeros(0, 3, 2)).shape == (0, 3)
    assert mixture.draw(8).shape == (0, 3, 8, 2)


@dimensions
def test_under_an_affine_map_the_density_is_divided_by_its_determinant(dims: int) -> None:
    mixture, points = random_mixture(dims), some(9, 2, 3, 4, dims)
    matrix = torch.eye(dims + 1, dtype=torch.float64).repeat(2, 1, 1)
    matrix[:, :-1] += 0.4 * some(10, 2, dims, dims + 1)
    moved = mixture.transform(matrix).log_prob(ops.transform_points(points, matrix))
    wanted = mixture.log_prob(points) - matrix[:, :-1, :-1].det().abs().log()[:, None, None]
    torch.testing.assert_close(moved, wanted)
    torch.testing.assert_close(mixture.transform(matrix[0]).means[0], mixture.transform(matrix).means[0])


def test_widened_it_is_the_convolution_with_a_gaussian() -> None:
    mixture, variance = random_mixture(1), torch.tensor([[0.3, 1.0, 2.0]], dtype=torch.float64)
    found = mixture.widen(variance).log_prob(torch.zeros(2, 3, 1)).exp()
    y, length = grid(20, 4000, dims=1)
    for k in range(3):
        noise = stats.norm.pdf(y[:, 0], scale=variance[0, k] ** 0.5)
        wanted = (scipy_density(mixture, 1, k, y) * noise).sum() * length
        assert found[1, k].item() == pytest.approx(wanted, rel=1e-6)


@dimensions
def test_moments_are_those_of_many_draws_by_numpy(dims: int) -> None:
    mixture, random = random_mixture(dims), np.random.default_rng(0)
    mean, covariance = (x[1, 2].numpy() for x in mixture.moments())
    group, means, covariances = mixture.group, mixture.means[1, 2].numpy(), mixture.covariances[1, 2].numpy()
    component = random.choice(len(group), 200_000, p=mixture.log_weights[1, 2].exp().numpy())
    draws = np.concatenate(
        [
            random.multivariate_normal(means[m], covariances[group[m]], count)
            for m, count in enumerate(np.bincount(component, minlength=len(group)))
        ]
    )
    np.testing.assert_allclose(mean, draws.mean(0), atol=0.02)
    np.testing.assert_allclose(covariance, np.cov(draws.T).reshape(dims, dims), atol=0.03 * covariance.max())


@dimensions
def test_draws_follow_the_density_better_than_chance(dims: int) -> None:
    mixture = random_mixture(dims)
    draws, (mean, covariance) = mixture.draw(1024), mixture.moments()
    deviation = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    # By chance an average of 1024 would be off by 1/32 of a deviation.
    assert ((draws.mean(2) - mean) / deviation).abs().max() < 0.02
    for axis in range(dims):
        marginal = mixture.marginal_cdf(draws)[1, 2, :, axis]
        assert stats.kstest(marginal, "uniform").statistic < 0.02


def test_draws_are_the_same_whatever_the_global_generator() -> None:
    mixture = random_mixture(2)
    torch.manual_seed(0)
    first, noise = mixture.draw(16), torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), noise)
    assert torch.equal(mixture.draw(16), first)
    with pytest.raises(ValueError, match="at least 1 draw"):
        mixture.draw(0)


def test_no_draw_comes_from_a_component_without_weight() -> None:
    means = torch.tensor([[[[100.0], [0.0], [100.0], [0.0], [100.0]]]])
    weights = torch.tensor([[[0, 0.5, 0, 0.5, 0]]]).log()
    mixture = ops.GaussianMixture(weights, means, torch.ones(1, 1, 1, 1, 1), {"cells": 5})
    assert mixture.draw(4096).max() < 10


def test_the_marginal_cdf_is_the_share_of_the_density_below() -> None:
    mixture, (points, area) = random_mixture(2, lead=(1, 1)), grid(9, 300)
    weights = scipy_density(mixture, 0, 0, points) * area
    found = mixture.marginal_cdf(torch.tensor([[[0.3, -0.6]]]))[0, 0]
    assert found[0].item() == pytest.approx(weights[points[:, 0].numpy() < 0.3].sum(), abs=5e-3)
    assert found[1].item() == pytest.approx(weights[points[:, 1].numpy() < -0.6].sum(), abs=5e-3)


def test_without_a_group_the_others_share_its_weight() -> None:
    mixture = random_mixture(2)
    left = mixture.without("background")
    share = mixture.log_weights[..., :6].exp().sum(-1)
    torch.testing.assert_close(left.log_weights.exp().sum(-1), torch.ones_like(share))
    torch.testing.assert_close(left.log_weights[..., :6], mixture.log_weights[..., :6] - share.log()[..., None])
    assert (left.log_weights[..., 6:] == -torch.inf).all()
    assert mixture.without("no such group") is mixture
    alone = replace(mixture, log_weights=left.log_weights.roll(2, -1)).without("cells").without("centre")
    assert alone.log_weights.isnan().sum() == 0


def test_where_nothing_else_has_weight_a_group_stays() -> None:
    mixture = two_gaussians(3, share=1.0)
    mixture = replace(
        mixture, groups={"background": 1, "centre": 1}, covariances=mixture.covariances.repeat(1, 1, 2, 1, 1)
    )
    torch.testing.assert_close(mixture.without("background").moments(), mixture.moments())


def test_groups_say_which_covariance() -> None:
    assert random_mixture(2).group.tolist() == [0] * 5 + [1] + [2] * 2


@pytest.mark.parametrize(
    ("name", "shape"),
    [("log_weights", (2, 3, 7)), ("means", (2, 3, 7, 2)), ("covariances", (2, 3, 2, 2, 2)), ("means", (2, 3, 8, 1))],
)
def test_shapes_that_do_not_fit_are_told(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must have shape"):
        replace(random_mixture(2), **{name: torch.zeros(shape)})


@pytest.mark.parametrize("shape", [(3, 2, 2), (2, 3, 3), (2, 3, 4, 4, 2), (2, 3)])
def test_points_that_do_not_fit_are_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="points must be"):
        random_mixture(2, GROUPS).log_prob(torch.zeros(shape))
