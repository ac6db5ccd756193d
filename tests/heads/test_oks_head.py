"""The OKS head: COCO's formula in a crop, the place of the largest expected OKS, and what each loss can learn."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor

from punctum import heads, ops
from punctum.heads import Target

SIZE = (6, 8)


def coco_oks(a: list[float], b: list[float], area: float, sigma: float) -> float:
    """As COCO's evaluation has it, in pixels."""
    return math.exp(-(math.dist(a, b) ** 2) / (2 * area * (2 * sigma) ** 2))


@pytest.mark.parametrize("size", [(11,), SIZE, (4, 3, 5)])
def test_losses_are_cocos_similarity_in_the_crop(size: tuple[int, ...]) -> None:
    """The crop is 40 times its cells; the object's size is 0.5 of the crop's."""
    generator = torch.Generator().manual_seed(0)
    dims, sigmas = len(size), [0.05, 0.2]
    logits = torch.randn(2, 2, *size, generator=generator, dtype=torch.float64)
    coords = torch.rand(2, 2, dims, generator=generator, dtype=torch.float64) - 0.5
    target = Target(coords, torch.ones(2, 2, dtype=torch.bool))
    crop = tuple(40 * n for n in size)
    area = (0.5 * math.prod(crop) ** (1 / dims)) ** 2
    found = {
        loss: heads.build("oks", 4, 2, size, loss=loss, scale=0.5, sigmas=sigmas).double().losses(logits, target)
        for loss in ("log", "expected")
    }
    for b, k in itertools.product(range(2), range(2)):
        raw = {i: math.exp(logits[b, k][i].item()) for i in itertools.product(*map(range, size))}
        truth = ops.to_pixels(coords[b, k], crop).tolist()[::-1]
        mean = sum(
            value / sum(raw.values()) * coco_oks([40 * i + 19.5 for i in cell], truth, area, sigmas[k])
            for cell, value in raw.items()
        )
        assert found["expected"]["oks"][b, k].item() == pytest.approx(1 - mean, rel=1e-6)
        assert found["log"]["oks"][b, k].item() == pytest.approx(-math.log(mean), rel=1e-6)


def expected(heatmap: np.ndarray, place: np.ndarray, length: float) -> float:
    """The expected OKS of a place in cells, in the order of the array's axes."""
    cells = np.stack(np.meshgrid(*map(np.arange, heatmap.shape), indexing="ij"), -1)
    return float((heatmap * np.exp(-((cells - place) ** 2).sum(-1) / (2 * length**2))).sum())


@pytest.mark.parametrize("size", [(13,), SIZE, (4, 5, 6)])
def test_the_coordinate_has_the_largest_expected_oks_and_the_score_is_it(size: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(1, 5, *size, generator=generator, dtype=torch.float64)
    head = heads.build("oks", 4, 5, size, sigma=0.12).double()
    prediction = head.decode(logits)
    length = 2 * 0.12 * 0.6 * math.prod(size) ** (1 / len(size))
    for k in range(5):
        heatmap = prediction.heatmap[0, k].numpy()
        starts = itertools.product(*map(range, size))
        best = max(
            -optimize.minimize(lambda x, h=heatmap: -expected(h, x, length), start, method="BFGS").fun
            for start in sorted(starts, key=lambda s, h=heatmap: -expected(h, np.array(s), length))[:8]
        )
        place = np.array(ops.to_pixels(prediction.coords[0, k], size).tolist()[::-1])
        assert prediction.score[0, k].item() == pytest.approx(expected(heatmap, place, length), abs=1e-6)
        assert prediction.score[0, k].item() == pytest.approx(best, abs=2e-4)
        assert prediction.score[0, k].item() <= best + 1e-6


def test_a_smooth_peak_is_found_between_cells() -> None:
    truth = ops.to_normalized(torch.tensor([[[9.3, 12.6]]], dtype=torch.float64), (24, 20))
    logits = ops.log_gaussian(truth, 1.2, (24, 20))
    found = heads.build("oks", 4, 1, (24, 20)).double().decode(logits)
    torch.testing.assert_close(found.coords, truth, rtol=0, atol=1e-3)
    # E of a Gaussian at its middle: l^2 / (s^2 + l^2) in 2-D.
    squared = (2 * 0.067 * 0.6) ** 2 * 24 * 20
    assert found.score.item() == pytest.approx(squared / (squared + 1.2**2), abs=1e-4)


def fitted(loss: str, start: Tensor, truth: Tensor, scatter: float, steps: int = 200) -> tuple[Tensor, Tensor]:
    """Median error in cells after a free map has seen scattered truths, and the map's entropy."""
    size = tuple(start.shape[2:])
    head = heads.build("oks", 4, start.shape[1], size, loss=loss)
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.3)
    noise = torch.randn(32, *truth.shape[1:], generator=torch.Generator().manual_seed(1))
    target = Target(truth + 2 / size[-1] * scatter * noise, torch.ones(32, start.shape[1], dtype=torch.bool))
    for _ in range(steps):
        optimizer.zero_grad()
        head.losses(logits.expand(32, *logits.shape[1:]), target)["oks"].mean().backward()
        optimizer.step()
    found = head.decode(logits.detach())
    error = (ops.to_pixels(found.coords, size) - ops.to_pixels(truth, size)).norm(dim=-1)[0]
    return error, torch.special.entr(found.heatmap).flatten(2).sum(-1)[0]


def test_expected_ends_on_the_nearest_cell() -> None:
    """The quantization that the page warns of: up to half a cell on each axis."""
    truth = 0.9 * torch.rand(1, 12, 2, generator=torch.Generator().manual_seed(0)) - 0.45
    error, entropy = fitted("expected", torch.zeros(1, 12, 14, 14), truth, scatter=0.1)
    offset = ops.to_pixels(truth, (14, 14))[0]
    assert entropy.max() < 0.5
    torch.testing.assert_close(error, (offset - offset.round()).norm(dim=-1), rtol=0, atol=0.12)


def test_log_shows_scatter_wider_than_its_kernel_and_expected_does_not() -> None:
    start = torch.zeros(1, 4, 20, 20)
    entropy = {loss: fitted(loss, start, torch.zeros(1, 4, 2), scatter=3.0)[1] for loss in ("expected", "log")}
    assert entropy["expected"].median() < 0.3
    assert entropy["log"].min() > 1


def test_far_from_the_truth_the_expected_losss_gradient_vanishes_and_the_logarithms_does_not() -> None:
    size = (24, 24)
    peak = torch.tensor([[[-0.7, -0.7]]])
    target = Target(-peak, torch.ones(1, 1, dtype=torch.bool))
    norms = {}
    for loss in ("expected", "log"):
        logits = (15 * ops.render_gaussian(peak, 1.5, size, normalize=False)).requires_grad_()
        value = heads.build("oks", 4, 1, size, loss=loss).losses(logits, target)["oks"]
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        norms[loss] = gradient.norm().item()
    assert norms["expected"] < 1e-4
    assert norms["log"] > 0.1


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("sigmas", [0.1, 0.2], "one for each of the 3 keypoints, got 2"),
        ("sigmas", [0.1, 0.0, 0.1], r"sigmas\[1\] must be a positive number"),
        ("scale", 0.0, "scale must be a positive number"),
        ("loss", "nll", "loss='nll' is no choice"),
    ],
)
def test_bad_options_are_named(option: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        heads.build("oks", 4, 3, (4, 4), **{option: value})
