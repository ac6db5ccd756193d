"""The coordinate contract: cell centres, edges, round trips, affine maps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum import ops
from reference import affine
from reference import heatmaps as oracle

sizes = st.lists(st.integers(1, 9), min_size=1, max_size=3)


def test_corners_and_centres_of_an_image_by_hand():
    """4 wide, 2 high: edges at -0.5 and 3.5 (1.5); the middle of the image lies between pixels 1 and 2."""
    pixels = torch.tensor([[-0.5, -0.5], [3.5, 1.5], [1.5, 0.5], [0.0, 0.0], [3.0, 1.0]], dtype=torch.float64)
    coords = torch.tensor([[-1, -1], [1, 1], [0, 0], [-0.75, -0.5], [0.75, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(ops.to_normalized(pixels, (2, 4)), coords)
    torch.testing.assert_close(ops.to_pixels(coords, (2, 4)), pixels)


def test_three_axes_are_depth_height_width_against_x_y_z():
    pixels = torch.tensor([5.5, 3.5, 1.5])
    torch.testing.assert_close(ops.to_normalized(pixels, (2, 4, 6)), torch.ones(3))


@given(sizes)
@settings(max_examples=30, deadline=None)
def test_grid_holds_every_cell_centre(size):
    grid = ops.normalized_grid(size, dtype=torch.float64)
    assert grid.shape == (*size, len(size))
    for index, centre in oracle.cells(size):
        np.testing.assert_allclose(grid[index], centre, atol=1e-15)


@given(sizes)
@settings(max_examples=30, deadline=None)
def test_grid_in_pixels_is_the_index(size):
    pixels = ops.to_pixels(ops.normalized_grid(size, dtype=torch.float64), size)
    for index, _ in oracle.cells(size):
        np.testing.assert_allclose(pixels[index], index[::-1], atol=1e-12)


@given(st.integers(1, 2000), st.floats(-1e4, 1e4))
@settings(deadline=None)
def test_round_trip_stays_below_a_millionth_of_a_pixel(n, x):
    pixels = torch.tensor([x], dtype=torch.float64)
    assert abs(ops.to_pixels(ops.to_normalized(pixels, (n,)), (n,)) - pixels).item() < 1e-6


def test_float32_round_trip_across_a_large_image():
    pixels = torch.rand(1000, 2) * 4000
    assert (ops.to_pixels(ops.to_normalized(pixels, (3000, 4000)), (3000, 4000)) - pixels).abs().max() < 1e-3


def test_resolution_changes_keep_the_extent_and_not_the_index():
    """Halving 8 px: pixels 0 and 1 share new pixel 0, so pixel 0 lies a quarter of a new pixel left of its centre."""
    half = ops.to_pixels(ops.to_normalized(torch.tensor([0.0]), (8,)), (4,))
    torch.testing.assert_close(half, torch.tensor([-0.25]))


@pytest.mark.parametrize("function", [ops.to_normalized, ops.to_pixels])
def test_integers_and_half_precision_become_float32(function):
    whole = torch.tensor([[511, 3]])
    for given_ in (whole, whole.half(), whole.bfloat16()):
        expected = function(given_.float(), (512, 512))
        torch.testing.assert_close(function(given_, (512, 512)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("function", [ops.to_normalized, ops.to_pixels])
def test_a_size_with_too_many_axes_is_refused(function):
    with pytest.raises(ValueError, match=r"size \(4, 5, 6\) has 3 axes, but the points have 2 coordinates"):
        function(torch.zeros(2, 2), (4, 5, 6))


@given(sizes)
@settings(max_examples=30, deadline=None)
def test_pixels_matrix_is_to_pixels(size):
    points = torch.randn(4, len(size), dtype=torch.float64)
    matrix = ops.pixels_matrix(size)
    torch.testing.assert_close(ops.transform_points(points, matrix), ops.to_pixels(points, size))
    back = ops.transform_points(ops.to_pixels(points, size), torch.linalg.inv(matrix))
    torch.testing.assert_close(back, points)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_transforms_are_matrix_products(dims):
    rng = np.random.default_rng(dims)
    points, matrices = rng.normal(size=(4, 5, dims)), rng.normal(size=(4, dims + 1, dims + 1))
    roots = rng.normal(size=(4, 5, dims, dims))
    covariances = roots @ np.swapaxes(roots, -1, -2)
    moved = ops.transform_points(torch.from_numpy(points), torch.from_numpy(matrices))
    spread = ops.transform_covariance(torch.from_numpy(covariances), torch.from_numpy(matrices))
    for b, k in np.ndindex(4, 5):
        np.testing.assert_allclose(moved[b, k], affine.point(points[b, k], matrices[b]), atol=1e-12)
        np.testing.assert_allclose(spread[b, k], affine.covariance(covariances[b, k], matrices[b]), atol=1e-12)
    shared = torch.from_numpy(matrices[0])
    torch.testing.assert_close(ops.transform_points(torch.from_numpy(points), shared)[0], moved[0])
    torch.testing.assert_close(ops.transform_covariance(torch.from_numpy(covariances), shared)[0], spread[0])


def test_points_without_a_keypoint_axis():
    points, matrices = torch.randn(4, 2), torch.randn(4, 3, 3)
    expected = ops.transform_points(points[:, None], matrices)[:, 0]
    torch.testing.assert_close(ops.transform_points(points, matrices), expected)


def test_inverse_map_returns_points_and_covariances():
    points, root = torch.randn(2, 7, 2, dtype=torch.float64) * 500, torch.randn(2, 7, 2, 2, dtype=torch.float64)
    angle = torch.tensor([0.3, -2.0], dtype=torch.float64)
    rotation = torch.stack(
        [torch.stack([angle.cos(), -angle.sin()], -1), torch.stack([angle.sin(), angle.cos()], -1)], -2
    )
    matrix = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    matrix[:, :2, :2], matrix[:, :2, 2] = 1.7 * rotation, torch.tensor([120.0, -33.0])
    inverse = torch.linalg.inv(matrix)
    there = ops.transform_points(points, matrix)
    assert (ops.transform_points(there, inverse) - points).abs().max() < 1e-6
    covariance = root @ root.mT
    spread = ops.transform_covariance(covariance, matrix)
    assert (ops.transform_covariance(spread, inverse) - covariance).abs().max() < 1e-6


def test_a_float64_matrix_keeps_the_precision_of_points_far_from_the_origin():
    moved = ops.transform_points(torch.zeros(1, 2), ops.pixels_matrix((3001, 4001)))
    assert moved.dtype == torch.float64
    assert moved.tolist() == [[2000.0, 1500.0]]


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 4, 4, 4), (2, 3, 0), (2, 3, 4, 0), (5,)])
def test_heatmaps_without_one_to_three_axes_are_refused(shape):
    for function in (ops.spatial_size, ops.dsnt, ops.normalize, ops.argmax, ops.marginals):
        with pytest.raises(ValueError, match="1, 2 or 3 non-empty spatial axes"):
            function(torch.zeros(shape))
