"""Where labelled points lie in their crops: the constant predictor's answer, and what is unusual."""

import numpy as np
import torch
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.crop import CropSettings, crop_matrix
from punctum.ops import to_normalized, transform_points


def crop_coords(annotations: Annotations, sizes: NDArray[np.int64], crop: CropSettings) -> NDArray[np.float64]:
    """Normalized crop coordinates of every labelled point, without augmentation.

    Args:
        annotations: N instances of K keypoints.
        sizes: (N, D) as (H, W) or (D, H, W): the images' sizes, from `inspect`.
        crop: what the network sees.
    Returns:
        (N, K, D), NaN where unlabelled.
    """
    keypoints = torch.from_numpy(np.where(annotations.labelled[..., None], annotations.keypoints, np.nan))
    if annotations.dims == 1:
        # A scan's rows all come into the window.
        for height in np.unique(sizes[:, 0]):
            rows = torch.from_numpy(sizes[:, 0] == height)
            keypoints[rows] = to_normalized(keypoints[rows], (int(height),))
        return keypoints.numpy()
    spacing = [None] * len(annotations) if annotations.spacing is None else list(annotations.spacing)
    matrices = [
        crop_matrix(box, tuple(size), crop, spacing=length)
        for box, size, length in zip(annotations.boxes, sizes.tolist(), spacing, strict=True)
    ]
    if not matrices:
        return np.zeros(annotations.keypoints.shape)
    placed = transform_points(keypoints, torch.from_numpy(np.stack(matrices)))
    return to_normalized(placed, crop.input_size).numpy()


def mean_coords(annotations: Annotations, sizes: NDArray[np.int64], crop: CropSettings) -> NDArray[np.float64]:
    """Each keypoint's mean place in the crops, (K, D) normalized: what a predictor that looks at nothing says.

    A keypoint that is never labelled is put at the centre.
    """
    coords = crop_coords(annotations, sizes, crop)
    labelled = annotations.labelled[..., None]
    return np.where(labelled, coords, 0.0).sum(0) / np.maximum(labelled.sum(0), 1)
