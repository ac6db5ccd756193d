"""Instances as pictures: a crop a little wider than the network sees, with labels or predictions drawn in."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data import Annotations, CropSettings, crop_image, crop_matrix
from punctum.data.grid import transform_covariance, transform_points
from punctum.data.volumes import read_picture, read_spacing
from punctum.draw import contact_sheet, draw_points, enlarge, write_png
from punctum.image_prediction import ImagePrediction
from punctum.schema import Schema
from punctum.slices import draw_slices

Picture = NDArray[np.uint8]

# Percentiles: a person shall see something in a dark 16-bit image, too.
VIEW = CropSettings(input_size=(240, 240), padding=1.4, intensity="percentile")
VOLUME_VIEW = CropSettings(input_size=(100, 100, 100), padding=1.4, intensity="percentile")
# Standard deviations at which `draw_points` draws an ellipse.
DRAWN_SIGMAS = 2.0
# Landmarks of one volume that a drawing of it shows.
SHOWN = 8


def view_labels(annotations: Annotations, i: int, *, flip: bool = False) -> Picture:
    """Instance i with its labels; flipped, as training would mirror it. Of a volume, slices through one landmark."""
    crop, matrix = _view(annotations, i, flip)
    points, visibility = transform_points(annotations.keypoints[i], matrix), annotations.visibility[i]
    if flip:
        order = annotations.schema.flip_order
        points, visibility = points[order], visibility[order]
    if annotations.picture_axes == 3:
        return draw_slices(crop, points, annotations.schema, shown_landmark(annotations, i), visibility=visibility)
    return draw_points(crop, points, annotations.schema, visibility=visibility)


def shown_landmark(annotations: Annotations, i: int) -> int:
    """The landmark that is shown of volume i: another one in each volume, of those that it labels."""
    labelled = np.flatnonzero(annotations.labelled[i])
    return int(labelled[i % len(labelled)]) if len(labelled) else i % len(annotations.schema.names)


def view_prediction(annotations: Annotations, i: int, prediction: ImagePrediction) -> Picture:
    """Instance i with its prediction, and the labels as crosses. Of a volume, slices through one landmark."""
    crop, matrix = _view(annotations, i)
    points, truth = transform_points(prediction.keypoints, matrix), transform_points(annotations.keypoints[i], matrix)
    if annotations.picture_axes == 3:
        return draw_slices(crop, points, annotations.schema, shown_landmark(annotations, i), truth=truth)
    return draw_points(crop, points, annotations.schema, truth=truth)


def view_finding(
    annotations: Annotations, i: int, predicted: NDArray[np.float64], keypoints: Sequence[int]
) -> Picture:
    """Some labels of instance i as crosses, tied to their predicted places, from near; other labels are grey dots.

    Of a volume, slices through the first of them.
    """
    asked = np.isin(np.arange(len(predicted)), keypoints)
    if annotations.picture_axes == 3:
        crop, matrix = _view(annotations, i)
        labels, predicted = transform_points(annotations.keypoints[i], matrix), transform_points(predicted, matrix)
        return draw_slices(crop, predicted, annotations.schema, keypoints[0], truth=labels)
    crop, matrix = _view(annotations, i, region=_around(annotations, i, predicted[asked], asked))
    picture, larger = enlarge(crop)
    labels, predicted = (
        transform_points(transform_points(p, matrix), larger) for p in (annotations.keypoints[i], predicted)
    )
    plain, grey = replace(annotations.schema, skeleton=()), np.zeros(len(labels))
    picture = draw_points(picture, np.where(asked[:, None], np.nan, labels), plain, score=grey, scale=1)
    predicted, truth = (np.where(asked[:, None], p, np.nan) for p in (predicted, labels))
    return draw_points(picture, predicted, plain, truth=truth, scale=1)


def _around(
    annotations: Annotations, i: int, predicted: NDArray[np.float64], asked: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """A box around labels and predictions, at least a third as large as the instance's points are apart."""
    everything = annotations.keypoints[i][annotations.labelled[i]]
    points = np.concatenate([annotations.keypoints[i][asked], predicted])
    points = points[np.isfinite(points).all(-1)]
    centre = (points.min(0) + points.max(0)) / 2
    side = max(float(np.ptp(points, axis=0).max()), float(np.ptp(everything, axis=0).max()) / 3, 8.0) * 1.25
    return np.array([*(centre - side / 2), side, side])


def write_sheet(
    annotations: Annotations, predictions: Sequence[ImagePrediction], path: Path, *, columns: int = 4, rows: int = 3
) -> Path:
    """A sheet of predicted instances, the first `columns * rows` of them, as a PNG file."""
    if annotations.picture_axes == 3:
        columns, rows = 1, 2 * rows
    shown = range(min(len(annotations), columns * rows))
    cells = [view_prediction(annotations, i, predictions[i]) for i in shown]
    titles = [f"{title_of(annotations, i)}: {_median_error(annotations, i, predictions[i])}" for i in shown]
    return write_png(path, contact_sheet(cells, columns, titles))


def draw_volume(
    path: Path,
    predictions: Sequence[ImagePrediction],
    schema: Schema,
    *,
    spacing: NDArray[np.float64] | None = None,
    ellipses: bool = False,
    level: int = 0,
) -> Picture:
    """Slices through the first landmarks of a volume, one under the other; ellipses as `draw_instances` has them."""
    volume = read_picture(path)
    spacing = read_spacing(path) if spacing is None else spacing
    matrix = crop_matrix(None, volume.shape[:3], VOLUME_VIEW, spacing=spacing)
    crop = _eight_bits(crop_image(volume, matrix, VOLUME_VIEW))
    cells, titles = [], []
    for p in predictions:
        spread = _spread(p, matrix, level) if ellipses else None
        for k in range(min(len(p.names), SHOWN)):
            cells.append(draw_slices(crop, transform_points(p.keypoints, matrix), schema, k, covariance=spread))
            place = ", ".join(f"{v:.1f}" for v in p.keypoints[k])
            titles.append(f"{p.names[k]} at ({place}), score {p.score[k]:.2f}")
    return contact_sheet(cells, columns=1, titles=titles)


def draw_instances(
    image: Picture,
    predictions: Sequence[ImagePrediction],
    schema: Schema,
    *,
    ellipses: bool = False,
    level: int = 0,
) -> Picture:
    """A whole picture, enlarged until it is legible, with all its instances.

    Ellipses hold their points with the probability of the calibration's level at that position. Without a calibration
    they show the heatmaps' spread at two sigma: a regularizer that asks for a sigma of one cell gets it, however
    small the errors are.
    """
    return draw_enlarged(*enlarge(image), predictions, schema, ellipses=ellipses, level=level)


def draw_enlarged(
    picture: Picture,
    matrix: NDArray[np.float64],
    predictions: Sequence[ImagePrediction],
    schema: Schema,
    *,
    ellipses: bool = False,
    level: int = 0,
) -> Picture:
    """The same over a picture that is enlarged already; `matrix` takes its old pixels to the new ones."""
    for p in predictions:
        points = transform_points(p.keypoints, matrix)
        spread = _spread(p, matrix, level) if ellipses else None
        picture = draw_points(picture, points, schema, covariance=spread, score=p.score, scale=1)
    return picture


def _view(
    annotations: Annotations, i: int, flip: bool = False, region: NDArray[np.float64] | None = None
) -> tuple[Picture, NDArray[np.float64]]:
    image = read_picture(annotations.images[i])
    view = VIEW if annotations.picture_axes == 2 else VOLUME_VIEW
    spacing = None if annotations.spacing is None else annotations.spacing[i]
    box = annotations.boxes[i] if region is None else region
    matrix = crop_matrix(box, image.shape[:-1], view, flip=flip, spacing=spacing)
    return _eight_bits(crop_image(image, matrix, view)), matrix


def _eight_bits(crop: NDArray[np.float32]) -> Picture:
    """(3, H, W) as (H, W, 3), and (1, D, H, W) as (D, H, W)."""
    pixels = np.moveaxis(crop, 0, -1) if len(crop) > 1 else crop[0]
    return (pixels * 255).round().astype(np.uint8)


def title_of(annotations: Annotations, i: int) -> str:
    """The picture's name; of a volume, with the landmark that is shown of it."""
    if annotations.picture_axes == 2:
        return annotations.image_names[i]
    return f"{annotations.image_names[i]}, {annotations.schema.names[shown_landmark(annotations, i)]}"


def _spread(prediction: ImagePrediction, matrix: NDArray[np.float64], level: int) -> NDArray[Any] | None:
    """Covariances of which two sigma are drawn."""
    if prediction.covariance is None:
        return None
    spread = transform_covariance(prediction.covariance, matrix)
    if prediction.trust is None:
        return spread
    return spread * (prediction.trust.factor[:, level, None, None] / DRAWN_SIGMAS) ** 2


def _median_error(annotations: Annotations, i: int, prediction: ImagePrediction) -> str:
    labelled = annotations.labelled[i]
    if not labelled.any():
        return "no labels"
    offsets = prediction.keypoints[labelled] - annotations.keypoints[i][labelled]
    unit = "px" if annotations.picture_axes == 2 else "voxels"
    if annotations.spacing is not None:
        offsets, unit = offsets * annotations.spacing[i], "mm"
    return f"{np.median(np.linalg.norm(offsets, axis=-1)):.2f} {unit}"
