"""The NumPy matrices and maps of crops and drawings are those of `punctum.ops`, to the bit."""

import numpy as np
import pytest
import torch

from punctum.data import grid
from punctum.ops import coords


@pytest.mark.parametrize("size", [(7,), (48, 64), (1, 1), (13, 101), (3, 5, 9)])
def test_pixels_are_where_ops_has_them(size: tuple[int, ...]) -> None:
    assert np.array_equal(grid.pixels_matrix(size), coords.pixels_matrix(size).numpy())


@pytest.mark.parametrize("side", [1.0, 4.0, 2.7182818])
def test_cells_are_where_ops_has_them(side: float) -> None:
    assert np.array_equal(grid.cells_matrix(side), coords.cells_matrix(side).numpy())


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_points_and_covariances_move_as_in_ops(dims: int) -> None:
    generator = np.random.default_rng(dims)
    matrix, points = generator.normal(size=(dims + 1, dims + 1)), 300 * generator.normal(size=(50, 7, dims))
    covariance = generator.normal(size=(50, 7, dims, dims))
    moved = coords.transform_points(torch.from_numpy(points), torch.from_numpy(matrix))
    spread = coords.transform_covariance(torch.from_numpy(covariance), torch.from_numpy(matrix))
    assert np.array_equal(grid.transform_points(points, matrix), moved.numpy())
    assert np.array_equal(grid.transform_covariance(covariance, matrix), spread.numpy())
