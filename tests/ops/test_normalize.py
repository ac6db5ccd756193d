"""Activations against a loop over cells; maps without mass; what validation refuses."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum import ops
from reference import heatmaps as oracle

ACTIVATIONS = ["softmax", "abs", "relu", "sigmoid"]
shapes = st.lists(st.integers(1, 6), min_size=3, max_size=5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(shape=shapes, beta=st.sampled_from([0.1, 1.0, 10.0]))
@settings(max_examples=20, deadline=None)
def test_every_activation_is_its_formula(activation, shape, beta):
    logits = torch.randn(shape, dtype=torch.float64)
    logits[..., 0] = 1.0  # relu always has some mass
    heatmaps = ops.normalize(logits, activation, beta)
    for b, k in np.ndindex(*shape[:2]):
        expected = oracle.normalized(logits[b, k].numpy(), activation, beta)
        np.testing.assert_allclose(heatmaps[b, k], expected, atol=1e-12)


@pytest.mark.parametrize("activation", ["abs", "relu", "sigmoid"])
def test_beta_belongs_to_softmax_alone(activation):
    logits = torch.randn(1, 2, 3, 4)
    torch.testing.assert_close(ops.normalize(logits, activation, beta=5.0), ops.normalize(logits, activation))


@pytest.mark.parametrize(
    ("activation", "value"),
    [("softmax", -torch.inf), ("sigmoid", -torch.inf), ("relu", -3.0), ("relu", 0.0), ("abs", 0.0), ("relu", 1e-37)],
)
def test_a_map_without_mass_is_uniform_with_zero_gradient(activation, value):
    logits = torch.randn(2, 1, 3, 5)
    logits[0] = value
    logits.requires_grad_()
    heatmaps = ops.normalize(logits, activation)
    torch.testing.assert_close(heatmaps[0], torch.full((1, 3, 5), 1 / 15))
    ops.variance_losses(heatmaps, 1.0, units="pixels").sum().backward()
    assert logits.grad[0].abs().max() == 0
    assert logits.grad[1].isfinite().all()
    assert logits.grad[1].abs().max() > 0


def test_cells_at_minus_infinity_get_nothing_and_the_others_share():
    logits = torch.tensor([[[-torch.inf, 0.0, math.log(3.0)]]])
    torch.testing.assert_close(ops.normalize(logits), torch.tensor([[[0.0, 0.25, 0.75]]]))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("value", [1e4, -1e4, 1e30, 1e38, 1e-10])
def test_huge_and_tiny_logits_in_one_cell(activation, value):
    logits = torch.zeros(1, 1, 8, 8)
    logits[..., 2, 5] = value
    heatmaps = ops.normalize(logits, activation)
    ops.check_heatmaps(heatmaps)
    if value >= 1e4 and activation != "sigmoid":
        assert heatmaps[0, 0, 2, 5] == 1


def test_sigmoid_of_very_negative_logits_keeps_their_ratios_and_a_live_gradient():
    """For z far below zero, sigmoid(z) = exp(z): the ratios of 1 : 3 must survive where exp(z) underflows."""
    logits = torch.tensor([[[0.0, math.log(3.0)]]], dtype=torch.float64) - 1e4
    logits = logits.float().double().requires_grad_()
    heatmaps = ops.normalize(logits, "sigmoid")
    torch.testing.assert_close(heatmaps, ops.normalize(logits, "softmax"))
    heatmaps[0, 0, 0].backward()
    assert logits.grad.abs().min() > 0.1


@pytest.mark.parametrize("level", [-70.0, -80.0, -85.0, -88.0, -100.0])
def test_gradients_stay_finite_where_sigmoid_almost_underflows(level):
    logits = (torch.rand(1, 1, 32, 32) + level).requires_grad_()
    ops.variance_losses(ops.normalize(logits, "sigmoid"), 1.0, units="pixels").sum().backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() > 0


@pytest.mark.parametrize("activation", ["abs", "relu"])
@pytest.mark.parametrize("level", 10.0 ** torch.arange(-37, 39, 5))
def test_gradients_stay_finite_at_every_scale(activation, level):
    logits = ((1 + torch.rand(1, 1, 32, 32)) * level).requires_grad_()
    ops.variance_losses(ops.normalize(logits, activation), 1.0, units="pixels").sum().backward()
    assert logits.grad.isfinite().all()


def test_integer_logits_give_float32_heatmaps():
    torch.testing.assert_close(ops.normalize(torch.tensor([[[1, 3]]]), "abs"), torch.tensor([[[0.25, 0.75]]]))


def test_an_unknown_activation_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown activation 'tanh': choose one of softmax, abs, relu, sigmoid"):
        ops.normalize(torch.zeros(1, 1, 3), "tanh")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [(64, 64), (7, 7), (1,), (700, 700), (100, 100, 100)])
def test_normalized_maps_of_any_type_and_size_pass_validation(dtype, size):
    for activation, spread in product(ACTIVATIONS, (0.01, 10.0)):
        heatmaps = ops.normalize((spread * torch.randn(1, 1, *size)).to(dtype), activation)
        ops.check_heatmaps(heatmaps)


def test_validation_names_the_index_of_what_is_wrong():
    good = torch.full((2, 3, 2, 2), 0.25)

    def broken(change):
        heatmaps = good.clone()
        change(heatmaps)
        return heatmaps

    def negative(h):
        h[1, 2, 0] = torch.tensor([-0.25, 0.75])

    def nan(h):
        h[0, 1, 1, 0] = torch.nan

    def infinite(h):
        h[0, 1, 1, 0] = torch.inf

    def unnormalized(h):
        h[1, 0] *= 2

    calls = [
        ops.check_heatmaps,
        lambda h: ops.dsnt(h, validate=True),
        lambda h: ops.kl_losses(h, torch.zeros(2, 3, 2), 1.0, validate=True),
        lambda h: ops.js_losses(h, torch.zeros(2, 3, 2), 1.0, validate=True),
        lambda h: ops.variance_losses(h, 1.0, validate=True),
    ]
    messages = {
        negative: r"heatmaps\[1, 2, 0, 0\] is -0.25",
        nan: r"heatmaps\[0, 1, 1, 0\] is nan",
        infinite: r"heatmaps\[0, 1, 1, 0\] is inf",
        unnormalized: r"heatmaps\[1, 0\] sums to 2, not to 1",
    }
    for call, (change, message) in product(calls, messages.items()):
        call(good)
        with pytest.raises(ValueError, match=message):
            call(broken(change))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_validation_still_sees_a_map_that_is_five_per_cent_off(dtype):
    with pytest.raises(ValueError, match=r"heatmaps\[0, 0\] sums to 1.05"):
        ops.check_heatmaps(torch.full((1, 1, 7, 7), 1.05 / 49).to(dtype))


def test_a_one_hot_map_of_integers_is_a_distribution():
    ops.check_heatmaps(torch.tensor([[[0, 1, 0]]]))
