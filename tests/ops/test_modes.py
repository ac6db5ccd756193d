"""The ascent goes up and arrives where SciPy's optimizer and a grid do; hills have the mass that belongs to them."""

import pytest
import torch
from scipy import optimize, stats

from ops.mixtures import grid, random_mixture, scipy_density, some, two_gaussians
from punctum import ops


def maps(size: tuple[int, ...], lead: tuple[int, int], sharp: float = 2.0) -> torch.Tensor:
    return (sharp * some(0, *lead, *size)).flatten(2).softmax(-1).reshape(*lead, *size)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_no_step_leads_down(dims: int) -> None:
    mixture, starts = random_mixture(dims, apart=2.0), 4 * some(1, 2, 3, 20, dims)
    before = mixture.log_prob(starts)
    for steps in range(8):
        after = mixture.log_prob(ops.ascend(mixture, starts, steps))
        assert (after >= before - 1e-9).all()
        before = after


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_ends_are_where_the_slope_is_zero(dims: int) -> None:
    mixture, starts = random_mixture(dims, apart=2.0), some(1, 2, 3, 20, dims)
    ends = ops.ascend(mixture, starts, 40).requires_grad_()
    (slope,) = torch.autograd.grad(mixture.log_prob(ends).sum(), ends)
    assert slope.abs().max() < 1e-5


def test_the_ends_are_scipys() -> None:
    mixture, starts = random_mixture(2, apart=2.0), some(2, 2, 3, 4, 2)
    ends = ops.ascend(mixture, starts, 40)
    for end in ends[1, 2]:
        near = optimize.minimize(
            lambda x: -scipy_density(mixture, 1, 2, torch.tensor(x)), end + 0.05, method="Nelder-Mead", tol=1e-9
        )
        assert near.x == pytest.approx(end.numpy(), abs=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_the_mode_is_the_densest_place_of_a_grid(seed: int) -> None:
    mixture = random_mixture(2, lead=(1, 1), seed=seed, apart=2.0)
    points, _ = grid(6, 240)
    highest = scipy_density(mixture, 0, 0, points).max()
    assert mixture.log_prob(ops.mode(mixture)).exp().item() >= highest * (1 - 1e-6)


def test_the_modes_of_maps_are_the_densest_places_of_a_grid() -> None:
    """Maps with many hills: at least 95 % of the modes are the highest, and none is far below it."""
    heatmaps = maps((6, 7), (5, 20))
    mean = ops.dsnt(heatmaps)
    mixture = ops.heatmap_mixture(heatmaps, mean, ops.covariance(heatmaps, mean), (6, 7), centre_weight=0.1)
    points, _ = grid(1, 60)
    highest = mixture.log_prob(points.expand(5, 20, -1, 2)).amax(-1)
    found = mixture.log_prob(ops.mode(mixture))
    assert (found > highest - 1e-3).double().mean() >= 0.95
    assert (found > highest - 0.1).all()


def test_on_a_wide_ridge_it_arrives_all_the_same() -> None:
    """Cells of one pixel along a Gaussian of four: mean shift alone would come 6 % nearer with each step."""
    mean = torch.tensor([[[0.13, -0.07]]], dtype=torch.float64)
    heatmaps = ops.render_gaussian(mean, 4.0, (32, 32))
    mixture = ops.heatmap_mixture(heatmaps, mean, None, (32, 32), bandwidth=1.0, max_components=1024)
    assert (ops.mode(mixture) - mean).abs().max() * 16 < 0.05


def test_float32_in_original_pixels_is_as_good() -> None:
    heatmaps = maps((12, 12), (3, 4), sharp=3.0)
    mixture = ops.heatmap_mixture(heatmaps, ops.dsnt(heatmaps), None, (12, 12))
    matrix = torch.tensor([[150.0, 0, 3000], [0, 150, 2000], [0, 0, 1]], dtype=torch.float64)
    exact = mixture.transform(matrix)
    found = ops.mode(exact.map(torch.Tensor.float))
    assert found.dtype == torch.float32
    assert (exact.log_prob(found.double()) - exact.log_prob(ops.mode(exact))).abs().max() < 1e-3


def test_hills_hold_the_mass_of_their_components() -> None:
    mixture = two_gaussians(6, share=0.3)
    places, mass = ops.modes(mixture, 4)
    assert mass.flatten().tolist() == pytest.approx([0.7, 0.3, 0, 0])
    torch.testing.assert_close(places[0, 0, :2], mixture.means[0, 0].flip(0), rtol=0, atol=1e-4)
    assert places[0, 0, 2:].isnan().all()


def test_two_near_gaussians_are_one_place() -> None:
    """Equal ones have one mode up to a distance of two deviations."""
    places, mass = ops.modes(two_gaussians(1.9, share=0.5), 2)
    assert mass.flatten().tolist() == pytest.approx([1, 0])
    assert places[0, 0, 0].tolist() == pytest.approx([0.95, 0], abs=0.02)


def test_places_nearer_than_asked_are_one() -> None:
    mixture = two_gaussians(6, share=0.3)
    assert ops.modes(mixture, 2, apart=5.0)[1].flatten().tolist() == pytest.approx([0.7, 0.3])
    places, mass = ops.modes(mixture, 2, apart=7.0)
    assert mass.flatten().tolist() == pytest.approx([1, 0])
    assert places[0, 0, 0].tolist() == pytest.approx([6, 0], abs=1e-4)


def test_the_hills_of_a_map_are_those_of_its_draws() -> None:
    """Two blobs of a map, 70 to 30, each over many cells: mass and places of draws that are sorted by hand."""
    means = torch.tensor([[[-0.5, -0.4]], [[0.5, 0.4]]], dtype=torch.float64)
    heatmaps = torch.tensor([0.3, 0.7], dtype=torch.float64) @ ops.render_gaussian(means, 1.2, (16, 16)).reshape(
        2, -1
    )
    heatmaps = heatmaps.reshape(1, 1, 16, 16)
    mixture = ops.heatmap_mixture(heatmaps, ops.dsnt(heatmaps), None, (16, 16))
    places, mass = ops.modes(mixture, 3, apart=2 / 16)
    assert mass[0, 0, :2].tolist() == pytest.approx([0.7, 0.3], abs=1e-3)
    assert mass[0, 0, 2] < 1e-3
    assert (places[0, 0, :2] - means.flip(0)[:, 0]).abs().max() < 0.1 * 2 / 16


def test_narrow_cells_are_many_places_until_they_are_asked_to_be_one() -> None:
    heatmaps = ops.render_gaussian(torch.zeros(1, 1, 2), 1.5, (9, 9))
    mixture = ops.heatmap_mixture(heatmaps, torch.zeros(1, 1, 2), None, (9, 9), bandwidth=0.1)
    assert (ops.modes(mixture, 16)[1] > 0.001).sum() > 4
    assert ops.modes(mixture, 16, apart=8 / 9)[1].flatten()[0].item() > 0.8


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_all_the_mass_is_somewhere(dims: int) -> None:
    size = (4, 5, 3)[:dims]
    heatmaps = maps(size, (2, 3))
    mixture = ops.heatmap_mixture(heatmaps, ops.dsnt(heatmaps), None, size, background=0.3)
    places, mass = ops.modes(mixture, 16)
    torch.testing.assert_close(mass.sum(-1), torch.ones(2, 3, dtype=torch.float64))
    assert (mass[..., 1:] <= mass[..., :-1]).all()
    assert torch.equal(places.isnan().any(-1), mass == 0)


def test_a_map_alone_has_the_modes_that_it_has_among_others() -> None:
    heatmaps = maps((5, 6), (4, 3))
    mixture = ops.heatmap_mixture(heatmaps, ops.dsnt(heatmaps), None, (5, 6))
    alone = ops.modes(mixture.map(lambda x: x[2:3]), 3)
    for a, b in zip(alone, ops.modes(mixture, 3), strict=True):
        torch.testing.assert_close(a, b[2:3], equal_nan=True)


def test_k_is_at_least_one_and_at_most_what_is_looked_for() -> None:
    for k in (0, 17):
        with pytest.raises(ValueError, match="k must be 1 to 16"):
            ops.modes(two_gaussians(3), k)


def test_the_starts_keep_their_distance() -> None:
    """A chi-square's deviation apart at least, and each component's owner is the nearest."""
    from punctum.ops.modes import spaced_starts

    mixture = random_mixture(2, {"cells": 30}, seed=3, apart=4.0)
    starts, owner = spaced_starts(mixture, 4)
    for b, k in ((0, 0), (1, 2)):
        inverse = mixture.covariances[b, k, 0].inverse().numpy()
        offset = (starts[b, k, 1:] - starts[b, k, :1]).numpy()
        assert (stats.chi2(2).cdf(((offset @ inverse) * offset).sum(-1)) > stats.chi2(2).cdf(1)).all()
        distances = torch.cdist(mixture.means[b, k], starts[b, k])
        assert torch.equal(distances.argmin(-1), owner[b, k])
