"""Predictions to .csv and .json files."""

import csv
import io
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.files import write_text
from punctum.image_prediction import ImagePrediction

AXES = "xyz"


def write_predictions(predictions: Sequence[ImagePrediction], path: str | Path, level: int = 0) -> Path:
    """Write predictions as .csv (a row per point) or .json (an object per instance), by the path's ending.

    Args:
        predictions: of one model.
        path: the file.
        level: position of the level, among those of the model's calibration, that a csv has columns of.
    Raises:
        ValueError: another ending.
        OSError: the file cannot be written.
    """
    path = Path(path)
    check_output(path)
    frames = any(p.frame is not None for p in predictions)
    parts = csv_parts(predictions, level, frames=frames) if path.suffix == ".csv" else json_parts(predictions)
    return write_text(path, "".join(parts))


def check_output(path: Path) -> None:
    """Refuse an ending that `write_predictions` does not know, before any work is done."""
    if path.suffix not in (".csv", ".json"):
        raise ValueError(f"{path}: predictions are written as .csv or .json, not {path.suffix or 'without ending'}")


def csv_parts(predictions: Iterable[ImagePrediction], level: int, *, frames: bool = False) -> Iterator[str]:
    """A csv's text, an instance at a time; with `frames` there are columns for a video's frame and time."""
    header: list[str] = []
    for p in predictions:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for k in range(len(p.names)):
            row = point_row(p, k, level, frames=frames)
            if not header:
                header = list(row)
                writer.writerow(header)
            writer.writerow([_text(name, value) for name, value in row.items()])
        yield text.getvalue()
    if not header:
        known = ["image", *(("frame", "time") if frames else ()), "instance", "keypoint", "x", "y", "score"]
        yield ",".join([*known, "cov_xx", "cov_xy", "cov_yy"]) + "\n"


def point_row(p: ImagePrediction, k: int, level: int, *, frames: bool = False) -> dict[str, Any]:
    """What a table has of a point, by column; None where it is not known."""
    axes = AXES[: p.keypoints.shape[-1]]
    row: dict[str, Any] = {"image": p.image}
    if frames:
        row |= {"frame": p.frame, "time": p.time}
    row |= {"instance": p.instance, "keypoint": p.names[k]}
    row |= zip(axes, p.keypoints[k].tolist(), strict=True)
    row["score"] = float(p.score[k])
    for i, j in itertools.combinations_with_replacement(range(len(axes)), 2):
        row[f"cov_{axes[i]}{axes[j]}"] = None if p.covariance is None else float(p.covariance[k][i, j])
    return row | _more(p, k, level)


def _text(name: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int):
        return str(value)
    if name == "time":
        return f"{value:.6f}"
    # Places as exact in large pictures as in small ones, and as in JSON.
    return f"{value:.4f}" if name[0] in AXES and name[1:2] in ("", "_") else f"{value:.6g}"


def _more(p: ImagePrediction, k: int, level: int) -> dict[str, Any]:
    """Columns that not every model has: presence, regions and flags, further places."""
    columns: dict[str, Any] = {} if p.present is None else {"present": float(p.present[k])}
    if (trust := p.trust) is not None:
        name = f"{100 * trust.levels[level]:g}"
        columns |= {f"radius_{name}": float(trust.radius[k, level]), f"ellipse_{name}": float(trust.factor[k, level])}
        if trust.area is not None:
            columns[f"area_{name}"] = float(trust.area[k, level])
        columns |= {"flags": " ".join(_flags(p, k)), "typical": float(trust.typical)}
    for n, place in enumerate(_places(p, k), 1):
        columns |= {f"{axis}_{n}": v for axis, v in zip(AXES, place["place"], strict=False)}
        columns[f"mass_{n}"] = place["mass"]
    return columns


def _flags(p: ImagePrediction, k: int) -> list[str]:
    return [] if p.trust is None else [name for name, flag in p.trust.flags.items() if flag[k]]


def _places(p: ImagePrediction, k: int) -> list[dict[str, Any]]:
    """The likeliest places of a point; None where there are fewer than were asked for."""
    if p.places is None:
        return []
    rows = zip(p.places[0][k].tolist(), p.places[1][k].tolist(), strict=True)
    return [{"place": [v if mass > 0 else None for v in place], "mass": mass} for place, mass in rows]


def json_parts(predictions: Iterable[ImagePrediction]) -> Iterator[str]:
    """A JSON list's text, an instance at a time."""
    before = "["
    for p in predictions:
        # As `indent=1` writes it within a list.
        yield before + json.dumps([_instance(p)], indent=1)[1:-2]
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def _instance(p: ImagePrediction) -> dict[str, Any]:
    return {
        "image": p.image,
        **({} if p.frame is None else {"frame": p.frame, "time": p.time}),
        "instance": p.instance,
        **({} if p.trust is None else {"typical": float(p.trust.typical)}),
        "keypoints": [_point(p, k) for k in range(len(p.names))],
    }


def _point(p: ImagePrediction, k: int) -> dict[str, Any]:
    place = {axis: round(float(v), 4) for axis, v in zip(AXES, p.keypoints[k], strict=False)}
    covariance = None if p.covariance is None else p.covariance[k].tolist()
    point = {"name": p.names[k], **place, "score": float(p.score[k]), "covariance": covariance}
    if p.present is not None:
        point["present"] = float(p.present[k])
    if (trust := p.trust) is not None:
        point["regions"] = {
            f"{level:g}": {
                "radius": float(trust.radius[k, i]),
                "ellipse": float(trust.factor[k, i]),
                **_area(trust.area, k, i),
            }
            for i, level in enumerate(trust.levels)
        }
        point["flags"] = _flags(p, k)
    if p.places is not None:
        point["places"] = [
            {**dict(zip(AXES, found["place"], strict=False)), "mass": found["mass"]}
            for found in _places(p, k)
            if found["mass"] > 0
        ]
    return point


def _area(area: NDArray[np.float64] | None, k: int, level: int) -> dict[str, float | None]:
    """Of the region: without an end None, since JSON has no infinity; no entry of a model that does not know it."""
    if area is None:
        return {}
    return {"area": float(area[k, level]) if math.isfinite(area[k, level]) else None}
