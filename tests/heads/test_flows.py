"""Flows are densities, by quadrature; they turn back, and they learn what a Laplace cannot say."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from punctum.heads.flows import RealNVP, base_log_prob, base_nodes


def bent(dims: int, seed: int = 0, **options: int) -> RealNVP:
    """A flow far from where it starts."""
    torch.manual_seed(seed)
    flow = RealNVP(dims, **options).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            # What stands before a small constant factor needs large numbers.
            parameter.copy_(4 * torch.randn_like(parameter))
    return flow.requires_grad_(False)


@pytest.mark.parametrize("base", ["laplace", "gaussian"])
def test_bases_are_scipys(base):
    x = torch.randn(5, 3, dtype=torch.float64)
    one = {"laplace": stats.laplace, "gaussian": stats.norm}[base]
    np.testing.assert_allclose(base_log_prob(x, base), one.logpdf(x.numpy()).sum(-1))
    nodes = base_nodes(1024, 2, base).double()
    for axis in range(2):
        assert stats.kstest(nodes[:, axis].numpy(), one.cdf).statistic < 2e-3
    np.testing.assert_allclose(np.corrcoef(nodes.numpy().T), np.eye(2), atol=0.02)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_it_starts_as_the_identity(dims):
    x = torch.randn(4, 5, dims)
    z, log_det = RealNVP(dims)(x)
    torch.testing.assert_close(z, x, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_det, torch.zeros(4, 5), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_inverse_turns_back_and_the_determinant_is_the_jacobians(dims):
    flow = bent(dims)
    x = 3 * torch.randn(20, dims, dtype=torch.float64)
    z, log_det = flow(x)
    assert (z - x).abs().max() > 0.5
    torch.testing.assert_close(flow.inverse(z), x, rtol=1e-9, atol=1e-9)
    for point, value in zip(x, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda p: flow(p)[0], point)
        assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(value.item(), abs=1e-8)


@pytest.mark.parametrize("base", ["laplace", "gaussian"])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_a_density_on_a_line(base, seed):
    flow = bent(1, seed)

    def density(u: float) -> float:
        # At x = sinh(u): tails may be as heavy as a stretched exponential's.
        log_p = flow.log_prob(torch.tensor([[math.sinh(u)]], dtype=torch.float64), base).item()
        return math.exp(log_p) * math.cosh(u)

    total, _ = integrate.quad(density, -20, 20, points=[-2, 0, 2], limit=200)
    assert total == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("base", ["laplace", "gaussian"])
def test_it_is_a_density_in_the_plane(base):
    flow = bent(2, layers=4, width=8)
    u = torch.arange(-9, 9, 0.05, dtype=torch.float64)
    points, volumes = torch.cartesian_prod(u.sinh(), u.sinh()), torch.cartesian_prod(u.cosh(), u.cosh()).prod(-1)
    total = (flow.log_prob(points, base).exp() * volumes).sum() * 0.05**2
    assert total.item() == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_gradients_match_finite_differences(dims):
    flow = bent(dims, layers=2, width=4).requires_grad_()
    x = torch.randn(3, dims, dtype=torch.float64, requires_grad=True)
    names, values = zip(*flow.named_parameters(), strict=True)

    def log_prob(x, *parameters):
        named = {f"flow.{name}": value for name, value in zip(names, parameters, strict=True)}
        return torch.func.functional_call(Density(flow), named, (x,))

    assert torch.autograd.gradcheck(log_prob, (x, *values))


class Density(torch.nn.Module):
    def __init__(self, flow: RealNVP) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.flow.log_prob(x)


@pytest.mark.parametrize("size", [1e3, 1e8])
def test_far_out_it_stays_finite(size):
    for dims in (1, 2, 3):
        flow = bent(dims).float()
        assert flow.log_prob(size * torch.ones(2, dims)).isfinite().all()


def skewed(dims: int, count: int, seed: int) -> tuple[torch.Tensor, float]:
    """Draws of a Gumbel on the first axis and normal draws that bend with it on the others; their entropy."""
    rng = np.random.default_rng(seed)
    first = stats.gumbel_r.rvs(size=count, random_state=rng)
    others = [0.5 * first**2 - 1 + 0.5 * rng.standard_normal(count) for _ in range(dims - 1)]
    entropy = stats.gumbel_r.entropy() + (dims - 1) * stats.norm(scale=0.5).entropy()
    return torch.tensor(np.stack([first, *others], -1), dtype=torch.float32), float(entropy)


@pytest.mark.parametrize("dims", [1, 2])
def test_it_learns_a_skewed_density_that_no_laplace_is(dims):
    """Between the best Laplace, whose likelihood has a closed form, and the entropy, which nothing goes below."""
    torch.manual_seed(0)
    flow = RealNVP(dims)
    train, entropy = skewed(dims, 1000, seed=0)
    test, _ = skewed(dims, 2000, seed=1)
    median = train.median(0).values
    scale = (train - median).abs().mean(0)
    laplace = (math.log(2) + scale.log() + (test - median).abs() / scale).sum(-1).mean()
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.03)
    for step in range(150):
        batch = (train - median) / scale
        loss = -flow.log_prob(batch[step % 4 :: 4], "laplace").mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = scale.log().sum() - flow.log_prob((test - median) / scale, "laplace").mean()
    gap = 0.5 if dims == 1 else 0.6
    assert found < laplace - 0.03
    assert found - entropy < gap * (laplace - entropy)
    assert found > entropy - 0.1
