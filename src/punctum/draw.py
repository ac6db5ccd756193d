"""Pictures to judge by: points on images, sheets of images, training curves. Arrays in, arrays or PNG files out."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from punctum.data.grid import pixels_matrix, transform_covariance, transform_points
from punctum.files import write_through
from punctum.schema import Schema

Image = NDArray[np.uint8]

LEGIBLE = 480
"""Longer side, in pixels, up to which small images are enlarged."""

# Okabe and Ito's colours, told apart under every common colour blindness; RGB.
_WARM = ((213, 94, 0), (240, 228, 66))
_COOL = ((0, 114, 178), (86, 220, 240))
_MIDDLE = ((204, 121, 167), (245, 225, 240))
_ANY = ((0, 114, 178), (0, 158, 115), (240, 228, 66), (230, 159, 0), (213, 94, 0), (204, 121, 167))
_GREY, _BLACK, _WHITE = (150, 150, 150), (0, 0, 0), (255, 255, 255)
_SHIFT = 6  # OpenCV takes places in 1 / 2^6 px


def keypoint_colours(schema: Schema) -> Image:
    """A colour for each keypoint: warm for the left of a flip pair, cool for the right, pink for the middle.

    Without flip pairs the colours run through one ramp in the order of the keypoints.

    Returns:
        (K, 3) RGB.
    Example:
        >>> keypoint_colours(Schema(("nose", "left_eye", "right_eye"), flip_pairs=((1, 2),)))
        array([[204, 121, 167],
               [213,  94,   0],
               [  0, 114, 178]], dtype=uint8)
    """
    count = len(schema.names)
    if not schema.flip_pairs:
        return _ramp(_ANY, count)
    colours = np.zeros((count, 3), dtype=np.uint8)
    left, right = ([pair[side] for pair in schema.flip_pairs] for side in (0, 1))
    middle = [i for i in range(count) if i not in {*left, *right}]
    for indices, ends in ((left, _WARM), (right, _COOL), (middle, _MIDDLE)):
        colours[indices] = _ramp(ends, len(indices))
    return colours


def _ramp(stops: Sequence[tuple[int, int, int]], count: int) -> Image:
    places = np.linspace(0, len(stops) - 1, count)
    channels = [np.interp(places, np.arange(len(stops)), channel) for channel in zip(*stops, strict=True)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def draw_points(
    image: ArrayLike,
    keypoints: ArrayLike,
    schema: Schema,
    *,
    visibility: ArrayLike | None = None,
    score: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    scale: float | None = None,
    sigmas: float = 2.0,
) -> Image:
    """Keypoints and skeleton over an image that is enlarged until it is legible.

    A point in the centre of a pixel is drawn in the centre of the enlarged pixel. Points that are NaN or not
    labelled are left out, with their edges.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4), uint8.
        keypoints: (K, 2) pixels of the image as given.
        schema: names, skeleton, flip pairs.
        visibility: (K,) as in COCO; 0 is not drawn, 1 (hidden) is drawn hollow.
        score: (K,) in [0, 1]; the colour fades to grey as it falls.
        covariance: (K, 2, 2) in pixels squared of the image as given; drawn as an ellipse.
        truth: (K, 2) pixels; white crosses, tied to the keypoints.
        scale: enlargement; by default the least whole number that makes the longer side 480 px.
        sigmas: of the ellipses.
    Returns:
        (H', W', 3) RGB, a new array.
    Raises:
        ValueError: the image is not uint8 with 1, 3 or 4 channels, a shape does not fit the schema, or the
            scale is not positive.
    Example:
        >>> draw_points(np.zeros((48, 64), np.uint8), [[3.0, 4.0]], Schema(("tip",))).shape
        (384, 512, 3)
    """
    count = len(schema.names)
    places = _checked("keypoints", keypoints, (count, 2))
    picture, matrix = enlarge(image, scale)
    seen = np.full(count, 2) if visibility is None else _checked("visibility", visibility, (count,))
    places = np.where(seen[:, None] > 0, transform_points(places, matrix), np.nan)
    colours = keypoint_colours(schema).astype(np.float64)
    if score is not None:
        trust = np.clip(np.nan_to_num(_checked("score", score, (count,))), 0, 1)[:, None]
        colours = trust * colours + (1 - trust) * np.array(_GREY)
    unit = max(picture.shape[:2]) / LEGIBLE
    _draw_skeleton(picture, places, schema, colours, unit)
    if covariance is not None:
        spread = transform_covariance(_checked("covariance", covariance, (count, 2, 2)), matrix)
        _draw_ellipses(picture, places, spread, colours, sigmas, unit)
    if truth is not None:
        _draw_truth(picture, places, transform_points(_checked("truth", truth, (count, 2)), matrix), unit)
    for place, colour, hidden in zip(places, colours, seen == 1, strict=True):
        _draw_dot(picture, place, colour, hidden=bool(hidden), radius=4.5 * unit)
    return picture


def draw_layers(image: ArrayLike, rows: ArrayLike, schema: Schema, *, truth: ArrayLike | None = None) -> Image:
    """Layers as lines over a scan that is enlarged until it is legible.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4), uint8.
        rows: (K, W) pixels of the scan as given; NaN is left out.
        schema: the layers' names.
        truth: (K, W) pixels; white lines beneath.
    Returns:
        (H', W', 3) RGB, a new array.
    Raises:
        ValueError: the image is not uint8 with 1, 3 or 4 channels, or a shape does not fit scan and schema.
    Example:
        >>> draw_layers(np.zeros((48, 64), np.uint8), np.full((1, 64), 20.0), Schema(("surface",))).shape
        (384, 512, 3)
    """
    picture, matrix = enlarge(image)
    shape = (len(schema.names), np.shape(image)[1])
    unit = max(picture.shape[:2]) / LEGIBLE
    known = [] if truth is None else [(_WHITE, row) for row in _checked("truth", truth, shape)]
    for colour, row in [*known, *zip(keypoint_colours(schema), _checked("rows", rows, shape), strict=True)]:
        places = transform_points(np.stack([np.arange(shape[1], dtype=np.float64), row], axis=-1), matrix)
        for run in np.ma.clump_unmasked(np.ma.masked_invalid(row)):
            _draw_lines(picture, places[run], colour, (3 if colour is _WHITE else 1.5) * unit)
    return picture


def enlarge(image: ArrayLike, scale: float | None = None) -> tuple[Image, NDArray[np.float64]]:
    """An image resized until it is legible, and the (3, 3) matrix that takes its old pixels to the new ones.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4), uint8.
        scale: by default the least whole number that makes the longer side 480 px.
    Raises:
        ValueError: the image is not uint8 with 1, 3 or 4 channels, or the scale is not positive.
    Example:
        >>> picture, matrix = enlarge(np.zeros((240, 240), np.uint8))
        >>> picture.shape, (matrix @ [0, 0, 1])[:2]
        ((480, 480, 3), array([0.5, 0.5]))
    """
    picture = _rgb(image)
    height, width = picture.shape[:2]
    if scale is None:
        scale = max(1, math.ceil(LEGIBLE / max(height, width)))
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    new = max(1, round(height * scale)), max(1, round(width * scale))
    matrix = pixels_matrix(new) @ np.linalg.inv(pixels_matrix((height, width)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, new[::-1], interpolation=method), dtype=np.uint8), matrix


def contact_sheet(images: Sequence[ArrayLike], columns: int, titles: Sequence[str] | None = None) -> Image:
    """Images in rows, each padded to the size of the largest, with a line of text above.

    Args:
        images: uint8, of any sizes; gray, RGB or RGBA.
        columns: images in a row; the last row may be shorter.
        titles: one for each image; characters that cannot be drawn become `?`, long ones are cut.
    Returns:
        (H, W, 3) RGB on white.
    Raises:
        ValueError: no image, no column, or another number of titles than of images.
    Example:
        >>> contact_sheet([np.zeros((20, 30), np.uint8)] * 3, columns=2).shape
        (52, 72, 3)
    """
    if not images or columns < 1:
        raise ValueError(f"a contact sheet takes at least one image and one column, got {len(images)} and {columns}")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(titles)} titles for {len(images)} images")
    pictures = [_rgb(image) for image in images]
    gap, text = 4, 0 if titles is None else 18
    height = max(picture.shape[0] for picture in pictures) + text + gap
    width = max(picture.shape[1] for picture in pictures) + gap
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    sheet = np.full((rows * height + gap, columns * width + gap, 3), 255, dtype=np.uint8)
    for i, picture in enumerate(pictures):
        top, left = gap + i // columns * height, gap + i % columns * width
        if titles is not None:
            _draw_title(sheet[top : top + text, left : left + width - gap], titles[i])
        sheet[top + text : top + text + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def write_png(path: str | Path, image: ArrayLike) -> Path:
    """An RGB, gray or RGBA uint8 array as a PNG file, whole or not at all; parent folders are made.

    Raises:
        ValueError: the array is no uint8 image.
    """
    encoded = cv2.imencode(".png", cv2.cvtColor(_rgb(image), cv2.COLOR_RGB2BGR))[1].tobytes()
    return write_through(path, lambda temporary: temporary.write_bytes(encoded))


def training_curves(columns: Mapping[str, Sequence[float | None]], path: str | Path) -> None:
    """Losses, learning rate and validation error over epochs, as a PNG file.

    Args:
        columns: lists of equal length: `epoch`, and any of `train_loss`, `val_loss`, `lr` and
            `val_epe_px` (median error in original-image pixels). None or NaN: not measured in that epoch.
        path: of the PNG; parent folders are made.
    Raises:
        ValueError: `epoch` is missing, or a list has another length.
    """
    if "epoch" not in columns:
        raise ValueError(f"training curves need the column 'epoch'; there are: {', '.join(columns) or 'none'}")
    series = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    for name, values in series.items():
        if values.shape != series["epoch"].shape:
            raise ValueError(f"column {name!r} has {len(values)} values, 'epoch' has {len(series['epoch'])}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    handles = _plot(left, series, {"train_loss": ("training", _WARM[0]), "val_loss": ("validation", _COOL[0])})
    if np.isfinite(series.get("lr", np.empty(0))).any():
        rate = left.twinx()
        handles += _plot(rate, series, {"lr": ("learning rate", _GREY)})
        rate.set_ylabel("learning rate", color="gray")
        rate.grid(False)
    _plot(right, series, {"val_epe_px": ("validation", _COOL[0])})
    left.set(title="Loss", xlabel="epoch", ylabel="loss")
    right.set(title="Validation error", xlabel="epoch", ylabel="median error (px)")
    if handles:
        left.legend(handles=handles, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    write_png(path, np.asarray(canvas.buffer_rgba()))


# --- the parts of a picture --------------------------------------------------------------------------------


def _rgb(image: ArrayLike) -> Image:
    """A fresh (H, W, 3) uint8 array; alpha is dropped."""
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise ValueError(
            f"an image to draw is uint8 of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
            f"got {array.dtype} {np.shape(image)}"
        )
    return np.array(np.broadcast_to(array[..., :3], (*array.shape[:2], 3)))


def _checked(name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape} to fit the schema, got {array.shape}")
    return array


def _fixed(points: ArrayLike) -> NDArray[np.int32]:
    """OpenCV's fixed point; far-out places are pulled in before they overflow."""
    return np.rint(np.clip(points, -1e5, 1e5) * 2**_SHIFT).astype(np.int32)


def _draw_lines(picture: Image, lines: ArrayLike, colour: ArrayLike, width: float, closed: bool = False) -> None:
    thickness, shade = max(1, round(width)), np.asarray(colour).tolist()
    cv2.polylines(picture, [_fixed(lines)], closed, shade, thickness, cv2.LINE_AA, _SHIFT)


def _draw_skeleton(picture: Image, places: Any, schema: Schema, colours: Any, unit: float) -> None:
    for width, dark in ((3.5, True), (2.0, False)):  # all outlines first: no edge cuts another one's colour
        for i, j in schema.skeleton:
            if np.isfinite(places[[i, j]]).all():
                colour = _BLACK if dark else (colours[i] + colours[j]) / 2
                _draw_lines(picture, places[[i, j]], colour, width * unit)


def _draw_ellipses(picture: Image, places: Any, spread: Any, colours: Any, sigmas: float, unit: float) -> None:
    turns = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    for place, matrix, colour in zip(places, spread, colours, strict=True):
        if not (np.isfinite(place).all() and np.isfinite(matrix).all()):
            continue
        values, vectors = np.linalg.eigh(matrix)
        ring = place + sigmas * (circle * np.sqrt(values.clip(min=0))) @ vectors.T
        _draw_lines(picture, ring, _BLACK, 3 * unit, closed=True)
        _draw_lines(picture, ring, colour, 1.5 * unit, closed=True)


def _draw_truth(picture: Image, places: Any, truth: Any, unit: float) -> None:
    arms = 5 * unit * np.array([[[-1.0, -1.0], [1.0, 1.0]], [[-1.0, 1.0], [1.0, -1.0]]])
    for place, true in zip(places, truth, strict=True):
        if not np.isfinite(true).all():
            continue
        if np.isfinite(place).all():
            _draw_lines(picture, [place, true], _WHITE, unit)
        for colour, width in ((_BLACK, 3), (_WHITE, 1)):
            for arm in arms:
                _draw_lines(picture, true + arm, colour, width * unit)


def _draw_dot(picture: Image, place: Any, colour: Any, *, hidden: bool, radius: float) -> None:
    if not np.isfinite(place).all():
        return
    centre, rim = _fixed(place).tolist(), max(1.0, radius / 4)
    if hidden:
        for shade, width in ((_BLACK, 3 * rim), (np.asarray(colour).tolist(), 1.5 * rim)):
            cv2.circle(picture, centre, int(_fixed(1.3 * radius)), shade, max(1, round(width)), cv2.LINE_AA, _SHIFT)
    else:
        for shade, size in ((_BLACK, radius + rim), (np.asarray(colour).tolist(), radius)):
            cv2.circle(picture, centre, int(_fixed(size)), shade, -1, cv2.LINE_AA, _SHIFT)


def _draw_title(strip: Image, title: str) -> None:
    """Black text in a white strip; OpenCV's font is ASCII."""
    text = "".join(c if " " <= c <= "~" else "?" for c in title)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.42

    def fits(shown: str) -> bool:
        return cv2.getTextSize(shown, font, size, 1)[0][0] <= strip.shape[1] - 2

    if not fits(text):
        length = next((n for n in range(len(text), 0, -1) if fits(text[:n] + "..")), 0)
        text = text[:length] + ".." if length else ""
    cv2.putText(strip, text, (1, strip.shape[0] - 6), font, size, _BLACK, 1, cv2.LINE_AA)


def _plot(axes: Any, series: Mapping[str, Any], wanted: Mapping[str, tuple[str, tuple[int, int, int]]]) -> list[Any]:
    """Lines for what there is; logarithmic where all values are positive and span more than a factor of five."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    handles, shown = [], []
    for name, (label, colour) in wanted.items():
        values = series.get(name, np.empty(0))
        known = np.isfinite(values)
        if known.any():
            rgb = tuple(channel / 255 for channel in colour)
            style = {"linestyle": ":", "marker": ""} if name == "lr" else {"marker": "." if known.sum() < 60 else ""}
            handles += axes.plot(series["epoch"][known], values[known], color=rgb, label=label, **style)
            shown.append(values[known])
    axes.grid(True, alpha=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not shown:
        axes.text(0.5, 0.5, "not measured", ha="center", va="center", color="gray", transform=axes.transAxes)
        return handles
    low, high = np.concatenate(shown).min(), np.concatenate(shown).max()
    if low > 0 and high > 5 * low:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    return handles
