"""Easy, medium and hard instances, by what makes keypoints hard to find."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from punctum.data import Annotations

Criterion = Literal["joints", "occlusion", "size"]

LEVELS = ("easy", "medium", "hard")


def difficulty(annotations: Annotations, criterion: Criterion) -> NDArray[np.str_]:
    """How hard each instance is, by one criterion.

                   easy      medium    hard
        joints     11 - 17   6 - 10    1 - 5       labelled keypoints, of 17
        occlusion  < 10 %    between   > 50 %      share of the labelled keypoints that are hidden (v 1)
        size       > 128     64 - 128  32 - 64     longer side of the box, in pixels of the original image

    With K keypoints instead of 17 the joints' limits are the same shares of K: easy above 10/17, hard up to
    5/17. Sizes of exactly 64 and 128 are medium. A box below 32 px, or none, is in no class.

    Args:
        annotations: N instances.
        criterion: joints, occlusion or size.
    Returns:
        (N,) of "easy", "medium", "hard", and "" where the instance is in no class.
    Raises:
        ValueError: another criterion.
    Source:
        Gu et al. 2022 (ICLR), Section 3.3, with the limits of Gu et al. 2021.
    """
    if criterion not in get_args(Criterion):
        raise ValueError(f"unknown criterion {criterion!r}: choose {', '.join(get_args(Criterion))}")
    labelled = annotations.labelled.sum(1)
    classed = labelled > 0
    if criterion == "joints":
        # In whole numbers, so that the limits are exact.
        joints = 17 * labelled
        easy, hard = joints > 10 * annotations.labelled.shape[1], joints <= 5 * annotations.labelled.shape[1]
    elif criterion == "occlusion":
        hidden = (annotations.visibility == 1).sum(1)
        easy, hard = 10 * hidden < labelled, 2 * hidden > labelled
    else:
        # A box is its corner, then its sides.
        side = annotations.boxes[:, annotations.boxes.shape[1] // 2 :].max(1)
        easy, hard, classed = side > 128, side < 64, classed & (side >= 32)
    return np.select([~classed, easy, hard], ["", "easy", "hard"], default="medium")
