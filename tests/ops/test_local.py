"""Local soft-argmax and the spread behind a peak's height, against loops, Gaussians of known place, and draws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum import ops
from reference import heatmaps as oracle


def pixels(coords: torch.Tensor, size: tuple[int, ...]) -> np.ndarray:
    return ops.to_pixels(coords, size).numpy()


def gaussians(means: torch.Tensor, sigma: float, size: tuple[int, ...]) -> torch.Tensor:
    """Of height one; means in heatmap pixels."""
    return ops.render_gaussian(ops.to_normalized(means, size), sigma, size, normalize=False)


def mean_of_window(logits: np.ndarray, radius: int, beta: float) -> np.ndarray:
    """Cut the window out with slices, and average its indices."""
    peak = np.unravel_index(logits.argmax(), logits.shape)
    window = tuple(slice(max(i - radius, 0), i + radius + 1) for i in peak)
    weights = oracle.normalized(logits[window], "softmax", beta)
    places = np.indices(logits.shape)[(slice(None), *window)]
    return (places * weights).reshape(logits.ndim, -1).sum(-1)[::-1]


@given(st.lists(st.integers(1, 7), min_size=3, max_size=5), st.integers(0, 3), st.floats(0.2, 5))
@settings(max_examples=50, deadline=None)
def test_it_is_the_mean_over_a_window_cut_out_by_slices(shape, radius, beta):
    logits = torch.randn(shape, dtype=torch.float64)
    found = pixels(ops.local_soft_argmax(logits, radius, beta), shape[2:])
    for b, k in np.ndindex(*shape[:2]):
        np.testing.assert_allclose(found[b, k], mean_of_window(logits[b, k].numpy(), radius, beta), atol=1e-9)


@pytest.mark.parametrize("beta", [1.0, 2.0])
@pytest.mark.parametrize("radius", [1, 3])
@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0])
@pytest.mark.parametrize("size", [(16,), (16, 19), (9, 10, 11)])
def test_told_the_sigma_it_has_no_bias_even_where_the_border_cuts_the_window(size, sigma, radius, beta):
    """Places all over the map, from its very edges: the first at -0.5, the last at n - 0.5."""
    grid = torch.cat([torch.tensor([0.0, 1.0]), torch.rand(60)]).double()
    means = torch.stack([grid[torch.randperm(62)] * n - 0.5 for n in reversed(size)], dim=-1)[None]
    logits = ops.log_gaussian(ops.to_normalized(means, size), sigma, size)
    found = pixels(ops.local_soft_argmax(logits, radius, beta, sigma), size)
    assert np.abs(found - means.numpy()).max() < 1e-3


def bias(decode, sigma: float) -> tuple[float, float]:
    """The largest error along an axis, away from the border and within two cells of it."""
    inside, border = torch.linspace(8, 9, 41), torch.linspace(-0.5, 1.5, 41)
    largest = []
    for places in (inside, border):
        means = torch.stack([places, torch.full_like(places, 11.3)], dim=-1)[None].double()
        found = pixels(decode(gaussians(means, sigma, (24, 24))), (24, 24))
        largest.append(float(np.abs(found - means.numpy())[..., 0].max()))
    return largest[0], largest[1]


def test_the_biases_that_the_documentation_gives():
    """docs/methods/heatmap.md: sigma 1, a window of 2 and 3 cells."""
    weights = [bias(lambda h, r=r: ops.local_soft_argmax(h.log(), r), 1.0) for r in (2, 3)]
    softmax = [bias(lambda h, r=r: ops.local_soft_argmax(h, r, beta=10), 1.0) for r in (2, 3)]
    squared = [bias(lambda h, r=r: ops.local_soft_argmax(h.log(), r, beta=2), 1.0) for r in (2, 3)]
    np.testing.assert_allclose(np.array(weights)[:, 0], [0.045, 0.003], atol=1e-3)
    np.testing.assert_allclose(np.array(softmax)[:, 0], [0.139, 0.139], atol=1e-3)
    np.testing.assert_allclose(np.array(squared)[:, 0], [0.003, 0.0003], atol=1e-3)
    assert all(border > 0.5 for _, border in weights + softmax + squared)


def test_far_away_nothing_has_a_say():
    logits = torch.randn(1, 1, 20, 20, dtype=torch.float64)
    logits[0, 0, 5, 6] = 9.0
    disturbed = logits.clone()
    disturbed[0, 0, 12:, 12:] = 8.9
    for sigma in (None, 1.0):
        found = [ops.local_soft_argmax(z, 3, sigma=sigma) for z in (logits, disturbed)]
        assert torch.equal(*found)


@pytest.mark.parametrize("level", [0.0, -torch.inf, 1e30, -1e30])
def test_a_flat_map_gives_the_middle_of_the_first_cells_window(level):
    logits = torch.full((1, 1, 6, 8), level)
    np.testing.assert_allclose(pixels(ops.local_soft_argmax(logits, 2), (6, 8)), [[[1, 1]]], atol=1e-5)
    inside = pixels(ops.local_soft_argmax(logits, 2, sigma=1.0), (6, 8))
    assert np.abs(inside).max() <= 1


@given(st.lists(st.integers(1, 6), min_size=3, max_size=5), st.floats(0.2, 5), st.sampled_from([1e-3, 1.0, 1e4]))
@settings(max_examples=50, deadline=None)
def test_told_a_sigma_it_stays_within_a_cell_of_the_peak_and_in_the_map(shape, sigma, spread):
    logits = torch.randn(shape, dtype=torch.float64) * spread
    found = ops.local_soft_argmax(logits, 3, sigma=sigma)
    assert found.isfinite().all()
    assert np.abs(pixels(found, shape[2:]) - pixels(ops.argmax(logits), shape[2:])).max() <= 1 + 1e-9
    assert found.abs().max() <= 1 + 1e-9


def test_local_soft_argmax_refuses_what_is_no_window():
    with pytest.raises(ValueError, match="radius must be at least 0 cells, got -1"):
        ops.local_soft_argmax(torch.zeros(1, 1, 4), -1)
    with pytest.raises(ValueError, match="sigma must be positive"):
        ops.local_soft_argmax(torch.zeros(1, 1, 4), 1, sigma=0.0)


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [(40,), (24, 26), (16, 16, 18)])
def test_the_spread_of_drawn_truths_is_read_from_the_height_of_their_mean_map(size, spread):
    """Gaussians drawn where a Gaussian says, averaged: what a squared error's optimum is."""
    sigma, dims, generator = 1.5, len(size), torch.Generator().manual_seed(0)
    centre = torch.tensor([n / 2 + 0.3 for n in reversed(size)], dtype=torch.float64)
    draws = centre + spread * torch.randn(1, 2000, dims, generator=generator, dtype=torch.float64)
    mean_map = gaussians(draws, sigma, size).mean(1, keepdim=True)
    place = ops.to_normalized(draws.mean(1, keepdim=True), size)
    found = ops.peak_covariance(mean_map, sigma, place)
    in_pixels = torch.tensor(size[::-1]).double() / 2
    variances = found[0, 0].diagonal() * in_pixels**2
    assert variances.numpy() == pytest.approx(spread**2, rel=0.12)
    torch.testing.assert_close(found[0, 0], found[0, 0].diagonal().diag())


def test_a_clean_gaussian_between_cells_has_no_spread_if_one_says_where_it_is():
    means = torch.rand(1, 50, 2).double() * 10 + 5
    heatmaps, coords = gaussians(means, 1.0, (20, 20)), ops.to_normalized(means, (20, 20))
    assert ops.peak_covariance(heatmaps, 1.0, coords).abs().max() < 1e-3 * (2 / 20) ** 2
    # Without: the highest cell of a Gaussian midway between four is exp(-1/4), so 1 / s - 1 = 0.284.
    midway = gaussians(torch.full((1, 1, 2), 8.5), 1.0, (20, 20))
    assert ops.peak_covariance(midway, 1.0)[0, 0, 0, 0].item() * 100 == pytest.approx(np.exp(0.25) - 1, rel=1e-4)


@pytest.mark.parametrize(
    ("height", "variance"),
    [(1.0, 0.0), (7.0, 0.0), (0.5, 4.0), (0.0, 1e9), (-1.0, 1e9)],  # sigma 2: 4 (1 / s - 1), at most a uniform's
)
def test_peak_covariance_by_hand(height, variance):
    heatmaps = torch.full((1, 1, 10, 20), -2.0)
    heatmaps[0, 0, 4, 9] = height
    wanted = [min(variance * (2 / 20) ** 2, 1 / 3), min(variance * (2 / 10) ** 2, 1 / 3)]
    found = ops.peak_covariance(heatmaps, 2.0)[0, 0].diagonal().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-9)
