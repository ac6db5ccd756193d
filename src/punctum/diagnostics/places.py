"""Where labelled points lie in the crops that a model sees."""

from collections.abc import Sequence

import torch
from torch import Tensor

from punctum.data import Annotations
from punctum.data.crop import inside
from punctum.ops import to_pixels, transform_points


def true_places(
    annotations: Annotations, rows: slice | Sequence[int], to_image: Tensor, input_size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """True places in the crops, and which of them are labelled and in their crop.

    Args:
        annotations: of all instances.
        rows: the B of them that the crops are of.
        to_image: (B, D + 1, D + 1), normalized crop coordinates to pixels.
        input_size: (H, W) or (D, H, W) of the crops.
    Returns:
        (B, K, D) normalized, and (B, K) bool.
    """
    truth = transform_points(torch.from_numpy(annotations.keypoints[rows]), torch.linalg.inv(to_image))
    size = tuple(input_size)
    seen = annotations.labelled[rows] & inside(to_pixels(truth, size).numpy(), size)
    return truth, torch.from_numpy(seen)
