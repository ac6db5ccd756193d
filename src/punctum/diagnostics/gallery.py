"""The best, the median and the worst cases as pictures: what the network saw, its heatmap, the truth, its answer."""

import math
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from punctum.data import Annotations
from punctum.diagnostics.gradient import gradient_factors
from punctum.diagnostics.measured import Measured, as_distribution
from punctum.diagnostics.places import true_places
from punctum.draw import contact_sheet, draw_points, write_png
from punctum.ops import to_pixels
from punctum.predict import Predictor

FOLDER = "gallery"
KINDS = ("best", "median", "worst")

EACH = 2
"""Instances of each kind."""

SHOWN = 4
"""Keypoints of each instance, from its smallest error to its largest."""

COLUMNS = 2
"""Of the sheet of one instance: a square, which is legible on a phone."""

TILE = 240
"""Pixels that the longer side of a picture is enlarged to, at least."""

Picture = NDArray[np.uint8]


def chosen(measured: Measured) -> dict[str, list[int]]:
    """Instances by their mean error over their points: the smallest, around the median, the largest.

    Instances that stand in one list stand in no other; with few instances the lists are short.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an instance without points has no mean
        errors = np.nanmean(measured.error, axis=1)
    order = [int(i) for i in np.argsort(errors) if np.isfinite(errors[i])]
    best, rest = order[:EACH], order[EACH:]
    worst, rest = rest[-EACH:][::-1], rest[:-EACH]
    middle = max(0, (len(rest) - EACH) // 2)
    return {"best": best, "median": rest[middle : middle + EACH], "worst": worst}


def shown_points(errors: NDArray[np.float64]) -> list[int]:
    """Up to four keypoints of an instance, evenly from the best to the worst.

    Example:
        >>> shown_points(np.array([3.0, np.nan, 1.0, 2.0]))
        [2, 3, 0]
    """
    order = [int(k) for k in np.argsort(errors) if np.isfinite(errors[k])]
    places = np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int))
    return [order[i] for i in places]


def write_gallery(
    folder: Path, predictor: Predictor, annotations: Annotations, measured: Measured
) -> list[dict[str, Any]]:
    """A PNG file for each chosen instance, and the gradient's factors of a median case.

    Returns:
        An entry for each: its file (relative to the folder), kind, image, instance, keypoints and errors in cells.
    """
    entries: list[dict[str, Any]] = []
    for kind, rows in chosen(measured).items():
        if not rows:
            continue
        subset = annotations.subset(rows)
        start = 0
        for crops, prediction, to_image in predictor.heatmaps(subset):
            if prediction.heatmap is None:
                continue
            part = slice(start, start + len(crops))
            truth, _ = true_places(subset, part, to_image, predictor.crop.input_size)
            maps = as_distribution(prediction.heatmap)[0]
            for i in range(len(crops)):
                row = rows[start + i]
                points = shown_points(measured.error[row])
                tiles = [_tile(crops[i], maps[i], prediction.coords[i], truth[i], k, annotations) for k in points]
                errors = [float(measured.error[row, k]) for k in points]
                names = [annotations.schema.names[k] for k in points]
                titles = [f"{name}: {error:.2f} cells" for name, error in zip(names, errors, strict=True)]
                name = f"{kind}-{start + i + 1}.png"
                write_png(folder / FOLDER / name, contact_sheet(tiles, COLUMNS, titles))
                entries.append(
                    {
                        "file": f"{FOLDER}/{name}",
                        "kind": kind,
                        "image": annotations.image_names[row],
                        "id": annotations.ids[row],
                        "keypoints": names,
                        "errors": errors,
                        "gradient": _factors(maps[i : i + 1], truth[i : i + 1], points[len(points) // 2])
                        if kind == "median" and start + i == 0
                        else None,
                    }
                )
            start += len(crops)
    return entries


def _tile(crop: Tensor, maps: Tensor, coords: Tensor, truth: Tensor, k: int, annotations: Annotations) -> Picture:
    """One keypoint: the crop under its heatmap, truth and answer; of a volume, the slice through the truth."""
    size = tuple(crop.shape[1:])
    place, true = (points[k].double() for points in (coords, truth))
    pixels, heatmap = crop, maps[k]
    if len(size) == 3:
        cells = tuple(heatmap.shape)
        pixels = crop[:, _nearest(float(to_pixels(true, size)[2]), size[0])]
        heatmap = heatmap[_nearest(float(to_pixels(true, cells)[2]), cells[0])]
    grey = pixels.mean(0).numpy()
    peak = max(float(maps[k].max()), 1e-12)
    share = np.asarray(heatmap.float().numpy() / peak, dtype=np.float32).clip(0, 1)
    scale = max(1, math.ceil(TILE / max(grey.shape)))
    large = tuple(scale * n for n in grey.shape[::-1])
    # Cells are shown as cells: what looks smooth would claim to know what lies between them.
    share = cv2.resize(share, large, interpolation=cv2.INTER_NEAREST)
    grey = cv2.resize(grey, large, interpolation=cv2.INTER_LINEAR)
    picture = overlay(grey, share)
    points, crosses = np.full((len(coords), 2), np.nan), np.full((len(coords), 2), np.nan)
    points[k], crosses[k] = (to_pixels(p[:2], large[::-1]).numpy() for p in (place, true))
    return draw_points(picture, points, annotations.schema, truth=crosses, scale=1)


def overlay(grey: NDArray[Any], share: NDArray[Any]) -> Picture:
    """A picture in [0, 1] with a heatmap in [0, 1], whose peak is one, in colour over it.

    The less there is, the more of the picture shows; a hundredth of the peak hardly tints it.
    """
    colours = cv2.cvtColor(
        cv2.applyColorMap((255 * (0.25 + 0.75 * share)).round().astype(np.uint8), cv2.COLORMAP_INFERNO),
        cv2.COLOR_BGR2RGB,
    )
    weight = (0.75 * share**0.7)[..., None]
    shade = 255 * (0.15 + 0.7 * grey.clip(0, 1))[..., None]
    return np.asarray(((1 - weight) * shade + weight * colours).round().clip(0, 255), dtype=np.uint8)


def _nearest(place: float, n: int) -> int:
    return int(np.clip(round(float(place)), 0, n - 1))


def _factors(maps: Tensor, truth: Tensor, k: int) -> dict[str, Any]:
    """Value factor, location factor and gradient of one keypoint's map, and the true cell; of a volume, one slice."""
    one, place = maps[:, k : k + 1], truth[:, k : k + 1].to(maps.dtype)
    value, location = (factor[0, 0] for factor in gradient_factors(one, place))
    true = to_pixels(place[0, 0], tuple(one.shape[2:])).tolist()
    if value.ndim == 3:
        z = _nearest(true[2], len(value))
        value, location = value[z], location[z]
    rounded = torch.stack([value, location, value * location]).double().numpy().round(8).tolist()
    return {"keypoint": k, "truth": true[:2], **dict(zip(("value", "location", "product"), rounded, strict=True))}
