"""Heatmaps on their way to a page: one small gray picture, the maps of all points below one another."""

import base64
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from punctum.data.grid import pixels_matrix
from punctum.serve.engine import Crop


def heatmap_values(heatmaps: NDArray[np.float32], crop: Crop) -> dict[str, Any]:
    """JSON values of an instance's heatmaps.

    Each map is stretched from zero to its own maximum over 0 to 255: a page shows where, not how much; `peaks` says
    how much.

    Args:
        heatmaps: (K, h, w) over the whole crop.
        crop: that they are of.
    Returns:
        size [h, w], peaks (K), to_image: 2 x 3 from a map's pixels to those of the picture, and png, base64.
    """
    k, h, w = heatmaps.shape
    maps = np.nan_to_num(np.maximum(heatmaps, 0), posinf=0.0)
    peaks = maps.max((1, 2))
    gray = np.rint(maps * (255 / np.maximum(peaks, 1e-30))[:, None, None]).astype(np.uint8)
    _, png = cv2.imencode(".png", gray.reshape(k * h, w))
    to_image = crop.to_image @ np.linalg.inv(pixels_matrix((h, w)))
    return {
        "size": [h, w],
        "peaks": peaks.tolist(),
        "to_image": to_image[:2].tolist(),
        "png": base64.b64encode(png.tobytes()).decode("ascii"),
    }
