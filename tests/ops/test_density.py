"""Multilinear weights are interpolation turned round, and keep their mean; the expected OKS is what a loop says."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from punctum import ops

sizes = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)


@pytest.mark.parametrize("size", [(7, 9), (4, 5, 6)])
def test_weights_are_those_of_bilinear_interpolation(size: tuple[int, ...]) -> None:
    """sum_i w_i v_i is torch's own interpolation of v, for any v, with its border rule too."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(1, 1, *size, generator=generator, dtype=torch.float64)
    coords = 2.4 * torch.rand(1, 200, len(size), generator=generator, dtype=torch.float64) - 1.2
    grid = coords.reshape(1, 200, *([1] * (len(size) - 1)), len(size))
    wanted = F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)
    found = (ops.multilinear_weights(coords, size) * values).flatten(2).sum(-1)
    torch.testing.assert_close(found.flatten(), wanted.flatten())


def test_weights_by_hand() -> None:
    weights = ops.multilinear_weights(torch.tensor([[[-0.25, 0.0]]]), (2, 4))  # pixel (1.0, 0.5)
    assert weights.tolist() == [[[[0, 0.5, 0, 0], [0, 0.5, 0, 0]]]]


@settings(max_examples=60, deadline=None)
@given(size=sizes, smear=st.sampled_from([0.0, 1e-30, 0.3, 1.0, 5.0, 1e6]), seed=st.integers(0, 10**6))
def test_weights_are_a_distribution_with_the_point_as_its_mean(
    size: tuple[int, ...], smear: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    coords = 2 * torch.rand(2, 3, len(size), generator=generator, dtype=torch.float64) - 1
    weights = ops.multilinear_weights(coords, size, smear)
    assert weights.min() >= 0
    assert (weights > 0).flatten(2).sum(-1).max() <= (2 ** len(size) if smear <= 0.1 else math.prod(size))
    torch.testing.assert_close(weights.flatten(2).sum(-1), torch.ones(2, 3, dtype=torch.float64))
    outermost = 1 - 1 / torch.tensor(size[::-1], dtype=torch.float64)
    torch.testing.assert_close(ops.dsnt(weights), coords.clamp(-outermost, outermost), rtol=0, atol=1e-12)


def test_at_the_border_a_point_is_off_by_half_a_cell_at_most_and_a_quarter_on_average() -> None:
    n = 16
    pixels = torch.linspace(-0.5, 0, 1001, dtype=torch.float64)
    coords = ops.to_normalized(pixels[None, :, None], (n,))
    mean = ops.to_pixels(ops.dsnt(ops.multilinear_weights(coords, (n,), smear=1.0)), (n,))
    off = mean.flatten() - pixels
    assert off.max() == pytest.approx(0.5)
    assert off.mean() == pytest.approx(0.25)


def test_the_mean_weights_spread_is_the_truths_and_at_most_half_a_cell_of_its_own() -> None:
    """Law of total variance: Var(t) + E[a (1 - a)], a the part that falls to the upper neighbour."""
    pixels = 5 + 3 * torch.rand(1, 20000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = ops.multilinear_weights(ops.to_normalized(pixels, (14,)), (14,)).mean(1, keepdim=True)
    spread = ops.covariance(weights, ops.dsnt(weights)).item() * 7**2
    # Uniform over three cells: 9 / 12, and a uniform in [0, 1].
    assert spread == pytest.approx(9 / 12 + 1 / 6, abs=0.01)


def test_the_smear_is_a_gaussian_cut_off_at_three_sigma() -> None:
    smear, n = 1.5, 31
    (found,) = ops.multilinear_weights(torch.zeros(1, 1, 1, dtype=torch.float64), (n,), smear)[0]
    wanted = stats.norm.pdf(range(n), 15, smear) * (abs(torch.arange(n).numpy() - 15) <= 5)
    torch.testing.assert_close(found, torch.tensor(wanted / wanted.sum()))


def test_a_gaussian_drawn_near_the_border_would_not_keep_the_mean() -> None:
    """At 0.98 of 16 cells and sigma 2 its mean is 0.79; the smear that keeps it is narrower there."""
    mean = torch.tensor([[[0.90]]], dtype=torch.float64)
    assert ops.dsnt(ops.render_gaussian(mean, 2.0, (16,))).item() < 0.8
    assert ops.dsnt(ops.multilinear_weights(mean, (16,), 2.0)).item() == pytest.approx(0.90)
    inside = ops.multilinear_weights(torch.zeros(1, 1, 1, dtype=torch.float64), (16,), 2.0)
    beside = ops.multilinear_weights(mean, (16,), 2.0)
    assert ops.covariance(beside, mean).item() < ops.covariance(inside, torch.zeros(1, 1, 1)).item()


def test_a_nan_stays_one_and_points_outside_stand_at_the_edge() -> None:
    coords = torch.tensor([[[torch.nan], [torch.inf], [-1e30], [7.0]]])
    weights = ops.multilinear_weights(coords, (5,), 0.5)
    assert weights[0, 0].isnan().any()
    assert weights[0, 1:].tolist() == [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"coords must be \(B, K, D\)"):
        ops.multilinear_weights(torch.zeros(3, 1), (5,))
    with pytest.raises(ValueError, match="has 2 axes, but the points have 1"):
        ops.multilinear_weights(torch.zeros(1, 3, 1), (5, 5))
    for smear in (-1.0, math.nan):
        with pytest.raises(ValueError, match="smear must be a non-negative number of cells"):
            ops.multilinear_weights(torch.zeros(1, 3, 1), (5,), smear)


@pytest.mark.parametrize("size", [(6,), (4, 5), (3, 2, 4)])
def test_expected_oks_is_the_sum_over_pairs_of_cells(size: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    heatmaps = ops.normalize(torch.randn(2, 3, *size, generator=generator, dtype=torch.float64))
    length = 0.5 + torch.rand(3, generator=generator, dtype=torch.float64)
    found = ops.expected_oks(heatmaps, length)
    for b, k in product(range(2), range(3)):
        for j in product(*map(range, size)):
            wanted = sum(
                heatmaps[b, k][i].item() * math.exp(-(math.dist(i, j) ** 2) / (2 * length[k].item() ** 2))
                for i in product(*map(range, size))
            )
            assert found[b, k][j].item() == pytest.approx(wanted)
    torch.testing.assert_close(ops.expected_oks(heatmaps, 0.7)[:, :1], ops.expected_oks(heatmaps[:, :1], 0.7))
