"""Peak decoders: argmax and quarter shift by hand and by NumPy, DARK against known sub-pixel means."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum import ops
from reference import peaks as oracle

shapes = st.lists(st.integers(1, 6), min_size=3, max_size=5)


def pixels(coords: torch.Tensor, size) -> np.ndarray:
    return ops.to_pixels(coords, size).numpy()


@given(shapes)
@settings(max_examples=40, deadline=None)
def test_argmax_and_quarter_shift_are_numpys(shape):
    heatmaps = torch.randint(0, 4, shape).double()  # few values: many ties
    size = shape[2:]
    for b, k in np.ndindex(*shape[:2]):
        one = heatmaps[b, k].numpy()
        assert ops.peak_index(heatmaps)[b, k].tolist() == oracle.argmax(one).tolist()
        np.testing.assert_allclose(pixels(ops.argmax(heatmaps)[b, k], size), oracle.argmax(one), atol=1e-12)
        shifted = pixels(ops.quarter_shift(heatmaps)[b, k], size)
        np.testing.assert_allclose(shifted, oracle.quarter_shift(one), atol=1e-12)


@pytest.mark.parametrize(
    ("row", "x"),
    [
        ((0, 1, 5, 2, 0), 2.25),  # towards the higher neighbour
        ((0, 3, 5, 2, 0), 1.75),
        ((0, 2, 5, 2, 0), 2.0),  # a tie moves nowhere
        ((5, 4, 0, 0, 0), 0.0),  # at the edge nothing moves
        ((0, 0, 0, 4, 5), 4.0),
        ((1, 1, 1, 1, 1), 0.0),  # flat: the first cell
        ((0, 5, 5, 0, 0), 1.25),  # the first of two peaks, towards the second
        ((-9, -3, -1, -2, -9), 2.25),  # any scale, any sign
        ((-torch.inf, -torch.inf, 0.0, -torch.inf, -torch.inf), 2.0),
    ],
)
def test_quarter_shift_by_hand(row, x):
    heatmap = torch.tensor([[row]], dtype=torch.float32)
    assert pixels(ops.quarter_shift(heatmap), (5,)).item() == pytest.approx(x, abs=1e-6)


def test_quarter_shift_moves_each_axis_by_itself():
    """Peak in the top row: no vertical shift there, but a horizontal one."""
    heatmap = torch.tensor([[[[0.0, 1.0, 9.0, 2.0], [0.0, 0.0, 8.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]])
    np.testing.assert_allclose(pixels(ops.quarter_shift(heatmap), (3, 4)), [[[2.25, 0.0]]], atol=1e-6)


def test_large_half_precision_maps_keep_every_index():
    """bfloat16 cannot count past 256, float16 past 2048: positions are integers, not floats."""
    for dtype in (torch.bfloat16, torch.float16):
        heatmap = torch.zeros(1, 1, 3, 4001, dtype=dtype)
        heatmap[0, 0, 1, 3333] = 1
        for decoder in (ops.argmax, ops.quarter_shift, lambda h: ops.dark(h, 1.0)):
            np.testing.assert_allclose(pixels(decoder(heatmap), (3, 4001)), [[[3333, 1]]], atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("size", [(40,), (40, 48), (32, 34, 36)])
def test_dark_recovers_the_mean_of_a_sampled_gaussian(size, sigma, dtype):
    """Means at least five sigma from every border, so that neither the bell nor the blur is cut off."""
    low = torch.full((len(size),), 5 * sigma)
    high = torch.tensor(size[::-1]) - 1 - low
    means = (low + torch.rand(3, 20, len(size)) * (high - low)).to(dtype)
    for scale in (1.0, 1e-20, 1e20):
        heatmaps = scale * ops.render_gaussian(ops.to_normalized(means, size), sigma, size, normalize=False)
        assert np.abs(pixels(ops.dark(heatmaps, sigma), size) - means.numpy()).max() < 1e-2


@pytest.mark.parametrize("width", [1.0, 3.0])
def test_dark_allows_a_map_wider_or_narrower_than_its_sigma(width):
    means = torch.rand(1, 50, 2) * 12 + 14
    heatmaps = ops.render_gaussian(ops.to_normalized(means, (40, 40)), width, (40, 40))
    assert np.abs(pixels(ops.dark(heatmaps, 2.0), (40, 40)) - means.numpy()).max() < 1e-2


@pytest.mark.parametrize("sigma", [1.0, 2.0])
@pytest.mark.parametrize("size", [(12,), (9, 12), (7, 8, 9)])
def test_dark_on_rough_maps_is_scipys_blur_and_numpys_newton_step(size, sigma):
    """Skewed, not separable, peak inside the map: nothing that a Gaussian's symmetry could hide."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        heatmap = rng.random(size) ** 3
        heatmap[tuple(int(rng.integers(1, n - 1)) for n in size)] = 1.2
        decoded = pixels(ops.dark(torch.from_numpy(heatmap)[None, None], sigma), size)[0, 0]
        np.testing.assert_allclose(decoded, oracle.dark(heatmap, sigma), atol=1e-6)


@given(shapes, st.floats(0.3, 5), st.sampled_from([1e-3, 1.0, 30.0]))
@settings(max_examples=60, deadline=None)
def test_dark_never_leaves_the_neighbourhood_of_the_peak(shape, sigma, spread):
    heatmaps = torch.randn(shape, dtype=torch.float64) * spread
    size = shape[2:]
    moved = pixels(ops.dark(heatmaps, sigma), size) - pixels(ops.argmax(heatmaps), size)
    assert np.isfinite(moved).all()
    assert np.abs(moved).max() <= 1 + 1e-9
    decoded = ops.dark(heatmaps, sigma)
    assert decoded.abs().max() <= 1 + 1e-9  # In the map, whose edges are at -1 and 1.
    short = np.array(size[::-1]) < 3
    assert np.abs(moved[..., short]).max(initial=0) < 1e-9


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 1e30, -1e30, 1e-30])
def test_dark_of_a_flat_map_is_the_argmax(level):
    heatmaps = torch.full((1, 1, 6, 7), level)
    torch.testing.assert_close(ops.dark(heatmaps, 2.0), ops.argmax(heatmaps))


def test_dark_of_a_negative_map_with_its_peak_inside_stays_there():
    heatmaps = -torch.ones(1, 1, 6, 7)
    heatmaps[0, 0, 2, 3] = -0.5
    torch.testing.assert_close(ops.dark(heatmaps, 1.0), ops.argmax(heatmaps))


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("n", [7, 12, 28])
def test_dark_is_not_biased_at_borders(n, sigma):
    """Means from the map's very edge inwards: a blur that is cut off there would move them by up to a cell."""
    places = torch.linspace(-0.5, n / 2, 200, dtype=torch.float64)
    means = torch.stack([places, places.flip(0)], dim=-1)[None]
    for turned in (means, n - 1 - means):
        heatmaps = ops.render_gaussian(ops.to_normalized(turned, (n, n)), sigma, (n, n), normalize=False)
        assert np.abs(pixels(ops.dark(heatmaps, sigma), (n, n)) - turned.numpy()).max() < 1e-2


def test_dark_at_a_border_still_refines_the_other_axis():
    mean = ops.to_normalized(torch.tensor([[[10.3, 0.0]]]), (24, 24))
    decoded = pixels(ops.dark(ops.render_gaussian(mean, 2.0, (24, 24)), 2.0), (24, 24))
    np.testing.assert_allclose(decoded, [[[10.3, 0.0]]], atol=1e-2)


def test_decoding_beats_the_grid_in_the_order_of_the_papers():
    """Mean error over sub-pixel places: argmax worst, a quarter shift halves it, DARK nearly removes it."""
    means = torch.rand(1, 400, 2) * 20 + 10
    heatmaps = ops.render_gaussian(ops.to_normalized(means, (40, 40)), 2.0, (40, 40))
    argmax, quarter, dark = (
        np.linalg.norm(pixels(c, (40, 40)) - means.numpy(), axis=-1).mean()
        for c in (ops.argmax(heatmaps), ops.quarter_shift(heatmaps), ops.dark(heatmaps, 2.0))
    )
    assert argmax > 1.8 * quarter > 10 * dark
