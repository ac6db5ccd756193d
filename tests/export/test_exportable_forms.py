"""What is computed another way while a graph is recorded: the same numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum.calibration import conformal, isotonic
from punctum.calibration.isotonic import IsotonicMap
from punctum.diagnostics import peaks
from punctum.ops import continuous
from punctum.ops.coords import normalized_matrix, pixels_matrix
from punctum.ops.eigen import principal_axes


def yes() -> bool:
    return True


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(-0.999, 0.999))
def test_principal_axes_are_those_of_eigh(a: float, d: float, share: float) -> None:
    b = share * (a * d) ** 0.5
    matrix = torch.tensor([[a, b], [b, d]], dtype=torch.float64)
    variances, axes = principal_axes(matrix)
    assert torch.allclose(variances, torch.linalg.eigh(matrix)[0], rtol=1e-9)
    assert torch.allclose(axes @ torch.diag(variances) @ axes.mT, matrix, rtol=1e-9, atol=1e-9 * max(a, d))
    assert torch.allclose(axes.mT @ axes, torch.eye(2, dtype=torch.float64))


def test_round_covariances_have_axes_too() -> None:
    variances, axes = principal_axes(3 * torch.eye(2).repeat(4, 1, 1))
    assert torch.equal(variances, torch.full((4, 2), 3.0))
    assert torch.allclose(axes.mT @ axes, torch.eye(2).expand(4, 2, 2))
    assert principal_axes(torch.full((5, 1, 1), 2.0))[0].shape == (5, 1)


@pytest.mark.parametrize("size", [(7,), (48, 64), (3, 5, 9)])
def test_the_way_back_to_normalized_coordinates(size: tuple[int, ...]) -> None:
    assert torch.allclose(normalized_matrix(size), torch.linalg.inv(pixels_matrix(size)), atol=1e-15)


def test_counting_is_searching(monkeypatch: pytest.MonkeyPatch) -> None:
    curve = IsotonicMap(torch.tensor([0.1, 0.4, 0.7]), torch.tensor([0.0, 0.3, 1.0]))
    scores = torch.tensor([[0.0, 0.1, 0.2], [0.4, 0.9, torch.nan]])
    calibration = torch.tensor([3.0, 1.0, 2.0])
    values = torch.tensor([0.0, 1.0, 2.5, torch.nan])
    before = curve(scores), conformal.p_values(values, calibration)
    monkeypatch.setattr(isotonic, "is_exporting", yes)
    after = curve(scores), conformal.p_values(values, calibration)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_hills_and_densities(monkeypatch: pytest.MonkeyPatch) -> None:
    heatmaps = torch.rand(2, 3, 16, 12, generator=torch.Generator().manual_seed(0)).pow(8).flatten(2)
    heatmaps = (heatmaps / heatmaps.sum(-1, keepdim=True)).unflatten(-1, (16, 12))
    coords = torch.zeros(2, 3, 2)

    def found() -> list[torch.Tensor]:
        mixture = continuous.heatmap_mixture(heatmaps, coords, None, (16, 12), max_components=20)
        return [*peaks.find_peaks(heatmaps)[1:3], mixture.log_weights, mixture.means]

    before = found()
    for module in (peaks, continuous):
        monkeypatch.setattr(module, "is_exporting", yes)
    assert all(torch.equal(a, b) for a, b in zip(before, found(), strict=True))
