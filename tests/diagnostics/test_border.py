"""Pull towards the middle, against pulls that were put there."""

import pytest
import torch

from punctum.diagnostics.border import border_bias


def test_a_pull_that_was_put_there_is_found() -> None:
    """Two cells towards the middle within three cells of the border, nothing farther in; 20 cells on x, 16 on y."""
    generator = torch.Generator().manual_seed(0)
    extent = torch.tensor([20.0, 16.0])
    truth = torch.rand(400, 3, 2, generator=generator) * extent - 0.5
    middle = (extent - 1) / 2
    near = extent / 2 - (truth - middle).abs() < 3
    noise = 0.1 * torch.randn(truth.shape, generator=generator)
    predicted = truth + 2 * near * (middle - truth).sign() + noise
    bins = border_bias(predicted, truth, (16, 20), torch.arange(400))
    assert [b.low for b in bins] == [0, 1, 2, 3, 4, 6, 8]
    assert bins[-1].high == 10
    assert sum(b.n for b in bins) == truth.numel()
    for b in bins:
        wanted = 2.0 if b.low < 3 else 0.0
        assert b.interval_95 is not None
        assert b.pull == pytest.approx(wanted, abs=0.05)
        assert b.interval_95[0] <= b.pull <= b.interval_95[1]


def test_an_honest_guess_is_pulled_given_the_truth_but_not_given_the_prediction() -> None:
    """The best guess x' = E[x | seen] of a uniform place seen with noise; E[x - x' | x'] = 0 by definition."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(20_000, 1, 1, generator=generator, dtype=torch.float64) * 16 - 0.5
    seen = truth + 2 * torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    grid = torch.linspace(-0.5, 15.5, 321, dtype=torch.float64)
    table = torch.linspace(-12, 27, 400, dtype=torch.float64)
    weights = torch.exp(-0.5 * ((grid - table[:, None]) / 2) ** 2)
    guess = (weights * grid).sum(1) / weights.sum(1)
    predicted = guess[torch.bucketize(seen, table).clamp_max(399)]
    ids = torch.arange(len(truth)) % 20
    by_truth = border_bias(predicted, truth, (16,), ids)
    by_prediction = border_bias(predicted, truth, (16,), ids, given="prediction")
    assert by_truth[0].pull > 1
    assert all(abs(b.pull) < 0.15 for b in by_prediction)


def test_unlabelled_points_and_single_images() -> None:
    truth = torch.tensor([[[0.0, torch.nan], [torch.nan, 7.0]]])
    bins = border_bias(torch.full((1, 2, 2), 3.0), truth, (8, 8), torch.zeros(1, dtype=torch.int64))
    assert [(b.n, b.pull, b.interval_95) for b in bins] == [(2, 3.5, None)]  # 3 inwards from the left, 4 from below


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="given must be"):
        border_bias(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), (4,), torch.zeros(1).long(), given="both")
    with pytest.raises(ValueError, match="must both be"):
        border_bias(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), (4,), torch.zeros(1).long())
