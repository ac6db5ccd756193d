"""A head's output as a density: what a loop over cells says, its gradients, and maps with nothing in them."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from ops.mixtures import grid, scipy_density, some
from punctum import ops

sizes = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)
PARAMETERS = {
    "temperature": 1.3,
    "bandwidth": 0.6,
    "centre_weight": 0.2,
    "spread_scale": 1.5,
    "spread_floor": 0.4,
    "background": 0.05,
}


def output(size: tuple[int, ...], lead: tuple[int, int] = (2, 3)) -> tuple[Tensor, Tensor, Tensor]:
    """Heatmaps, their means and covariances, float64."""
    heatmaps = (2 * some(0, *lead, *size)).flatten(2).softmax(-1).reshape(*lead, *size)
    mean = ops.dsnt(heatmaps)
    return heatmaps, mean, ops.covariance(heatmaps, mean)


def loop(heatmap: np.ndarray, mean: np.ndarray, covariance: np.ndarray, point: np.ndarray) -> float:
    """The formula of `heatmap_mixture`, cell by cell, for one point."""
    p, size, dims = PARAMETERS, heatmap.shape, heatmap.ndim
    cell = np.array([2 / n for n in reversed(size)])
    tempered = heatmap ** (1 / p["temperature"])
    tempered /= tempered.sum()
    density = 0.0
    for index in itertools.product(*map(range, size)):
        places, masses = [], []
        for step in itertools.product((-1, 0, 1), repeat=dims):
            near = tuple(i + s for i, s in zip(index, step, strict=True))
            if all(0 <= i < n for i, n in zip(near, size, strict=True)):
                places.append([(2 * i + 1) / n - 1 for i, n in zip(reversed(near), reversed(size), strict=True)])
                masses.append(heatmap[near])
        place = np.average(places, axis=0, weights=masses)
        spread = np.diag((p["bandwidth"] * cell) ** 2)
        density += tempered[index] * stats.multivariate_normal(place, spread).pdf(point)
    centre = stats.multivariate_normal(mean, p["spread_scale"] * covariance + p["spread_floor"] * np.diag(cell**2))
    everywhere = stats.multivariate_normal(np.zeros(dims), np.eye(dims))
    w, e = p["centre_weight"], p["background"]
    return (1 - w - e) * density + w * centre.pdf(point) + e * everywhere.pdf(point)


@settings(max_examples=20, deadline=None)
@given(size=sizes, lead=st.tuples(st.integers(1, 2), st.integers(1, 3)))
def test_the_density_is_that_of_a_loop_over_cells(size: tuple[int, ...], lead: tuple[int, int]) -> None:
    heatmaps, mean, covariance = output(size, lead)
    points = some(1, *lead, len(size)) / 2
    found = ops.heatmap_mixture(heatmaps, mean, covariance, size, **PARAMETERS).log_prob(points).exp()
    last = (lead[0] - 1, lead[1] - 1)
    wanted = loop(*(x[last].numpy() for x in (heatmaps, mean, covariance, points)))
    assert found[last].item() == pytest.approx(wanted, rel=1e-9)


def test_each_keypoint_may_have_parameters_of_its_own() -> None:
    heatmaps, mean, covariance = output((4, 5))
    own = {name: value * torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64) for name, value in PARAMETERS.items()}
    found = ops.heatmap_mixture(heatmaps, mean, covariance, (4, 5), **own).log_prob(mean)
    for k in range(3):
        numbers = {name: value[k].item() for name, value in own.items()}
        alone = (x[:, k : k + 1] for x in (heatmaps, mean, covariance))
        one = ops.heatmap_mixture(*alone, (4, 5), **numbers).log_prob(mean[:, k : k + 1])
        torch.testing.assert_close(found[:, k : k + 1], one)
        each = {name: value.expand(2, 3) for name, value in own.items()}
    torch.testing.assert_close(ops.heatmap_mixture(heatmaps, mean, covariance, (4, 5), **each).log_prob(mean), found)


@pytest.mark.parametrize("size", [(4,), (3, 4), (2, 3, 2)])
@pytest.mark.parametrize("max_components", [3, 256])
def test_gradients_are_right_in_every_parameter(size: tuple[int, ...], max_components: int) -> None:
    family = ops.MixtureFamily.of(*output(size), size, max_components=max_components)
    points = some(2, 2, 3, len(size)) / 2

    def log_prob(*values: Tensor) -> Tensor:
        return family.mixture(**dict(zip(PARAMETERS, values, strict=True))).log_prob(points)

    values = [v * torch.tensor([0.8, 1.0, 1.2], dtype=torch.float64) for v in PARAMETERS.values()]
    assert torch.autograd.gradcheck(log_prob, [v.requires_grad_() for v in values])


def test_half_a_map_is_no_other_map() -> None:
    """Maps need no sum of one, and negative values are none."""
    heatmaps, mean, covariance = output((5, 6))
    heatmaps = torch.where(heatmaps < 0.02, 0.0, heatmaps)
    whole = ops.heatmap_mixture(heatmaps, mean, covariance, (5, 6), temperature=2.0).log_prob(mean)
    for scale in (0.5, 1e-30, 1e30):
        scaled = torch.where(heatmaps == 0, -0.1, scale * heatmaps)
        found = ops.heatmap_mixture(scaled, mean, covariance, (5, 6), temperature=2.0).log_prob(mean)
        torch.testing.assert_close(found, whole)


def test_a_point_between_cells_is_one_place() -> None:
    """Bilinear weights of a point have their mean at the point, about whichever of their cells."""
    point = torch.tensor([[[0.13, -0.21]]], dtype=torch.float64)
    weights = ops.multilinear_weights(point, (10, 12))
    log_mass, places = ops.cell_places(weights)
    heavy = log_mass[0, 0] > -torch.inf
    assert heavy.sum() == 4
    torch.testing.assert_close(places[0, 0, heavy], point[0].expand(4, 2))
    mixture = ops.heatmap_mixture(weights, point, None, (10, 12), bandwidth=0.05, background=0.0)
    _, covariance = mixture.moments()
    torch.testing.assert_close(
        covariance[0, 0].diagonal(), torch.tensor([0.05 / 6, 0.05 / 5], dtype=torch.float64) ** 2
    )


def test_no_mass_about_a_cell_leaves_it_where_it_is() -> None:
    heatmaps = torch.zeros(1, 1, 5, 4)
    heatmaps[0, 0, 0, 0] = 1
    log_mass, places = ops.cell_places(heatmaps)
    assert (log_mass > -torch.inf).sum() == 1
    centres = ops.normalized_grid((5, 4)).reshape(-1, 2)
    wanted = centres.index_copy(0, torch.tensor([0, 1, 4, 5]), centres[:1].expand(4, 2))
    torch.testing.assert_close(places[0, 0], wanted)


def test_the_smallest_numbers_have_places_too() -> None:
    heatmaps = torch.zeros(1, 1, 8)
    heatmaps[..., 0], heatmaps[..., 5], heatmaps[..., 6] = 1.0, 2e-45, 4e-45
    log_mass, places = ops.cell_places(heatmaps)
    assert places.isfinite().all()
    assert log_mass.isnan().sum() == 0
    assert (ops.to_pixels(places, (8,)).flatten() - torch.arange(8)).abs().max() <= 1


NONE = {
    "zero": lambda x: torch.zeros_like(x),
    "nan": lambda x: torch.full_like(x, torch.nan),
    "one nan": lambda x: x.index_fill(-1, torch.tensor([1]), torch.nan),
    "infinite": lambda x: x.index_fill(-1, torch.tensor([1]), torch.inf),
    "negative": lambda x: -x,
}


@pytest.mark.parametrize("without", NONE)
def test_a_map_without_mass_leaves_its_share_to_the_coordinate(without: str) -> None:
    heatmaps, mean, covariance = output((4, 5))
    broken = heatmaps.clone()
    broken[0, 1] = NONE[without](heatmaps[0, 1])
    values = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in PARAMETERS.items()}
    found = ops.heatmap_mixture(broken, mean, covariance, (4, 5), **values).log_prob(mean)
    whole = ops.heatmap_mixture(heatmaps, mean, covariance, (4, 5), **PARAMETERS).log_prob(mean)
    alone = ops.heatmap_mixture(None, mean, covariance, (4, 5), **PARAMETERS).log_prob(mean)
    wanted = whole.clone()
    wanted[0, 1] = alone[0, 1]
    torch.testing.assert_close(found, wanted)
    assert all(g.isfinite() for g in torch.autograd.grad(found.sum(), values.values()))


@pytest.mark.parametrize("broken", ["coords", "covariance"])
def test_without_a_coordinate_the_cells_have_its_share(broken: str) -> None:
    heatmaps, mean, covariance = output((4, 5))
    points = mean.clone()
    (mean if broken == "coords" else covariance)[0, 1] = torch.nan
    values = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in PARAMETERS.items()}
    mixture = ops.heatmap_mixture(heatmaps, mean, covariance, (4, 5), **values)
    assert mixture.log_weights[0, 1, 20] == -torch.inf
    torch.testing.assert_close(mixture.log_weights.logsumexp(-1), torch.zeros(2, 3, dtype=torch.float64))
    found = mixture.log_prob(points)
    assert found.isfinite().all()
    assert all(g.isfinite() for g in torch.autograd.grad(found.sum(), values.values()))


def test_with_neither_the_background_is_all_there_is() -> None:
    heatmaps, mean, _ = output((4, 5))
    mixture = ops.heatmap_mixture(0 * heatmaps, mean * torch.nan, None, (4, 5))
    wanted = stats.multivariate_normal(np.zeros(2), np.eye(2)).logpdf(mean.numpy())
    np.testing.assert_allclose(mixture.log_prob(mean), wanted)
    assert ops.decode(mixture).tolist() == torch.zeros(2, 3, 2).tolist()


def test_weights_of_zero_have_finite_gradients() -> None:
    heatmaps, mean, covariance = output((4, 5))
    weights = {
        name: torch.zeros(3, dtype=torch.float64, requires_grad=True) for name in ("centre_weight", "background")
    }
    found = ops.heatmap_mixture(heatmaps, mean, covariance, (4, 5), **weights).log_prob(mean)
    assert all(g.isfinite().all() for g in torch.autograd.grad(found.sum(), weights.values()))


def test_one_hot_maps_have_finite_gradients_at_any_temperature() -> None:
    heatmaps = torch.zeros(1, 1, 6, 6)
    heatmaps[0, 0, 2, 3] = 1
    mean = ops.dsnt(heatmaps)
    for value in (0.01, 1.0, 100.0):
        temperature = torch.tensor(value, requires_grad=True)
        mixture = ops.heatmap_mixture(heatmaps, mean, ops.covariance(heatmaps, mean), (6, 6), temperature=temperature)
        mixture.log_prob(mean + 0.3).sum().backward()
        assert temperature.grad == 0


@pytest.mark.parametrize("size", [(40,), (6, 8), (3, 4, 5)])
def test_the_rest_of_a_large_map_keeps_the_moments(size: tuple[int, ...]) -> None:
    whole = ops.heatmap_mixture(*output(size), size, **PARAMETERS)
    fewer = ops.heatmap_mixture(*output(size), size, **PARAMETERS, max_components=10)
    assert fewer.groups == {"cells": 10, "rest": 1, "centre": 1, "background": 1}
    torch.testing.assert_close(fewer.moments(), whole.moments())
    torch.testing.assert_close(fewer.log_weights.logsumexp(-1), torch.zeros(2, 3, dtype=torch.float64))
    lightest = whole.log_weights[..., : math.prod(size)].sort(-1, descending=True).values[..., 9]
    torch.testing.assert_close(fewer.log_weights[..., :10].amin(-1), lightest)


def test_a_rest_without_mass_is_no_nan() -> None:
    heatmaps = torch.zeros(1, 1, 6, 6)
    heatmaps[0, 0, 2, 3] = 1
    temperature = torch.tensor(1.0, requires_grad=True)
    mean = ops.dsnt(heatmaps)
    mixture = ops.heatmap_mixture(heatmaps, mean, None, (6, 6), max_components=4, temperature=temperature)
    whole = ops.heatmap_mixture(heatmaps, mean, None, (6, 6))
    torch.testing.assert_close(mixture.log_prob(mean + 0.1), whole.log_prob(mean + 0.1))
    mixture.log_prob(mean + 0.1).sum().backward()
    assert temperature.grad.isfinite()


def test_it_integrates_to_one() -> None:
    mixture, (points, area) = ops.heatmap_mixture(*output((4, 5), (1, 1)), (4, 5), **PARAMETERS), grid(6, 200)
    assert mixture.log_prob(points[None, None]).exp().sum().item() * area == pytest.approx(1, abs=1e-4)
    assert scipy_density(mixture, 0, 0, points).sum() * area == pytest.approx(1, abs=1e-4)


def test_memory_layout_and_type_do_not_matter() -> None:
    heatmaps, mean, covariance = output((4, 5))
    whole = ops.heatmap_mixture(heatmaps, mean, covariance, (4, 5), **PARAMETERS).log_prob(mean)
    turned = heatmaps.transpose(-1, -2).contiguous().transpose(-1, -2)
    torch.testing.assert_close(
        ops.heatmap_mixture(turned, mean, covariance, (4, 5), **PARAMETERS).log_prob(mean), whole
    )
    single = ops.heatmap_mixture(heatmaps.float(), mean.float(), covariance.float(), (4, 5), **PARAMETERS)
    assert single.means.dtype == torch.float32
    torch.testing.assert_close(single.log_prob(mean.float()).double(), whole, rtol=1e-5, atol=1e-5)
    half = ops.heatmap_mixture(heatmaps.bfloat16(), mean.float(), None, (4, 5))
    assert half.means.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("temperature", 0.0, "temperature must be positive"),
        ("bandwidth", torch.tensor([1.0, -1.0, 1.0]), "bandwidth must be positive"),
        ("centre_weight", -0.1, "centre_weight must be not negative"),
        ("centre_weight", 1.1, "at most 1"),
        ("spread_scale", -1.0, "spread_scale"),
        ("spread_floor", 0.0, "spread_floor"),
        ("background", torch.nan, "background"),
    ],
)
def test_parameters_out_of_range_are_told(name: str, value: float | Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ops.heatmap_mixture(*output((4, 5)), (4, 5), **{name: value})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"heatmaps": torch.zeros(2, 3, 5, 4)}, "heatmaps must be"),
        ({"coords": torch.zeros(2, 3, 3)}, "coords must be"),
        ({"covariance": torch.zeros(2, 3, 2)}, "covariance must be"),
        ({"max_components": 0}, "max_components"),
    ],
)
def test_shapes_that_do_not_fit_are_told(changed: dict[str, Tensor], said: str) -> None:
    given = dict(zip(("heatmaps", "coords", "covariance"), output((4, 5)), strict=True))
    with pytest.raises(ValueError, match=said):
        ops.heatmap_mixture(**{**given, "size": (4, 5), **changed})
