"""A COCO keypoints file with scores, as `punctum predict --format coco` writes it."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from punctum.data.own_predictions import Point
from punctum.json_file import number

SCORES = "keypoint_scores"


def is_coco_predictions(found: dict[str, Any]) -> bool:
    """Whether a JSON object is such a file: its annotations have scores.

    Example:
        >>> is_coco_predictions({"images": [], "annotations": [{"id": 1, "keypoint_scores": [0.5]}]})
        True
    """
    rows = found.get("annotations")
    return isinstance(rows, list) and bool(rows) and all(isinstance(row, dict) and SCORES in row for row in rows)


def coco_points(source: Path, found: dict[str, Any]) -> tuple[list[Point], list[str]]:
    """Its points, and its mistakes.

    An annotation's `instance` is what tells several in an image apart; without it one that is alone in its image is
    nameless, and others are numbered from 0. A point of visibility 0 is none.

    Args:
        source: the file.
        found: its content, of which `is_coco_predictions` holds.
    """
    images = {row.get("id"): row.get("file_name") for row in _objects(found.get("images"))}
    names = {row.get("id"): row.get("keypoints") for row in _objects(found.get("categories"))}
    per_image = Counter(str(row.get("image_id")) for row in found["annotations"])
    seen: Counter[str] = Counter()
    points: list[Point] = []
    mistakes: list[str] = []
    for i, row in enumerate(found["annotations"]):
        where, image = f"{source.name}: annotations[{i}]", str(row.get("image_id"))
        file_name, keypoints = _known(images, row.get("image_id")), _known(names, row.get("category_id"))
        if not isinstance(file_name, str) or not isinstance(keypoints, list):
            mistakes.append(f"{where}: its image_id or category_id stands nowhere in the file")
            continue
        label = "" if per_image[image] == 1 else str(seen[image])
        seen[image] += 1
        table, scores = _numbers(row.get("keypoints"), 3 * len(keypoints)), _numbers(row[SCORES], len(keypoints))
        if table is None or scores is None:
            n = len(keypoints)
            mistakes.append(f"{where}: expected {3 * n} numbers as keypoints, and {n} as {SCORES}, for its {n} names")
            continue
        for name, (x, y, visibility), score in zip(keypoints, table.reshape(-1, 3), scores, strict=True):
            place = (float(x), float(y)) if visibility else (np.nan, np.nan)
            points.append(Point(where, file_name, str(row.get("instance", label)), str(name), place, float(score)))
    return points, mistakes


def _objects(rows: Any) -> list[dict[str, Any]]:
    return [row for row in rows if isinstance(row, dict) and _plain(row.get("id"))] if isinstance(rows, list) else []


def _plain(label: Any) -> bool:
    return isinstance(label, (int, str))


def _known(table: dict[Any, Any], label: Any) -> Any:
    return table.get(label) if _plain(label) else None


def _numbers(values: Any, count: int) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """So many finite numbers, or None."""
    if not isinstance(values, list) or len(values) != count:
        return None
    found = np.array([number(value) for value in values], dtype=np.float64)
    return found if np.isfinite(found).all() else None
