"""Closed forms against quadrature over SciPy's densities, against draws, and by the properties they promise."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum import ops
from reference import heatmaps as reference
from reference import mixtures

BASES = ["uniform", "triangular", "gaussian"]
SIZES = [(6,), (3, 4), (3, 4, 2)]
# Inside, on a centre or a border of some cell, and beyond the image.
PLACES = [0.13, -0.25, 0.5, -1.0, 1.7]


def heatmap_of(size, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(int(np.prod(size)), 0.5)).reshape(size)


def one(function, heatmap, place, *options):
    """A loss of one heatmap, in float64."""
    coords = torch.tensor(np.atleast_1d(place), dtype=torch.float64)[None, None]
    return function(torch.from_numpy(np.asarray(heatmap))[None, None], coords, *options).item()


def places_of(dims, place):
    return [place, 0.4 - place, 0.2 * place][:dims]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size", SIZES, ids=len)
@pytest.mark.parametrize("basis", BASES)
def test_expected_l1_is_the_integral_over_the_density(basis, size, place):
    heatmap, truth = heatmap_of(size), places_of(len(size), place)
    wanted = 0.0
    for marginal, t in zip(mixtures.axis_marginals(heatmap), truth, strict=True):
        density = mixtures.pdf(marginal, basis)
        wanted += mixtures.integral(lambda y, d=density, t=t: d(y) * abs(y - t), len(marginal), [t])
    assert one(ops.expected_l1_losses, heatmap, truth, basis) == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size", SIZES, ids=len)
@pytest.mark.parametrize("basis", BASES)
def test_crps_is_the_integral_of_the_squared_difference_of_distribution_functions(basis, size, place):
    heatmap, truth = heatmap_of(size), places_of(len(size), place)
    wanted = 0.0
    for marginal, t in zip(mixtures.axis_marginals(heatmap), truth, strict=True):
        below = mixtures.cdf(marginal, basis)
        wanted += mixtures.integral(lambda y, f=below, t=t: (f(y) - (y >= t)) ** 2, len(marginal), [t])
    assert one(ops.crps_losses, heatmap, truth, basis) == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("size", SIZES, ids=len)
def test_grid_l1_is_the_sum_over_cells(size):
    heatmap, truth = heatmap_of(size), places_of(len(size), 0.13)
    wanted = sum(
        heatmap[index] * sum(abs(x - t) for x, t in zip(centre, truth, strict=True))
        for index, centre in reference.cells(size)
    )
    assert one(ops.grid_l1_losses, heatmap, truth) == pytest.approx(wanted)


@pytest.mark.parametrize("size", SIZES, ids=len)
@pytest.mark.parametrize("basis", BASES)
def test_cold_draws_agree_with_every_closed_form(basis, size):
    logits = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    heatmaps, truth = ops.normalize(logits), torch.full((1, 1, len(size)), 0.21, dtype=torch.float64)
    count, generator = 40_000, torch.Generator().manual_seed(4)
    draws = ops.sample_coords(logits, count, 1e-3, basis, generator=generator)
    errors = ops.l1_losses(draws, truth[:, :, None].expand_as(draws))[0, 0]
    # Halves of the draws are independent: the second half is Y'.
    first, second = draws[0, 0].chunk(2)
    scores = errors.reshape(2, -1).mean(0) - ops.l1_losses(first[None], second[None])[0] / 2
    for values, wanted in (
        (errors, ops.expected_l1_losses(heatmaps, truth, basis)),
        (scores, ops.crps_losses(heatmaps, truth, basis)),
    ):
        assert (values.mean() - wanted).abs().item() < 4.5 * values.std().item() / len(values) ** 0.5


def test_draws_without_offsets_agree_with_the_grids_expectation():
    logits = torch.randn(1, 1, 4, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    truth, count = torch.full((1, 1, 2), 0.21, dtype=torch.float64), 40_000
    noise = ops.draw_noise(logits.shape, count, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    still = ops.Noise(noise.gumbel, tuple(torch.zeros_like(offset) for offset in noise.offsets))
    draws = ops.relaxed_samples(logits, still, 1e-3)
    errors = ops.l1_losses(draws, truth[:, :, None].expand_as(draws))[0, 0]
    wanted = ops.grid_l1_losses(ops.normalize(logits), truth)
    assert (errors.mean() - wanted).abs().item() < 4.5 * errors.std().item() / count**0.5


@pytest.mark.parametrize("basis", BASES)
def test_crps_is_proper_by_the_distance_of_the_distributions(basis):
    """Under truths from q, E CRPS(p) - E CRPS(q) is the integral of (P - Q)^2: zero for q alone."""
    n = 5
    q = heatmap_of((n,), seed=1)
    density, below_q = mixtures.pdf(q, basis), mixtures.cdf(q, basis)

    def expected(p):
        return mixtures.integral(lambda t: density(t) * one(ops.crps_losses, p, t, basis), n)

    best = expected(q)
    for seed in (2, 3):
        p = heatmap_of((n,), seed)
        below_p = mixtures.cdf(p, basis)
        distance = mixtures.integral(lambda y, f=below_p: (f(y) - below_q(y)) ** 2, n)
        assert expected(p) - best == pytest.approx(distance, abs=1e-6)
        assert distance > 1e-4


@pytest.mark.parametrize("place", [0.0, 0.07, 0.16, -0.77])
@pytest.mark.parametrize("loss", [ops.grid_l1_losses, *BASES])
def test_expected_error_is_least_for_all_mass_on_the_nearest_cell(loss, place):
    """Linear in p, so no map beats the best cell: its mean is up to half a cell off the truth."""
    n = 7
    function, options = (loss, ()) if callable(loss) else (ops.expected_l1_losses, (loss,))
    cells = [one(function, np.eye(n)[i], place, *options) for i in range(n)]
    nearest = np.argmin([abs(reference.cell_centre(i, n) - place) for i in range(n)])
    assert np.argmin(cells) == nearest
    assert all(one(function, heatmap_of((n,), seed), place, *options) > min(cells) for seed in range(20))


@pytest.mark.parametrize("basis", BASES)
def test_crps_rewards_mass_on_both_neighbours_of_a_truth_between_them(basis):
    n, between = 7, 1 / 7
    shared = np.zeros(n)
    shared[3:5] = 0.5
    assert one(ops.crps_losses, shared, between, basis) < one(ops.crps_losses, np.eye(n)[3], between, basis)
    assert one(ops.expected_l1_losses, shared, between, basis) == pytest.approx(
        one(ops.expected_l1_losses, np.eye(n)[3], between, basis)
    )


@pytest.mark.parametrize(("basis", "beside"), [("uniform", 0.17), ("triangular", 0.13), ("gaussian", 0.15)])
def test_crps_puts_the_mean_within_a_seventh_of_a_cell_of_a_fixed_truth(basis, beside):
    """Near a centre, where it is worst: the mixture cannot be narrower than its basis, so it does not lean far."""
    cells = 15
    truth = torch.full((1, 1, 1), beside * 2 / cells, dtype=torch.float64)
    logits = torch.zeros(1, 1, cells, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=300, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = ops.crps_losses(ops.normalize(logits), truth, basis).sum()
        value.backward()
        return value

    optimizer.step(loss)
    off = ops.soft_argmax(logits.detach()).item() * cells / 2 - beside
    assert -0.15 < off < -0.03


@given(st.sampled_from(BASES), st.integers(1, 40), st.integers(0, 2**31), st.floats(-1.5, 1.5))
@settings(max_examples=60, deadline=None)
def test_crps_is_positive_and_below_the_expected_error(basis, n, seed, place):
    heatmap = heatmap_of((n,), seed)
    score = one(ops.crps_losses, heatmap, place, basis)
    assert 0 < score <= one(ops.expected_l1_losses, heatmap, place, basis)


@pytest.mark.parametrize("basis", BASES)
def test_single_precision_is_precise_on_fine_maps(basis):
    logits = 3 * torch.randn(2, 3, 96, 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    heatmaps, truth = ops.normalize(logits), torch.full((2, 3, 2), 0.3, dtype=torch.float64)
    for function in (ops.expected_l1_losses, ops.crps_losses):
        single = function(heatmaps.float(), truth.float(), basis)
        torch.testing.assert_close(single.double(), function(heatmaps, truth, basis), rtol=0, atol=2e-6)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("place", [0.0, 50.0, 1e20])
def test_gradients_are_finite_on_a_centre_and_far_out(basis, place):
    logits = torch.zeros(1, 1, 5, 5, requires_grad=True)
    truth = torch.full((1, 1, 2), place, requires_grad=True)
    for function in (ops.expected_l1_losses, ops.crps_losses):
        value = function(ops.normalize(logits), truth, basis).sum()
        assert value.isfinite()
        assert all(slope.isfinite().all() for slope in torch.autograd.grad(value, [logits, truth]))


def test_bad_values_are_refused():
    heatmaps = torch.full((1, 2, 4, 4), 1 / 16)
    for function in (ops.grid_l1_losses, ops.expected_l1_losses, ops.crps_losses):
        with pytest.raises(ValueError, match=r"need a target \(B, K, D\) of shape \(1, 2, 2\), got \(1, 2, 3\)"):
            function(heatmaps, torch.zeros(1, 2, 3))
    for function in (ops.expected_l1_losses, ops.crps_losses):
        with pytest.raises(ValueError, match="unknown basis 'box'"):
            function(heatmaps, torch.zeros(1, 2, 2), "box")
