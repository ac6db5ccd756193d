"""Divergences in nats, against SciPy, closed forms, sums over a fine grid and Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from punctum.metrics.divergence import divergence, entropy, gauss_nodes, mass_nearer
from punctum.ops import GaussianMixture, single_gaussian


def random_mixture(rng, lead=(1, 1), parts=2, dims=2, groups=None):
    """Means within +-2, spreads about one; two groups where there are parts enough."""
    groups = groups or {"a": 1, **({"b": parts - 1} if parts > 1 else {})}
    half = rng.normal(0, 0.5, (*lead, len(groups), dims, dims))
    return GaussianMixture(
        torch.from_numpy(rng.normal(0, 1, (*lead, parts))).log_softmax(-1),
        torch.from_numpy(rng.uniform(-2, 2, (*lead, parts, dims))),
        torch.from_numpy(half @ half.swapaxes(-1, -2) + 0.3 * np.eye(dims)),
        groups,
    )


def components(mixture, b=0, k=0):
    """Weight and SciPy's distribution of each component."""
    weights, means = mixture.log_weights[b, k].exp().numpy(), mixture.means[b, k].numpy()
    spread = mixture.covariances[b, k][mixture.group].numpy()
    return [(w, stats.multivariate_normal(m, s)) for w, m, s in zip(weights, means, spread, strict=True)]


def density(mixture, points, b=0, k=0):
    return sum(w * part.pdf(points) for w, part in components(mixture, b, k))


def test_of_gaussians_it_is_the_closed_form():
    rng = np.random.default_rng(0)
    for dims in (1, 2, 3):
        p, q = (random_mixture(rng, parts=1, dims=dims) for _ in range(2))
        (m, s), (n, r) = ((x.means[0, 0, 0].numpy(), x.covariances[0, 0, 0].numpy()) for x in (p, q))
        inverse = np.linalg.inv(r)
        wanted = np.trace(inverse @ s) + (n - m) @ inverse @ (n - m) - dims
        wanted = (wanted + np.linalg.slogdet(r)[1] - np.linalg.slogdet(s)[1]) / 2
        assert divergence(p, q, 4).item() == pytest.approx(wanted, rel=1e-9)
        assert entropy(p, 4).item() == pytest.approx(components(p)[0][1].entropy(), rel=1e-9)


def test_of_mixtures_it_is_the_integral():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        p, q = random_mixture(rng, parts=2), random_mixture(rng, parts=5).widen(0.3)
        axis = np.linspace(-12, 12, 601)
        points = np.stack(np.meshgrid(axis, axis), -1)
        a, b, cell = density(p, points), density(q, points), (axis[1] - axis[0]) ** 2
        assert divergence(p, q).item() == pytest.approx((a * np.log(a / b)).sum() * cell, abs=2e-3)
        a = np.maximum(a, 1e-300)
        assert entropy(p).item() == pytest.approx(-(a * np.log(a)).sum() * cell, abs=2e-3)


def test_in_one_dimension_too():
    rng = np.random.default_rng(9)
    p, q = random_mixture(rng, parts=3, dims=1), random_mixture(rng, parts=2, dims=1)

    def integrand(y):
        a, b = density(p, y), density(q, y)
        return a * math.log(a / b)

    wanted = integrate.quad(integrand, -9, 9, limit=400)[0]
    assert divergence(p, q, 60).item() == pytest.approx(wanted, abs=1e-3)


def test_two_far_candidates_have_their_entropies_and_that_of_the_choice():
    weights = torch.tensor([[[0.7, 0.3]]], dtype=torch.float64)
    means = torch.tensor([[[[0.0, 0.0], [40.0, 9.0]]]], dtype=torch.float64)
    two = GaussianMixture(weights.log(), means, 4 * torch.eye(2).double().expand(1, 1, 1, 2, 2), {"ends": 2})
    choice = -(0.7 * math.log(0.7) + 0.3 * math.log(0.3))
    assert entropy(two).item() == pytest.approx(math.log(2 * math.pi * math.e * 4) + choice, abs=1e-9)
    # Who knows one of them alone pays for the other with all that a Gaussian's tail costs; one half each costs 0.082.
    halves = GaussianMixture(weights.new_full((1, 1, 2), 0.5).log(), means, two.covariances, two.groups)
    assert divergence(two, halves).item() == pytest.approx(math.log(2) - choice, abs=1e-9)
    mean, spread = two.moments()
    gaussian = single_gaussian(mean, spread)
    wanted = components(gaussian)[0][1].entropy() - entropy(two).item()
    assert divergence(two, gaussian).item() == pytest.approx(wanted, abs=1e-9)


def test_components_of_no_weight_cost_nothing():
    mixture = GaussianMixture(
        torch.tensor([[[1.0, 0.0]]]).log(), torch.tensor([[[[0.0], [1e6]]]]), torch.ones(1, 1, 1, 1, 1), {"ends": 2}
    )
    alone = single_gaussian(torch.zeros(1, 1, 1), torch.ones(1, 1, 1, 1))
    assert divergence(mixture, alone).item() == pytest.approx(0, abs=1e-6)
    assert entropy(mixture).item() == pytest.approx(stats.norm.entropy(), abs=1e-5)


def test_what_was_called_impossible_costs_infinitely_much():
    at = torch.zeros(1, 1, 1, 1)
    nowhere = GaussianMixture(torch.full((1, 1, 1), -torch.inf), at, torch.ones(1, 1, 1, 1, 1), {"none": 1})
    assert divergence(single_gaussian(at[..., 0], torch.ones(1, 1, 1, 1)), nowhere).item() == math.inf


def test_the_mass_nearer_to_one_of_two_places_is_that_of_draws():
    rng = np.random.default_rng(1)
    for dims in (1, 2, 3):
        mixture = random_mixture(rng, parts=3, dims=dims)
        a, b = torch.from_numpy(rng.normal(size=(2, 1, 1, dims)))
        draws = mixture.draw(2**15)
        nearer = ((draws - a).norm(dim=-1) < (draws - b).norm(dim=-1)).double().mean().item()
        assert mass_nearer(mixture, a, b).item() == pytest.approx(nearer, abs=5e-3)
        assert (mass_nearer(mixture, a, b) + mass_nearer(mixture, b, a)).item() == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_every_map_stands_alone(b, k, parts, dims, strided):
    """Any shape, contiguous or not: the divergence of each map is what it is on its own, and not below zero."""
    rng = np.random.default_rng(b + 10 * k + 100 * parts)
    p, q = random_mixture(rng, (b, k), parts, dims), random_mixture(rng, (b, k), 2, dims)
    if strided:
        p, q = (x.map(lambda t: t.transpose(0, 1).contiguous().transpose(0, 1)) for x in (p, q))
    found = divergence(p, q, 6)
    assert found.shape == entropy(p, 6).shape == (b, k)
    assert gauss_nodes(p, 6)[1].sum(-1).numpy() == pytest.approx(1)
    assert divergence(p, p, 6).abs().max() < 1e-12
    last = divergence(p.map(lambda t: t[-1:, -1:]), q.map(lambda t: t[-1:, -1:]), 6)
    assert found[-1, -1].item() == pytest.approx(last.item(), rel=1e-9)


def test_an_order_of_zero_is_refused():
    with pytest.raises(ValueError, match="order must be at least 1"):
        gauss_nodes(single_gaussian(torch.zeros(1, 1, 1), torch.ones(1, 1, 1, 1)), 0)
