"""DSNT and covariance: by hand, against loops over cells, and the symmetries that a mean must have."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum import ops
from reference import heatmaps as oracle

shapes = st.lists(st.integers(1, 6), min_size=3, max_size=5)


def distribution(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64).flatten(2).softmax(-1).reshape(shape)


class TestWorkedExample:
    """A 5 x 5 map in the manner of Nibali et al. 2018, Figure 3: a cross around row 1, column 3.

    X is (-.8, -.4, 0, .4, .8) in every row, Y the same in every column.
        mu_x = .6 (.4) + .1 (.4) + .1 (.4) + .1 (0) + .1 (.8) = .24 + .04 + .04 + 0 + .08 = .4
        mu_y = .6 (-.4) + .1 (-.8) + .1 (0) + .1 (-.4) + .1 (-.4) = -.24 - .08 + 0 - .04 - .04 = -.4
    """

    HEATMAP = (
        (0.0, 0.0, 0.0, 0.1, 0.0),
        (0.0, 0.0, 0.1, 0.6, 0.1),
        (0.0, 0.0, 0.0, 0.1, 0.0),
        (0.0, 0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 0.0, 0.0),
    )
    X = ((-0.8, -0.4, 0.0, 0.4, 0.8),) * 5
    Y = ((-0.8,) * 5, (-0.4,) * 5, (0.0,) * 5, (0.4,) * 5, (0.8,) * 5)

    @pytest.fixture
    def heatmap(self) -> torch.Tensor:
        return torch.tensor(self.HEATMAP, dtype=torch.float64)[None, None].requires_grad_()

    def test_forward(self, heatmap):
        torch.testing.assert_close(ops.dsnt(heatmap), torch.tensor([[[0.4, -0.4]]], dtype=torch.float64))

    @pytest.mark.parametrize(("axis", "grid"), [(0, X), (1, Y)])
    def test_backward_is_the_grid_of_cell_centres(self, heatmap, axis, grid):
        ops.dsnt(heatmap)[0, 0, axis].backward()
        torch.testing.assert_close(heatmap.grad[0, 0], torch.tensor(grid, dtype=torch.float64))

    def test_euclidean_loss_and_its_gradient(self, heatmap):
        """Target (.1, 0): difference (.3, -.4), distance .5, so dL/dmu = (.6, -.8) and dL/dp = .6 X - .8 Y."""
        loss = ops.euclidean_losses(ops.dsnt(heatmap), torch.tensor([[[0.1, 0.0]]], dtype=torch.float64))
        torch.testing.assert_close(loss, torch.tensor([[0.5]], dtype=torch.float64))
        loss.sum().backward()
        expected = torch.tensor(
            [
                [0.16, 0.40, 0.64, 0.88, 1.12],
                [-0.16, 0.08, 0.32, 0.56, 0.80],
                [-0.48, -0.24, 0.00, 0.24, 0.48],
                [-0.80, -0.56, -0.32, -0.08, 0.16],
                [-1.12, -0.88, -0.64, -0.40, -0.16],
            ],
            dtype=torch.float64,
        )
        torch.testing.assert_close(heatmap.grad[0, 0], expected)

    def test_covariance(self, heatmap):
        """Arms of weight .1 one cell (.4) to either side: Var = 2 (.1) (.16) = .032 on both axes, no cross term."""
        expected = torch.tensor([[[[0.032, 0.0], [0.0, 0.032]]]], dtype=torch.float64)
        torch.testing.assert_close(ops.covariance(heatmap, ops.dsnt(heatmap)), expected)


@given(shapes)
@settings(max_examples=40, deadline=None)
def test_mean_and_covariance_are_sums_over_cells(shape):
    heatmaps = distribution(*shape)
    mean = ops.dsnt(heatmaps)
    covariance = ops.covariance(heatmaps, mean)
    for b, k in np.ndindex(*shape[:2]):
        about = oracle.mean(heatmaps[b, k].numpy())
        np.testing.assert_allclose(mean[b, k], about, atol=1e-12)
        np.testing.assert_allclose(covariance[b, k], oracle.covariance(heatmaps[b, k].numpy(), about), atol=1e-12)


@pytest.mark.parametrize("beta", [0.5, 1.0, 10.0])
@pytest.mark.parametrize("size", [(6,), (4, 7), (2, 3, 5)])
def test_logits_to_moments(size, beta):
    logits = torch.randn(2, 3, *size, dtype=torch.float64)
    mean, covariance = ops.moments(logits, beta)
    torch.testing.assert_close(ops.soft_argmax(logits, beta), mean)
    for b, k in np.ndindex(2, 3):
        heatmap = oracle.normalized(logits[b, k].numpy(), "softmax", beta)
        np.testing.assert_allclose(mean[b, k], oracle.mean(heatmap), atol=1e-12)
        np.testing.assert_allclose(covariance[b, k], oracle.covariance(heatmap, oracle.mean(heatmap)), atol=1e-12)


def test_marginals_are_sums_in_the_order_of_coordinates():
    heatmaps = distribution(2, 3, 2, 4, 5)
    x, y, z = ops.marginals(heatmaps)
    np.testing.assert_allclose(x, np.einsum("bkzyx->bkx", heatmaps.numpy()))
    np.testing.assert_allclose(y, np.einsum("bkzyx->bky", heatmaps.numpy()))
    np.testing.assert_allclose(z, np.einsum("bkzyx->bkz", heatmaps.numpy()))


def test_a_map_of_one_cell_has_its_mean_in_the_middle_and_no_spread():
    mean, covariance = ops.moments(torch.randn(2, 3, 1, 1))
    assert mean.abs().max() == 0
    assert covariance.abs().max() == 0


def test_one_hot_maps_give_their_cell_centre_and_stay_within_the_outermost_ones():
    size = (3, 5)
    heatmaps = torch.eye(15, dtype=torch.float64).reshape(1, 15, *size)
    coords = ops.dsnt(heatmaps)
    torch.testing.assert_close(coords[0], ops.normalized_grid(size, dtype=torch.float64).reshape(15, 2))
    torch.testing.assert_close(coords[0].abs().amax(0), torch.tensor([1 - 1 / 5, 1 - 1 / 3], dtype=torch.float64))


@pytest.mark.parametrize("shift", [(0, 3), (2, 0), (-2, 1)])
def test_moving_a_map_by_whole_cells_moves_its_mean_and_keeps_its_spread(shift):
    heatmaps = torch.zeros(1, 2, 9, 12, dtype=torch.float64)
    heatmaps[..., 3:6, 3:7] = distribution(1, 2, 3, 4)
    moved = heatmaps.roll(shift, dims=(2, 3))
    step = torch.tensor([2 * shift[1] / 12, 2 * shift[0] / 9], dtype=torch.float64)
    torch.testing.assert_close(ops.dsnt(moved), ops.dsnt(heatmaps) + step)
    torch.testing.assert_close(ops.covariance(moved, ops.dsnt(moved)), ops.covariance(heatmaps, ops.dsnt(heatmaps)))


@pytest.mark.parametrize("size", [(5,), (4, 7), (2, 3, 5)])
def test_mirroring_a_map_mirrors_its_mean(size):
    heatmaps = distribution(2, 3, *size)
    for axis in range(len(size)):
        mirrored = ops.dsnt(heatmaps.flip(-1 - axis))
        sign = torch.ones(len(size), dtype=torch.float64)
        sign[axis] = -1
        torch.testing.assert_close(mirrored, ops.dsnt(heatmaps) * sign)


def test_covariance_of_a_rendered_gaussian_by_hand():
    """sigma 2 px on 64 px is 2 * 2 / 64 = 1/16 in normalized units; far from the borders nothing is cut off."""
    heatmaps = ops.render_gaussian(torch.tensor([[[0.1, -0.2]]], dtype=torch.float64), 2.0, (48, 64))
    mean = ops.dsnt(heatmaps)
    expected = torch.tensor([[[[1 / 16**2, 0.0], [0.0, 1 / 12**2]]]], dtype=torch.float64)
    torch.testing.assert_close(mean, torch.tensor([[[0.1, -0.2]]], dtype=torch.float64))
    torch.testing.assert_close(ops.covariance(heatmaps, mean), expected, rtol=1e-6, atol=1e-9)


def test_covariance_is_that_of_cells_drawn_at_random():
    heatmap = distribution(1, 1, 5, 8)
    rng = np.random.default_rng(0)
    drawn = rng.choice(40, size=400_000, p=heatmap.flatten().numpy())
    points = np.stack([(2 * (drawn % 8) + 1) / 8 - 1, (2 * (drawn // 8) + 1) / 5 - 1])
    mean = ops.dsnt(heatmap)
    np.testing.assert_allclose(mean[0, 0], points.mean(axis=1), atol=5e-3)
    np.testing.assert_allclose(ops.covariance(heatmap, mean)[0, 0], np.cov(points), atol=5e-3)


def test_a_gaussian_cut_off_at_the_border_is_biased_inward():
    """At mean 0.98, 16 px, sigma 2 the mean that DSNT reads back is 0.79: a third of the bell is missing."""
    heatmap = ops.render_gaussian(torch.tensor([[[0.98]]], dtype=torch.float64), 2.0, (16,))
    assert ops.dsnt(heatmap).item() == pytest.approx(0.79, abs=0.005)
    assert ops.dsnt(heatmap).item() == pytest.approx(oracle.mean(oracle.gaussian([0.98], 2.0, (16,)))[0], abs=1e-12)
