"""The increasing curve against SciPy's, what it promises of probabilities, and what it refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from punctum.calibration.isotonic import IsotonicMap


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 2**31))
@settings(deadline=None)
def test_pieces_are_those_of_scipy(points, distinct, seed):
    """Each piece is one knot, at its mean score and its value."""
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.integers(0, distinct, size=points) / 7)
    hits, weights = rng.integers(0, 2, size=points).astype(float), rng.uniform(0.5, 2, size=points)
    curve = IsotonicMap.fit(torch.from_numpy(scores), torch.from_numpy(hits), torch.from_numpy(weights))
    x, at = np.unique(scores, return_inverse=True)
    mass = np.bincount(at, weights)
    fitted = isotonic_regression(np.bincount(at, weights * hits) / mass, weights=mass).x
    levels = np.unique(fitted.round(9))
    knots = [np.average(x[fitted.round(9) == v], weights=mass[fitted.round(9) == v]) for v in levels]
    np.testing.assert_allclose(curve.y, levels, atol=1e-8)
    np.testing.assert_allclose(curve.x, knots, atol=1e-8)


@given(st.integers(1, 40), st.integers(0, 2**31))
@settings(deadline=None)
def test_it_never_falls_never_leaves_0_to_1_and_is_never_nan(points, seed):
    rng = np.random.default_rng(seed)
    curve = IsotonicMap.fit(torch.from_numpy(rng.normal(size=points)), torch.from_numpy(rng.integers(0, 2, points)))
    asked = torch.tensor([-torch.inf, *np.sort(rng.normal(size=50) * 3), torch.inf], dtype=torch.float64)
    values = curve(asked)
    assert (values.diff() >= 0).all()
    assert ((values >= 0) & (values <= 1)).all()
    np.testing.assert_allclose(values, np.interp(asked, curve.x, curve.y))
    assert curve(torch.tensor([[torch.nan]])).tolist() == [[curve.y[0]]]


def test_it_finds_the_probability():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(20_000, generator=generator)
    curve = IsotonicMap.fit(scores, torch.rand(20_000, generator=generator) < scores**2)
    asked = torch.linspace(0.05, 0.95, 19)
    assert (curve(asked) - asked**2).abs().max() < 0.04


def test_a_score_that_says_nothing_becomes_the_base_rate():
    curve = IsotonicMap.fit(torch.ones(8), torch.tensor([1.0, 0, 0, 1, 0, 0, 0, 0]))
    assert curve(torch.tensor([-3.0, 1.0, 9.0])).tolist() == [0.25] * 3


def test_a_score_that_is_upside_down_becomes_the_base_rate():
    curve = IsotonicMap.fit(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0, 0.0]))
    assert curve(torch.tensor([0.0, 9.0])).tolist() == pytest.approx([2 / 3] * 2)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ([], [], "M > 0"),
        ([1.0, 1.0], [0.0, 1.0], "increase"),
        ([0.0, float("nan")], [0.0, 1.0], "increase"),
        ([0.0, 1.0], [0.5, 0.4], "never fall"),
        ([0.0, 1.0], [0.5, 1.1], "within"),
        ([0.0, 1.0], [0.5, float("nan")], "within"),
        ([0.0], [0.5, 0.6], r"\(1,\) and \(2,\)"),
    ],
)
def test_a_curve_that_is_none_is_refused(x, y, words):
    with pytest.raises(ValueError, match=words):
        IsotonicMap(torch.tensor(x), torch.tensor(y))


def test_fitting_to_nothing_or_nan_is_refused():
    with pytest.raises(ValueError, match="P > 0"):
        IsotonicMap.fit(torch.zeros(0), torch.zeros(0))
    with pytest.raises(ValueError, match="finite"):
        IsotonicMap.fit(torch.tensor([0.0, torch.nan]), torch.ones(2))
