"""The density head: its optimum has the truths' mean, and its absent logit learns who is missing."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from punctum import heads, ops
from punctum.heads import Target


def scattered(size: tuple[int, ...], samples: int = 100) -> Tensor:
    """Truths about three places, skewed and of different width, (samples, 3, D), away from the border."""
    generator = torch.Generator().manual_seed(0)
    dims = len(size)
    centre = torch.tensor([[-0.31], [0.05], [0.23]], dtype=torch.float64)
    spread = torch.tensor([[0.01], [0.06], [0.15]], dtype=torch.float64)
    draws = torch.rand(samples, 3, dims, generator=generator, dtype=torch.float64) ** 3
    return centre + spread * (2 * draws - 0.5)


def minimized(loss, logits: Tensor) -> Tensor:
    """The logits at the loss's minimum, which is checked to be one."""
    logits = logits.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(logits)
        value.backward()
        return value

    optimizer.step(closure)
    return logits.detach()


@pytest.mark.parametrize(
    ("size", "smear"), [((11,), 0.0), ((8, 9), 0.0), ((5, 6, 7), 0.0), ((11,), 0.8), ((6, 5), 0.8)], ids=str
)
def test_the_best_map_for_scattered_truths_has_their_mean(size: tuple[int, ...], smear: float) -> None:
    truths = scattered(size)
    head = heads.build("density", 4, 3, size, smear=smear, absent=False).double()
    target = Target(truths, torch.ones(len(truths), 3, dtype=torch.bool))

    def loss(logits: Tensor) -> Tensor:
        return head.losses((logits.expand(len(truths), *logits.shape[1:]),), target)["kl"].mean()

    best = minimized(loss, torch.zeros(1, 3, *size, dtype=torch.float64))
    found = ops.to_pixels(head.decode((best,)).coords[0], size)
    wanted = ops.to_pixels(truths.mean(0), size)
    assert (found - wanted).abs().max() < 1e-3


def test_the_likelihood_of_the_interpolated_density_would_not() -> None:
    """The trap: -log sum_k w_k p_k looks alike, and is best at the nearest cell alone."""
    truth = ops.to_normalized(torch.full((1, 1, 1), 4.3, dtype=torch.float64), (9,))
    truths = truth + 0.02 * torch.randn(400, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = ops.multilinear_weights(truths, (9,))

    def trap(logits: Tensor) -> Tensor:
        return -torch.log((weights * ops.normalize(logits)).sum(-1)).mean()

    best = ops.normalize(minimized(trap, torch.zeros(1, 1, 9, dtype=torch.float64)))
    assert best[0, 0, 4] > 0.99
    off = ops.to_pixels(ops.dsnt(best), (9,)) - ops.to_pixels(truths.mean(0, keepdim=True), (9,))
    assert off.item() == pytest.approx(-0.3, abs=0.02)


@pytest.mark.parametrize("smear", [0.0, 0.8])
def test_the_loss_is_the_divergence_and_reaches_zero(smear: float) -> None:
    size = (6, 7)
    head = heads.build("density", 4, 3, size, smear=smear, absent=False)
    coords = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    target = Target(coords, torch.ones(2, 3, dtype=torch.bool))
    weights = ops.multilinear_weights(coords, size, smear)
    logits = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = stats.entropy(weights.flatten(2).numpy(), ops.normalize(logits).flatten(2).numpy(), axis=-1)
    assert head.losses((logits,), target)["kl"].numpy() == pytest.approx(wanted)
    assert head.losses((weights.clamp_min(1e-30).log(),), target)["kl"].abs().max() < 1e-12


def test_an_absent_point_costs_its_surprise_and_a_hidden_one_nothing_certain() -> None:
    head = heads.build("density", 4, 2, (3,))
    logits, absent = torch.zeros(1, 2, 3), torch.zeros(1, 2)
    visible, missing = torch.tensor([[False, True]]), torch.tensor([[True, False]])
    target = Target(torch.zeros(1, 2, 1), visible, missing)
    # Four classes of equal probability; the visible point stands on a cell.
    assert head.losses((logits, absent), target)["kl"].tolist() == [[pytest.approx(math.log(4))] * 2]
    assert head.counts(target).tolist() == [[True, True]]
    assert heads.build("density", 4, 2, (3,), absent=False).counts(target).tolist() == [[False, True]]
    assert head.counts(Target(torch.zeros(1, 2, 1), visible)).tolist() == [[False, True]]


def test_the_score_is_presence_times_concentration() -> None:
    logits = torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    head = heads.build("density", 4, 4, (5, 5))
    alone = head.decode((logits,))
    assert alone.present is None
    absent = torch.tensor([[-100.0, 0.0, 3.0, 100.0]])
    both = head.decode((logits, absent))
    torch.testing.assert_close(both.coords, alone.coords)
    for k in range(4):
        odds = sum(math.exp(z) for z in logits[0, k].flatten().tolist()) / math.exp(absent[0, k])
        assert both.present[0, k].item() == pytest.approx(odds / (1 + odds), abs=1e-6)
        assert both.score[0, k].item() == pytest.approx(alone.score[0, k].item() * odds / (1 + odds), abs=1e-6)


def test_where_nothing_is_ever_absent_the_score_becomes_the_concentration() -> None:
    """Unlabelled points among the others: they teach the logit nothing, not even that points are there."""
    torch.manual_seed(0)
    head = heads.build("density", 4, 2, (7, 8))
    features = torch.randn(16, 4, 7, 8, generator=torch.Generator().manual_seed(0))
    coords = torch.rand(16, 2, 2, generator=torch.Generator().manual_seed(1)) - 0.5
    target = Target(coords, torch.tensor([[True, False]]).repeat(16, 1))
    before = head.presence.weight.detach().clone(), head.presence.bias.detach().clone()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        ops.average_loss(head.losses(head(features), target)["kl"], head.counts(target)).backward()
        optimizer.step()
    output = head(features)
    present = head.decode(output).score / head.decode(output[:1]).score
    assert present[:, 0].min() > 0.995
    assert torch.equal(head.presence.weight[1], before[0][1])
    assert torch.equal(head.presence.bias[1], before[1][1])


def test_the_absent_logit_learns_who_is_missing() -> None:
    """Features with a bump where the point is, and none where it is not: scores of new samples tell them apart."""

    def sample(seed: int, n: int = 200) -> tuple[Tensor, Target]:
        generator = torch.Generator().manual_seed(seed)
        coords = torch.rand(n, 1, 2, generator=generator) * 1.6 - 0.8
        here = torch.rand(n, 1, generator=generator) > 0.4
        bumps = ops.render_gaussian(coords, 1.0, (9, 9), normalize=False) * here[..., None, None]
        noise = 0.1 * torch.randn(n, 2, 9, 9, generator=generator)
        features = torch.cat([bumps, torch.zeros_like(bumps)], 1) + noise
        return features, Target(coords, here, ~here)

    def auc(higher: Tensor, lower: Tensor) -> float:
        return stats.mannwhitneyu(higher, lower)[0] / (len(higher) * len(lower))

    torch.manual_seed(0)
    head = heads.build("density", 2, 1, (9, 9))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.2)
    features, target = sample(1)
    for _ in range(150):
        optimizer.zero_grad()
        losses = head.losses(head(features), target)["kl"]
        ops.average_loss(losses, head.counts(target)).backward()
        optimizer.step()
    features, target = sample(2)
    with torch.no_grad():
        output = head(features)
        score = head.decode(output).score
    assert auc(score[target.visible], score[target.absent]) > 0.98
    assert auc(output[1][target.absent], output[1][target.visible]) > 0.98
