"""The heatmap head against loops and closed forms."""

import math

import numpy as np
import pytest
import torch

from punctum.heads import Target
from punctum.heads.heatmap import Heatmap


def drawing(x: float, y: float, sigma: float, size: tuple[int, int]) -> torch.Tensor:
    """A Gaussian of height one, cell by cell; the place in heatmap pixels."""
    rows = [
        [math.exp(-((i - x) ** 2 + (j - y) ** 2) / (2 * sigma**2)) for i in range(size[1])] for j in range(size[0])
    ]
    return torch.tensor(rows)[None, None]


def target_at(x: float, y: float, size: tuple[int, int]) -> Target:
    coords = torch.tensor([[[(2 * x + 1) / size[1] - 1, (2 * y + 1) / size[0] - 1]]])
    return Target(coords, torch.tensor([[True]]))


def test_loss_is_the_mean_square_over_cells() -> None:
    size = (6, 9)
    output = torch.randn(1, 1, *size)
    wanted = sum(
        (output[0, 0, j, i].item() - math.exp(-((i - 3.3) ** 2 + (j - 2.6) ** 2) / (2 * 1.5**2))) ** 2
        for j in range(6)
        for i in range(9)
    ) / (6 * 9)
    found = Heatmap(1, 1, size, sigma=1.5).losses(output, target_at(3.3, 2.6, size))
    assert found.keys() == {"mse"}
    assert found["mse"].item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_an_empty_map_costs_what_the_docstring_says(sigma: float) -> None:
    size = (64, 64)
    loss = Heatmap(1, 1, size, sigma=sigma).losses(torch.zeros(1, 1, *size), target_at(31.2, 30.9, size))
    assert loss["mse"].item() == pytest.approx(math.pi * sigma**2 / 64**2, rel=1e-3)


def test_rounded_centre_draws_at_the_cell() -> None:
    size = (8, 10)
    head = Heatmap(1, 1, size, sigma=1.0, centre="rounded")
    assert head.losses(drawing(4, 3, 1.0, size), target_at(4.4, 2.6, size))["mse"].item() < 1e-10
    exact = Heatmap(1, 1, size, sigma=1.0)
    assert exact.losses(drawing(4.4, 2.6, 1.0, size), target_at(4.4, 2.6, size))["mse"].item() < 1e-10
    assert exact.losses(drawing(4, 3, 1.0, size), target_at(4.4, 2.6, size))["mse"].item() > 1e-3


@pytest.mark.parametrize(
    ("decoder", "place"), [("argmax", (9, 8)), ("quarter", (9.25, 7.75)), ("dark", (9.4, 7.6)), ("local", (9.4, 7.6))]
)
def test_each_decoder_reads_its_own_precision(decoder: str, place: tuple[float, float]) -> None:
    size = (17, 19)
    prediction = Heatmap(1, 1, size, sigma=1.5, decoder=decoder).decode(drawing(9.4, 7.6, 1.5, size))
    torch.testing.assert_close(prediction.coords, target_at(*place, size).coords, rtol=0, atol=0.02 * 2 / 19)


def test_local_reads_points_at_the_very_border_where_a_plain_mean_would_be_drawn_inwards() -> None:
    size = (17, 19)
    for x, y in ((0.0, 8.2), (-0.4, 16.3), (18.4, -0.3)):
        found = Heatmap(1, 1, size, sigma=1.5, decoder="local").decode(drawing(x, y, 1.5, size)).coords
        torch.testing.assert_close(found, target_at(x, y, size).coords, rtol=0, atol=1e-3)


@pytest.mark.parametrize("decoder", ["dark", "local"])
def test_covariance_is_the_spread_of_places_whose_mean_map_is_drawn(decoder: str) -> None:
    """The mean of Gaussians drawn at N((16.4, 15.7), 1.2^2), as an undecided network would draw them."""
    size, generator = (30, 32), torch.Generator().manual_seed(0)
    x, y = (torch.tensor([[16.4], [15.7]]) + 1.2 * torch.randn(2, 3000, generator=generator)).numpy()
    along = [np.exp(-((np.arange(n)[:, None] - p) ** 2) / (2 * 1.5**2)) for n, p in zip(size, (y, x), strict=True)]
    mean_map = torch.tensor(along[0] @ along[1].T / 3000, dtype=torch.float32)[None, None]
    prediction = Heatmap(1, 1, size, sigma=1.5, decoder=decoder).decode(mean_map)
    assert prediction.covariance is not None
    found = prediction.covariance[0, 0] * torch.tensor([[16.0, 0.0], [0.0, 15.0]]).square()
    torch.testing.assert_close(found, 1.44 * torch.eye(2), rtol=0.1, atol=1e-6)
    clean = Heatmap(1, 1, size, sigma=1.5, decoder=decoder).decode(drawing(16.4, 15.7, 1.5, size))
    assert clean.covariance is not None
    assert clean.covariance.max() < 0.03 * found.max() / 16**2


def test_score_is_the_peaks_height_within_zero_and_one() -> None:
    maps = torch.stack([torch.full((4, 4), -2.0), torch.zeros(4, 4), torch.zeros(4, 4)])[None]
    maps[0, 1, 2, 3], maps[0, 2, 0, 0] = 0.4, 7.0
    torch.testing.assert_close(Heatmap(1, 3, (4, 4)).decode(maps).score, torch.tensor([[0.0, 0.4, 1.0]]))


def test_starts_with_almost_empty_maps() -> None:
    assert Heatmap(256, 4, (8, 8))(torch.randn(2, 256, 8, 8)).abs().max() < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "drak"}, "did you mean 'dark'"),
        ({"centre": "edge"}, "exact, rounded"),
        ({"sigma": -1}, "sigma"),
        ({"radius": 0.0}, "radius"),
    ],
)
def test_bad_options_are_refused_when_the_head_is_made(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Heatmap(1, 1, (4, 4), **options)
