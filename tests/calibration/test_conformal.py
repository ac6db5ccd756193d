"""The promise itself: over calibration sets and new images, a bound is kept as often as it says."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from punctum.calibration.conformal import needed, p_values, quantile

LEVELS = [0.5, 0.8, 0.9, 0.95, 0.99]


@given(st.integers(1, 200), st.integers(1, 99), st.integers(0, 2**31))
@settings(deadline=None)
def test_the_quantile_is_the_score_of_its_rank(n, percent, seed):
    scores = np.random.default_rng(seed).normal(size=n)
    rank = -(-(n + 1) * percent // 100)
    if rank > n:
        with pytest.raises(ValueError, match=rf"{n} images .* {percent} %, which needs {needed(percent / 100)}"):
            quantile(torch.from_numpy(scores), percent / 100)
    else:
        assert quantile(torch.from_numpy(scores), percent / 100) == np.sort(scores)[rank - 1]


@pytest.mark.parametrize("level", LEVELS)
def test_needed_is_the_least_number_that_will_do(level):
    exact = Fraction(str(level))
    wanted = next(n for n in itertools.count(1) if math.ceil((n + 1) * exact) <= n)
    assert needed(level) == wanted
    quantile(torch.rand(wanted), level)
    with pytest.raises(ValueError, match=f"nose: {wanted - 1} images are too few .* needs {wanted}"):
        quantile(torch.rand(wanted - 1), level, what="nose")


@pytest.mark.parametrize(("level", "n"), [(0.95, 19), (0.95, 30), (0.9, 24), (0.5, 4)])
def test_a_new_score_keeps_the_bound_as_often_as_promised(level, n):
    """P(new <= bound) is E[F(bound)], and F of the r-th smallest is Beta(r, n + 1 - r): mean r / (n + 1)."""
    generator = torch.Generator().manual_seed(0)
    sets = 4000
    bounds = torch.tensor([quantile(torch.rand(n, generator=generator), level) for _ in range(sets)])
    rank = math.ceil((n + 1) * Fraction(str(level)))
    assert level <= rank / (n + 1) < level + 1 / (n + 1)
    slack = 4 * stats.beta(rank, n + 1 - rank).std() / math.sqrt(sets)
    assert abs(bounds.mean() - rank / (n + 1)) < slack


def test_several_scores_of_an_image_keep_the_promise_for_the_next_image():
    """Images differ much, and those with many instances have larger scores: points alone would promise nothing."""
    rng = np.random.default_rng(0)

    def draw(images):
        counts = rng.integers(1, 6, size=images)
        own = rng.normal(size=images) * 2 + counts
        return [centre + 0.1 * rng.normal(size=count) for centre, count in zip(own, counts, strict=True)]

    level, n, kept = 0.9, 19, []
    for _ in range(1500):
        *old, new = draw(n + 1)
        scores = torch.from_numpy(np.concatenate(old))
        images = torch.from_numpy(np.repeat(np.arange(n), [len(s) for s in old]))
        kept.append(np.mean(new <= quantile(scores, level, images)))
    slack = 4 * np.std(kept) / math.sqrt(len(kept))
    assert level - slack < np.mean(kept) < level + 1 / (n + 1) + slack


@given(st.integers(19, 60), st.integers(1, 3), st.integers(0, 2**31))
@settings(deadline=None)
def test_images_with_as_many_scores_each_are_as_images_with_one(n, copies, seed):
    scores = torch.from_numpy(np.random.default_rng(seed).normal(size=n))
    images = torch.arange(n).repeat(copies)
    for level in (0.5, 0.9, 0.95):
        assert quantile(scores.repeat(copies), level, images) == quantile(scores, level)


def test_a_score_that_is_nan_does_not_count_and_ties_are_no_trouble():
    scores = torch.cat([torch.full((5,), torch.nan), torch.ones(19)])
    assert quantile(scores, 0.95) == 1
    assert quantile(scores, 0.95, torch.arange(24)) == 1
    with pytest.raises(ValueError, match="18 images"):
        quantile(scores[:-1], 0.95)
    with pytest.raises(ValueError, match="18 images"):  # two of the 19 scores are of one image
        quantile(scores, 0.95, torch.arange(24).clamp_max(22))


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 95.0, math.nan])
def test_a_level_is_a_share(level):
    with pytest.raises(ValueError, match=r"in \(0, 1\)"):
        quantile(torch.rand(100), level)
    with pytest.raises(ValueError, match=r"in \(0, 1\)"):
        needed(level)


def test_p_values_are_uniform_on_their_grid():
    generator = torch.Generator().manual_seed(0)
    found = torch.cat([p_values(torch.rand(1, generator=generator), torch.rand(9, generator=generator))
                       for _ in range(5000)])  # fmt: skip
    shares = torch.bincount((found * 10).round().long(), minlength=11)[1:]
    assert stats.chisquare(shares).pvalue > 1e-3
    assert shares.sum() == 5000


def test_p_values_count_and_nan_is_the_strangest():
    calibration = torch.tensor([3.0, 1.0, 2.0, 2.0])
    scores = torch.tensor([[0.0, 2.0], [3.5, torch.nan]])
    expected = [[(1 + sum(c >= s for c in calibration.tolist())) / 5 if s == s else 0.2 for s in row]
                for row in scores.tolist()]  # fmt: skip
    assert p_values(scores, calibration).tolist() == expected
