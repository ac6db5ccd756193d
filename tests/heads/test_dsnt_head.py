"""The DSNT head against loops and numbers worked by hand."""

import math

import numpy as np
import pytest
import torch

from punctum.heads import Target
from punctum.heads.dsnt import DSNT


def head_that_passes_through(size: tuple[int, ...], **options: object) -> DSNT:
    head = DSNT(1, 1, size, **options)
    torch.nn.init.ones_(head.conv.weight)
    return head


def seen(coords: list[float]) -> Target:
    return Target(torch.tensor([[coords]]), torch.tensor([[True]]))


def gaussian(mean: list[float], sigma: float, size: tuple[int, int]) -> np.ndarray:
    """A Gaussian on the grid that sums to one, cell by cell; the mean in heatmap pixels."""
    values = np.array(
        [
            [math.exp(-((x - mean[0]) ** 2 + (y - mean[1]) ** 2) / (2 * sigma**2)) for x in range(size[1])]
            for y in range(size[0])
        ]
    )
    return values / values.sum()


RECTIFIERS = {
    "softmax": lambda z: np.exp(2.0 * z),
    "abs": np.abs,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
}


@pytest.mark.parametrize("activation", RECTIFIERS)
def test_terms_agree_with_a_loop_over_cells(activation: str) -> None:
    size, truth_px, sigma = (5, 6), [2.2, 1.4], 0.8
    z = np.random.default_rng(0).normal(size=size)
    p = RECTIFIERS[activation](z)
    p /= p.sum()
    mean = [
        sum(p[y, x] * ((2 * x + 1) / 6 - 1) for y in range(5) for x in range(6)),
        sum(p[y, x] * ((2 * y + 1) / 5 - 1) for y in range(5) for x in range(6)),
    ]
    truth = [(2 * truth_px[0] + 1) / 6 - 1, (2 * truth_px[1] + 1) / 5 - 1]
    g = gaussian(truth_px, sigma, size)
    m = (p + g) / 2
    kl = sum(a * math.log(a / b) for a, b in zip(p.flat, g.flat, strict=True) if a > 0)
    js = sum(a * math.log(a / c) for a, c in zip(p.flat, m.flat, strict=True) if a > 0) / 2
    js += sum(b * math.log(b / c) for b, c in zip(g.flat, m.flat, strict=True)) / 2
    wanted = {
        ("euclidean", "none"): {"euclidean": math.dist(mean, truth)},
        ("l1", "js"): {"l1": abs(mean[0] - truth[0]) + abs(mean[1] - truth[1]), "js": js},
        ("euclidean", "kl"): {"euclidean": math.dist(mean, truth), "kl": kl},
    }
    features = torch.tensor(z, dtype=torch.float32)[None, None]
    for (loss, regularizer), terms in wanted.items():
        head = head_that_passes_through(
            size, activation=activation, loss=loss, regularizer=regularizer, sigma=sigma, beta=2.0
        )
        found = head.losses(head(features), seen(truth))
        assert found.keys() == terms.keys()
        for term, value in terms.items():
            assert found[term].item() == pytest.approx(value, rel=1e-4, abs=1e-5)


def test_regularizers_are_weighted_as_in_the_paper_unless_told_otherwise() -> None:
    # Two cells with half the mass each: variance 0.25 in normalized units (centres at -0.5 and 0.5), 0.25 in pixels.
    flat, target = torch.zeros(1, 1, 2), seen([0.0])

    def term(**options: object) -> float:
        head = head_that_passes_through((2,), **options)
        return head.losses(head(flat), target)[str(options["regularizer"])].item()

    assert term(regularizer="variance", sigma=1.0) == pytest.approx(100 * (0.25 - 1.0) ** 2)
    assert term(regularizer="variance", sigma=2.0, units="pixels", reg_weight=3.0) == pytest.approx(
        3 * (0.25 - 4) ** 2
    )
    assert term(regularizer="js", reg_weight=0.0) == 0
    # A flat map and a Gaussian midway between its two cells are the same thing.
    assert term(regularizer="kl") == pytest.approx(0, abs=1e-6)
    # A Gaussian at the first cell's centre is (1, e^-1/2) / (1 + e^-1/2): KL(flat || it), by hand.
    head = head_that_passes_through((2,), regularizer="kl")
    one = 1 / (1 + math.exp(-0.5))
    by_hand = 0.5 * math.log(0.5 / one) + 0.5 * math.log(0.5 / (1 - one))
    assert head.losses(head(flat), seen([-0.5]))["kl"].item() == pytest.approx(by_hand, rel=1e-5)


def score_of(heatmap: torch.Tensor) -> float:
    head = head_that_passes_through(tuple(heatmap.shape))
    return head.decode(head(heatmap.clamp_min(1e-30).log()[None, None])).score.item()


def test_score_is_the_expected_closeness_at_two_cells() -> None:
    p = torch.rand(7, 9, generator=torch.Generator().manual_seed(0))
    p /= p.sum()
    ys, xs = np.mgrid[:7, :9]
    weights = p.double().numpy()
    mx, my = (weights * xs).sum(), (weights * ys).sum()
    by_loop = (weights * np.exp(-((xs - mx) ** 2 + (ys - my) ** 2) / 8)).sum()
    assert score_of(p) == pytest.approx(by_loop, rel=1e-4)


def test_score_is_one_for_a_point_and_small_for_flat_and_two_peaked_maps() -> None:
    point, flat, peaks = torch.zeros(20, 20), torch.full((20, 20), 1 / 400), torch.zeros(20, 20)
    point[4, 15] = 1
    peaks[2, 2] = peaks[17, 17] = 0.5
    assert score_of(point) == pytest.approx(1)
    assert score_of(flat) < 0.1
    assert score_of(peaks) < 1e-4


def test_covariance_is_the_heatmaps_own() -> None:
    # Mass at the cells (0, 0) and (1, 1) of 2 x 2: variance 1/4 on each axis, wholly correlated.
    heatmap = torch.tensor([[0.5, 1e-30], [1e-30, 0.5]])
    head = head_that_passes_through((2, 2))
    prediction = head.decode(head(heatmap.log()[None, None]))
    assert prediction.covariance is not None
    torch.testing.assert_close(prediction.covariance[0, 0], torch.full((2, 2), 0.25))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "softmx"}, "did you mean 'softmax'"),
        ({"loss": "l2"}, "There are: euclidean, l1"),
        ({"regularizer": "wasserstein"}, "none, variance, kl, js"),
        ({"units": "mm"}, "normalized, pixels"),
        ({"sigma": 0}, "sigma must be a positive number"),
        ({"beta": float("nan")}, "beta must be a positive number"),
        ({"reg_weight": -1.0}, "reg_weight must be a non-negative number"),
    ],
)
def test_bad_options_are_refused_when_the_head_is_made(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DSNT(1, 1, (4, 4), **options)
