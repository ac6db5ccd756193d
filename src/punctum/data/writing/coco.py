"""Annotations as COCO keypoints JSON."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from punctum.data.annotations import Annotations
from punctum.data.holds import Holds
from punctum.data.images import image_size
from punctum.files import write_text

HOLDS = Holds(hidden=True, boxes=True, skeleton=True, flip_pairs=True, sigmas=True, areas=True, ids=True)


def write_coco(annotations: Annotations, path: Path) -> None:
    """Write COCO keypoints JSON, with `flip_pairs` and `sigmas`, which COCO does not have, as `read_coco` reads them.

    An instance's id stays a number where it is one; COCO's own tools count on numbers.

    Args:
        annotations: of pictures.
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
    label = annotations.ids[n]
    row: dict[str, Any] = {
        "id": int(label) if label.isascii() and label.isdigit() and str(int(label)) == label else label,
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
