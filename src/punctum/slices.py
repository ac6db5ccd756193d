"""Landmarks of volumes as pictures: three slices through one landmark, in millimetres, with the landmark drawn in."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.draw import contact_sheet, draw_points
from punctum.schema import Schema

Picture = NDArray[np.uint8]

# Across and down in each of the three pictures, as indices of (x, y, z): axial, coronal, sagittal.
VIEWS = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}


def draw_slices(
    volume: Picture,
    points: NDArray[np.float64],
    schema: Schema,
    k: int,
    *,
    truth: NDArray[np.float64] | None = None,
    covariance: NDArray[np.float64] | None = None,
    visibility: NDArray[np.int8] | None = None,
) -> Picture:
    """The axial (x, y), coronal (x, z) and sagittal (y, z) slice through landmark k, side by side.

    The slices go through the truth where there is one, else through the prediction; z runs downwards, as the array's
    slices do. The distance to the slice is not seen in one view, but in the two others.

    Args:
        volume: (D, H, W) uint8, as long a voxel on every axis.
        points: (K, 3) voxels of it as (x, y, z).
        schema: names and colours.
        k: which landmark.
        truth: (K, 3), drawn as a cross.
        covariance: (K, 3, 3) in voxels squared, drawn as an ellipse.
        visibility: (K,); 1 is drawn hollow.
    Returns:
        (H', W', 3) RGB.
    """
    # The first place that is one; a landmark that has none at all is looked for in the middle.
    middle = (np.array(volume.shape[::-1]) - 1) / 2
    candidates = [middle, points[k]] if truth is None else [middle, points[k], truth[k]]
    centre = next(p for p in reversed(candidates) if np.isfinite(p).all())
    index = np.clip(np.rint(centre), 0, np.array(volume.shape[::-1]) - 1).astype(int)
    cells = []
    for across, down in VIEWS.values():
        through = 3 - across - down
        plane = np.take(volume, index[through], axis=2 - through)  # rows are the later axis: y or z
        only = np.full_like(points, np.nan)
        only[k] = points[k]
        pair: Any = [across, down]
        cells.append(
            draw_points(
                plane,
                only[:, pair],
                schema,
                truth=None
                if truth is None
                else np.where(np.arange(len(truth))[:, None] == k, truth[:, pair], np.nan),
                covariance=None if covariance is None else covariance[:, pair][:, :, pair],
                visibility=visibility,
                scale=3,
            )
        )
    return contact_sheet(cells, columns=3)
