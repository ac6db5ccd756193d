"""The integral head: the L1 distance of a mean, the prior in both directions, compensation when it decodes."""

import itertools
import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from punctum import heads, ops
from punctum.heads import Head, Target


def build(size: tuple[int, ...], **options) -> Head:
    return heads.build("integral", 4, 3, size, **options).double()


def drawn(size: tuple[int, ...]) -> tuple[Tensor, Target]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    coords = torch.rand(2, 3, len(size), generator=generator, dtype=torch.float64) - 0.5
    return logits, Target(coords, torch.ones(2, 3, dtype=torch.bool))


def by_hand(logits: Tensor, beta: float) -> tuple[dict[tuple[int, ...], float], list[float]]:
    """One map's softmax by cell, and its mean in normalized coordinates, in plain Python."""
    cells = list(itertools.product(*map(range, logits.shape)))
    raw = {cell: math.exp(beta * logits[cell].item()) for cell in cells}
    p = {cell: value / sum(raw.values()) for cell, value in raw.items()}
    centres = {cell: [(2 * i + 1) / n - 1 for i, n in zip(cell, logits.shape, strict=True)][::-1] for cell in cells}
    return p, [sum(p[cell] * centres[cell][axis] for cell in cells) for axis in range(logits.ndim)]


@pytest.mark.parametrize("size", [(7,), (4, 5), (3, 4, 3)])
@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_terms_are_the_formulas_of_the_page(size: tuple[int, ...], beta: float) -> None:
    logits, target = drawn(size)
    for prior in ("kl", "reverse_kl"):
        head = build(size, prior=prior, beta=beta, sigma=0.9, coord_weight=3.0, prior_weight=0.5)
        found = head.losses(logits, target)
        assert list(found) == ["l1", prior]
        for b, k in itertools.product(range(2), range(3)):
            p, mean = by_hand(logits[b, k], beta)
            truth = target.coords[b, k].tolist()
            places = [((t + 1) * n - 1) / 2 for t, n in zip(truth[::-1], size, strict=True)]
            g = {cell: math.exp(-(math.dist(cell, places) ** 2) / (2 * 0.9**2)) for cell in p}
            pair = (list(g.values()), list(p.values()))
            wanted = stats.entropy(*(pair if prior == "kl" else pair[::-1]))
            assert found[prior][b, k].item() == pytest.approx(0.5 * wanted)
            distance = sum(abs(m - t) for m, t in zip(mean, truth, strict=True))
            assert found["l1"][b, k].item() == pytest.approx(3 * distance)
    assert list(build(size, prior="none").losses(logits, target)) == ["l1"]


def test_the_prior_tells_every_cell_what_to_hold() -> None:
    """Its gradient is beta (p - G); the other direction's vanishes with p."""
    logits, target = drawn((6, 7))
    logits[..., 0, 0] = -60
    logits.requires_grad_()
    wanted = ops.render_gaussian(target.coords, 1.0, (6, 7))
    gradients = {}
    for prior in ("kl", "reverse_kl"):
        term = build((6, 7), prior=prior, beta=2.0).losses(logits, target)[prior]
        (gradients[prior],) = torch.autograd.grad(term.sum(), logits)
    torch.testing.assert_close(gradients["kl"], 2 * (ops.normalize(logits, beta=2.0) - wanted))
    assert gradients["kl"][..., 0, 0].abs().min() > 1e-8
    assert gradients["reverse_kl"][..., 0, 0].abs().max() < 1e-40


@pytest.mark.parametrize(("size", "sigma"), [((64, 48), 2.0), ((16, 16), 1.0)])
def test_at_equal_weights_both_terms_start_alike(size: tuple[int, ...], sigma: float) -> None:
    coords = 2 * torch.rand(1, 900, 2, generator=torch.Generator().manual_seed(0)) - 1
    head = heads.build("integral", 4, 900, size, sigma=sigma)
    target = Target(coords, torch.ones(1, 900, dtype=torch.bool))
    terms = {term: v.mean().item() for term, v in head.losses(torch.zeros(1, 900, *size), target).items()}
    assert 1 < terms["kl"] / terms["l1"] < 5


def test_debias_is_for_decoding_only() -> None:
    size = (64, 64)
    truth = ops.to_normalized(torch.tensor([[[16.3, 40.0]] * 3], dtype=torch.float64), size)
    logits = 8 * ops.render_gaussian(truth, 2.0, size, normalize=False)
    plain, heads_with = build(size), [build(size, debias=True, background=b) for b in ("median", "zero")]
    target = Target(truth, torch.ones(1, 3, dtype=torch.bool))
    assert ops.to_pixels(plain.decode(logits).coords, size)[0, 0, 0].item() == pytest.approx(20.42, abs=0.01)
    for head in heads_with:
        found = head.decode(logits)
        assert ops.to_pixels(found.coords, size)[0, 0].tolist() == pytest.approx([16.3, 40.0], abs=0.01)
        assert found.score.mean() > plain.decode(logits).score.mean() + 0.2
        torch.testing.assert_close(found.covariance, plain.decode(logits).covariance)
        torch.testing.assert_close(head.losses(logits, target)["l1"], plain.losses(logits, target)["l1"])
    raised = heads_with[0].decode(logits + 5)
    assert ops.to_pixels(raised.coords, size)[0, 0, 0].item() == pytest.approx(16.3, abs=0.01)
    assert ops.to_pixels(heads_with[1].decode(logits + 5).coords, size)[0, 0, 0].item() > 20


@pytest.mark.parametrize(
    ("option", "value"),
    [("sigma", 0.0), ("beta", -1.0), ("prior", "js"), ("background", "mean"), ("coord_weight", -1)],
)
def test_bad_options_are_named(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        build((4, 4), **{option: value})
