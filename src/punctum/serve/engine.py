"""What a server needs of a model: crops in, predictions out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from punctum.data.crop import CropSettings, crop_image, crop_matrix, to_image_matrix
from punctum.data.images import Image
from punctum.image_prediction import ImagePrediction
from punctum.schema import Schema
from punctum.serve.request_boxes import Box


@dataclass(frozen=True)
class Wanted:
    """What is asked beside the points; instances of which different things are asked do not go together.

    Args:
        heatmaps: what the network saw, for people.
        places: how many likely places of each point.
    """

    heatmaps: bool = False
    places: int = 0


@dataclass(frozen=True, eq=False)
class Crop:
    """One instance as the network gets it.

    Args:
        pixels: (C, H, W) float32 in [0, 1].
        to_image: (3, 3), normalized crop coordinates to the picture's pixels.
        size: (H, W) of the picture.
        box: where the instance is; None: the whole picture.
    """

    pixels: NDArray[np.float32]
    to_image: NDArray[np.float64]
    size: tuple[int, ...]
    box: Box | None


@dataclass(frozen=True, eq=False)
class Found:
    """What is said of one instance, and its heatmaps (K, h, w) over the whole crop where they were asked for."""

    prediction: ImagePrediction
    heatmaps: NDArray[np.float32] | None = None


class Engine(Protocol):
    """A model in a server."""

    schema: Schema
    crop: CropSettings
    # How the page and /model call it; levels of its regions, empty where it is not calibrated.
    kind: str
    levels: tuple[float, ...]
    # What of `Wanted` it can give.
    can: Wanted

    def run(self, crops: Sequence[Crop], wanted: Wanted) -> list[Found]:
        """One batch through the network; called in one thread at a time."""


def make_crop(image: Image, box: Box | None, settings: CropSettings) -> Crop:
    """An instance of a decoded picture, cut as for `punctum predict`.

    Raises:
        ValueError: the picture's values do not fit the model's intensity.
    """
    size = image.shape[:2]
    matrix = crop_matrix(None if box is None else np.array(box), size, settings)
    return Crop(crop_image(image, matrix, settings), to_image_matrix(matrix, settings.input_size), size, box)
