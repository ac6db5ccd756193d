"""The same labels as every tool writes them, by its documentation; and as `Annotations`."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from punctum.data import Annotations
from punctum.schema import Schema

WIDTH, HEIGHT = 60, 40


def write_images(folder: Path, names: tuple[str, ...] = ("a.png", "b.png")) -> Path:
    """Pictures of WIDTH x HEIGHT, of any name below the folder."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((HEIGHT, WIDTH, 3), 40 * i, np.uint8))
    return folder


def labels(
    folder: Path,
    rows: list[tuple[str, NDArray[np.float64], NDArray[np.int8], NDArray[np.float64]]],
    schema: Schema,
) -> Annotations:
    """Annotations of (image, keypoints, visibility, box) rows."""
    return Annotations(
        schema,
        tuple(folder / row[0] for row in rows),
        tuple(row[0] for row in rows),
        np.stack([np.where(row[2][:, None] > 0, row[1], np.nan) for row in rows]),
        np.stack([row[2] for row in rows]),
        np.stack([row[3] for row in rows]),
        tuple(str(n + 1) for n in range(len(rows))),
        folder / "made",
    )


LABEL_STUDIO = """
[{"id": 7, "data": {"image": "/data/upload/1/a.png"}, "predictions": [],
  "annotations": [{"id": 1, "was_cancelled": false, "result": [
   {"original_width": 60, "original_height": 40, "image_rotation": 0, "id": "box1", "type": "rectanglelabels",
    "from_name": "b", "to_name": "image",
    "value": {"x": 10, "y": 25, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["mouse"]}},
   {"original_width": 60, "original_height": 40, "image_rotation": 0, "id": "p1", "type": "keypointlabels",
    "parentID": "box1", "from_name": "k", "to_name": "image",
    "value": {"x": 50, "y": 50, "width": 0.3, "keypointlabels": ["nose"]}},
   {"original_width": 60, "original_height": 40, "image_rotation": 0, "id": "p2", "type": "keypointlabels",
    "meta": {"text": ["occluded"]}, "from_name": "k", "to_name": "image",
    "value": {"x": 0, "y": 100, "width": 0.3, "keypointlabels": ["tail"]}},
   {"type": "relation", "from_id": "p2", "to_id": "box1", "direction": "right"}]}]},
 {"id": 8, "data": {"image": "s3://bucket/b.png"}, "annotations": [{"result": [
   {"original_width": 60, "original_height": 40, "image_rotation": 0, "id": "p3", "type": "keypointlabels",
    "from_name": "k", "to_name": "image", "value": {"x": 10, "y": 10, "width": 0.3, "keypointlabels": ["nose"]}}]}]}]
"""

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><labels>
    <label><name>mouse</name><type>skeleton</type><svg>&lt;line x1="1" y1="1" x2="2" y2="2" data-type="edge"
      data-node-from="1" data-node-to="2"&gt;&lt;/line&gt;&lt;circle data-node-id="1" data-label-name="nose"&gt;
      &lt;/circle&gt;&lt;circle data-node-id="2" data-label-name="tail"&gt;&lt;/circle&gt;</svg></label>
    <label><name>nose</name><type>points</type><parent>mouse</parent></label>
    <label><name>tail</name><type>points</type><parent>mouse</parent></label>
    <label><name>cage</name><type>rectangle</type></label>
  </labels></task></meta>
  <image id="0" name="a.png" width="60" height="40">
    <skeleton label="mouse" source="manual" z_order="0" group_id="4">
      <points label="tail" source="manual" outside="0" occluded="1" points="0.00,40.00"></points>
      <points label="nose" source="manual" outside="0" occluded="0" points="30.00,20.00"></points>
    </skeleton>
    <box label="cage" occluded="0" xtl="6.0" ytl="10.0" xbr="36.0" ybr="30.0" z_order="0" group_id="4"/>
    <box label="cage" source="manual" occluded="0" xtl="0.0" ytl="0.0" xbr="60.0" ybr="40.0" z_order="0"/>
  </image>
  <image id="1" name="b.png" width="60" height="40">
    <points label="nose" source="manual" occluded="0" points="6.00,4.00" z_order="0"></points>
    <polygon label="cage" points="1,1;2,2;3,1" occluded="0"/>
  </image>
</annotations>
"""

YOLO_YAML = """
path: {path}
train: images/train
val: images/val
kpt_shape: [2, 3]
flip_idx: [0, 1]
names:
  0: mouse
kpt_names:
  0: [nose, tail]
"""
YOLO_A = "0 0.35 0.5 0.5 0.5 0.5 0.5 2 0 1 1\n"
YOLO_B = "0 0.5 0.5 1 1 0.1 0.1 2 0 0 0\n"

# What all of them mean: the middle of the picture, its lower left corner (hidden), and a tenth from the upper left.
MEANT = [[[29.5, 19.5], [-0.5, 39.5]], [[5.5, 3.5], [np.nan, np.nan]]]
BOX = [5.5, 9.5, 30.0, 20.0]
