"""The activation sum against loops and numbers worked by hand."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from punctum.diagnostics.activation import activation_curve, activation_sum, cell_of
from punctum.ops import render_gaussian, to_normalized


def brute(heatmap: torch.Tensor, place: list[float], s: int) -> float:
    """Eq. 6 as a loop over every cell, by its own index arithmetic."""
    centre = [math.floor(p + 0.5) for p in place]  # x first
    total = 0.0
    for index in itertools.product(*(range(n) for n in heatmap.shape)):
        if all(abs(i - c) <= s for i, c in zip(reversed(index), centre, strict=True)):
            total += float(heatmap[index])
    return total


@settings(max_examples=40, deadline=None)
@given(
    size=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    s=st.integers(0, 8),
    seed=st.integers(0, 1000),
)
def test_is_the_sum_over_the_window(size: list[int], s: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    heatmap = torch.rand(*size, generator=generator).double()
    heatmap = heatmap / heatmap.sum()
    place = [float(torch.rand((), generator=generator)) * (n + 2) - 1.5 for n in reversed(size)]
    coords = to_normalized(torch.tensor(place, dtype=torch.float64), size)[None, None]
    found = activation_sum(heatmap[None, None], coords, s).item()
    assert found == pytest.approx(brute(heatmap, place, s), abs=1e-12)
    curve = activation_curve(heatmap[None, None], coords, s)[0, 0].tolist()
    assert curve == pytest.approx([brute(heatmap, place, r) for r in range(s + 1)], abs=1e-12)


def test_mass_of_a_gaussian_in_a_window() -> None:
    """Fine cells: the sum is the integral over the window, from -(s + 1/2) to s + 1/2 on each axis."""
    heatmaps = render_gaussian(torch.full((1, 1, 2), 1 / 65, dtype=torch.float64), 4.0, (65, 65))
    for s in (2, 6, 10):
        integral = (norm.cdf((s + 0.5) / 4, loc=0.5 / 4) - norm.cdf(-(s + 0.5) / 4, loc=0.5 / 4)) ** 2
        place = torch.zeros(1, 1, 2)  # the middle of cell 32; the Gaussian stands half a cell away from it
        assert activation_sum(heatmaps, place, s).item() == pytest.approx(integral, rel=6e-3)


def test_a_place_without_a_value_or_far_out_has_nothing_around_it() -> None:
    heatmaps = torch.full((1, 3, 8, 8), 1 / 64)
    coords = torch.tensor([[[torch.nan, 0.0], [5.0, 0.0], [torch.inf, -torch.inf]]])
    assert activation_sum(heatmaps, coords, 3).tolist() == [[0.0, 0.0, 0.0]]


def test_the_border_belongs_to_the_cell_inside_at_the_lower_end() -> None:
    size = (4,)
    edges = to_normalized(torch.tensor([[-0.5], [0.49], [0.5], [3.49]]), size)
    assert cell_of(edges, size).flatten().tolist() == [0, 0, 1, 3]


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match=r"must be \(2, 3, 2\)"):
        activation_sum(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 1), 1)
    with pytest.raises(ValueError, match="at least 0"):
        activation_sum(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 2), -1)
