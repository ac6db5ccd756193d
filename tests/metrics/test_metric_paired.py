"""Intervals hold the truth as often as they say, whatever the noise comes from; t and Holm against SciPy."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from punctum.metrics.paired import holm, paired_difference, per_image, seeded_mean, student_quantile

RUNS = 1000
IMAGES = 120


def crossed(rng, seeds, image, seed, both, mean=0.0):
    """(S, I): images, seeds, and what happens of both together, each with its standard deviation."""
    return (
        mean
        + image * rng.normal(size=(1, IMAGES))
        + seed * rng.normal(size=(seeds, 1))
        + both * rng.normal(size=(seeds, IMAGES))
    )


# Standard deviations of what images do to the difference, of the two methods' seeds, and of both together. A seed's
# deviation of 0.1 weighs as much in the mean as one of 0.1 sqrt(120 / 3) = 0.6 by images.
NOISE = {
    "images": (1.0, (0.0, 0.0), 0.3),
    "seeds": (0.1, (1.0, 1.0), 0.3),
    "seeds of one method": (0.1, (1.0, 0.1), 0.3),
    "images and seeds": (1.0, (0.15, 0.15), 1.0),
    "more seeds than images": (1.0, (0.5, 0.25), 1.0),
    "both together": (0.3, (0.05, 0.05), 3.0),
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_interval_of_a_difference_covers_as_often_as_it_says(noise):
    image, seeds, both = noise
    rng, truth, held = np.random.default_rng(7), 0.4, 0
    for _ in range(RUNS):
        # What makes an image hard for both methods is large, and must not matter.
        shared = 5 * rng.normal(size=(1, IMAGES))
        first = shared + crossed(rng, 3, image, seeds[0], both, truth)
        second = shared + crossed(rng, 3, 0.0, seeds[1], both)
        low, high = paired_difference(first, second).interval()
        held += low < truth < high
    # Three standard errors of a share of 1000: 2 %.
    assert 0.93 <= held / RUNS <= 0.985


def test_interval_of_a_mean_covers_as_often_as_it_says():
    rng, held = np.random.default_rng(3), 0
    for _ in range(RUNS):
        low, high = seeded_mean(crossed(rng, 3, 1.0, 0.2, 1.0, mean=2.0)).interval()
        held += low < 2 < high
    assert 0.93 <= held / RUNS <= 0.985


def test_resampling_three_seeds_would_not_have_covered():
    """Why this is no plain bootstrap: two thirds of the seeds' variance, and a normal quantile instead of t's."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(RUNS):
        difference = (crossed(rng, 3, 0.1, 1.0, 0.1) - crossed(rng, 3, 0.1, 1.0, 0.1)).mean(1)
        deviation = np.sqrt(difference.var(ddof=0) / 3)
        held += abs(difference.mean()) < 1.96 * deviation
    assert held / RUNS < 0.8


def test_p_value_is_uniform_where_nothing_differs():
    rng = np.random.default_rng(5)
    p = [paired_difference(crossed(rng, 3, 1, 0.1, 0.5), crossed(rng, 3, 1, 0.1, 0.5)).p for _ in range(60)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_p_value_and_interval_agree():
    rng = np.random.default_rng(2)
    for shift in (0.05, 0.3, 1.0):
        estimate = paired_difference(crossed(rng, 3, 1, 0.1, 0.5, shift), crossed(rng, 3, 0, 0.1, 0.5))
        low, high = estimate.interval(1 - estimate.p)
        assert min(abs(low), abs(high)) < 1e-6


def test_same_trainings_differ_by_nothing():
    values = crossed(np.random.default_rng(0), 3, 1, 1, 1)
    estimate = paired_difference(values, values)
    assert (estimate.value, estimate.p) == (0, 1)


def test_one_seed_speaks_of_these_trainings_alone():
    rng = np.random.default_rng(0)
    first, second = crossed(rng, 1, 1, 5, 0), crossed(rng, 1, 1, 5, 0)
    estimate = paired_difference(first, second)
    assert not estimate.over_seeds
    oracle = stats.ttest_rel(first[0], second[0])
    assert estimate.p == pytest.approx(oracle.pvalue, abs=1e-9)
    assert estimate.interval() == pytest.approx(oracle.confidence_interval(), rel=1e-9)


def test_many_seeds_and_no_image_noise_is_welchs_test():
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(5, 1)) + np.zeros((5, 40)), 3 * rng.normal(size=(4, 1)) + np.zeros((4, 40))
    oracle = stats.ttest_ind(first[:, 0], second[:, 0], equal_var=False)
    assert paired_difference(first, second).p == pytest.approx(oracle.pvalue, rel=1e-6)


def test_mean_over_images_is_the_mean_over_points():
    rng = np.random.default_rng(0)
    values = rng.gamma(2, size=(2, 30, 4))
    values[:, rng.random((30, 4)) < 0.3] = np.nan
    images = rng.integers(0, 12, 30)
    rows = per_image(values, images)
    assert rows.shape == (2, len({i for i, row in zip(images, values[0], strict=True) if np.isfinite(row).any()}))
    assert rows.mean(1) == pytest.approx([np.nanmean(values[0]), np.nanmean(values[1])])


def test_images_with_more_points_count_as_a_ratio_does():
    """Against brute force: the mean over points of many draws of images scatters as the interval says."""
    rng = np.random.default_rng(0)

    def draw():
        counts = rng.integers(1, 9, 150)
        hard = 1 + 0.2 * counts + 0.5 * rng.normal(size=150)
        values = np.where(np.arange(8) < counts[:, None], hard[:, None], np.nan)
        return seeded_mean(per_image(values[None], np.arange(150)))

    estimates = [draw() for _ in range(500)]
    spread = np.std([estimate.value for estimate in estimates])
    assert np.mean([estimate.image_variance for estimate in estimates]) ** 0.5 == pytest.approx(spread, rel=0.12)


def test_instances_of_an_image_are_one_observation():
    rng = np.random.default_rng(0)
    of_image = rng.normal(size=50)
    rows = per_image(np.repeat(of_image, 10)[None, :, None], np.repeat(np.arange(50), 10))
    assert rows[0] == pytest.approx(of_image)


def test_shares_of_points():
    hits = np.array([[[1.0, 0.0], [1.0, np.nan]], [[1.0, 1.0], [0.0, np.nan]]])
    assert per_image(hits, [0, 1]).mean(1) == pytest.approx([2 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("values", "images", "said"),
    [
        (np.ones((2, 3)), [0, 1, 2], r"\(S, N, K\)"),
        (np.ones((1, 3, 2)), [0, 1], r"\(N,\)"),
        (np.full((1, 3, 2), np.nan), [0, 1, 2], "nothing to average"),
        ([[[1.0]], [[np.nan]]], [0], "not the same for every seed"),
    ],
)
def test_what_cannot_be_averaged_is_refused(values, images, said):
    with pytest.raises(ValueError, match=said):
        per_image(values, images)


def test_other_images_are_refused():
    with pytest.raises(ValueError, match="the same images"):
        paired_difference(np.ones((2, 5)), np.ones((2, 6)))


def test_one_image_says_nothing():
    assert np.isnan(seeded_mean([[1.0], [2.0]]).margin())


@given(st.floats(0.5, 1 - 1e-8), st.floats(1, 1e5))
def test_student_quantile_is_scipys(q, df):
    assert student_quantile(q, df) == pytest.approx(stats.t.ppf(q, df), rel=1e-4, abs=1e-4)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_by_the_definition(p):
    adjusted = holm(p)
    # A hypothesis is rejected at a level when it and all smaller ones pass their own threshold.
    order = sorted(range(len(p)), key=lambda i: p[i])
    for level in (0.01, 0.05, 0.3):
        passed = [p[i] * (len(p) - rank) <= level for rank, i in enumerate(order)]
        rejected = [all(passed[: rank + 1]) for rank in range(len(p))]
        assert [adjusted[i] <= level for i in order] == rejected
    assert all(adjusted[a] <= adjusted[b] for a, b in pairwise(order))
