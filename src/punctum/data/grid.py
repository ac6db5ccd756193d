"""The coordinate contract of `punctum.ops.coords` in NumPy, for crops and drawings that are made without torch.

The tests hold the two against each other, to the bit.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pixels_matrix(size: Sequence[int]) -> NDArray[np.float64]:
    """Normalized coordinates to pixels: ((c + 1) n - 1) / 2 per axis, homogeneous.

    Args:
        size: (W,), (H, W) or (D, H, W).
    Returns:
        (D + 1, D + 1).
    Example:
        >>> pixels_matrix((48, 64)) @ [-1, -1, 1]
        array([-0.5, -0.5,  1. ])
    """
    extent = np.array([*list(size)[::-1], 2], dtype=np.float64)
    matrix = np.diag(extent / 2)
    matrix[:-1, -1] = (extent[:-1] - 1) / 2
    return matrix


def cells_matrix(side: float) -> NDArray[np.float64]:
    """From cells that are squares of `side` pixels to pixels: x = side i + (side - 1) / 2.

    Example:
        >>> cells_matrix(4.0) @ [0, 1, 1]
        array([1.5, 5.5, 1. ])
    """
    matrix = np.diag([side, side, 1.0])
    matrix[:-1, -1] = (side - 1) / 2
    return matrix


def transform_points(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points under an affine map, A x + t.

    Args:
        points: (..., D).
        matrix: (D + 1, D + 1), homogeneous.
    Returns:
        (..., D).
    Example:
        >>> transform_points(np.array([[1.0, 1.0]]), np.array([[1.0, 0.0, 5.0], [0.0, 1.0, -2.0], [0.0, 0.0, 1.0]]))
        array([[ 6., -1.]])
    """
    # Infinite places become NaN, as in torch, without a warning.
    with np.errstate(invalid="ignore", over="ignore"):
        moved: NDArray[np.float64] = (matrix[:-1, :-1] * points[..., None, :]).sum(-1) + matrix[:-1, -1]
    return moved


def transform_covariance(covariance: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariances under an affine map, A S A^T.

    Args:
        covariance: (..., D, D).
        matrix: (D + 1, D + 1), homogeneous.
    Returns:
        (..., D, D).
    Example:
        >>> transform_covariance(np.eye(2), np.diag([2.0, 3.0, 1.0]))
        array([[4., 0.],
               [0., 9.]])
    """
    linear = matrix[:-1, :-1]
    with np.errstate(invalid="ignore", over="ignore"):
        half = (linear[..., None] * covariance[..., None, :, :]).sum(-2)
        moved: NDArray[np.float64] = (half[..., None, :] * linear[..., None, :, :]).sum(-1)
    return moved
