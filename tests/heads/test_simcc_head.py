"""The SimCC head against loops, numbers worked by hand, and bins filled on purpose."""

import math

import numpy as np
import pytest
import torch

from punctum import ops
from punctum.heads import Target
from punctum.heads.simcc import SimCC


def seen(*coords: float) -> Target:
    return Target(torch.tensor([[coords]]), torch.tensor([[True]]))


def bins_of(*distributions: np.ndarray) -> list[torch.Tensor]:
    """Logits (1, 1, bins) per axis whose softmax is given."""
    return [torch.tensor(np.log(np.maximum(p, 1e-30)), dtype=torch.float32)[None, None] for p in distributions]


def gaussian(mean: float, sigma: float, bins: int) -> np.ndarray:
    values = np.array([math.exp(-((i - mean) ** 2) / (2 * sigma**2)) for i in range(bins)])
    return values / values.sum()


def test_one_linear_layer_per_axis_reads_the_whole_map_of_each_keypoint() -> None:
    head, features = SimCC(4, 3, (2, 5), bins_per_cell=3), torch.randn(2, 4, 2, 5)
    output = head(features)
    assert [tuple(logits.shape) for logits in output] == [(2, 3, 15), (2, 3, 6)]  # x, then y
    for b, k, axis in np.ndindex(2, 3, 2):
        z = torch.einsum("c,chw->hw", head.conv.weight[k, :, 0, 0], features[b]) + head.conv.bias[k]
        z = z.flatten()
        z = (z - z.mean()) / (z.var(unbiased=False) + 1e-5).sqrt() * 5 / math.sqrt(10)
        wanted = head.axes[axis].weight @ z + head.axes[axis].bias
        torch.testing.assert_close(output[axis][b, k], wanted, rtol=1e-4, atol=1e-5)


def test_loss_is_the_divergence_of_each_axis_from_a_gaussian() -> None:
    head = SimCC(1, 1, (2, 3), bins_per_cell=4, sigma=1.5, beta=2.0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=12), rng.normal(size=8)
    truth_px = {"x": 4.3, "y": 5.6}  # in bins
    wanted = 0.0
    for logits, mean in ((x, truth_px["x"]), (y, truth_px["y"])):
        g = gaussian(mean, 1.5, len(logits))
        p = np.exp(2 * logits) / np.exp(2 * logits).sum()
        wanted += sum(a * math.log(a / b) for a, b in zip(g, p, strict=True))
    output = [torch.tensor(v, dtype=torch.float32)[None, None] for v in (x, y)]
    target = seen((2 * 4.3 + 1) / 12 - 1, (2 * 5.6 + 1) / 8 - 1)
    found = head.losses(output, target)
    assert found.keys() == {"kl"}
    assert found["kl"].item() == pytest.approx(wanted, rel=1e-5)


def test_a_perfect_answer_costs_nothing_even_at_the_edge() -> None:
    head = SimCC(1, 1, (2, 3), bins_per_cell=4, sigma=1.5)
    for x in (4.3, -0.5, 11.5):
        output = bins_of(gaussian(x, 1.5, 12), gaussian(2.0, 1.5, 8))
        target = seen((2 * x + 1) / 12 - 1, (2 * 2.0 + 1) / 8 - 1)
        assert head.losses(output, target)["kl"].item() == pytest.approx(0, abs=1e-5)


def test_a_target_far_outside_is_finite() -> None:
    head = SimCC(1, 1, (2, 3))
    assert head.losses(head(torch.randn(1, 1, 2, 3)), seen(1e20, -50.0))["kl"].isfinite().all()


@pytest.mark.parametrize(
    ("decoder", "place", "tolerance"), [("argmax", 70.0, 1e-4), ("mean", 70.4, 1e-2), ("local", 70.4, 1e-3)]
)
def test_each_decoder_reads_its_own_precision(decoder: str, place: float, tolerance: float) -> None:
    head = SimCC(1, 1, (8, 9), sigma=6.0, decoder=decoder)
    coords = head.decode(bins_of(gaussian(70.4, 6.0, 144), gaussian(70.4, 6.0, 128))).coords[0, 0]
    found = [ops.to_pixels(coords[axis : axis + 1], (n,)).item() for axis, n in enumerate((144, 128))]
    assert found == pytest.approx([place, place], abs=tolerance)


def test_at_the_edge_the_local_decoder_is_not_drawn_inwards_as_the_mean_is() -> None:
    output = bins_of(gaussian(1.0, 6.0, 144), gaussian(70.0, 6.0, 128))
    places = {}
    for decoder in ("local", "mean"):
        coords = SimCC(1, 1, (8, 9), sigma=6.0, decoder=decoder).decode(output).coords[0, 0]
        places[decoder] = ops.to_pixels(coords[:1], (144,)).item()
    assert places["local"] == pytest.approx(1.0, abs=0.01)
    assert places["mean"] > 4


def test_score_covariance_and_heatmap_are_the_bins() -> None:
    head, rng = SimCC(1, 1, (3, 4), bins_per_cell=2, decoder="mean"), np.random.default_rng(1)
    x, y = rng.dirichlet(np.ones(8)), rng.dirichlet(np.ones(6))
    prediction = head.decode(bins_of(x, y))
    score, variances = 1.0, []
    for p, cells in ((x, 4), (y, 3)):
        centres = (2 * np.arange(len(p)) + 1) / len(p) - 1
        mean = (p * centres).sum()
        variances.append((p * (centres - mean) ** 2).sum())
        score *= (p * np.exp(-(((centres - mean) * cells / 2) ** 2) / 8)).sum()
    assert prediction.score.item() == pytest.approx(score, rel=1e-5)
    assert prediction.covariance is not None
    assert prediction.heatmap is not None
    np.testing.assert_allclose(prediction.covariance[0, 0], np.diag(variances), rtol=1e-4)
    wanted = np.outer(y.reshape(3, 2).sum(1), x.reshape(4, 2).sum(1))
    np.testing.assert_allclose(prediction.heatmap[0, 0], wanted, rtol=1e-5)


def test_score_is_high_for_one_narrow_peak_and_low_for_flat_and_two_peaked_bins() -> None:
    head = SimCC(1, 1, (16, 16))
    peak = np.zeros(256)
    peak[100] = 1
    two = 0.5 * np.roll(peak, 100) + 0.5 * peak

    def score(p: np.ndarray) -> float:
        return head.decode(bins_of(p, p)).score.item()

    assert score(peak) == pytest.approx(1, abs=1e-3)
    assert score(two) == pytest.approx(0.25, abs=0.02)
    assert score(np.full(256, 1 / 256)) < 0.15


def test_refuses_features_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"'simcc' was built for features of size \(7, 9\), got \(8, 9\)"):
        SimCC(16, 5, (7, 9))(torch.zeros(1, 16, 8, 9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "argmx"}, "did you mean 'argmax'"),
        ({"sigma": 0.0}, "sigma must be a positive number"),
        ({"beta": -1.0}, "beta must be a positive number"),
        ({"bins_per_cell": 0}, "bins_per_cell must be an integer of at least 1"),
        ({"bins_per_cell": 1.5}, "bins_per_cell must be an integer"),
    ],
)
def test_bad_options_are_refused_when_the_head_is_made(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimCC(1, 1, (4, 4), **options)
