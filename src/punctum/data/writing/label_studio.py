"""Annotations as Label Studio's JSON, with the labelling interface that goes with it."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.holds import Holds
from punctum.data.images import image_size
from punctum.data.label_studio import HIDDEN, INSTANCE, config_path
from punctum.data.named import EDGE
from punctum.files import write_text

HOLDS = Holds(hidden=True, boxes=True)


def write_label_studio(annotations: Annotations, path: Path) -> None:
    """Write tasks with their regions for Label Studio, and NAME.config.xml, the labelling interface that fits them.

    Pictures are named as Label Studio's local files (`/data/local-files/?d=NAME`), points belong to their
    instance's rectangle; several instances of a picture without boxes are told apart by the regions' text.

    Args:
        annotations: of pictures.
        path: the .json file.
    Raises:
        OSError: a file cannot be written, or a picture's size not read.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for n, image in enumerate(annotations.image_names):
        rows[image].append(n)
    tasks = [_task(annotations, i, image, instances) for i, (image, instances) in enumerate(rows.items(), 1)]
    write_text(path, json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
    write_text(config_path(path), _interface(annotations.schema.names))


def _interface(names: tuple[str, ...]) -> str:
    # Label Studio's own exports to COCO and YOLO take the order from `model_index`.
    labels = "\n".join(f'    <Label value={quoteattr(name)} model_index="{k}"/>' for k, name in enumerate(names))
    return (
        '<View>\n  <Image name="image" value="$image"/>\n  <RectangleLabels name="instance" toName="image">\n'
        '    <Label value="instance"/>\n  </RectangleLabels>\n'
        f'  <KeyPointLabels name="keypoint" toName="image">\n{labels}\n  </KeyPointLabels>\n</View>\n'
    )


def _task(annotations: Annotations, number: int, image: str, instances: list[int]) -> dict[str, Any]:
    height, width = image_size(annotations.images[instances[0]])
    boxless = Counter(bool(np.isnan(annotations.boxes[n, 0])) for n in instances)[True]
    result: list[dict[str, Any]] = []
    for position, n in enumerate(instances, 1):
        marker = f"{INSTANCE}{position}" if boxless > 1 and np.isnan(annotations.boxes[n, 0]) else ""
        result += _regions(
            annotations, n, f"{number}-{position}", marker, np.array([width, height], dtype=np.float64)
        )
    common = {"original_width": width, "original_height": height, "image_rotation": 0, "to_name": "image"}
    return {
        "id": number,
        "data": {"image": f"/data/local-files/?d={quote(image)}"},
        "annotations": [{"result": [{**common, **region} for region in result]}],
    }


def _regions(
    annotations: Annotations, n: int, label: str, marker: str, size: NDArray[np.float64]
) -> list[dict[str, Any]]:
    regions: list[dict[str, Any]] = []
    boxed = bool(np.isfinite(annotations.boxes[n]).all())
    if boxed:
        x, y = ((annotations.boxes[n, :2] + EDGE) / size * 100).tolist()
        width, height = (annotations.boxes[n, 2:] / size * 100).tolist()
        value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": ["instance"]}
        regions.append({"id": label, "type": "rectanglelabels", "from_name": "instance", "value": value})
    for k in np.flatnonzero(annotations.visibility[n]).tolist():
        x, y = ((annotations.keypoints[n, k] + EDGE) / size * 100).tolist()
        region: dict[str, Any] = {
            "id": f"{label}-{k}",
            "type": "keypointlabels",
            "from_name": "keypoint",
            "value": {"x": x, "y": y, "width": 0.5, "keypointlabels": [annotations.schema.names[k]]},
        }
        texts = [*([marker] if marker else []), *([HIDDEN] if annotations.visibility[n, k] == 1 else [])]
        region |= {"meta": {"text": texts}} if texts else {}
        regions.append(region | ({"parentID": label} if boxed else {}))
    return regions
