"""Distances and their average: by hand, at zero error, and with points that are not there."""

import numpy as np
import pytest
import torch

from punctum import ops
from punctum.heads.base import Target

DISTANCES = [ops.euclidean_losses, ops.l1_losses, ops.mse_losses]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_distances_are_numpys_norms(dims):
    rng = np.random.default_rng(dims)
    coords, target = rng.normal(size=(2, 4, 5, dims))
    difference = coords - target
    expected = {
        ops.euclidean_losses: np.linalg.norm(difference, axis=-1),
        ops.l1_losses: np.linalg.norm(difference, ord=1, axis=-1),
        ops.mse_losses: np.linalg.norm(difference, axis=-1) ** 2,
    }
    for losses, values in expected.items():
        np.testing.assert_allclose(losses(torch.from_numpy(coords), torch.from_numpy(target)), values)


@pytest.mark.parametrize("losses", DISTANCES)
def test_zero_error_has_zero_gradient(losses):
    coords = torch.rand(2, 3, 2, requires_grad=True)
    values = losses(coords, coords.detach().clone())
    values.sum().backward()
    assert values.abs().max() == 0
    assert coords.grad.abs().max() == 0


def test_euclidean_gradient_has_length_one_however_near():
    coords = torch.tensor([[[3e-6, 4e-6]]], requires_grad=True)
    ops.euclidean_losses(coords, torch.zeros(1, 1, 2)).sum().backward()
    torch.testing.assert_close(coords.grad, torch.tensor([[[0.6, 0.8]]]))


@pytest.mark.parametrize("losses", DISTANCES)
def test_shapes_that_differ_are_refused_not_broadcast(losses):
    with pytest.raises(ValueError, match=r"coords \(2, 3, 2\) and target \(2, 1, 2\) differ in shape"):
        losses(torch.zeros(2, 3, 2), torch.zeros(2, 1, 2))


def test_average_counts_points_and_not_samples():
    """One sample with three points, one with one: (1 + 2 + 3 + 6) / 4 = 3, where a mean of means would give 4."""
    losses = torch.tensor([[1.0, 2.0, 3.0], [6.0, 50.0, torch.nan]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert ops.average_loss(losses, mask).item() == 3.0
    assert ops.average_loss(losses[:1]).item() == 2.0


def test_a_mask_that_is_all_false_gives_zero_and_a_zero_gradient():
    losses = torch.tensor([[torch.nan, torch.inf, 3.0]], requires_grad=True)
    value = ops.average_loss(losses, torch.zeros(1, 3, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    assert losses.grad.abs().max() == 0


def test_no_points_at_all_average_to_zero():
    assert ops.average_loss(torch.zeros(0, 4)).item() == 0
    assert ops.average_loss(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.bool)).item() == 0


def test_a_nan_at_a_point_that_counts_is_not_hidden():
    losses = torch.tensor([[torch.nan, 1.0]])
    assert ops.average_loss(losses, torch.tensor([[True, True]])).isnan()


@pytest.mark.parametrize(
    "mask", [torch.ones(2, 3), torch.ones(3, dtype=torch.bool), torch.ones(2, 1, dtype=torch.bool)]
)
def test_a_mask_of_another_type_or_shape_is_refused(mask):
    with pytest.raises(ValueError, match=r"mask must be bool of shape \(2, 3\)"):
        ops.average_loss(torch.zeros(2, 3), mask)


def test_many_half_precision_losses_are_averaged_in_float32():
    """A float16 sum stops growing at 2048 and overflows at 65504."""
    for dtype in (torch.float16, torch.bfloat16):
        assert ops.average_loss(torch.full((1000, 100), 1.0, dtype=dtype)).item() == 1.0


TERMS = {
    "euclidean": lambda heatmaps, t: ops.euclidean_losses(ops.dsnt(heatmaps), t),
    "l1": lambda heatmaps, t: ops.l1_losses(ops.dsnt(heatmaps), t),
    "mse": lambda heatmaps, t: ops.mse_losses(ops.dsnt(heatmaps), t),
    "kl": lambda heatmaps, t: ops.kl_losses(heatmaps, t, 1.0),
    "js": lambda heatmaps, t: ops.js_losses(heatmaps, t, 1.0),
}


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("missing", [torch.nan, torch.inf, -1e30])
def test_a_missing_target_reaches_neither_value_nor_gradient(term, missing):
    logits = torch.randn(2, 3, 5, 4, requires_grad=True)
    coords = torch.rand(2, 3, 2) - 0.5
    visible = torch.tensor([[True, False, True], [False, True, True]])
    coords[~visible] = missing
    target = Target(coords, visible)
    losses = TERMS[term](ops.normalize(logits), target.coords)
    assert losses.isfinite().all()
    value = ops.average_loss(losses, target.visible)
    value.backward()
    assert value.item() == pytest.approx(losses[visible].mean().item(), rel=1e-6)
    assert logits.grad.isfinite().all()
    assert logits.grad[~visible].abs().max() == 0
    assert logits.grad[visible].abs().flatten(1).amax(-1).min() > 0


@pytest.mark.parametrize("term", TERMS)
def test_nothing_visible_gives_a_zero_gradient(term):
    logits = torch.randn(2, 3, 5, 4, requires_grad=True)
    target = Target(torch.full((2, 3, 2), torch.nan), torch.zeros(2, 3, dtype=torch.bool))
    value = ops.average_loss(TERMS[term](ops.normalize(logits), target.coords), target.visible)
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().max() == 0
