"""Rendering and the three regularizers, against SciPy; what happens far out, at one-hot and at flat maps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum import ops
from reference import heatmaps as oracle

SIZES = [(7,), (5, 8), (3, 4, 5), (1, 6), (1,)]


def maps_and_means(size, spread=1.0):
    shape = (2, 3, *size)
    heatmaps = torch.randn(shape, dtype=torch.float64).mul(spread).flatten(2).softmax(-1).reshape(shape)
    return heatmaps, torch.rand(2, 3, len(size), dtype=torch.float64) * 2.4 - 1.2


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("size", SIZES)
def test_rendering_is_scipys_density(size, sigma, normalize):
    _, means = maps_and_means(size)
    rendered = ops.render_gaussian(means, sigma, size, normalize)
    logs = ops.log_gaussian(means, sigma, size, normalize)
    assert rendered.shape == (2, 3, *size)
    for b, k in np.ndindex(2, 3):
        expected = oracle.log_gaussian(means[b, k].numpy(), sigma, size, normalize)
        np.testing.assert_allclose(logs[b, k], expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(rendered[b, k], np.exp(expected), rtol=1e-9, atol=1e-12)


def test_one_sigma_for_each_keypoint():
    sigma = torch.tensor([[0.5, 1.0, 2.0], [3.0, 0.7, 1.1]], dtype=torch.float64)
    _, means = maps_and_means((5, 8))
    rendered = ops.render_gaussian(means, sigma, (5, 8))
    for b, k in np.ndindex(2, 3):
        expected = oracle.gaussian(means[b, k].numpy(), float(sigma[b, k]), (5, 8))
        np.testing.assert_allclose(rendered[b, k], expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        ops.render_gaussian(means, torch.tensor(1.5), (5, 8)), ops.render_gaussian(means, 1.5, (5, 8))
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("far", [1.5, 100.0, 1e4, 1e8, 1e20, 1e38])
def test_a_gaussian_far_outside_piles_up_in_the_nearest_cell(far, dtype):
    mean = torch.tensor([[[far, -far]]], dtype=dtype, requires_grad=True)
    heatmap = ops.render_gaussian(mean, 0.5, (8, 8))
    assert heatmap[0, 0, 0, 7].item() == pytest.approx(1.0, abs=1e-4)
    assert heatmap.sum().item() == pytest.approx(1.0, abs=1e-6)
    unnormalized = ops.render_gaussian(mean, 0.5, (8, 8), normalize=False)
    assert unnormalized.isfinite().all()
    (heatmap.square().sum() + unnormalized.sum()).backward()
    assert mean.grad.isfinite().all()


@pytest.mark.parametrize("far", [1e4, 1e20, 1e38])
@pytest.mark.parametrize("losses", [ops.kl_losses, ops.js_losses])
def test_regularizers_towards_a_far_gaussian_are_finite(losses, far):
    logits = torch.randn(1, 2, 8, 8, requires_grad=True)
    mean = torch.tensor([[[far, 0.0], [-far, far]]], requires_grad=True)
    values = losses(ops.normalize(logits), mean, 1.0)
    values.sum().backward()
    assert values.isfinite().all()
    assert logits.grad.isfinite().all()
    assert mean.grad.isfinite().all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.0])
def test_divergences_are_scipys(size, sigma):
    heatmaps, means = maps_and_means(size, spread=2.0)
    kl, js = ops.kl_losses(heatmaps, means, sigma), ops.js_losses(heatmaps, means, sigma)
    assert kl.shape == js.shape == (2, 3)
    for b, k in np.ndindex(2, 3):
        p, m = heatmaps[b, k].numpy(), means[b, k].numpy()
        np.testing.assert_allclose(kl[b, k], oracle.kl(p, m, sigma), rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(js[b, k], oracle.js(p, m, sigma), rtol=1e-7, atol=1e-9)


def test_js_is_symmetric():
    """Two rendered Gaussians may trade the roles of heatmap and target."""
    a, b = torch.tensor([[[-0.3, 0.2]]], dtype=torch.float64), torch.tensor([[[0.4, 0.1]]], dtype=torch.float64)
    there = ops.js_losses(ops.render_gaussian(a, 1.2, (9, 7)), b, 1.2)
    back = ops.js_losses(ops.render_gaussian(b, 1.2, (9, 7)), a, 1.2)
    torch.testing.assert_close(there, back)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.floats(0.3, 4), st.floats(0.1, 50))
@settings(max_examples=40, deadline=None)
def test_divergences_keep_within_their_bounds(size, sigma, spread):
    heatmaps, means = maps_and_means(tuple(size), spread)
    js = ops.js_losses(heatmaps, means, sigma)
    assert ops.kl_losses(heatmaps, means, sigma).min() > -1e-12
    assert js.min() > -1e-12
    assert js.max() < math.log(2) + 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
def test_no_divergence_from_the_gaussian_itself(size, dtype):
    _, means = maps_and_means(size)
    heatmaps = ops.render_gaussian(means.to(dtype), 1.0, size)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    assert ops.kl_losses(heatmaps, means.to(dtype), 1.0).abs().max() < tolerance
    assert ops.js_losses(heatmaps, means.to(dtype), 1.0).abs().max() < tolerance


def test_divergences_of_a_one_hot_map_by_hand():
    """p = (1, 0), G = (g, 1 - g) with g = 1 / (1 + e): KL = -log g = log(1 + e);
    JS = (log 2 / (1 + g) + g log 2g / (1 + g) + (1 - g) log 2) / 2."""
    heatmap = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    mean = torch.tensor([[[1.0]]], dtype=torch.float64)  # pixel 1.5: exponents -1.5^2 / 2 and -0.5^2 / 2, 1 apart
    g = 1 / (1 + math.e)
    js = (math.log(2 / (1 + g)) + g * math.log(2 * g / (1 + g)) + (1 - g) * math.log(2)) / 2
    assert ops.kl_losses(heatmap, mean, 1.0).item() == pytest.approx(math.log(1 + math.e))
    assert ops.js_losses(heatmap, mean, 1.0).item() == pytest.approx(js)


def extreme_maps(size: tuple[int, ...]) -> torch.Tensor:
    """Flat; one-hot in a corner; one-hot inside; logits of +-1e4; logits of -1e4; nothing but -inf."""
    logits = torch.zeros(1, 6, *size)
    flat = logits.flatten(2)
    flat[:, 1, 0] = 1e4
    flat[:, 2, flat.shape[-1] // 2] = 1e4
    flat[:, 3] = torch.where(torch.arange(flat.shape[-1]) % 2 == 0, 1e4, -1e4)
    flat[:, 4] = -1e4
    flat[:, 5] = -torch.inf
    return flat.reshape(1, 6, *size).requires_grad_()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("size", [(9,), (8, 7), (4, 5, 6)])
@pytest.mark.parametrize("term", ["kl", "js", "variance", "variance_px", "euclidean", "covariance"])
def test_extreme_maps_give_finite_losses_and_gradients(size, term, activation):
    logits = extreme_maps(size)
    mean = torch.full((1, 6, len(size)), 0.98)
    heatmaps = ops.normalize(logits, activation)
    values = {
        "kl": lambda: ops.kl_losses(heatmaps, mean, 1.0),
        "js": lambda: ops.js_losses(heatmaps, mean, 1.0),
        "variance": lambda: ops.variance_losses(heatmaps, 1.0),
        "variance_px": lambda: ops.variance_losses(heatmaps, 1.0, units="pixels"),
        "euclidean": lambda: ops.euclidean_losses(ops.dsnt(heatmaps), mean),
        "covariance": lambda: ops.covariance(heatmaps, ops.dsnt(heatmaps)).diagonal(dim1=-2, dim2=-1).log1p().sum(-1),
    }[term]()
    values.sum().backward()
    assert values.isfinite().all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("losses", [ops.kl_losses, ops.js_losses])
def test_gradient_at_exact_zeros_of_a_heatmap_is_finite(losses):
    heatmaps = torch.zeros(1, 1, 8, 8)
    heatmaps[..., 3, 3] = 1
    heatmaps.requires_grad_()
    losses(heatmaps, torch.full((1, 1, 2), 0.9), 0.3).sum().backward()
    assert heatmaps.grad.isfinite().all()


@pytest.mark.parametrize("units", ["normalized", "pixels"])
@pytest.mark.parametrize("size", SIZES)
def test_variance_is_numpys_weighted_variance(size, units):
    heatmaps, _ = maps_and_means(size)
    losses = ops.variance_losses(heatmaps, 1.3, units)
    for b, k in np.ndindex(2, 3):
        np.testing.assert_allclose(losses[b, k], oracle.variance_loss(heatmaps[b, k].numpy(), 1.3, units), rtol=1e-9)


def test_variance_units_differ_by_the_fourth_power_of_half_the_size():
    heatmaps, _ = maps_and_means((10, 10))
    ratio = ops.variance_losses(heatmaps, 1.0, "pixels") / ops.variance_losses(heatmaps, 1.0, "normalized")
    torch.testing.assert_close(ratio, torch.full((2, 3), 5.0**4, dtype=torch.float64))


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.5])
def test_a_gaussian_of_the_wanted_width_has_no_variance_loss(sigma):
    heatmaps = ops.render_gaussian(torch.zeros(1, 1, 2, dtype=torch.float64), sigma, (64, 48))
    assert ops.variance_losses(heatmaps, sigma, "pixels").item() < 1e-6
    assert ops.variance_losses(heatmaps, sigma + 1, "pixels").item() == pytest.approx(
        2 * ((sigma + 1) ** 2 - sigma**2) ** 2, rel=1e-3
    )


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_a_sigma_that_is_not_positive_is_refused(sigma):
    heatmaps, means = maps_and_means((4, 4))
    calls = [
        lambda: ops.render_gaussian(means, sigma, (4, 4)),
        lambda: ops.log_gaussian(means, sigma, (4, 4)),
        lambda: ops.kl_losses(heatmaps, means, sigma),
        lambda: ops.js_losses(heatmaps, means, sigma),
        lambda: ops.variance_losses(heatmaps, sigma),
        lambda: ops.dark(heatmaps, sigma),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="sigma must be positive"):
            call()


def test_shapes_that_do_not_fit_are_refused():
    heatmaps, means = maps_and_means((4, 4))
    with pytest.raises(ValueError, match=r"size \(4,\) has 1 axes, but mean has 2 coordinates"):
        ops.render_gaussian(means, 1.0, (4,))
    with pytest.raises(ValueError, match=r"mean must be \(B, K, D\)"):
        ops.render_gaussian(means[0], 1.0, (4, 4))
    for losses in (ops.kl_losses, ops.js_losses):
        with pytest.raises(ValueError, match=r"mean must be \(2, 3, 2\).*got \(2, 1, 2\)"):
            losses(heatmaps, means[:, :1], 1.0)
    with pytest.raises(ValueError, match="unknown units 'cells'"):
        ops.variance_losses(heatmaps, 1.0, units="cells")
