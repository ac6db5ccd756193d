"""The interval: against scipy.stats.bootstrap, against resamples written out, and does it cover?"""

import time

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum.metrics import bootstrap_interval, mean_interval, quantile_interval
from punctum.metrics.pooling import pooled_mean, pooled_quantile


def clustered(images: int, keypoints: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Skewed errors with missing points; images hold one to three instances that err alike."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(images), rng.integers(1, 4, images))
    values = rng.exponential(1, (len(ids), keypoints)) + rng.exponential(1, images)[ids, None]
    values[rng.random(values.shape) < 0.2] = np.nan
    return torch.from_numpy(values), torch.from_numpy(ids * 7 - 3)  # neither from zero nor without gaps


@pytest.mark.parametrize("q", [None, 0.5, 0.9])
def test_agrees_with_scipy(q):
    values, ids = clustered(60, 3, seed=0)
    rows = [values[ids == i].numpy().ravel() for i in ids.unique()]

    def statistic(index: np.ndarray) -> float:
        points = np.concatenate([rows[int(i)] for i in index])
        return np.nanmean(points) if q is None else np.nanpercentile(points, 100 * q)

    expected = scipy.stats.bootstrap(
        (np.arange(60),), statistic, n_resamples=4000, method="percentile", vectorized=False, rng=1
    ).confidence_interval
    if q is None:
        low, high = mean_interval([values], ids, n=4000)[:, 0].tolist()
    else:
        low, high = quantile_interval(values, [q], ids, n=4000)[:, 0].tolist()
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.06 * width)
    assert high == pytest.approx(expected.high, abs=0.06 * width)


@settings(max_examples=30, deadline=None)
@given(images=st.integers(2, 6), keypoints=st.integers(1, 3), seed=st.integers(0, 10**6), q=st.floats(0, 1))
def test_a_weighted_statistic_is_that_of_the_repeated_data(images, keypoints, seed, q):
    values, ids = clustered(images, keypoints, seed)
    drawn: list[torch.Tensor] = []

    def record(weights: torch.Tensor) -> torch.Tensor:
        drawn.append(weights)
        return weights.sum(-1)

    bootstrap_interval(record, ids, n=5, seed=seed)
    (weights,) = drawn
    repeated = [values.repeat_interleave(w.long(), dim=0) for w in weights]
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    for measured, by_hand in (
        (mean_interval([values], ids, n=5, seed=seed)[:, 0], [pooled_mean(r).total for r in repeated]),
        (quantile_interval(values, [q], ids, n=5, seed=seed)[:, 0], [pooled_quantile(r, q).total for r in repeated]),
    ):
        if not measured.isnan().any():
            torch.testing.assert_close(measured, torch.stack(by_hand).nanquantile(ends))


def test_instances_of_an_image_are_drawn_together_and_as_many_images_as_there_are():
    ids = torch.tensor([5, 2, 5, 9, 2])
    seen: list[torch.Tensor] = []
    bootstrap_interval(lambda w: seen.append(w) or w.sum(-1), ids, n=200)
    weights = torch.cat(seen)
    assert torch.equal(weights[:, 0], weights[:, 2])
    assert torch.equal(weights[:, 1], weights[:, 4])
    assert ((weights[:, 0] + weights[:, 1] + weights[:, 3]) == 3).all()


def test_nominal_coverage_and_that_ignoring_images_would_lose_it():
    """5 people in each of 60 images share most of their error: resampling people would be far too sure."""
    rng = np.random.default_rng(0)
    trials, images, people = 400, 60, 5
    ids = torch.arange(images).repeat_interleave(people)
    hits = {"images": 0, "people": 0, "median": 0}
    for trial in range(trials):
        shared = rng.normal(10, 1, images).repeat(people)
        values = torch.from_numpy(shared + rng.normal(0, 0.5, images * people))[:, None]
        intervals = {
            "images": mean_interval([values], ids, n=300, seed=trial),
            "people": mean_interval([values], torch.arange(len(ids)), n=300, seed=trial),
            "median": quantile_interval(values, [0.5], ids, n=300, seed=trial),
        }
        for key, interval in intervals.items():
            hits[key] += bool(interval[0, 0] <= 10 <= interval[1, 0])
    # The spread of a coverage of 0.95 over 400 trials is 0.011.
    assert 0.91 < hits["images"] / trials < 0.98
    assert 0.91 < hits["median"] / trials < 0.98
    assert hits["people"] / trials < 0.75


def test_seed_decides_and_level_widens():
    values, ids = clustered(30, 2, seed=2)
    first = mean_interval([values], ids, seed=4)
    assert torch.equal(first, mean_interval([values], ids, seed=4))
    assert not torch.equal(first, mean_interval([values], ids, seed=5))
    wide = mean_interval([values], ids, level=0.99, seed=4)
    assert wide[0, 0] < first[0, 0]
    assert first[1, 0] < wide[1, 0]


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    mean_interval([torch.ones(4, 1)], torch.arange(4))
    assert torch.equal(before, torch.get_rng_state())


def test_blocks_do_not_change_the_resamples(monkeypatch):
    values, ids = clustered(30, 2, seed=2)
    whole = mean_interval([values], ids), quantile_interval(values, [0.5, 0.9], ids)
    monkeypatch.setattr("punctum.metrics.bootstrap._BLOCK", 1000)
    torch.testing.assert_close(mean_interval([values], ids), whole[0])
    torch.testing.assert_close(quantile_interval(values, [0.5, 0.9], ids), whole[1])


def test_nothing_is_claimed_from_one_image():
    values = torch.rand(5, 2, dtype=torch.float64)
    one = torch.zeros(5, dtype=torch.long)
    assert mean_interval([values], one).isnan().all()
    assert quantile_interval(values, [0.5], one).isnan().all()
    assert bootstrap_interval(lambda w: w @ values, one).isnan().all()
    # Two images, but one of them has no point of the second keypoint.
    values[3:, 1] = torch.nan
    two = torch.tensor([0, 0, 0, 1, 1])
    interval = mean_interval([values, values[:, 1:]], two)
    assert not interval[:, 0].isnan().any()
    assert interval[:, 1].isnan().all()
    assert quantile_interval(values[:, 1:], [0.5], two).isnan().all()
    assert quantile_interval(torch.full((2, 1), torch.nan), [0.5], torch.arange(2)).isnan().all()
    assert mean_interval([torch.zeros(0, 2)], torch.zeros(0, dtype=torch.long)).isnan().all()


def test_thousand_resamples_of_thousand_images_take_under_two_seconds():
    values, ids = torch.rand(1000, 68, dtype=torch.float64), torch.arange(1000)
    start = time.process_time()
    mean_interval([values] * 6, ids)
    quantile_interval(values, [0.5, 0.9, 0.95], ids)
    assert time.process_time() - start < 2


def test_bad_arguments():
    for ids in (torch.zeros(3), torch.zeros(3, 1, dtype=torch.long), torch.zeros(3, dtype=torch.bool)):
        with pytest.raises(ValueError, match="image_ids must be"):
            bootstrap_interval(lambda w: w.sum(-1), ids)
    for wrong in ({"level": 1.0}, {"level": 0.0}, {"n": 0}):
        with pytest.raises(ValueError, match="level must be"):
            bootstrap_interval(lambda w: w.sum(-1), torch.arange(3), **wrong)


def test_infinite_values_count_as_very_large():
    """Half of the values or more infinite: so is the median; an interval may end at infinity."""
    values = torch.arange(20.0, dtype=torch.float64)[:, None]
    huge, endless = values.clone(), values.clone()
    huge[9:], endless[9:] = 1e300, torch.inf
    for q in (0.0, 0.2, 0.4, 0.45, 0.5, 0.7, 1.0):
        expected = pooled_quantile(huge, q).total
        assert pooled_quantile(endless, q).total == (expected if expected < 1e200 else torch.inf)
    expected = quantile_interval(huge, [0.2, 0.5, 0.9], torch.arange(20))
    expected[expected > 1e200] = torch.inf
    measured = quantile_interval(endless, [0.2, 0.5, 0.9], torch.arange(20))
    torch.testing.assert_close(measured, expected)
    assert measured[0, 0] < measured[1, 0] < torch.inf
    assert measured[:, 2].isinf().all()
