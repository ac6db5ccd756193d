"""The rank correlation against SciPy's, and its interval against resampling by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from punctum.metrics import Normalizer, rank_correlation, rank_correlation_interval, summarize
from punctum.schema import Schema


@settings(max_examples=60, deadline=None)
@given(n=st.integers(3, 40), seed=st.integers(0, 10**6), steps=st.sampled_from([2, 5, 1000]))
def test_spearman_with_ties(n, seed, steps):
    generator = torch.Generator().manual_seed(seed)
    score, error = (torch.randint(steps, (n, 2), generator=generator) / steps for _ in range(2))
    ours = rank_correlation(score, error)
    if score.unique().numel() == 1 or error.unique().numel() == 1:
        assert ours.isnan()
    else:
        theirs = spearmanr(score.flatten().numpy(), -error.flatten().numpy()).statistic
        assert float(ours) == pytest.approx(theirs, abs=1e-12)


def test_sign_missing_and_monotone_scales():
    error = torch.tensor([[1.0, 2.0], [3.0, torch.nan]])
    score = torch.tensor([[0.9, 0.8], [0.1, 0.99]])
    assert rank_correlation(score, error) == pytest.approx(1)
    assert rank_correlation(-score, error) == pytest.approx(-1)
    assert rank_correlation(score.exp() * 100, error**3) == pytest.approx(1)
    assert rank_correlation(torch.full((2, 2), 0.3), error).isnan()
    assert rank_correlation(score[:0], error[:0]).isnan()
    assert rank_correlation(score, torch.tensor([[1.0, 2.0], [torch.inf, torch.nan]])) == pytest.approx(1)
    with pytest.raises(ValueError, match="same shape"):
        rank_correlation(score, error[0])


def test_interval_is_that_of_resampled_lists():
    generator = torch.Generator().manual_seed(3)
    score = (torch.rand(30, 4, generator=generator) * 8).round()
    error = torch.rand(30, 4, generator=generator) - score / 10
    error[3, 1] = torch.nan
    images = torch.arange(30) // 2
    interval = rank_correlation_interval(score, error, images, n=400)
    rng, values = np.random.default_rng(0), []
    for _ in range(400):
        drawn = np.concatenate([[2 * i, 2 * i + 1] for i in rng.integers(15, size=15)])
        s, e = score[drawn].flatten(), error[drawn].flatten()
        values.append(spearmanr(s[~e.isnan()].numpy(), -e[~e.isnan()].numpy()).statistic)
    # Two sets of 400 resamples: the ends of both agree within their own scatter.
    np.testing.assert_allclose(interval.numpy(), np.quantile(values, [0.025, 0.975]), atol=0.05)
    assert rank_correlation_interval(score, error, torch.zeros(30, dtype=torch.long)).isnan().all()


def test_summarize_has_it_where_there_is_a_score():
    generator = torch.Generator().manual_seed(0)
    target = torch.zeros(40, 2, 2)
    preds = torch.randn(40, 2, 2, generator=generator)
    error = preds.norm(dim=-1)
    lengths = torch.where(torch.arange(40) % 2 == 0, 1.0, 10.0)
    given = {
        "names": ["a", "b"],
        "normalizer": Normalizer("pixels"),
        "lengths": lengths,
        "thresholds": [1.0],
        "image_ids": torch.arange(40),
    }
    visible = torch.ones(40, 2).bool()
    assert "score_error_correlation" not in summarize(preds, target, visible, **given)
    # Errors are in lengths, as those of PCK are.
    ranked = summarize(preds, target, visible, score=-error / lengths[:, None], **given)["score_error_correlation"]
    assert ranked["value"] == pytest.approx(1)
    assert ranked["n"] == 80
    constant = summarize(preds, target, visible, score=torch.ones(40, 2), **given)["score_error_correlation"]
    assert constant == {"n": 80, "value": None, "interval_95": None}


def test_head_normalizer():
    normalizer = Normalizer.parse("head", Schema(("a",)))
    target, visible = torch.zeros(3, 1, 2), torch.ones(3, 1).bool()
    lengths = normalizer.lengths(target, visible, heads=torch.tensor([30.0, torch.nan, 0.0]))
    assert lengths[0] == 30
    assert lengths[1:].isnan().all()
    assert normalizer.why_unusable == "it has no head box, or the length is zero"
    with pytest.raises(ValueError, match="head sizes, which these annotations do not have"):
        normalizer.lengths(target, visible)
