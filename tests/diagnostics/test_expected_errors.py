"""Eqs. 7 and 8 against loops, draws and the inequality between them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum.diagnostics.expected_errors import expected_errors
from punctum.ops import normalize, render_gaussian, to_normalized


@settings(max_examples=60, deadline=None)
@given(
    size=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    seed=st.integers(0, 10_000),
    sharpness=st.floats(0, 50),
)
def test_the_argmax_never_expects_less_than_the_mean(size: list[int], seed: int, sharpness: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    heatmaps = normalize(sharpness * torch.randn(2, 2, *size, generator=generator, dtype=torch.float64))
    coords = 3 * torch.rand(2, 2, len(size), generator=generator, dtype=torch.float64) - 1.5
    errors = expected_errors(heatmaps, coords)
    assert (errors.argmax >= errors.mean - 1e-9).all()


def test_equals_a_loop() -> None:
    heatmap = normalize(torch.randn(1, 1, 4, 5, dtype=torch.float64))
    x, y = 3.7, -0.2
    drawn, mx, my = 0.0, 0.0, 0.0
    for j in range(4):
        for i in range(5):
            weight = heatmap[0, 0, j, i].item()
            drawn += weight * math.hypot(i - x, j - y)
            mx, my = mx + weight * i, my + weight * j
    coords = to_normalized(torch.tensor([[[x, y]]], dtype=torch.float64), (4, 5))
    errors = expected_errors(heatmap, coords)
    assert errors.argmax.item() == pytest.approx(drawn)
    assert errors.mean.item() == pytest.approx(math.hypot(mx - x, my - y))


def test_a_gaussian_around_the_truth() -> None:
    """Its cells lie sigma sqrt(pi / 2) away on average (Rayleigh), its mean not at all."""
    place = torch.tensor([[[0.1, 0.0]]], dtype=torch.float64)
    errors = expected_errors(render_gaussian(place, 3.0, (64, 64)), place)
    assert errors.argmax.item() == pytest.approx(3 * math.sqrt(math.pi / 2), rel=5e-3)
    assert errors.mean.item() < 1e-6


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="coords must be"):
        expected_errors(torch.ones(1, 2, 4), torch.zeros(1, 2, 2))
