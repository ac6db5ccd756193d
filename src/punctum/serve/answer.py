"""Predictions as JSON values: those of `punctum predict --out points.json`, whole arrays at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pydantic_core
from numpy.typing import NDArray

from punctum.image_prediction import ImagePrediction
from punctum.predict_write import AXES
from punctum.serve.engine import Crop, Found
from punctum.serve.heatmap_png import heatmap_values


def picture_values(name: str, crops: Sequence[Crop], found: Sequence[Found]) -> dict[str, Any]:
    """One picture of an answer: its name and size, and its instances in the order in which they were asked for."""
    height, width = crops[0].size
    instances = [_instance(crop, one) for crop, one in zip(crops, found, strict=True)]
    return {"image": name, "width": width, "height": height, "instances": instances}


def to_json(values: Any) -> bytes:
    """Compact JSON; a number that is not finite, which JSON cannot say, is null.

    Example:
        >>> to_json({"x": float("nan")})
        b'{"x":null}'
    """
    # Several times as fast as the standard library's: an answer is mostly digits.
    return pydantic_core.to_json(values, inf_nan_mode="null")


def _instance(crop: Crop, found: Found) -> dict[str, Any]:
    prediction = found.prediction
    values: dict[str, Any] = {"box": None if crop.box is None else list(crop.box)}
    if prediction.trust is not None:
        values["typical"] = float(prediction.trust.typical)
    values["keypoints"] = point_values(prediction)
    if found.heatmaps is not None:
        values["heatmaps"] = heatmap_values(found.heatmaps, crop)
    return values


def point_values(prediction: ImagePrediction) -> list[dict[str, Any]]:
    """The points of an instance.

    Example:
        >>> nose = ImagePrediction("a", "", ("nose",), np.array([[1.25, 8.0]]), np.array([0.5]), None)
        >>> point_values(nose)
        [{'name': 'nose', 'x': 1.25, 'y': 8.0, 'score': 0.5, 'covariance': None}]
    """
    count = len(prediction.names)
    axes = zip(AXES, np.round(prediction.keypoints, 4).T, strict=False)
    covariance = prediction.covariance
    columns: dict[str, Sequence[Any]] = {
        "name": prediction.names,
        **{axis: values.tolist() for axis, values in axes},
        "score": prediction.score.tolist(),
        "covariance": [None] * count if covariance is None else covariance.tolist(),
    }
    if prediction.present is not None:
        columns["present"] = prediction.present.tolist()
    columns |= _trust_columns(prediction)
    if prediction.places is not None:
        columns["places"] = _places(*prediction.places)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _trust_columns(prediction: ImagePrediction) -> dict[str, list[Any]]:
    trust = prediction.trust
    if trust is None:
        return {}
    sizes = {"radius": trust.radius, "ellipse": trust.factor, **({} if trust.area is None else {"area": trust.area})}
    levels = [f"{level:g}" for level in trust.levels]
    # (K, L, sizes)
    table = np.stack(list(sizes.values()), -1).tolist()
    regions = [
        {level: dict(zip(sizes, row, strict=True)) for level, row in zip(levels, rows, strict=True)} for rows in table
    ]
    raised = [[name for name, flag in trust.flags.items() if flag[k]] for k in range(len(prediction.names))]
    return {"regions": regions, "flags": raised}


def _places(places: NDArray[np.float64], mass: NDArray[np.float64]) -> list[list[dict[str, float]]]:
    return [
        [
            {**dict(zip(AXES, place, strict=False)), "mass": share}
            for place, share in zip(rows, shares, strict=True)
            if share > 0
        ]
        for rows, shares in zip(places.tolist(), mass.tolist(), strict=True)
    ]
