"""Annotations as COCO keypoints JSON."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from punctum.data.annotations import Annotations
from punctum.data.errors import counted
from punctum.data.holds import Holds
from punctum.data.images import image_size
from punctum.files import write_text

HOLDS = Holds(hidden=True, boxes=True, skeleton=True, flip_pairs=True, sigmas=True, areas=True, ids=True)


def fit_coco(annotations: Annotations) -> tuple[Annotations, list[str]]:
    """Ids become numbers, which COCO's own tools count on; that is told."""
    if all(label.isascii() and label.isdecimal() and str(int(label)) == label for label in annotations.ids):
        return annotations, []
    ids = tuple(map(str, range(1, len(annotations) + 1)))
    noun = counted(len(ids), "instance id")
    return replace(annotations, ids=ids), [f"{noun}: COCO's tools count on numbers, so they are numbered from 1"]


def write_coco(annotations: Annotations, path: Path) -> None:
    """Write COCO keypoints JSON, with `flip_pairs` and `sigmas`, which COCO does not have, as `read_coco` reads them.

    Args:
        annotations: as `fit_coco` makes them.
        path: the .json file.
    Raises:
        OSError: the file cannot be written, or a picture's size not read.
    """
    files = dict(zip(annotations.image_names, annotations.images, strict=True))
    numbers = {name: i for i, name in enumerate(files, 1)}
    content = {
        "images": [_image(numbers[name], name, file) for name, file in files.items()],
        "categories": [_category(annotations)],
        "annotations": [_instance(annotations, n, numbers) for n in range(len(annotations))],
    }
    write_text(path, json.dumps(content, ensure_ascii=False) + "\n")


def _image(number: int, name: str, file: Path) -> dict[str, Any]:
    height, width = image_size(file)
    return {"id": number, "file_name": name, "width": width, "height": height}


def _category(annotations: Annotations) -> dict[str, Any]:
    schema = annotations.schema
    category: dict[str, Any] = {
        "id": 1,
        "name": "instance",
        "keypoints": list(schema.names),
        "skeleton": [[i + 1, j + 1] for i, j in schema.skeleton],
        "flip_pairs": [list(pair) for pair in schema.flip_pairs],
    }
    return category if schema.sigmas is None else {**category, "sigmas": list(schema.sigmas)}


def _instance(annotations: Annotations, n: int, numbers: dict[str, int]) -> dict[str, Any]:
    points, seen = annotations.keypoints[n], annotations.visibility[n].tolist()
    flat = [
        value for (x, y), v in zip(points.tolist(), seen, strict=True) for value in ((x, y, v) if v else (0, 0, 0))
    ]
    row: dict[str, Any] = {
        "id": int(annotations.ids[n]),
        "image_id": numbers[annotations.image_names[n]],
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": sum(v > 0 for v in seen),
        "keypoints": flat,
    }
    if np.isfinite(annotations.boxes[n]).all():
        row["bbox"] = annotations.boxes[n].tolist()
    if annotations.areas is not None and np.isfinite(annotations.areas[n]):
        row["area"] = float(annotations.areas[n])
    return row
