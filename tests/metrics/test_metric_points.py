"""Distances, EPE, PCK, NME, MRE and SDR against loops written out by hand."""

import math
import statistics
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum.metrics import distances, epe, mre, nme, normalized_distances, pck, pck_auc, sdr

shapes = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3))


def make(shape: tuple[int, int, int], seed: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """Random points; NaN in both where not visible; the last keypoint is never visible if there are two."""
    n, k, d = shape
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(n, k, d, generator=generator) * 100
    preds = (target + torch.randn(n, k, d, generator=generator) * 5).to(dtype)
    visible = torch.rand(n, k, generator=generator) < 0.7
    if k > 1:
        visible[:, -1] = False
    target[~visible] = torch.nan
    preds[~visible] = torch.nan
    lengths = torch.rand(n, generator=generator, dtype=torch.float64) * 30 + 5
    if n > 2:
        lengths[0] = torch.nan
    return preds, target, visible, lengths


def errors_by_hand(preds: Any, target: Any, visible: Any) -> list[list[float]]:
    """For each keypoint, the distances of its visible points, and nothing else."""
    n, k, _ = preds.shape
    preds, target = preds.double().tolist(), target.double().tolist()
    return [[math.dist(preds[i][j], target[i][j]) for i in range(n) if visible[i, j]] for j in range(k)]


def same(actual: torch.Tensor, values: list[float], function: Any, fewest: int = 1) -> None:
    if len(values) < fewest:
        assert math.isnan(float(actual))
    else:
        assert float(actual) == pytest.approx(function(values), rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    shape=shapes, seed=st.integers(0, 10**6), dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float64])
)
def test_epe_and_mre_agree_with_loops_for_any_shape_and_type(shape, seed, dtype):
    preds, target, visible, _ = make(shape, seed, dtype)
    measured = distances(preds, target, visible)
    assert measured.dtype == torch.float64
    assert torch.equal(measured.isnan(), ~visible)
    by_hand = errors_by_hand(preds, target, visible)
    functions = {
        "mean": np.mean,
        "median": statistics.median,
        "p90": lambda v: np.percentile(v, 90),
        "p95": lambda v: np.percentile(v, 95),
    }
    pooled = [value for values in by_hand for value in values]
    for name, result in epe(measured).items():
        assert result.per_keypoint.shape == (shape[1],)
        for k, values in enumerate([pooled, *by_hand]):
            same(result.total if k == 0 else result.per_keypoint[k - 1], values, functions[name])
    radial = mre(measured)
    same(radial["mean"].total, pooled, np.mean)
    same(radial["sd"].total, pooled, lambda v: np.std(v, ddof=1), fewest=2)
    for k, values in enumerate(by_hand):
        same(radial["sd"].per_keypoint[k], values, lambda v: np.std(v, ddof=1), fewest=2)


@settings(max_examples=60, deadline=None)
@given(shape=shapes, seed=st.integers(0, 10**6))
def test_pck_and_nme_agree_with_loops(shape, seed):
    preds, target, visible, lengths = make(shape, seed)
    n, k, _ = shape
    d = distances(preds, target, visible)
    usable = [[j for j in range(k) if visible[i, j] and not lengths[i].isnan()] for i in range(n)]
    relative = [[d[i, j].item() / lengths[i].item() for j in usable[i]] for i in range(n)]
    pooled = [value for row in relative for value in row]

    thresholds = [0.05, 0.2, 1.0]
    result = pck(d, lengths, thresholds)
    for t, threshold in enumerate(thresholds):
        same(result.total[t], pooled, lambda v, limit=threshold: sum(x <= limit for x in v) / len(v))
        for j in range(k):
            column = [relative[i][usable[i].index(j)] for i in range(n) if j in usable[i]]
            same(result.per_keypoint[t, j], column, lambda v, limit=threshold: sum(x <= limit for x in v) / len(v))

    means = [sum(row) / len(row) for row in relative if row]
    errors = nme(d, lengths, failure_threshold=0.2)
    assert errors.per_instance.isnan().tolist() == [not row for row in relative]
    same(errors.total, means, np.mean)
    same(errors.failure_rate, means, lambda v: sum(x > 0.2 for x in v) / len(v))


def test_the_area_under_the_curve_is_the_integral_of_the_measured_curve():
    preds, target, visible, lengths = make((40, 4, 2), seed=3)
    d = distances(preds, target, visible)
    exact = pck_auc(d, lengths, max_threshold=0.5)
    grid = torch.linspace(0, 0.5, 20001, dtype=torch.float64)[1:]
    curve = pck(d, lengths, grid.tolist())
    assert exact.total.item() == pytest.approx(curve.total.mean().item(), abs=1e-4)
    torch.testing.assert_close(exact.per_keypoint, curve.per_keypoint.mean(0), atol=1e-4, rtol=0, equal_nan=True)

    instances = nme(d, lengths, failure_threshold=0.5)
    usable = instances.per_instance[~instances.per_instance.isnan()]
    shares = (usable <= grid[:, None]).double().mean(1)
    assert instances.auc.item() == pytest.approx(shares.mean().item(), abs=1e-4)


def test_worked_example():
    # Sample 0: errors 3-4-5 and 1; sample 1: 13 (5-12-13), second point hidden. Lengths 10 and 26.
    target = torch.tensor([[[10.0, 10.0], [20.0, 20.0]], [[0.0, 0.0], [torch.nan, torch.nan]]])
    preds = torch.tensor([[[13.0, 14.0], [20.0, 21.0]], [[5.0, 12.0], [7.0, 7.0]]])
    visible = torch.tensor([[True, True], [True, False]])
    lengths = torch.tensor([10.0, 26.0])
    d = distances(preds, target, visible)
    errors = epe(d)
    assert errors["mean"].total == pytest.approx(19 / 3)
    assert errors["median"].total == 5
    assert errors["p90"].total == pytest.approx(5 + 0.8 * 8)
    assert errors["mean"].per_keypoint.tolist() == [9, 1]
    assert pck(d, lengths, [0.1, 0.5]).total.tolist() == pytest.approx([1 / 3, 1])
    assert pck_auc(d, lengths, 1.0).total == pytest.approx((0.5 + 0.9 + 0.5) / 3)
    result = nme(d, lengths)
    assert result.per_instance.tolist() == pytest.approx([0.3, 0.5])
    assert result.total == pytest.approx(0.4)
    assert result.failure_rate == 1
    millimetres = distances(preds, target, visible, spacing=[[0.1, 0.1], [0.2, 0.4]])
    assert millimetres[:, 0].tolist() == pytest.approx([0.5, math.hypot(1.0, 4.8)])
    assert sdr(millimetres).total.tolist() == pytest.approx([2 / 3] * 4)
    assert mre(millimetres)["mean"].total == pytest.approx((0.5 + 0.1 + math.hypot(1, 4.8)) / 3)


@pytest.mark.parametrize(("distance", "length", "threshold"), [(29, 100, 0.29), (3, 10, 0.3), (7, 10, 0.7)])
def test_an_error_exactly_at_the_threshold_is_correct(distance, length, threshold):
    # 0.29 * 100 < 29 in floating point: comparing products would call it wrong.
    d = torch.tensor([[float(distance)]], dtype=torch.float64)
    assert pck(d, torch.tensor([float(length)]), [threshold]).total.item() == 1
    assert nme(d, torch.tensor([float(length)]), failure_threshold=threshold).failure_rate == 0


def test_nme_weighs_instances_and_pck_weighs_points():
    d = torch.tensor([[1.0, 1.0, 1.0], [9.0, torch.nan, torch.nan]], dtype=torch.float64)
    lengths = torch.tensor([10.0, 10.0])
    assert nme(d, lengths).total == pytest.approx(0.5)
    assert pck(d, lengths, [0.1]).total.item() == pytest.approx(0.75)


def test_non_contiguous_and_integer_input_and_gradients():
    preds, target, visible, _ = make((5, 4, 2), seed=1)
    expected = distances(preds, target, visible)
    turned = distances(preds.mT.contiguous().mT, target.mT.contiguous().mT, visible.mT.contiguous().mT)
    torch.testing.assert_close(turned, expected, equal_nan=True)
    whole = distances(torch.tensor([[[3, 4]]]), torch.tensor([[[0, 0]]]), torch.tensor([[True]]))
    assert whole.item() == 5
    assert not distances(preds.clone().requires_grad_(), target, visible).requires_grad


def test_no_instance_and_no_visible_point_give_nan():
    for n in (0, 3):
        d = distances(torch.zeros(n, 2, 2), torch.zeros(n, 2, 2), torch.zeros(n, 2, dtype=torch.bool))
        lengths = torch.ones(n)
        totals = [r.total for r in epe(d).values()] + [r.total for r in mre(d).values()]
        totals += [*pck(d, lengths, [1, 2]).total, *sdr(d).total, nme(d, lengths).total, nme(d, lengths).failure_rate]
        assert all(math.isnan(float(total)) for total in totals)
        assert epe(d)["median"].per_keypoint.isnan().tolist() == [True, True]


def test_a_bad_prediction_at_a_visible_point_is_named():
    preds, visible = torch.zeros(3, 2, 2), torch.ones(3, 2, dtype=torch.bool)
    preds[2, 1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"preds at sample 2, keypoint 1 \(neck\) is \[nan, 0\.0\]"):
        distances(preds, torch.zeros(3, 2, 2), visible, names=["head", "neck"])
    with pytest.raises(ValueError, match="target at sample 2, keypoint 1 is"):
        distances(torch.zeros(3, 2, 2), preds, visible)
    preds[0, 0, 1] = torch.inf
    with pytest.raises(ValueError, match=r"sample 0, keypoint 0 .* and 1 more"):
        distances(preds, torch.zeros(3, 2, 2), visible)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": torch.zeros(2, 3, 2)}, "must both be"),
        ({"preds": torch.zeros(2, 2), "target": torch.zeros(2, 2)}, "must both be"),
        ({"visible": torch.full((2, 2), 2)}, "visible must be bool"),
        ({"visible": torch.ones(2, 3, dtype=torch.bool)}, "visible must be bool of shape"),
        ({"spacing": [0.1]}, "spacing must be"),
        ({"spacing": [0.1, 0.0]}, "positive"),
        ({"spacing": torch.tensor([0.1, torch.nan])}, "positive"),
        ({"names": ["one"]}, "1 names for 2"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given_ = {"preds": torch.zeros(2, 2, 2), "target": torch.zeros(2, 2, 2), "visible": torch.ones(2, 2).bool()}
    with pytest.raises(ValueError, match=message):
        distances(**(given_ | change))


def test_bad_lengths_and_thresholds_are_refused():
    d = torch.ones(2, 2, dtype=torch.float64)
    for length in (0.0, -1.0, torch.inf):
        with pytest.raises(ValueError, match=r"lengths\[1\] is"):
            normalized_distances(d, torch.tensor([1.0, length]))
    with pytest.raises(ValueError, match=r"lengths must be \(2,\)"):
        pck(d, torch.ones(3), [0.5])
    for thresholds in ([], [0.0], [-1], [math.nan], [math.inf]):
        with pytest.raises(ValueError, match="thresholds must be"):
            pck(d, torch.ones(2), thresholds)
    with pytest.raises(ValueError, match="thresholds must be"):
        nme(d, torch.ones(2), failure_threshold=0)
