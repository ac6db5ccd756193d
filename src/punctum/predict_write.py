"""Predictions to .csv and .json files."""

import csv
import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from punctum.files import write_text
from punctum.predict import ImagePrediction

AXES = "xyz"


def write_predictions(predictions: Sequence[ImagePrediction], path: str | Path) -> Path:
    """Write predictions as .csv (a row per point) or .json (an object per instance), by the path's ending.

    Raises:
        ValueError: another ending.
        OSError: the file cannot be written.
    """
    path = Path(path)
    check_output(path)
    return write_text(path, _csv_text(predictions) if path.suffix == ".csv" else _json_text(predictions))


def check_output(path: Path) -> None:
    """Refuse an ending that `write_predictions` does not know, before any work is done."""
    if path.suffix not in (".csv", ".json"):
        raise ValueError(f"{path}: predictions are written as .csv or .json, not {path.suffix or 'without ending'}")


def _csv_text(predictions: Sequence[ImagePrediction]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    axes = AXES[: predictions[0].keypoints.shape[-1]] if predictions else AXES[:2]
    pairs = list(itertools.combinations_with_replacement(range(len(axes)), 2))
    spreads = [f"cov_{axes[i]}{axes[j]}" for i, j in pairs]
    known = bool(predictions) and predictions[0].present is not None
    writer.writerow(["image", "instance", "keypoint", *axes, "score", *spreads, *(["present"] if known else [])])
    for p in predictions:
        for k, name in enumerate(p.names):
            spread = [""] * len(pairs) if p.covariance is None else [f"{p.covariance[k][pair]:.6g}" for pair in pairs]
            # Places as exact in large pictures as in small ones, and as in JSON.
            place = (f"{v:.4f}" for v in p.keypoints[k])
            present = [] if p.present is None else [f"{p.present[k]:.6g}"]
            writer.writerow([p.image, p.instance, name, *place, f"{p.score[k]:.6g}", *spread, *present])
    return text.getvalue()


def _json_text(predictions: Sequence[ImagePrediction]) -> str:
    def point(p: ImagePrediction, k: int) -> dict[str, Any]:
        place = {axis: round(float(v), 4) for axis, v in zip(AXES, p.keypoints[k], strict=False)}
        covariance = None if p.covariance is None else p.covariance[k].tolist()
        present = {} if p.present is None else {"present": float(p.present[k])}
        return {"name": p.names[k], **place, "score": float(p.score[k]), "covariance": covariance, **present}

    instances = [
        {"image": p.image, "instance": p.instance, "keypoints": [point(p, k) for k in range(len(p.names))]}
        for p in predictions
    ]
    return json.dumps(instances, indent=1) + "\n"
