"""Eq. 10 against autograd."""

import pytest
import torch

from punctum.diagnostics.gradient import gradient_factors, gradient_shares
from punctum.ops import normalize, render_gaussian, to_normalized


@pytest.mark.parametrize("size", [(7,), (5, 8), (4, 3, 5)])
@pytest.mark.parametrize("beta", [1.0, 10.0])
def test_the_product_is_the_gradient(size: tuple[int, ...], beta: float) -> None:
    """The loss is written out here: softmax, mean over a meshgrid of centres, sum of absolute differences."""
    logits = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    coords = 1.6 * torch.rand(2, 3, len(size), dtype=torch.float64) - 0.8
    p = torch.softmax(beta * logits.flatten(2), -1).reshape(logits.shape)
    centres = [torch.linspace(1 / n - 1, 1 - 1 / n, n, dtype=torch.float64) for n in size]
    grids = torch.meshgrid(*centres, indexing="ij")[::-1]
    mean = torch.stack([(p * grid).flatten(2).sum(-1) for grid in grids], -1)
    (wanted,) = torch.autograd.grad((mean - coords).abs().sum(), logits)
    value, location = gradient_factors(p.detach(), coords, beta)
    torch.testing.assert_close(value * location, wanted, rtol=1e-10, atol=1e-14)


def test_an_empty_place_gets_no_gradient_and_the_far_corner_most_of_the_location() -> None:
    """The paper's case 2: a hill at the upper left, the truth at the lower right."""
    hill = to_normalized(torch.tensor([[[8.0, 8.0]]]), (64, 48))
    truth = to_normalized(torch.tensor([[[40.0, 50.0]]]), (64, 48))
    heatmaps = render_gaussian(hill, 1.0, (64, 48))
    shares = gradient_shares(heatmaps, truth)
    assert shares.truth.item() < 1e-6
    assert shares.peak.item() > 0.9
    location = gradient_factors(heatmaps, truth).location[0, 0]
    assert location.abs().argmax().item() == location.numel() - 1


def test_shares_add_up_and_a_map_at_its_goal_has_none() -> None:
    heatmaps = normalize(3 * torch.randn(2, 2, 9, 9))
    shares = gradient_shares(heatmaps, torch.zeros(2, 2, 2))
    assert (shares.truth + shares.peak + shares.elsewhere) == pytest.approx(torch.ones(2, 2), abs=1e-5)
    point = torch.zeros(1, 1, 5)
    point[..., 2] = 1
    assert [s.item() for s in gradient_shares(point, torch.zeros(1, 1, 1))] == [0, 0, 0, 0]
