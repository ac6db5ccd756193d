"""Reliability: against loops, against perfect scores, and how often the interval is right."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum.metrics import distances
from punctum.metrics.calibration import ECE, brier, ece, groups_by_score, reliability, squared_gap_interval
from punctum.report.trust import by_score


def scored(images: int, k: int, seed: int, shift: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores, hits and the true probabilities: score + shift. Hits of one image go together, two images in five."""
    generator = torch.Generator().manual_seed(seed)
    score = 0.1 + 0.8 * torch.rand(images, k, generator=generator, dtype=torch.float64)
    common, own = (torch.randn(images, n, generator=generator, dtype=torch.float64) for n in (1, k))
    uniform = torch.special.ndtr(0.4**0.5 * common + 0.6**0.5 * own)
    truth = (score + shift * (score - 0.5).sign()).clamp(0, 1)
    return score, (uniform < truth).double(), truth


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 12), k=st.integers(1, 3), bins=st.integers(1, 6), seed=st.integers(0, 10**6), ties=st.booleans()
)
def test_groups(n, k, bins, seed, ties):
    rng = np.random.default_rng(seed)
    score = torch.from_numpy(rng.integers(0, 4, (n, k)) / 4 if ties else rng.random((n, k)))
    counts = torch.from_numpy(rng.random((n, k)) < 0.8)
    group = groups_by_score(score, counts, bins)
    assert ((group >= 0) == counts).all()
    order = score[counts].argsort(stable=True)
    along = group[counts][order]
    assert (along.diff() >= 0).all()
    assert along.unique().tolist() == list(range(int(along.max()) + 1 if len(along) else 0))
    for value in score[counts].unique():  # equal scores are never parted
        assert group[counts & (score == value)].unique().numel() == 1
    if not ties and counts.sum() >= bins:
        sizes = torch.bincount(along)
        assert len(sizes) == bins
        assert sizes.max() - sizes.min() <= 1


def test_the_curve_against_loops_and_the_page():
    score, hit, _ = scored(30, 4, seed=0)
    hit[3, 1], score[4, 2] = torch.nan, torch.nan
    ids = torch.arange(30) // 2
    curve = reliability(score, hit, ids, bins=6, n=1000)
    pairs = sorted(
        (float(s), float(h)) for s, h in zip(score.flatten(), hit.flatten(), strict=True) if s + h == s + h
    )
    start = 0
    for i, size in enumerate(curve.points.tolist()):
        part = pairs[start : start + size]
        assert float(curve.score[i]) == pytest.approx(np.mean([s for s, _ in part]))
        assert float(curve.hits[i]) == pytest.approx(np.mean([h for _, h in part]))
        start += size
    assert start == len(pairs) == 118
    drawn = by_score(score.numpy(), hit.numpy(), ids.numpy(), bins=6)
    np.testing.assert_allclose(curve.hits.numpy(), drawn.value)
    np.testing.assert_allclose(curve.interval.numpy(), [drawn.low, drawn.high])
    none = reliability(score * torch.nan, hit, ids)
    assert [len(part) for part in (none.score, none.hits, none.points)] == [0, 0, 0]
    assert none.interval.shape == (2, 0)


def test_ece_against_loops():
    score, hit, _ = scored(20, 3, seed=1)
    hit[2] = torch.nan
    ids = torch.arange(20) // 2
    found = ece(score, hit, ids, bins=4)
    group = groups_by_score(score, ~hit.isnan(), 4).numpy()
    s, h, images = score.numpy(), hit.numpy(), ids.numpy()[:, None].repeat(3, 1)
    total = (group >= 0).sum()
    value = chance = squared = 0.0
    for g in range(4):
        part = group == g
        gap = (h - s)[part].mean()
        sums = [((h - s)[part & (images == i)] - gap).sum() for i in set(images[part])]
        variance = len(sums) / (len(sums) - 1) * np.square(sums).sum() / part.sum() ** 2
        value += part.sum() / total * abs(gap)
        chance += part.sum() / total * np.sqrt(2 * variance / np.pi)
        squared += part.sum() / total * (gap**2 - variance)
    assert [float(v) for v in found] == pytest.approx([value, chance, squared])
    assert all(v.isnan() for v in ece(score * torch.nan, hit, ids))
    # Of a single image, the gap is known and its scatter is not.
    single = ece(score, hit, torch.zeros(20, dtype=torch.long), bins=4)
    assert single.value == found.value
    assert single.by_chance.isnan()
    assert single.squared.isnan()


def test_perfect_scores_show_no_more_than_chance_and_wrong_ones_their_gap():
    """Means over 60 data sets. A gap of g at every score has a squared gap of g^2, and none on average at g = 0."""
    for shift in (0.0, 0.08):
        found = [ece(*scored(60, 5, seed, shift)[:2]) for seed in range(60)]
        value, chance, squared = (torch.stack(part) for part in zip(*found, strict=True))
        error = float(squared.std()) / 60**0.5
        assert abs(float(squared.mean()) - shift**2) < 3 * error
        if shift == 0:
            assert float(value.mean()) == pytest.approx(float(chance.mean()), rel=0.08)
        else:
            assert value.mean() > shift
    # With more points the figure itself goes to zero.
    assert ece(*scored(6000, 5, seed=0)[:2]).value < 0.015


@pytest.mark.parametrize("shift", [0.0, 0.12])
def test_the_interval_holds_the_true_gap(shift):
    held = 0
    for seed in range(60):
        score, hit, truth = scored(60, 5, seed, shift)
        group = groups_by_score(score, torch.ones_like(score).bool())
        gaps = torch.stack([(truth - score)[group == g].mean() for g in range(10)])
        low, high = squared_gap_interval(score, hit, torch.arange(60), n=150)
        held += bool(low <= gaps.square().mean() <= high)
    assert held >= 54  # it is too long rather than too short
    assert squared_gap_interval(score, hit, torch.zeros(60, dtype=torch.long)).isnan().all()


def test_points_of_one_image_count_as_what_they_are():
    """Every image three times over: nothing more is known, and chance is as large as before."""
    score, hit, _ = scored(50, 4, seed=3)
    ids = torch.arange(50)
    once = ece(score, hit, ids)
    thrice = ece(score.repeat(3, 1), hit.repeat(3, 1), ids.repeat(3))
    torch.testing.assert_close(thrice.by_chance, once.by_chance)
    assert ece(score.repeat(3, 1), hit.repeat(3, 1)).by_chance < 0.65 * once.by_chance


def test_brier_by_hand_and_proper():
    score, hit = torch.tensor([[0.8, 0.4], [0.1, torch.nan]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    found = brier(score, hit)
    assert float(found.total) == pytest.approx((0.04 + 0.36 + 0.01) / 3)
    np.testing.assert_allclose(found.per_keypoint.numpy(), [0.025, 0.36], rtol=1e-6)
    score, hit, truth = scored(2000, 4, seed=0, shift=0.1)
    best = brier(truth, hit).total
    assert best < brier(score, hit).total
    assert best < brier(truth.square(), hit).total
    assert float(brier(torch.full_like(score, 0.5), hit).total) == 0.25


def test_the_class_is_the_function_of_everything():
    generator = torch.Generator().manual_seed(0)
    target, score = torch.rand(9, 3, 2, generator=generator) * 50, torch.rand(9, 3, generator=generator)
    preds = target + torch.randn(9, 3, 2, generator=generator)
    visible, lengths = torch.rand(9, 3, generator=generator) < 0.7, torch.rand(9, generator=generator) + 1
    metric = ECE(distance=0.8, bins=3)
    for rows in (slice(0, 2), slice(2, 2), slice(2, 9)):
        metric.update(preds[rows], target[rows], visible[rows], score=score[rows], lengths=lengths[rows])
    errors = distances(preds, target, visible)
    hit = torch.where(errors.isnan(), torch.nan, (errors <= 0.8 * lengths[:, None]).double())
    expected = ece(score, hit, bins=3)
    assert [float(v) for v in metric.compute()] == pytest.approx([float(v) for v in expected])
    with pytest.raises(ValueError, match="score must be"):
        metric.update(preds, target, visible, score=score[:2], lengths=lengths)
    with pytest.raises(ValueError, match="thresholds must be"):
        ECE(distance=0)
    with pytest.raises(RuntimeError, match=r"ECE\.update"):
        ECE(distance=1).compute()


def test_mistakes():
    with pytest.raises(ValueError, match="same shape"):
        groups_by_score(torch.zeros(2, 2), torch.ones(2, 1).bool())
    with pytest.raises(ValueError, match="bins must be"):
        groups_by_score(torch.zeros(2, 2), torch.ones(2, 2).bool(), 0)
