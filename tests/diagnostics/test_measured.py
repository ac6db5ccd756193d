"""The table of all instruments: against hand-made maps, and against itself by parts."""

import math

import numpy as np
import pytest
import torch

from punctum.diagnostics import measured as module
from punctum.diagnostics.measured import Measured, as_distribution, measure_heatmaps
from punctum.diagnostics.summary import confidence_ratio, gain, summarize_maps, thirds
from punctum.ops import covariance, dsnt, normalize, render_gaussian, to_normalized

SIZE = (24, 32)


def places(*cells: tuple[float, float]) -> torch.Tensor:
    return to_normalized(torch.tensor(cells), SIZE)[None]


def test_columns_of_maps_worked_by_hand() -> None:
    truth = places((10, 12), (20, 12), (5, 5))
    maps = render_gaussian(places((13, 16), (20, 12), (5, 5)), 1.5, SIZE)
    visible = torch.tensor([[True, True, False]])
    coords = dsnt(maps)
    table = measure_heatmaps(maps, coords, truth, visible, covariances=covariance(maps, coords))
    assert table.counted.tolist() == [[True, True, False]]
    for name in ("error", "argmax", "mean", "local"):
        assert getattr(table, name)[0, :2] == pytest.approx([5, 0], abs=1e-4), name
    assert np.isnan(table.error[0, 2])
    assert np.isnan(table.activation[0, 2]).all()
    assert table.sigma[0, :2] == pytest.approx([1.5, 1.5], rel=0.02)
    assert table.spread[0, :2] == pytest.approx([1.5, 1.5], rel=0.01)
    # |d|^2 / sigma^2 / D
    assert table.surprise[0, :2] == pytest.approx([25 / 2.25 / 2, 0], rel=1e-2, abs=1e-6)
    assert table.effective[0, 0] == pytest.approx(2 * math.pi * math.e * 2.25, rel=0.01)
    assert np.isnan(table.partner).all()


def test_a_hill_on_the_flip_partner_is_seen() -> None:
    left, right = (8.0, 12.0), (24.0, 12.0)
    maps = render_gaussian(places(left, right), 1.0, SIZE)
    half = (maps + maps.flip(1)) / 2
    truth, seen = places(left, right), torch.tensor([[True, True]])

    def on_partner(heatmaps: torch.Tensor) -> list[float]:
        table = measure_heatmaps(heatmaps, dsnt(heatmaps), truth, seen, flip_order=[1, 0])
        assert (table.chance == 0).all()
        return table.partner[0].tolist()

    assert on_partner(maps) == [0, 0]
    assert on_partner(maps.flip(1)) == [1, 1]
    assert on_partner(half) == [1, 1]


def test_a_partner_next_door_says_nothing() -> None:
    truth = places((8, 12), (10, 12))
    maps = render_gaussian(truth, 1.0, SIZE)
    table = measure_heatmaps(maps, truth, truth, torch.ones(1, 2, dtype=torch.bool), flip_order=[1, 0])
    assert np.isnan(table.partner).all()


def test_by_parts_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = normalize(2 * torch.randn(5, 2, 6, 7))
    truth, seen = torch.rand(5, 2, 2) - 0.5, torch.rand(5, 2) < 0.8
    whole = measure_heatmaps(maps, dsnt(maps), truth, seen, flip_order=[1, 0])
    monkeypatch.setattr(module, "_BLOCK", 100)
    parts = measure_heatmaps(maps, dsnt(maps), truth, seen, flip_order=[1, 0])
    for name in ("error", "activation", "sigma", "partner", "gradient"):
        np.testing.assert_allclose(getattr(whole, name), getattr(parts, name), rtol=1e-5)
    assert len(Measured.joined([whole, parts])) == 10


@pytest.mark.parametrize("size", [(16,), (9, 8), (5, 6, 7)])
def test_any_number_of_axes(size: tuple[int, ...]) -> None:
    maps = normalize(torch.randn(2, 3, *size))
    coords = dsnt(maps)
    spread = covariance(maps, coords)
    table = measure_heatmaps(maps, coords, coords, torch.ones(2, 3, dtype=torch.bool), covariances=spread)
    assert table.error == pytest.approx(np.zeros((2, 3)), abs=1e-5)
    summary = summarize_maps(table, table.counted, np.arange(2))
    assert summary["n"] == 6
    assert summary["confidence"] == pytest.approx(0, abs=1e-4)


def test_maps_that_are_no_distributions_become_some() -> None:
    heatmaps, already = as_distribution(torch.tensor([[[-1.0, 1.0, 3.0], [-1.0, 0.0, -2.0]]]))
    assert not already
    torch.testing.assert_close(heatmaps, torch.tensor([[[0, 0.25, 0.75], [1 / 3, 1 / 3, 1 / 3]]]))
    assert as_distribution(heatmaps)[1]


def drawn(factor: float, n: int = 4000, dims: int = 2) -> Measured:
    """Errors drawn from the maps' own Gaussians, made `factor` times as large."""
    size = (8,) * dims
    truth = torch.zeros(n, 1, dims)
    spread = torch.eye(dims).expand(n, 1, dims, dims) * (2 * 0.5 / 8) ** 2
    coords = truth + factor * 0.5 * 2 / 8 * torch.randn(n, 1, dims)
    maps = torch.full((n, 1, *size), 1 / 8**dims)
    return measure_heatmaps(maps, coords, truth, torch.ones(n, 1, dtype=torch.bool), covariances=spread)


@pytest.mark.parametrize(("factor", "dims"), [(1.0, 1), (0.5, 1), (1.0, 2), (3.0, 2)])
def test_confidence_is_the_factor_between_errors_and_promise(factor: float, dims: int) -> None:
    table = drawn(factor, dims=dims)
    assert confidence_ratio(table, table.counted) == pytest.approx(factor, rel=0.05)


def test_thirds_are_thirds_and_gains_are_paired() -> None:
    table = drawn(1.0, n=300)
    masks = thirds(table)
    assert [int(mask.sum()) for mask in masks.values()] == [100, 100, 100]
    assert table.error[masks["near"]].max() <= table.error[masks["far"]].min()
    saved = gain(table, "mean", np.arange(300))  # the mean of an even map is the middle: the truth
    assert saved is not None
    assert saved[0] == pytest.approx(table.error.mean(), rel=1e-3)
    assert saved[1] < saved[0] < saved[2]
    assert gain(table, "mean", np.zeros(300, dtype=np.int64)) is None
