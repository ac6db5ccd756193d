"""Draws from the mixture: against SciPy's distributions, the analytic moments, and derivatives by hand."""

import numpy as np
import pytest
import torch
from scipy import stats

from punctum import ops
from reference import heatmaps as reference
from reference import mixtures

BASES = ["uniform", "triangular", "gaussian"]
SIZES = [(7,), (4, 5), (3, 4, 3)]


def random_logits(size, seed=0, batch=1, keypoints=1, dtype=torch.float64):
    return torch.randn(batch, keypoints, *size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def draw(logits, count, tau, basis="triangular", seed=1, **options):
    """(count, D) draws from the first heatmap, as NumPy."""
    generator = torch.Generator().manual_seed(seed)
    return ops.sample_coords(logits, count, tau, basis, generator=generator, **options)[0, 0].numpy()


def within(found, wanted, errors, many=4.5):
    """Whether all lie within so many standard errors."""
    worst = (np.abs(found - wanted) / errors).max()
    assert worst < many, f"{worst:.1f} standard errors off"


@pytest.mark.parametrize("size", SIZES, ids=len)
@pytest.mark.parametrize("basis", BASES)
def test_cold_draws_have_the_mixtures_mean_and_covariance(basis, size):
    logits, count = random_logits(size), 20_000
    mean, covariance = (m[0, 0].numpy() for m in ops.mixture_moments(logits, basis))
    draws = draw(logits, count, tau=1e-3, basis=basis)
    within(draws.mean(0), mean, draws.std(0) / count**0.5)
    products = (draws - mean)[:, :, None] * (draws - mean)[:, None, :]
    within(products.mean(0), covariance, products.std(0) / count**0.5)


@pytest.mark.parametrize("size", SIZES, ids=len)
@pytest.mark.parametrize("basis", BASES)
def test_mixture_moments_are_the_grids_plus_scipys_variance_of_the_basis(basis, size):
    logits = random_logits(size)
    heatmap = reference.normalized(logits[0, 0].numpy(), "softmax", beta=1.5)
    mean = reference.mean(heatmap)
    covariance = reference.covariance(heatmap, mean)
    for axis, n in enumerate(reversed(size)):
        covariance[axis, axis] += mixtures.parts(n, basis)[0].var()
    found_mean, found_covariance = ops.mixture_moments(logits, basis, beta=1.5)
    np.testing.assert_allclose(found_mean[0, 0], mean, atol=1e-12)
    np.testing.assert_allclose(found_covariance[0, 0], covariance, atol=1e-12)


@pytest.mark.parametrize("basis", BASES)
def test_cold_draws_follow_the_mixtures_distribution_on_each_axis(basis):
    logits = random_logits((4, 6), seed=3)
    draws = draw(logits, 20_000, tau=1e-3, basis=basis)
    heatmap = reference.normalized(logits[0, 0].numpy(), "softmax")
    for axis, marginal in enumerate(mixtures.axis_marginals(heatmap)):
        assert stats.kstest(draws[:, axis], mixtures.cdf(marginal, basis)).pvalue > 1e-3


@pytest.mark.parametrize("basis", BASES)
def test_the_spread_grows_to_the_mixtures_as_the_temperature_falls(basis):
    logits = random_logits((12, 12), seed=2)
    wanted = ops.mixture_moments(logits, basis)[1][0, 0].diagonal().sqrt().numpy()
    ratios = [(draw(logits, 4000, tau, basis).std(0) / wanted).mean() for tau in (2.0, 1.0, 0.5, 0.1, 0.01)]
    assert ratios == sorted(ratios)
    assert ratios[0] < 0.25
    assert ratios[-1] == pytest.approx(1, abs=0.02)


def test_warm_draws_of_a_skewed_map_lie_off_its_mean():
    """Weights at a finite temperature are no unbiased stand-in for probabilities; cold ones are."""
    logits = torch.zeros(1, 1, 10, dtype=torch.float64)
    logits[..., 0] = 3.0
    mean = ops.soft_argmax(logits).item()
    off = {tau: draw(logits, 40_000, tau).mean() - mean for tau in (2.0, 0.5, 0.01)}
    assert abs(off[2.0]) > 0.05
    assert abs(off[0.01]) < 0.02


def test_axes_of_a_draw_belong_together():
    logits = torch.full((1, 1, 6, 6), -30.0)
    logits[0, 0].fill_diagonal_(0)
    draws = draw(logits, 4000, tau=0.01, basis="uniform")
    assert np.abs(draws[:, 0] - draws[:, 1]).max() < 2 / 6 + 0.01


def test_noise_has_the_distributions_that_it_is_named_after():
    for basis in BASES:
        noise = ops.draw_noise((3, 2, 4, 5), 500, basis, generator=torch.Generator().manual_seed(0))
        assert noise.gumbel.shape == (3, 2, 500, 4, 5)
        assert stats.kstest(noise.gumbel.flatten().numpy()[::6], stats.gumbel_r.cdf).pvalue > 1e-3
        for n, offset in zip((5, 4), noise.offsets, strict=True):
            assert offset.shape == (3, 2, 500, n)
            middle = mixtures.parts(1, basis)[0]  # the only cell of [-1, 1] is of width 2 and centred at zero
            assert stats.kstest(offset.flatten().numpy() * n, middle.cdf).pvalue > 1e-3


def test_the_same_seed_gives_the_same_draws_and_the_global_generator_is_the_default():
    logits = random_logits((5, 6), batch=2, keypoints=3)
    first, again = (
        ops.sample_coords(logits, 4, 0.5, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3)
    )
    assert first.shape == (2, 3, 4, 2)
    assert torch.equal(first, again)
    torch.manual_seed(3)
    assert torch.equal(ops.sample_coords(logits, 4, 0.5), first)
    assert not torch.equal(ops.sample_coords(logits, 4, 0.5), first)


def test_a_draw_is_the_weighted_sum_of_places():
    """Equations 11 and 12 of the paper, cell by cell."""
    size, tau = (3, 4), 0.6
    logits = random_logits(size, seed=5)
    noise = ops.draw_noise((1, 1, *size), 2, "gaussian", dtype=torch.float64)
    found = ops.relaxed_samples(logits, noise, tau)[0, 0]
    pi = reference.normalized(logits[0, 0].numpy(), "softmax")
    for k in range(2):
        gumbel = noise.gumbel[0, 0, k].numpy()
        weights = np.exp((gumbel + np.log(pi)) / tau)
        weights /= weights.sum()
        wanted = np.zeros(2)
        for (row, column), centre in reference.cells(size):
            offset = [noise.offsets[0][0, 0, k, column].item(), noise.offsets[1][0, 0, k, row].item()]
            wanted += weights[row, column] * (np.array(centre) + offset)
        np.testing.assert_allclose(found[k], wanted, atol=1e-12)


def test_noise_of_one_sample_serves_a_batch():
    logits = random_logits((4, 5), batch=3, keypoints=2)
    noise = ops.draw_noise((1, 2, 4, 5), 6, dtype=torch.float64)
    together = ops.relaxed_samples(logits, noise, 0.5)
    for i in range(3):
        torch.testing.assert_close(ops.relaxed_samples(logits[i : i + 1], noise, 0.5)[0], together[i])


def test_the_references_draws_are_the_papers_from_a_flatter_map():
    """softmax(z + g / tau) = softmax((g + tau z) / tau): the map p^tau, whose last, at tau 0, is flat."""
    logits = 3 * random_logits((4, 5), seed=6)
    noise = ops.draw_noise((1, 1, 4, 5), 50, dtype=torch.float64)
    theirs = ops.relaxed_samples(logits, noise, 0.5, categorical="reference")
    torch.testing.assert_close(theirs, ops.relaxed_samples(0.5 * logits, noise, 0.5))
    peaked = torch.tensor([[[0.0, 0.0, 0.0, 8.0]]])
    assert draw(peaked, 5000, 1e-3, categorical="paper").mean() == pytest.approx(0.75, abs=0.05)
    assert draw(peaked, 5000, 1e-3, categorical="reference").mean() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("gradient", ["exact", "sign"])
def test_gradients_of_the_logits_by_hand(gradient):
    """(1 / tau) w_i sum_axes (s_i - sum_j w_j s_j), with s a place, or two cells by its side of the draw."""
    size, tau = (3, 4), 0.6
    logits = random_logits(size, seed=7).requires_grad_()
    noise = ops.draw_noise((1, 1, *size), 1, "triangular", dtype=torch.float64)
    draws = ops.relaxed_samples(logits, noise, tau, gradient=gradient)
    assert torch.equal(draws, ops.relaxed_samples(logits, noise, tau))
    (found,) = torch.autograd.grad(draws.sum(), logits)
    z, gumbel = logits.detach()[0, 0].numpy(), noise.gumbel[0, 0, 0].numpy()
    weights = np.exp((z + gumbel) / tau)
    weights /= weights.sum()
    wanted = np.zeros(size)
    for axis, n in ((0, size[1]), (1, size[0])):
        slope = np.zeros(size)
        for index, centre in reference.cells(size):
            place = centre[axis] + noise.offsets[axis][0, 0, 0, index[1 - axis]].item()
            value = draws[0, 0, 0, axis].item()
            slope[index] = place if gradient == "exact" else (2 * (2 / n) if place > value else -2 * (2 / n))
        wanted += weights * (slope - (weights * slope).sum()) / tau
    np.testing.assert_allclose(found[0, 0], wanted, atol=1e-12)


@pytest.mark.parametrize("categorical", ["paper", "reference"])
@pytest.mark.parametrize("gradient", ["exact", "sign"])
def test_extremes_stay_finite(categorical, gradient):
    logits = torch.zeros(5, 1, 4, 4)
    logits[0] = -torch.inf  # nothing at all: counts as flat
    logits[1, 0, 1:] = -torch.inf
    logits[2, 0, 0, 0] = 3e38
    logits[3] = -3e38
    logits[4, 0, 2, 2] = 1e4
    logits.requires_grad_()
    for tau in (1e-3, 2.0):
        draws = ops.sample_coords(logits, 20, tau, categorical=categorical, gradient=gradient)
        (slope,) = torch.autograd.grad(draws.square().sum(), logits)
        assert draws.isfinite().all()
        assert slope.isfinite().all()
        assert slope[0].abs().max() == 0


def test_cells_of_no_probability_are_never_drawn():
    logits = torch.zeros(1, 1, 8)
    logits[..., 4:] = -torch.inf
    assert draw(logits, 2000, tau=0.5, basis="uniform").max() <= 0


def test_half_precision_logits_give_float32_draws():
    for dtype in (torch.float16, torch.bfloat16):
        assert ops.sample_coords(torch.zeros(1, 1, 4, dtype=dtype), 3, 0.5).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"basis": "normal"}, "unknown basis 'normal': choose one of uniform, triangular, gaussian"),
        ({"categorical": "code"}, "unknown categorical 'code': choose one of paper, reference"),
        ({"gradient": "none"}, "unknown gradient"),
        ({"tau": 0.0}, "tau must be positive, got 0"),
        ({"tau": float("nan")}, "tau must be positive"),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ops.sample_coords(torch.zeros(1, 1, 4), **{"num_samples": 2, "tau": 1.0, **options})


def test_no_maps_have_no_draws():
    for shape in ((0, 3, 4, 5), (2, 0, 4, 5)):
        logits = torch.zeros(shape, requires_grad=True)
        draws = ops.sample_coords(logits, 6, 0.5)
        assert draws.shape == (*shape[:2], 6, 2)
        draws.sum().backward()
        assert logits.grad.shape == shape
