"""Instances as pictures: a crop a little wider than the network sees, with labels or predictions drawn in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from punctum.data import Annotations, CropSettings, crop_image, crop_matrix, read_image
from punctum.draw import contact_sheet, draw_points, enlarge, write_png
from punctum.ops import transform_covariance, transform_points
from punctum.predict import ImagePrediction
from punctum.schema import Schema

Picture = NDArray[np.uint8]

# Percentiles: a person shall see something in a dark 16-bit image, too.
VIEW = CropSettings(input_size=(240, 240), padding=1.4, intensity="percentile")


def view_labels(annotations: Annotations, i: int, *, flip: bool = False) -> Picture:
    """Instance i with its labels; flipped, as training would mirror it."""
    crop, matrix = _view(annotations, i, flip)
    points, visibility = _moved(annotations.keypoints[i], matrix), annotations.visibility[i]
    if flip:
        order = annotations.schema.flip_order
        points, visibility = points[order], visibility[order]
    return draw_points(crop, points, annotations.schema, visibility=visibility)


def view_prediction(annotations: Annotations, i: int, prediction: ImagePrediction) -> Picture:
    """Instance i with its prediction, and the labels as crosses."""
    crop, matrix = _view(annotations, i)
    return draw_points(
        crop,
        _moved(prediction.keypoints, matrix),
        annotations.schema,
        truth=_moved(annotations.keypoints[i], matrix),
    )


def write_sheet(
    annotations: Annotations, predictions: Sequence[ImagePrediction], path: Path, *, columns: int = 4, rows: int = 3
) -> Path:
    """A sheet of predicted instances, the first `columns * rows` of them, as a PNG file."""
    shown = range(min(len(annotations), columns * rows))
    cells = [view_prediction(annotations, i, predictions[i]) for i in shown]
    titles = [f"{annotations.image_names[i]}: {_median_error(annotations, i, predictions[i])}" for i in shown]
    return write_png(path, contact_sheet(cells, columns, titles))


def draw_instances(
    image: Picture, predictions: Sequence[ImagePrediction], schema: Schema, *, ellipses: bool = False
) -> Picture:
    """A whole picture, enlarged until it is legible, with all its instances.

    Ellipses, at two sigma, show the heatmaps' spread. It is not calibrated: a regularizer that asks for a sigma of
    one cell gets it, however small the errors are.
    """
    picture, matrix = enlarge(image)
    for p in predictions:
        points = _moved(p.keypoints, matrix)
        spread = _spread(p, matrix) if ellipses else None
        picture = draw_points(picture, points, schema, covariance=spread, score=p.score, scale=1)
    return picture


def _view(annotations: Annotations, i: int, flip: bool = False) -> tuple[Picture, NDArray[np.float64]]:
    image = read_image(annotations.images[i])
    matrix = crop_matrix(annotations.boxes[i], (image.shape[0], image.shape[1]), VIEW, flip=flip)
    crop = (crop_image(image, matrix, VIEW).transpose(1, 2, 0) * 255).round().astype(np.uint8)
    return crop, matrix


def _moved(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[Any]:
    return transform_points(torch.from_numpy(points), torch.from_numpy(matrix)).numpy()


def _spread(prediction: ImagePrediction, matrix: NDArray[np.float64]) -> NDArray[Any] | None:
    if prediction.covariance is None:
        return None
    return transform_covariance(torch.from_numpy(prediction.covariance), torch.from_numpy(matrix)).numpy()


def _median_error(annotations: Annotations, i: int, prediction: ImagePrediction) -> str:
    labelled = annotations.labelled[i]
    if not labelled.any():
        return "no labels"
    offsets = prediction.keypoints[labelled] - annotations.keypoints[i][labelled]
    return f"{np.median(np.linalg.norm(offsets, axis=-1)):.2f} px"
