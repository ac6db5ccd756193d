"""The worst, the middle and the best instances as pictures, from the files that an evaluation saw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from punctum.data import CropSettings, crop_image, crop_matrix
from punctum.data.images import read_image, to_unit
from punctum.data.volumes import read_picture, read_spacing
from punctum.draw import draw_layers, draw_points
from punctum.evaluation import Evaluation
from punctum.ops import transform_covariance, transform_points
from punctum.report.blocks import Gallery, Picture
from punctum.schema import Schema
from punctum.slices import draw_slices

Pixels = NDArray[np.uint8]

SHOWN = 4
"""Pictures of a kind."""
QUALITY = 82
# Percentiles: a person shall see something in a dark 16-bit image, too.
VIEW = CropSettings(input_size=(360, 360), padding=1.35, intensity="percentile")
VOLUME_VIEW = CropSettings(input_size=(72, 72, 72), padding=1.35, intensity="percentile")
ELLIPSES = 5
"""Points of a picture whose spread is drawn: those that are furthest off. All of them would hide the picture."""
LONGEST = 900
"""Pixels of a drawing's longer side."""


@dataclass(frozen=True)
class Shown:
    """A thing to look at: a picture's instance, or a whole scan.

    Args:
        rows: of the evaluation.
        error: its mean error, px.
        relative: in lengths; NaN where it has none.
    """

    rows: NDArray[np.int64]
    error: float
    relative: float

    @property
    def rank(self) -> float:
        """What it is ranked by."""
        return self.relative if np.isfinite(self.relative) else self.error


def shown_things(evaluation: Evaluation) -> list[Shown]:
    """Everything that can be looked at and has an error, worst first: instances, or whole scans of layers.

    They are ranked by errors in lengths where each has a length, else in pixels.
    """
    errors = evaluation.errors
    groups = [np.array([i]) for i in range(len(errors))]
    if evaluation.keypoints.shape[-1] == 1:
        _, scan = np.unique(evaluation.images, return_inverse=True)
        groups = np.split(np.argsort(scan, kind="stable"), np.cumsum(np.bincount(scan))[:-1])
    things = []
    for rows in groups:
        seen = errors[rows]
        if np.isfinite(seen).any():
            relative = seen / evaluation.lengths[rows, None]
            share = float(np.nanmean(relative)) if np.isfinite(relative).any() else np.nan
            things.append(Shown(rows, float(np.nanmean(seen)), share))
    if any(not np.isfinite(thing.relative) for thing in things):
        things = [Shown(thing.rows, thing.error, np.nan) for thing in things]
    return sorted(things, key=lambda thing: -thing.rank)


def chosen(things: Sequence[Shown], count: int = SHOWN) -> dict[str, list[Shown]]:
    """Worst, median and best of them, none twice.

    Example:
        >>> things = [Shown(np.array([i]), 9.0 - i, float("nan")) for i in range(9)]
        >>> {kind: [thing.error for thing in some] for kind, some in chosen(things, 2).items()}
        {'Worst': [9.0, 8.0], 'Median': [6.0, 5.0], 'Best': [2.0, 1.0]}
    """
    count = min(count, -(-len(things) // 3))
    worst, best = list(things[:count]), list(things[max(count, len(things) - count) :])
    rest = list(things[count : max(count, len(things) - count)])
    start = max(0, (len(rest) - count) // 2)
    kinds = {"Worst": worst, "Median": rest[start : start + count], "Best": best}
    return {kind: some for kind, some in kinds.items() if some}


def galleries(evaluation: Evaluation, schema: Schema, unit: str) -> tuple[list[Gallery], list[str]]:
    """Pictures of the worst, median and best, and a sentence for each kind of failure to show one."""
    found, failures = [], []
    draw = _drawer(evaluation)
    for kind, things in chosen(shown_things(evaluation)).items():
        pictures = []
        for thing in things:
            try:
                drawn = draw(evaluation, thing, schema)
            except (OSError, ValueError) as error:
                failures.append(str(error))
                continue
            pictures.append(_picture(drawn, evaluation, thing, kind, unit))
        if pictures:
            found.append(Gallery(pictures, f"{kind}: {_ranked_by(things)}"))
    return found, failures


def _ranked_by(things: Sequence[Shown]) -> str:
    lengths = np.isfinite(things[0].relative)
    return f"by the mean error of all labelled points{', in lengths' if lengths else ''}"


def _picture(drawn: Pixels, evaluation: Evaluation, thing: Shown, kind: str, unit: str) -> Picture:
    first = int(thing.rows[0])
    name = str(evaluation.images[first]).replace("\\", "/").rsplit("/", 1)[-1]
    ident = str(evaluation.ids[first])
    named = name if len(thing.rows) > 1 or not ident or name in ident else f"{name}, {ident}"
    size = f"{thing.error:.2f} {unit}"
    if np.isfinite(thing.relative) and str(evaluation.normalizer).split(" ")[0] != "pixels":
        size += f", NME {thing.relative:.1%}"
    return Picture(_jpeg(drawn), f"{named}: {size}", f"{kind} prediction on {named}, mean error {size}")


# --- one drawing for each kind of data -----------------------------------------------------------------------------


def _drawer(evaluation: Evaluation) -> Callable[[Evaluation, Shown, Schema], Pixels]:
    return {1: _draw_scan, 2: _draw_image, 3: _draw_volume}[evaluation.keypoints.shape[-1]]


def _draw_image(evaluation: Evaluation, thing: Shown, schema: Schema) -> Pixels:
    i = int(thing.rows[0])
    image = read_picture(str(evaluation.images[i]))
    matrix = crop_matrix(_region(evaluation, i), image.shape[:-1], VIEW)
    crop = np.moveaxis(crop_image(image, matrix, VIEW), 0, -1)
    return draw_points(
        _eight_bits(crop),
        _moved(evaluation.keypoints[i], matrix),
        schema,
        truth=_moved(evaluation.target[i], matrix),
        covariance=_spread(evaluation, i, matrix),
        scale=1,
    )


def _draw_volume(evaluation: Evaluation, thing: Shown, schema: Schema) -> Pixels:
    """Slices through the landmark that is furthest off."""
    i = int(thing.rows[0])
    path = str(evaluation.images[i])
    volume = read_picture(path)
    spacing = read_spacing(path)
    matrix = crop_matrix(_region(evaluation, i), volume.shape[:-1], VOLUME_VIEW, spacing=spacing)
    return draw_slices(
        _eight_bits(crop_image(volume, matrix, VOLUME_VIEW)[0]),
        _moved(evaluation.keypoints[i], matrix),
        schema,
        int(np.nanargmax(evaluation.errors[i])),
        truth=_moved(evaluation.target[i], matrix),
        covariance=_spread(evaluation, i, matrix),
    )


def _draw_scan(evaluation: Evaluation, thing: Shown, schema: Schema) -> Pixels:
    image = read_image(str(evaluation.images[thing.rows[0]]))
    found, truth = (values[thing.rows, :, 0].T for values in (evaluation.keypoints, evaluation.target))
    return draw_layers(_eight_bits(to_unit(image, "percentile")), found, schema, truth=truth)


def _region(evaluation: Evaluation, i: int) -> NDArray[np.float64]:
    """The box around what is labelled and what was predicted, as (x, y[, z], width, height[, depth])."""
    points = np.concatenate([evaluation.target[i], evaluation.keypoints[i]])
    points = points[np.isfinite(points).all(-1)]
    low, high = points.min(0), points.max(0)
    if evaluation.boxes is not None and np.isfinite(evaluation.boxes[i]).all():
        # One wild prediction shall not make the instance a dot.
        corner, size = np.split(evaluation.boxes[i], 2)
        low, high = np.clip(low, corner - size, corner), np.clip(high, corner + size, corner + 2 * size)
    side = np.maximum(high - low, 8.0)
    return np.concatenate([(low + high - side) / 2, side])


def _moved(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return transform_points(torch.from_numpy(points), torch.from_numpy(matrix)).numpy()


def _spread(evaluation: Evaluation, i: int, matrix: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Of the points that are furthest off; NaN is not drawn."""
    if evaluation.covariance is None:
        return None
    errors = evaluation.errors[i]
    furthest = np.argsort(-np.nan_to_num(errors, nan=-1.0))[:ELLIPSES]
    spread = np.full_like(evaluation.covariance[i], np.nan)
    spread[furthest] = evaluation.covariance[i][furthest]
    return transform_covariance(torch.from_numpy(spread), torch.from_numpy(matrix)).numpy()


def _eight_bits(values: NDArray[np.float32]) -> Pixels:
    return (np.asarray(values) * 255).round().clip(0, 255).astype(np.uint8)


def _jpeg(picture: Pixels) -> bytes:
    scale = LONGEST / max(picture.shape[:2])
    if scale < 1:
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1].tobytes()
