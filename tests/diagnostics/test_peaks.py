"""Hills, against hills that were put there and steepest ascent as a loop."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum.diagnostics.peaks import SECOND_DISTANCE, effective_cells, find_peaks
from punctum.ops import normalize, render_gaussian, to_pixels


def hills(heatmap: torch.Tensor) -> dict[tuple[int, ...], float]:
    """The mass of every top, by walking uphill from each cell."""
    masses: dict[tuple[int, ...], float] = {}
    for start in itertools.product(*map(range, heatmap.shape)):
        here = start
        while True:
            around = itertools.product(*((i - 1, i, i + 1) for i in here))
            inside = [c for c in around if all(0 <= i < n for i, n in zip(c, heatmap.shape, strict=True))]
            best = max(inside, key=lambda c: float(heatmap[c]))
            if best == here:
                break
            here = best
        masses[here] = masses.get(here, 0.0) + float(heatmap[start])
    return masses


@settings(max_examples=30, deadline=None)
@given(size=st.lists(st.integers(1, 8), min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_hills_are_those_of_a_walk(size: list[int], seed: int) -> None:
    heatmap = normalize(torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    peaks, masses = find_peaks(heatmap), hills(heatmap[0, 0])
    first = max(masses, key=lambda c: float(heatmap[0, 0][c]))
    assert peaks.mass[0, 0, 0].item() == pytest.approx(masses[first])
    assert to_pixels(peaks.coords[0, 0, 0], size).tolist() == pytest.approx(first[::-1])
    far = {c: m for c, m in masses.items() if math.dist(c, first) > SECOND_DISTANCE}
    assert peaks.mass[0, 0, 1].item() == pytest.approx(max(far.values(), default=0.0))
    assert bool(peaks.distance.isnan()) == (not far)


def two_hills(share: float, apart: float) -> torch.Tensor:
    left, right = torch.tensor([[[-0.25, 0.0]]]), torch.tensor([[[-0.25 + 2 * apart / 32, 0.0]]])
    return (1 - share) * render_gaussian(left, 1.0, (32, 32)) + share * render_gaussian(right, 1.0, (32, 32))


@pytest.mark.parametrize(
    ("share", "apart", "wanted"), [(0.4, 8, True), (0.49, 5, True), (0.2, 8, False), (0.49, 2, False), (0, 8, False)]
)
def test_two_candidates(share: float, apart: float, wanted: bool) -> None:
    assert find_peaks(two_hills(share, apart)).two.item() is wanted


def test_a_plateau_is_one_hill() -> None:
    heatmap = torch.zeros(1, 1, 12, 12)
    heatmap[0, 0, 2:5, 2:9] = 1 / 21
    assert find_peaks(heatmap).mass[0, 0].tolist() == pytest.approx([1.0, 0.0])


def test_effective_cells_of_known_distributions() -> None:
    even, one = torch.full((1, 1, 6, 7), 1 / 42), torch.eye(1, 42).reshape(1, 1, 6, 7)
    assert effective_cells(even).item() == pytest.approx(42, rel=1e-5)
    assert effective_cells(one).item() == pytest.approx(1)
    # The entropy of a Gaussian in two dimensions is log(2 pi e sigma^2).
    gauss = render_gaussian(torch.zeros(1, 1, 2), 3.0, (64, 64))
    assert effective_cells(gauss).item() == pytest.approx(2 * math.pi * math.e * 9, rel=1e-3)
