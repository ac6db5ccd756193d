"""Volumes under an affine map: averages over voxels first, then one linear interpolation."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import affine_grid, grid_sample

from punctum.ops import pixels_matrix


def warp_volume(
    volume: NDArray[np.generic], matrix: NDArray[np.float64], size: tuple[int, ...], zoom: NDArray[np.float64]
) -> NDArray[np.float32]:
    """A volume under an affine map, without aliasing, and without shifting by a fraction of a voxel.

    Each axis that the map shrinks is first averaged over 1 / zoom voxels, and that step is taken out of the matrix
    exactly. Beyond the volume is 0.

    Args:
        volume: (D, H, W, C).
        matrix: (4, 4), its voxels to the result's voxels.
        size: (D, H, W) of the result.
        zoom: (3,) as (x, y, z): how long a voxel's edge is in the result, in its voxels.
    Returns:
        (*size, C) float32 in the volume's own units.
    """
    part, to_part = volume.astype(np.float32), np.eye(4)
    for axis in range(3):  # x, y, z are the array's axes 2, 1, 0
        n = part.shape[2 - axis]
        side = min(1 / float(zoom[axis]), float(n))
        if side > 1:
            averaged = np.tensordot(area_weights(n, side), part, axes=(1, 2 - axis))
            part = np.moveaxis(averaged, 0, 2 - axis)
            to_part[axis, axis], to_part[axis, 3] = side, (side - 1) / 2
    to_source = np.linalg.inv(matrix @ to_part) @ pixels_matrix(size).numpy()
    theta = np.linalg.inv(pixels_matrix(part.shape[:3]).numpy()) @ to_source
    source = torch.from_numpy(np.ascontiguousarray(np.moveaxis(part, -1, 0)))[None]
    grid = affine_grid(torch.from_numpy(theta[None, :3]), [1, 1, *size], align_corners=False).float()
    result = grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return np.moveaxis(result[0].numpy(), 0, -1)


def area_weights(n: int, side: float) -> NDArray[np.float32]:
    """The means over runs of `side` voxels as a matrix: what part of each voxel lies in each run.

    Args:
        n: voxels in the line.
        side: length of a run, at least 1; the last one may reach past the end, where all is 0.
    Returns:
        (ceil(n / side), n).
    Example:
        >>> area_weights(4, 1.5).round(2)
        array([[0.67, 0.33, 0.  , 0.  ],
               [0.  , 0.33, 0.67, 0.  ],
               [0.  , 0.  , 0.  , 0.67]], dtype=float32)
    """
    start = side * np.arange(math.ceil(n / side))[:, None]
    voxel = np.arange(n)[None]
    overlap = np.minimum(start + side, voxel + 1) - np.maximum(start, voxel)
    return (overlap.clip(0) / side).astype(np.float32)
