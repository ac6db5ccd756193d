"""Predictions to .csv and .json files."""

import csv
import io
import itertools
import json
import math
from collections.abc import Sequence
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
    return write_text(path, _csv_text(predictions, level) if path.suffix == ".csv" else _json_text(predictions))


def check_output(path: Path) -> None:
    """Refuse an ending that `write_predictions` does not know, before any work is done."""
    if path.suffix not in (".csv", ".json"):
        raise ValueError(f"{path}: predictions are written as .csv or .json, not {path.suffix or 'without ending'}")


def _csv_text(predictions: Sequence[ImagePrediction], level: int) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    axes = AXES[: predictions[0].keypoints.shape[-1]] if predictions else AXES[:2]
    pairs = list(itertools.combinations_with_replacement(range(len(axes)), 2))
    spreads = [f"cov_{axes[i]}{axes[j]}" for i, j in pairs]
    more = _more(predictions[0], 0, level) if predictions else {}
    writer.writerow(["image", "instance", "keypoint", *axes, "score", *spreads, *more])
    for p in predictions:
        for k, name in enumerate(p.names):
            spread = [""] * len(pairs) if p.covariance is None else [f"{p.covariance[k][pair]:.6g}" for pair in pairs]
            # Places as exact in large pictures as in small ones, and as in JSON.
            place = (f"{v:.4f}" for v in p.keypoints[k])
            row = [p.image, p.instance, name, *place, f"{p.score[k]:.6g}", *spread]
            writer.writerow([*row, *_more(p, k, level).values()])
    return text.getvalue()


def _more(p: ImagePrediction, k: int, level: int) -> dict[str, str]:
    """Columns that not every model has: presence, regions and flags, further places."""
    columns = {} if p.present is None else {"present": f"{p.present[k]:.6g}"}
    if (trust := p.trust) is not None:
        name = f"{100 * trust.levels[level]:g}"
        columns |= {
            f"radius_{name}": f"{trust.radius[k, level]:.6g}",
            f"ellipse_{name}": f"{trust.factor[k, level]:.6g}",
        }
        if trust.area is not None:
            columns[f"area_{name}"] = f"{trust.area[k, level]:.6g}"
        columns["flags"] = " ".join(_flags(p, k))
        columns["typical"] = f"{trust.typical:.6g}"
    for n, place in enumerate(_places(p, k), 1):
        columns |= {
            f"{axis}_{n}": "" if v is None else f"{v:.4f}" for axis, v in zip(AXES, place["place"], strict=False)
        }
        columns[f"mass_{n}"] = f"{place['mass']:.6g}"
    return columns


def _flags(p: ImagePrediction, k: int) -> list[str]:
    return [] if p.trust is None else [name for name, flag in p.trust.flags.items() if flag[k]]


def _places(p: ImagePrediction, k: int) -> list[dict[str, Any]]:
    """The likeliest places of a point; None where there are fewer than were asked for."""
    if p.places is None:
        return []
    rows = zip(p.places[0][k].tolist(), p.places[1][k].tolist(), strict=True)
    return [{"place": [v if mass > 0 else None for v in place], "mass": mass} for place, mass in rows]


def _json_text(predictions: Sequence[ImagePrediction]) -> str:
    instances = [
        {
            "image": p.image,
            "instance": p.instance,
            **({} if p.trust is None else {"typical": float(p.trust.typical)}),
            "keypoints": [_point(p, k) for k in range(len(p.names))],
        }
        for p in predictions
    ]
    return json.dumps(instances, indent=1) + "\n"


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
