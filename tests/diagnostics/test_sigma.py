"""The sigma that fits best, against sigmas that were put there and SciPy's chi-square."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, norm

from punctum.diagnostics.sigma import BACKGROUND, LEAST_SIGMA, best_sigma, covering_radius
from punctum.ops import normalize, render_gaussian, to_normalized


@pytest.mark.parametrize("size", [(48,), (48, 40), (24, 24, 24)])
@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.0, 3.0])
def test_known_sigmas_are_found(size: tuple[int, ...], sigma: float) -> None:
    places = torch.rand(2, 3, len(size), generator=torch.Generator().manual_seed(1)) * 0.6 - 0.3
    fit = best_sigma(render_gaussian(places, sigma, size), places)
    assert fit.sigma == pytest.approx(torch.full((2, 3), sigma), rel=0.02)
    assert (fit.statistic < 0.05).all()


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_known_sigmas_are_found_over_a_background(sigma: float) -> None:
    """A softmax never is zero: five per cent of the mass lie evenly over the map."""
    places = torch.rand(1, 8, 2, generator=torch.Generator().manual_seed(2)) - 0.5
    heatmaps = 0.95 * render_gaussian(places, sigma, (64, 48)) + 0.05 / (64 * 48)
    assert best_sigma(heatmaps, places).sigma == pytest.approx(torch.full((1, 8), sigma), rel=0.05)


def test_known_sigmas_are_found_at_the_border() -> None:
    place = to_normalized(torch.tensor([[[0.0, 20.0]]]), (48, 48))
    assert best_sigma(render_gaussian(place, 2.0, (48, 48)), place).sigma.item() == pytest.approx(2.0, rel=0.03)


def test_the_statistic_is_pearsons() -> None:
    """SciPy's, between a random map and a template drawn here by the density of the normal distribution."""
    rng = np.random.default_rng(0)
    size, place = (13, 15), np.array([6.3, 6.8])
    rows, columns = np.mgrid[: size[0], : size[1]]
    true = norm.pdf(columns, place[0], 1.7) * norm.pdf(rows, place[1], 1.2) * rng.uniform(0.5, 1.5, size)
    true /= true.sum()
    coords = to_normalized(torch.from_numpy(place), size)[None, None]
    fit = best_sigma(torch.from_numpy(true)[None, None], coords)
    s, sigma = fit.radius.item(), fit.sigma.item()
    window = np.s_[7 - s : 8 + s, 6 - s : 7 + s]
    observed = true[window] / true[window].sum()

    def pearson(sigma: float) -> float:
        gauss = (norm.pdf(columns, place[0], sigma) * norm.pdf(rows, place[1], sigma))[window]
        template = (1 - BACKGROUND) * gauss / gauss.sum() + BACKGROUND / gauss.size
        return float(chisquare(observed.ravel(), template.ravel()).statistic)

    assert fit.statistic.item() == pytest.approx(pearson(sigma), rel=1e-9)
    assert all(pearson(other) > pearson(sigma) for other in (0.5, 0.98 * sigma, 1.02 * sigma, 3.0, 8.0))
    assert true[window].sum() > 0.8
    assert true[7 - s + 1 : 8 + s - 1, 6 - s + 1 : 7 + s - 1].sum() <= 0.8 or s == 2


def test_extremes_have_an_answer() -> None:
    point = torch.zeros(1, 1, 9, 9)
    point[0, 0, 4, 4] = 1
    assert best_sigma(point, torch.zeros(1, 1, 2)).sigma.item() == pytest.approx(LEAST_SIGMA, rel=0.05)
    even = torch.full((1, 1, 9, 9), 1 / 81)
    assert best_sigma(even, torch.zeros(1, 1, 2)).sigma.item() == pytest.approx(9.0, rel=0.01)
    spikes = normalize(1e4 * torch.randn(2, 3, 8, 8))
    for centre in (torch.zeros(2, 3, 2), torch.full((2, 3, 2), 5.0)):
        assert all(values.isfinite().all() for values in best_sigma(spikes, centre))
    assert best_sigma(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 2)).sigma.isfinite().all()


def test_one_stray_thousandth_does_not_decide() -> None:
    """Without a background in the template one far cell makes the narrow, true sigma the worst of all."""
    heatmaps = 0.999 * render_gaussian(torch.zeros(1, 1, 2), 0.7, (33, 33))
    heatmaps[0, 0, 18, 18] += 0.001
    assert best_sigma(heatmaps, torch.zeros(1, 1, 2)).sigma.item() == pytest.approx(0.7, rel=0.05)


def test_the_window_holds_more_than_the_share() -> None:
    heatmaps = torch.zeros(1, 1, 11)
    heatmaps[0, 0, [1, 5, 9]] = torch.tensor([0.1, 0.8, 0.1])
    assert covering_radius(heatmaps, torch.zeros(1, 1, 1)).item() == 4  # 0.8 is not more than 0.8
