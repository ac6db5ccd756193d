"""Risk and coverage, Pearson's correlation, rescoring: against loops, permutations and SciPy."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from punctum.metrics import distances
from punctum.metrics.calibration import (
    AURC,
    aurc,
    aurc_interval,
    excess_aurc,
    linear_correlation,
    linear_correlation_interval,
    rescored,
    rescored_average_precision,
    risk_coverage,
)


def area_of_order(errors: np.ndarray) -> float:
    return float(np.mean([errors[: i + 1].mean() for i in range(len(errors))]))


def some(n: int, k: int, seed: int, steps: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, steps, (n, k)) / steps if steps else rng.random((n, k))
    error = np.exp(rng.normal(size=(n, k))) * (1.5 - score)
    error[rng.random((n, k)) < 0.2] = np.nan
    return torch.from_numpy(score), torch.from_numpy(error)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 15), k=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_area_and_excess_without_ties(n, k, seed):
    score, error = some(n, k, seed)
    known = ~error.isnan()
    s, e = score[known].numpy(), error[known].numpy()
    if not len(e):
        assert aurc(score, error).isnan()
        return
    expected = area_of_order(e[np.argsort(-s)])
    assert float(aurc(score, error)) == pytest.approx(expected)
    assert float(excess_aurc(score, error)) == pytest.approx(expected - area_of_order(np.sort(e)), abs=1e-12)
    kept = [0.05, 0.3, 0.5, 1.0]
    ordered = e[np.argsort(-s)]
    by_hand = [ordered[: int(np.ceil(round(c * len(e), 9)))].mean() for c in kept]
    np.testing.assert_allclose(risk_coverage(score, error, kept).numpy(), by_hand)


def test_among_equal_scores_every_order_counts_alike():
    """The mean over all 5! orders, of which those that respect the scores are as likely as each other."""
    score, error = np.array([0.9, 0.5, 0.5, 0.5, 0.1]), np.array([2.0, 1.0, 7.0, 4.0, 3.0])
    orders = [p for p in itertools.permutations(range(5)) if (np.diff(score[list(p)]) <= 0).all()]
    assert len(orders) == 6
    expected = np.mean([area_of_order(error[list(p)]) for p in orders])
    given = torch.from_numpy(score), torch.from_numpy(error)
    assert float(aurc(*given)) == pytest.approx(expected)
    risks = np.mean([[error[list(p)][:i].mean() for i in range(1, 6)] for p in orders], 0)
    np.testing.assert_allclose(risk_coverage(*given, [i / 5 for i in range(1, 6)]).numpy(), risks)
    # A score that says nothing: the mean error, whatever is kept.
    same = torch.full((5,), 0.3)
    assert float(aurc(same, given[1])) == pytest.approx(3.4)
    assert risk_coverage(same, given[1], [0.2, 0.7]).tolist() == pytest.approx([3.4, 3.4])


def test_perfect_and_opposite_orders():
    _, error = some(40, 2, seed=0)
    assert excess_aurc(-error, error) == 0
    assert aurc(-error, error) < error.nanmean() < aurc(error, error)
    assert risk_coverage(-error, error, [0.1])[0] < risk_coverage(-error, error, [1.0])[0]
    assert aurc(torch.zeros(0), torch.zeros(0)).isnan()
    assert risk_coverage(torch.zeros(0), torch.zeros(0), [1.0]).isnan().all()
    for coverage in ([0.0], [1.1]):
        with pytest.raises(ValueError, match="coverage must be shares"):
            risk_coverage(error, error, coverage)
    with pytest.raises(ValueError, match="same shape"):
        aurc(error, error[0])


@pytest.mark.parametrize("steps", [None, 6])
def test_intervals_are_those_of_resampled_lists(steps):
    score, error = some(30, 3, seed=2, steps=steps)
    images = torch.arange(30) // 2
    ends = aurc_interval(score, error, images, n=400)
    straight = linear_correlation_interval(score, error, images, n=400)
    rng, values = np.random.default_rng(0), []
    for _ in range(400):
        drawn = np.concatenate([[2 * i, 2 * i + 1] for i in rng.integers(15, size=15)])
        s, e = score[drawn], error[drawn]
        known = ~e.isnan()
        values.append([aurc(s, e), excess_aurc(s, e), pearsonr(s[known].numpy(), -e[known].numpy()).statistic])
    by_hand = np.quantile(np.array(values), [0.025, 0.975], axis=0)
    width = by_hand[1] - by_hand[0]
    # Two sets of 400 resamples: the ends of both agree within their own scatter.
    np.testing.assert_allclose(ends.numpy() / width[:2], by_hand[:, :2] / width[:2], atol=0.15)
    np.testing.assert_allclose(straight.numpy() / width[2], by_hand[:, 2] / width[2], atol=0.15)
    one = torch.zeros(30, dtype=torch.long)
    assert aurc_interval(score, error, one).isnan().all()
    assert linear_correlation_interval(score, error, one).isnan().all()


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 20),
    seed=st.integers(0, 10**6),
    offset=st.sampled_from([0.0, 1e6]),
    scale=st.sampled_from([1e-9, 1, 1e9]),
)
def test_pearson_is_that_of_scipy(n, seed, offset, scale):
    score, error = some(n, 2, seed)
    known = ~error.isnan()
    ours = linear_correlation(score + offset, error * scale)
    if known.sum() < 2:
        assert ours.isnan()
    else:
        theirs = pearsonr(score[known].numpy(), -error[known].numpy()).statistic
        assert float(ours) == pytest.approx(theirs, abs=1e-7)


def test_pearson_says_nothing_of_equal_scores():
    error = torch.tensor([1.0, 2.0, 3.0])
    assert linear_correlation(torch.full((3,), 0.1), error).isnan()
    assert linear_correlation(error, torch.full((3,), 1e8)).isnan()
    assert linear_correlation(error[:0], error[:0]).isnan()
    assert linear_correlation(-error, error) == pytest.approx(1)


def test_the_class_is_the_function_of_everything():
    generator = torch.Generator().manual_seed(0)
    target, score = torch.rand(9, 3, 2, generator=generator) * 50, torch.rand(9, 3, generator=generator)
    preds = target + torch.randn(9, 3, 2, generator=generator)
    visible, lengths = torch.rand(9, 3, generator=generator) < 0.7, torch.rand(9, generator=generator) + 1
    metric = AURC()
    for rows in (slice(0, 4), slice(4, 9)):
        metric.update(preds[rows], target[rows], visible[rows], score=score[rows], lengths=lengths[rows])
    expected = aurc(score, distances(preds, target, visible) / lengths[:, None])
    assert float(metric.compute()) == pytest.approx(float(expected))
    metric.reset()
    with pytest.raises(RuntimeError, match=r"AURC\.update"):
        metric.compute()


# --- rescoring -----------------------------------------------------------------------------------------------------


def people(n: int) -> tuple[dict[str, Any], list[dict[str, Any]], np.ndarray]:
    """n people in as many pictures, every other one found 30 px off; the scores given know nothing of it."""
    category = {"id": 1, "name": "pin", "keypoints": ["tip", "end"], "sigmas": [0.05, 0.05]}
    rows = [{"image_id": i, "category_id": 1, "keypoints": [10, 10, 2, 90, 90, 2]} for i in range(n)]
    truth = {
        "images": [{"id": i} for i in range(n)],
        "categories": [category],
        "annotations": [{**row, "id": i + 1, "area": 6400, "bbox": [0, 0, 100, 100]} for i, row in enumerate(rows)],
    }
    wrong = np.arange(n) % 2 == 0
    found = [
        {**row, "keypoints": [10 + 30 * off, 10, 1, 90 + 30 * off, 90, 1], "score": 0.5 + 0.1 * off}
        for row, off in zip(rows, wrong.tolist(), strict=True)
    ]
    return truth, found, wrong


def test_rescoring_puts_the_good_ones_first():
    truth, found, wrong = people(10)
    score = torch.from_numpy(np.where(wrong, 0.1, 0.9))[:, None].expand(10, 2).clone()
    score[3, 0] = torch.nan
    ap = rescored_average_precision(truth, found, score)
    # Five of ten are right, so recall ends at a half. Wrong ones first: precision is at most 5 / 10; right ones
    # first: it is 1 all the way.
    assert ap["as_given"]["AP"] == pytest.approx(0.5 * 0.5, abs=0.02)
    assert ap["rescored"]["AP"] == pytest.approx(0.5, abs=0.02)
    assert ap["as_given"]["AR"] == ap["rescored"]["AR"] == pytest.approx(0.5)
    assert [row["score"] for row in found[:2]] == [0.6, 0.5]  # as they were


def test_scores_of_boxes_multiply_and_missing_points_do_not_count():
    rows = [{"score": 1.0, "image_id": i} for i in range(3)]
    score = torch.tensor([[0.5, torch.nan], [0.2, 0.4], [torch.nan, torch.nan]])
    assert [row["score"] for row in rescored(rows, score)] == pytest.approx([0.5, 0.3, 0])
    again = rescored(rows, score, torch.tensor([0.5, 1.0, 1.0]))
    assert [row["score"] for row in again] == pytest.approx([0.25, 0.3, 0])
    assert [row["image_id"] for row in again] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"3 detections need scores \(3, K\), got \(2, 2\)"):
        rescored(rows, score[:2])
    with pytest.raises(ValueError, match=r"scores of boxes \(3,\), got \(2,\)"):
        rescored(rows, score, torch.ones(2))
