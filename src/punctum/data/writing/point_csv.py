"""Annotations as a plain csv: a row per point, or a row per instance."""

import csv
import io
from pathlib import Path

import numpy as np

from punctum.data.annotations import Annotations
from punctum.data.holds import Holds
from punctum.data.point_csv import BOX
from punctum.files import write_text

HOLDS = Holds(hidden=True, boxes=True, ids=True)


def write_point_csv(annotations: Annotations, path: Path) -> None:
    """Write a row per point: the columns of `punctum predict`, `visible`, and the box, where there is one.

    Args:
        annotations: of pictures.
        path: the .csv file.
    Raises:
        OSError: the file cannot be written.
    """
    boxed = bool(np.isfinite(annotations.boxes).any())
    rows = [["image", "instance", "keypoint", "x", "y", "visible", *(BOX if boxed else ())]]
    for n, image in enumerate(annotations.image_names):
        box = _cells(annotations.boxes[n].tolist()) if boxed else []
        for k, name in enumerate(annotations.schema.names):
            place = _cells(annotations.keypoints[n, k].tolist())
            rows.append([image, annotations.ids[n], name, *place, str(annotations.visibility[n, k]), *box])
    write_text(path, _text(rows))


def write_wide_csv(annotations: Annotations, path: Path) -> None:
    """Write a row per instance: x, y and visibility of each keypoint side by side, and the box, where there is one.

    Args:
        annotations: of pictures.
        path: the .csv file.
    Raises:
        OSError: the file cannot be written.
    """
    boxed = bool(np.isfinite(annotations.boxes).any())
    names = annotations.schema.names
    columns = [f"{kind}_{name}" for name in names for kind in ("x", "y", "visible")]
    rows = [["image", "instance", *(BOX if boxed else ()), *columns]]
    for n, image in enumerate(annotations.image_names):
        box = _cells(annotations.boxes[n].tolist()) if boxed else []
        points = zip(annotations.keypoints[n].tolist(), annotations.visibility[n].tolist(), strict=True)
        rows.append([image, annotations.ids[n], *box, *(c for p, v in points for c in (*_cells(p), str(v)))])
    write_text(path, _text(rows))


def _cells(values: list[float]) -> list[str]:
    return ["" if value != value else repr(value) for value in values]


def _text(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
