"""The RLE head: its density by quadrature, its formula by hand, and what it learns from skewed errors."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from punctum.heads import Target
from punctum.heads.rle import RLE


def bent(head: RLE, size: float = 2.0) -> RLE:
    """The flow far from where it starts."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in head.flow.parameters():
            parameter.copy_(size * torch.randn_like(parameter))
    return head.requires_grad_(False)


OPTIONS = [{}, {"base": "gaussian"}, {"residual": False}, {"residual": False, "base": "gaussian"}]


def grid_of(dims: int) -> tuple[Tensor, float]:
    """Points that fill the space of errors, and the volume of each."""
    step = {1: 0.01, 2: 0.1}[dims]
    line = torch.arange(-25, 25, step)
    return torch.cartesian_prod(*[line] * dims).reshape(-1, dims), step**dims


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dims", [1, 2])
def test_it_is_a_density_with_the_moments_it_says(dims: int, options: dict[str, object]) -> None:
    head = bent(RLE(1, 1, (8,) * dims, width=16, **options), size=1.0)
    points, volume = grid_of(dims)
    p = head.log_prob(points).double().exp() * volume
    assert p.sum().item() == pytest.approx(1, abs=0.02)
    mean, covariance = head.moments()
    by_sum = (p[:, None] * points).sum(0) / p.sum()
    centred = points - by_sum
    wanted = (p[:, None, None] * centred[:, :, None] * centred[:, None, :]).sum(0) / p.sum()
    np.testing.assert_allclose(mean, by_sum, atol=0.05)
    np.testing.assert_allclose(covariance, wanted, rtol=0.1, atol=0.1)


def test_loss_before_the_flow_has_learnt_anything_by_quadrature() -> None:
    """The flow is the identity then: a Laplace times a Gaussian over their common integral; or a Laplace."""
    mean, scale, truth = np.array([0.1, -0.4]), np.array([0.2, 0.5]), np.array([0.3, -0.3])
    output = (torch.tensor(mean)[None, None].float(), torch.tensor(scale)[None, None].float())
    target = Target(torch.tensor(truth)[None, None].float(), torch.tensor([[True]]))
    e = (truth - mean) / scale
    plain = -stats.laplace.logpdf(truth, mean, scale).sum()
    found = RLE(1, 1, (4, 4), residual=False).losses(output, target)
    assert found.keys() == {"nll"}
    assert found["nll"].item() == pytest.approx(plain, rel=1e-5)
    z, _ = integrate.quad(lambda x: stats.laplace.pdf(x) * stats.norm.pdf(x), -10, 10, points=[0])
    residual = plain - stats.norm.logpdf(e).sum() + 2 * math.log(z)
    assert RLE(1, 1, (4, 4)).losses(output, target)["nll"].item() == pytest.approx(residual, abs=5e-3)


def test_coordinates_are_the_maps_mean_and_an_offset_in_cells() -> None:
    head, features = RLE(5, 2, (3, 4)), torch.randn(1, 5, 3, 4)
    mu, sigma = head(features)
    x, y = (2 * np.arange(4) + 1) / 4 - 1, (2 * np.arange(3) + 1) / 3 - 1
    values, weight = features[0].double().numpy(), head.weight.detach().double().numpy()
    for k in range(2):
        z = np.einsum("c,chw->hw", head.conv.weight[k, :, 0, 0].detach().double().numpy(), values)
        p = np.exp(z) / np.exp(z).sum()
        f = (values * p).sum((1, 2))
        f = (f - f.mean()) / math.sqrt(f.var() + 1e-5)
        raw = weight[k] @ f / 5
        centre = [(p.sum(0) * x).sum(), (p.sum(1) * y).sum()]
        np.testing.assert_allclose(mu[0, k].detach(), centre + raw[:2] * [2 / 4, 2 / 3], atol=1e-5)
        np.testing.assert_allclose(sigma[0, k].detach(), 1 / (1 + np.exp(-raw[2:])), atol=2e-4)


def test_average_pooling_forgets_places_and_softmax_does_not() -> None:
    features = torch.randn(1, 5, 6, 6)
    for pooling, same in (("average", True), ("softmax", False)):
        head = RLE(5, 2, (6, 6), pooling=pooling)
        found, moved = head(features)[0], head(features.roll(2, dims=-1))[0]
        assert torch.allclose(found, moved, atol=1e-5) is same


def test_score_falls_with_sigma_and_covariance_grows_with_its_square() -> None:
    head = bent(RLE(1, 3, (8, 8)), size=0.5)
    scale = torch.tensor([0.01, 0.02, 0.8])[None, :, None].expand(1, 3, 2)
    prediction = head.decode((torch.zeros(1, 3, 2), scale))
    assert (prediction.score[0].diff() < 0).all()
    assert prediction.score[0, 0] > 0.99
    assert prediction.covariance is not None
    torch.testing.assert_close(prediction.covariance[0, 1], 4 * prediction.covariance[0, 0])


def skewed_errors(count: int, seed: int) -> Tensor:
    """Long tails to the right and down, of mean zero, along two axes."""
    rng = np.random.default_rng(seed)
    errors = np.stack([rng.exponential(size=count) - 1, 1 - rng.exponential(size=count)], -1)
    return torch.tensor(0.1 * errors, dtype=torch.float32)[:, None]


@pytest.mark.parametrize("residual", [True, False])
def test_it_beats_the_best_laplace_on_skewed_errors_and_finds_their_mean_and_spread(residual: bool) -> None:
    """Errors are drawn around places that nothing tells: only mu, sigma and the shape can be learned."""
    torch.manual_seed(0)
    head = RLE(1, 1, (8, 8), residual=residual, width=32, layers=4)
    train, test = skewed_errors(1000, 0), skewed_errors(4000, 1)
    mean, raw = torch.zeros(2, requires_grad=True), torch.full((2,), -2.0, requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [mean, raw]}, {"params": head.flow.parameters()}], lr=0.03)

    def nll(truth: Tensor) -> Tensor:
        output = (mean.expand(len(truth), 1, 2), raw.sigmoid().expand(len(truth), 1, 2))
        return head.losses(output, Target(truth, torch.ones(len(truth), 1, dtype=torch.bool)))["nll"].mean()

    for step in range(200):
        optimizer.zero_grad()
        nll(train[step % 4 :: 4]).backward()
        optimizer.step()
    median = train.median(0).values
    scale = (train - median).abs().mean(0)
    laplace = ((2 * scale).log() + (test - median).abs() / scale).sum(-1).mean()
    entropy = 2 * (1 + math.log(0.1))
    assert entropy - 0.05 < nll(test).item() < laplace - 0.1
    prediction = head.decode((mean.detach()[None, None], raw.detach().sigmoid()[None, None]))
    assert prediction.covariance is not None
    np.testing.assert_allclose(prediction.coords[0, 0].detach(), [0, 0], atol=0.03)
    spread = prediction.covariance[0, 0].diagonal().sqrt().detach()
    np.testing.assert_allclose(spread, [0.1, 0.1], rtol=0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "avrage"}, "did you mean 'average'"),
        ({"base": "cauchy"}, "laplace, gaussian"),
        ({"layers": 0}, "layers must be an integer of at least 1"),
        ({"width": 0}, "width must be an integer of at least 1"),
    ],
)
def test_bad_options_are_refused_when_the_head_is_made(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RLE(1, 1, (4, 4), **options)
