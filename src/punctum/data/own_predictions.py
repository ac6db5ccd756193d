"""Files of predictions that `punctum predict` writes: points of pictures and volumes, and layers of scans."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.errors import DataError

PREDICTION_FORMATS = "punctum's csv, JSON or COCO file, COCO results JSON, MPII preds (.h5, .mat)"
AXES = "xyz"


@dataclass(frozen=True)
class Point:
    """One predicted point, as a file tells of it."""

    where: str
    image: str
    instance: str
    keypoint: str
    place: tuple[float, ...]
    score: float


@dataclass(frozen=True)
class _Columns:
    """A csv file's columns: what a point is of, and where it is."""

    labels: tuple[str, str, str]
    place: tuple[str, ...]


_LAYERS = _Columns(("image", "layer", "column"), ("row",))


def own_points(source: Path, text: str, found: Any, annotations: Annotations) -> tuple[list[Point], list[str]]:
    """The points of a file that `punctum predict` writes, and its mistakes.

    Args:
        source: the file.
        text: what is in it.
        found: the same as JSON; None: it is a csv.
        annotations: what the points are of: in pictures, in volumes, or layers.
    Raises:
        DataError: it is another file.
    """
    mistakes: list[str] = []
    layered = annotations.dims == 1
    if found is None:
        points = _csv_points(source, text, _LAYERS if layered else _columns(annotations.dims), mistakes)
    elif layered and isinstance(found, dict) and isinstance(found.get("scans"), list) and "layers" in found:
        points = _json_layers(source, found, mistakes)
    elif not layered and isinstance(found, list) and all(_is_instance(row) for row in found):
        points = _json_points(source, found, AXES[: annotations.dims], mistakes)
    else:
        what = f" of {annotations.source.name}, which has layers" if layered else ""
        raise DataError(
            [f"{source.name}: these are no predictions{what} that can be read; formats: {PREDICTION_FORMATS}"]
        )
    return points, mistakes


def _is_instance(row: Any) -> bool:
    return isinstance(row, dict) and "image" in row and isinstance(row.get("keypoints"), list)


def _columns(dims: int) -> _Columns:
    return _Columns(("image", "instance", "keypoint"), tuple(AXES[:dims]))


def _csv_points(source: Path, text: str, columns: _Columns, mistakes: list[str]) -> list[Point]:
    header, rows = _csv_rows(source, text)
    needed = (*columns.labels, *columns.place)
    missing = [name for name in needed if name not in header]
    if missing:
        raise DataError(
            [
                f"{source.name}: a csv of predictions has the columns {', '.join(needed)}; here is no "
                f"{', '.join(missing)}. Formats: {PREDICTION_FORMATS}"
            ]
        )
    if "z" in header and "z" not in needed:
        raise DataError(
            [f"{source.name}: it has a column z: these are points in volumes, the annotated ones are not"]
        )
    points = []
    for line, row in rows:
        where = f"{source.name}, line {line}"
        image, instance, keypoint = (row[name] or "" for name in columns.labels)
        if columns is _LAYERS:
            instance, keypoint = f"column {keypoint}", instance
        place, score = _values(row, columns.place, f"{where}: keypoint {keypoint}", mistakes)
        points.append(Point(where, image, instance, keypoint, place, score))
    return points


def _csv_rows(source: Path, text: str) -> tuple[Sequence[str], list[tuple[int, dict[str, Any]]]]:
    """The header, and each row with the line that it ends in."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        return reader.fieldnames or (), [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DataError([f"{source.name}, line {reader.line_num}: not a csv file: {error}"]) from None


def _json_points(source: Path, found: list[dict[str, Any]], axes: str, mistakes: list[str]) -> list[Point]:
    points: list[Point] = []
    for i, row in enumerate(found):
        where = f"{source.name}: entry {i}"
        for point in row["keypoints"]:
            if not isinstance(point, dict) or "name" not in point:
                mistakes.append(f"{where}: keypoints should be objects with name, x and y, got {point!r}")
                continue
            if "z" in point and "z" not in axes:
                mistakes.append(f"{where}: it has z: these are points in volumes, the annotated ones are not")
                break
            name = str(point["name"])
            place, score = _values(point, axes, f"{where}: keypoint {name}", mistakes)
            points.append(Point(where, str(row["image"]), str(row.get("instance", "")), name, place, score))
    return points


def _json_layers(source: Path, found: dict[str, Any], mistakes: list[str]) -> list[Point]:
    """Layers as `punctum predict` writes them: rows (K, W) for each scan, and perhaps a score of the same shape."""
    points: list[Point] = []
    names = found["layers"]
    for i, scan in enumerate(found["scans"]):
        where = f"{source.name}: scans[{i}]"
        rows = _table(scan.get("rows") if isinstance(scan, dict) else None)
        if rows is None or not isinstance(names, list) or len(rows) != len(names) or "image" not in scan:
            mistakes.append(f"{where}: expected an object with image and rows, a list of numbers for each layer")
            continue
        given = scan.get("score")
        score = np.full(rows.shape, np.nan) if given is None else _table(given)
        if score is None or score.shape != rows.shape:
            mistakes.append(f"{where}: score should be a number for each of its rows")
            continue
        image = str(scan["image"])
        points += [
            Point(where, image, f"column {c}", str(name), (float(rows[k, c]),), float(score[k, c]))
            for k, name in enumerate(names)
            for c in range(rows.shape[1])
        ]
    return points


def _table(values: Any) -> NDArray[np.float64] | None:
    """Numbers (K, W), null as NaN; None where they are anything else."""
    try:
        table = np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    return table if table.ndim == 2 and not np.isinf(table).any() else None


def _values(
    row: dict[str, Any], axes: Sequence[str], where: str, mistakes: list[str]
) -> tuple[tuple[float, ...], float]:
    """Place and score; empty, null and NaN are none, anything else that is not a finite number a mistake."""
    values = []
    for name in (*axes, "score"):
        text = row.get(name)
        try:
            value = np.nan if text is None or text == "" else float(text)
        except (ValueError, TypeError, OverflowError):
            value = np.inf
        if np.isinf(value):
            mistakes.append(f"{where}: {name} is {text!r}, not a finite number")
        values.append(value)
    *place, score = values
    return tuple(place) if np.isfinite(place).all() else (np.nan,) * len(place), score
