"""The sampling head: what each estimator minimizes, what it learns, and how its temperature falls."""

import pytest
import torch
from torch import Tensor

from punctum import ops
from punctum.heads import Target
from punctum.heads.sampling import Sampling
from punctum.heads.schedules import LinearAnneal


def seen(coords: Tensor) -> Target:
    return Target(coords, torch.ones(coords.shape[:-1], dtype=torch.bool))


def logits_and_target(size: tuple[int, ...] = (5, 6)) -> tuple[Tensor, Target]:
    generator = torch.Generator().manual_seed(0)
    coords = torch.rand(2, 3, len(size), generator=generator) - 0.5
    return torch.randn(2, 3, *size, generator=generator), seen(coords)


def test_training_averages_the_l1_distance_of_draws() -> None:
    logits, target = logits_and_target()
    head = Sampling(4, 3, (5, 6), basis="uniform", num_samples=7, tau_start=0.9, beta=1.5)
    torch.manual_seed(3)
    found = head.losses(logits, target)
    assert found.keys() == {"l1"}
    torch.manual_seed(3)
    draws = ops.sample_coords(logits, 7, 0.9, "uniform", beta=1.5)
    for b, k in [(0, 0), (1, 2)]:
        distances = [(draws[b, k, i] - target.coords[b, k]).abs().sum().item() for i in range(7)]
        assert found["l1"][b, k].item() == pytest.approx(sum(distances) / 7, rel=1e-5)


@pytest.mark.parametrize(
    ("estimator", "term", "wanted"),
    [
        ("grid", "l1", lambda p, t: ops.grid_l1_losses(p, t)),
        ("exact", "l1", lambda p, t: ops.expected_l1_losses(p, t, "gaussian")),
        ("crps", "crps", lambda p, t: ops.crps_losses(p, t, "gaussian")),
    ],
)
def test_closed_estimators_are_the_ops_in_training_and_evaluation(estimator, term, wanted) -> None:
    logits, target = logits_and_target()
    head = Sampling(4, 3, (5, 6), basis="gaussian", estimator=estimator, beta=1.5)
    expected = wanted(ops.normalize(logits, beta=1.5), target.coords)
    for mode in (head.train(), head.eval()):
        found = mode.losses(logits, target)
        assert found.keys() == {term}
        torch.testing.assert_close(found[term], expected)


def test_evaluation_gives_what_cold_draws_estimate_without_their_noise() -> None:
    logits, target = logits_and_target()
    head = Sampling(4, 3, (5, 6), num_samples=20_000, tau_end=1e-3)
    head.set_progress(1.0)
    drawn = head.losses(logits, target)["l1"]
    state = torch.get_rng_state()
    exact = head.eval().losses(logits, target)["l1"]
    torch.testing.assert_close(drawn, exact, rtol=0, atol=0.02)
    head.set_progress(0.0)
    assert torch.equal(head.losses(logits, target)["l1"], exact)
    assert torch.equal(torch.get_rng_state(), state), "evaluation took random numbers from the training"


def test_temperature_falls_as_in_the_authors_code() -> None:
    head = Sampling(4, 3, (5, 6), tau_until=25 / 140)
    assert head.tau == 2
    for epoch in range(0, 141, 5):
        head.set_progress(epoch / 140)
        assert head.tau == pytest.approx(max(0.5, 2 - 3 * epoch / 50))


def test_a_resumed_training_goes_on_as_if_it_had_not_been_interrupted() -> None:
    """Temperature from progress, noise from the global generator: a new head needs nothing else."""
    logits, target = logits_and_target()
    head, resumed = Sampling(4, 3, (5, 6)), Sampling(4, 3, (5, 6))
    head.set_progress(0.0)
    head.losses(logits, target)
    state = torch.get_rng_state()
    found = []
    for one in (head, resumed):
        torch.set_rng_state(state)
        one.set_progress(0.1)
        found.append(one.losses(logits, target)["l1"])
    assert torch.equal(*found)


@pytest.mark.parametrize("basis", ["uniform", "triangular", "gaussian"])
def test_decoding_gives_mean_and_covariance_of_the_mixture(basis) -> None:
    logits, _ = logits_and_target()
    prediction = Sampling(4, 3, (5, 6), basis=basis, beta=1.5).decode(logits)
    mean, covariance = ops.mixture_moments(logits, basis, beta=1.5)
    torch.testing.assert_close(prediction.coords, mean)
    torch.testing.assert_close(prediction.covariance, covariance)
    torch.testing.assert_close(prediction.coords, ops.soft_argmax(logits, beta=1.5))


def learnt_spread(steps: int = 300, **options: object) -> float:
    """Standard deviation, in cells, of the map that fits truths of standard deviation 2 cells around the centre."""
    cells, spread, generator = 21, 2.0, torch.Generator().manual_seed(0)
    head = Sampling(1, 1, (cells,), num_samples=10, tau_until=0.5, **options)
    logits = torch.zeros(1, 1, cells, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    torch.manual_seed(0)
    for step in range(steps):
        head.set_progress(step / steps)
        truth = torch.randn(128, 1, 1, generator=generator) * spread * 2 / cells
        optimizer.zero_grad()
        torch.stack(list(head.losses(logits.expand(128, -1, -1), seen(truth)).values())).mean().backward()
        optimizer.step()
    covariance = head.decode(logits.detach()).covariance
    return covariance.sqrt().item() * cells / 2


def test_crps_learns_the_spread_of_the_truth_and_expected_errors_collapse() -> None:
    assert learnt_spread(estimator="crps") == pytest.approx(2.0, rel=0.12)
    # All mass on the middle cell leaves the triangle's own sqrt(1/6).
    assert learnt_spread(estimator="exact") < 1.0
    assert learnt_spread(estimator="grid") < 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"basis": "triangle"}, "did you mean 'triangular'"),
        ({"estimator": "samples"}, "did you mean 'sample'"),
        ({"categorical": "code"}, "paper, reference"),
        ({"gradient": "signs"}, "did you mean 'sign'"),
        ({"num_samples": 0}, "num_samples must be a positive integer, got 0"),
        ({"num_samples": 2.5}, "num_samples must be a positive integer, got 2.5"),
        ({"tau_end": 0.0}, "tau_end must be a positive number"),
        ({"tau_until": 1.5}, "tau_until is a part of training, so at most 1, got 1.5"),
        ({"beta": -1.0}, "beta must be a positive number"),
    ],
)
def test_bad_options_are_refused_when_the_head_is_made(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(1, 1, (4, 4), **options)


def test_annealing_is_a_straight_line_and_then_constant() -> None:
    anneal = LinearAnneal(1.0, 3.0, until=0.5)
    assert [anneal(f) for f in (0.0, 0.125, 0.25, 0.5, 0.9, 1.0)] == [1.0, 1.5, 2.0, 3.0, 3.0, 3.0]
    assert LinearAnneal(2.0, 0.5, until=0)(0.0) == 0.5
    assert LinearAnneal(2.0, 0.7, until=1)(1.0) == 0.7
    for bad in ({"start": 0.0}, {"end": float("nan")}, {"until": -0.1}, {"until": 1.1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            LinearAnneal(**{"start": 1.0, "end": 1.0, "until": 1.0, **bad})
