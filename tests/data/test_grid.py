"""The NumPy matrices of crops are those of `punctum.ops`, to the bit."""

import numpy as np
import pytest

from punctum.data import grid
from punctum.ops import coords


@pytest.mark.parametrize("size", [(7,), (48, 64), (1, 1), (13, 101), (3, 5, 9)])
def test_pixels_are_where_ops_has_them(size: tuple[int, ...]) -> None:
    assert np.array_equal(grid.pixels_matrix(size), coords.pixels_matrix(size).numpy())


@pytest.mark.parametrize("side", [1.0, 4.0, 2.7182818])
def test_cells_are_where_ops_has_them(side: float) -> None:
    assert np.array_equal(grid.cells_matrix(side), coords.cells_matrix(side).numpy())
