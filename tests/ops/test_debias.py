"""Bias compensation gives the foreground's mean, whatever the background, the size, the temperature."""

import contextlib
import io
import math
import re
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from punctum import ops

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "integral.md"


def bump(place: list[float], size: tuple[int, ...], peak: float, sigma: float = 2.0, level: float = 0.0) -> Tensor:
    """Logits of a Gaussian at a place in pixels (x, y[, z]), cell by cell, above a level."""
    values = torch.full(size, level, dtype=torch.float64)
    for index in product(*map(range, size)):
        distance = math.dist(index[::-1], place)
        values[index] += peak * math.exp(-(distance**2) / (2 * sigma**2))
    return values[None, None]


def pixels(coords: Tensor, size: tuple[int, ...]) -> list[float]:
    return ops.to_pixels(coords, size)[0, 0].tolist()


def both(logits: Tensor, beta: float, background=0.0) -> tuple[float, float]:
    """x of the plain soft-argmax and of the compensated one, in pixels."""
    size = ops.spatial_size(logits)
    plain = pixels(ops.soft_argmax(logits, beta), size)[0]
    return plain, pixels(ops.debias(logits, beta, background), size)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_published_example(dtype: torch.dtype) -> None:
    plain, found = both(bump([16.30, 40.0], (64, 64), peak=8).to(dtype), beta=1)
    assert plain == pytest.approx(20.42, abs=0.01)
    assert found == pytest.approx(16.30, abs=0.01)


@pytest.mark.parametrize("beta", [1, 2, 5, 10, 20])
@pytest.mark.parametrize("peak", [1, 8])
def test_on_and_between_cells_it_is_right_at_every_temperature(peak: int, beta: int) -> None:
    for x in (16.0, 16.5):
        found = both(bump([x, 40.0], (64, 64), peak).float(), beta)[1]
        assert found == pytest.approx(x, abs=0.01)


@pytest.mark.parametrize("beta", [1, 2, 5, 10, 20])
def test_anywhere_it_is_right_where_the_grid_resolves_the_softmax(beta: int) -> None:
    # beta * peak = 8: exp of such a Gaussian has a standard deviation of about 2 / sqrt(8) = 0.7 cells.
    plain, found = both(bump([16.30, 40.0], (64, 64), peak=8 / beta), beta)
    assert plain > 20
    assert found == pytest.approx(16.30, abs=0.01)


def test_no_background_explains_what_a_sharper_softmax_is_off() -> None:
    """Peak 8, sigma 2, beta 2 to 20: the mean lies on the peak's side of the truth, so the background that would
    move it there, N w = (x - 16.3) / (middle - 16.3), is negative: its sums are taken here without the code."""
    for beta, off in ((2, 0.02), (5, 0.17), (10, 0.28), (20, 0.30)):
        mass, moment = [], []
        for i, j in product(range(64), repeat=2):
            value = math.exp(beta * 8 * (math.exp(-((i - 16.3) ** 2 + (j - 40) ** 2) / 8) - 1))
            mass.append(value)
            moment.append(i * value)
        mean = math.fsum(moment) / math.fsum(mass)
        assert mean - 16.3 == pytest.approx(-off, abs=0.005)
        assert both(bump([16.30, 40.0], (64, 64), peak=8), beta)[0] == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize(("beta", "nearest"), [(5, 16.13), (10, 16.02), (20, 16.00)])
def test_quantization_is_no_background_and_stays(beta: int, nearest: float) -> None:
    """A softmax narrower than a cell sits on the nearest one: no background is left, and nothing to compensate."""
    plain, found = both(bump([16.30, 40.0], (64, 64), peak=8), beta)
    assert found == pytest.approx(nearest, abs=0.01)
    assert found == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize(
    ("place", "size"),
    [
        ([16.3], (64,)),
        ([16.3], (51,)),
        ([16.3, 20.7], (41, 57)),
        ([30.2, 9.4], (23, 64)),
        ([9.3, 15.6, 8.2], (19, 24, 21)),
    ],
    ids=str,
)
@pytest.mark.parametrize("level", [0.0, -3.7, 12.0])
@pytest.mark.parametrize("beta", [1, 2, 5, 10, 20])
def test_any_size_dimension_background_and_temperature(
    beta: int, level: float, place: list[float], size: tuple[int, ...]
) -> None:
    logits = bump(place, size, peak=8 / beta, level=level)
    plain = pixels(ops.soft_argmax(logits, beta), size)
    assert math.dist(plain, place) > 0.02
    for background in (level, "median"):
        found = pixels(ops.debias(logits.float(), beta, background), size)
        assert found == pytest.approx(place, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(
    size=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    beta=st.floats(0.3, 20),
    level=st.floats(-5, 5),
    seed=st.integers(0, 10**6),
)
def test_it_is_the_mean_of_any_foreground(size: tuple[int, ...], beta: float, level: float, seed: int) -> None:
    """Maps built the other way round: a foreground of any shape put on a background, then the logarithm."""
    generator = torch.Generator().manual_seed(seed)
    foreground = torch.rand(size, generator=generator, dtype=torch.float64).pow(8) * 5
    logits = (level + torch.log1p(foreground) / beta)[None, None]
    total = sum(foreground[i].item() for i in product(*map(range, size)))
    wanted = [0.0] * len(size)
    for index in product(*map(range, size)):
        for axis, i in enumerate(index[::-1]):
            wanted[axis] += i * foreground[index].item() / total
    if total > 0.01 * math.prod(size):
        assert pixels(ops.debias(logits, beta, level), size) == pytest.approx(wanted, abs=1e-6)


def test_near_the_border_the_mean_is_that_of_the_part_inside() -> None:
    errors = [both(bump([float(x), 40.0], (64, 64), peak=8), 1)[1] - x for x in range(5)]
    assert errors == pytest.approx([0.379, 0.075, 0.016, 0.004, 0.001], abs=1e-3)


def test_a_map_without_foreground_is_the_middle_with_finite_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 50, 16, 12, generator=generator)
    for scale in (0.0, 1e-12, 1e-6, 1e-3, 1.0, 30.0, 1e4, -1e4):
        for background in (0.0, "median", 100.0, -1e30):
            logits = (noise * scale).requires_grad_()
            found = ops.debias(logits, 10.0, background)
            (gradient,) = torch.autograd.grad(found.square().sum(), logits)
            assert found.isfinite().all()
            assert gradient.isfinite().all()
            assert found.abs().max() <= 1
            if abs(scale) <= 1e-12 or background == 100.0:
                torch.testing.assert_close(found, ops.soft_argmax(logits, 10.0), rtol=0, atol=1e-4)
    assert abs(ops.debias(torch.full((1, 1, 5), -torch.inf)).item()) < 1e-6


def test_the_guard_has_no_jump() -> None:
    """From a clear foreground to none: the place moves from the peak to the plain mean in small steps."""
    share = torch.logspace(-1, -7, 2000, dtype=torch.float64)
    # One cell of 100 stands out: foreground / (foreground + 100) of the mass is its.
    logits = torch.zeros(1, 2000, 100, dtype=torch.float64)
    logits[0, :, 20] = torch.log1p(100 * share / (1 - share))
    place = ops.to_pixels(ops.debias(logits), (100,))[0, :, 0]
    assert place[share > 1.01e-3].sub(20).abs().max() < 1e-6
    assert place[-1] == pytest.approx(49.5, abs=0.1)
    assert place.diff().min() >= -1e-9
    assert place.diff().max() < 0.5


def test_masked_cells_are_no_background() -> None:
    logits = torch.full((1, 1, 9), -torch.inf)
    logits[..., 2:5] = torch.tensor([1.0, 2.0, 1.0])
    assert ops.to_pixels(ops.debias(logits, 1.0, "median"), (9,)).item() == pytest.approx(3)


@pytest.mark.parametrize("background", ["mean", math.nan, math.inf])
def test_other_backgrounds_are_refused(background) -> None:
    with pytest.raises(ValueError, match="background must be a finite logit or 'median'"):
        ops.debias(torch.zeros(1, 1, 4), 1.0, background)


def test_the_page_prints_what_it_says() -> None:
    (code, said), *_ = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), {})
    assert printed.getvalue().splitlines() == said.splitlines()
    assert "20.42" in said
    assert "16.30" in said
