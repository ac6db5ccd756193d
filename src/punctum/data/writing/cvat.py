"""Annotations as CVAT's XML, "CVAT for images 1.1"."""

import math
from collections import defaultdict
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from punctum.data.annotations import Annotations
from punctum.data.holds import Holds
from punctum.data.images import image_size
from punctum.data.named import EDGE
from punctum.files import write_text
from punctum.schema import Schema

HOLDS = Holds(hidden=True, boxes=True, skeleton=True)
LABEL = "instance"


def write_cvat(annotations: Annotations, path: Path) -> None:
    """Write an instance as a skeleton, and its box, where there is one, as a box of the same group.

    Args:
        annotations: of pictures.
        path: the .xml file.
    Raises:
        ValueError: a name has characters that XML cannot hold.
        OSError: the file cannot be written, or a picture's size not read.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for n, image in enumerate(annotations.image_names):
        rows[image].append(n)
    _check([*annotations.schema.names, *rows])
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    labels = SubElement(SubElement(SubElement(root, "meta"), "task"), "labels")
    _head(labels, annotations.schema)
    for number, (image, instances) in enumerate(rows.items()):
        height, width = image_size(annotations.images[instances[0]])
        sides = {"width": str(width), "height": str(height)}
        element = SubElement(root, "image", {"id": str(number), "name": image, **sides})
        for position, n in enumerate(instances, 1):
            _shapes(element, annotations, n, str(position))
    indent(root)
    write_text(path, '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n")


def _check(texts: list[str]) -> None:
    for text in texts:
        if any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 or c in "\ufffe\uffff" for c in text):
            raise ValueError(f"{text!r}: XML, so CVAT, cannot hold a name with such a character: rename it")


def _head(labels: Element, schema: Schema) -> None:
    """The skeleton's label with the drawing that CVAT keeps its edges in, and a label for each of its points."""
    drawing = Element("svg")
    count = len(schema.names)
    # On a circle: how a skeleton is drawn when someone starts a new one.
    places = [
        (50 + 40 * math.cos(2 * math.pi * k / count), 50 + 40 * math.sin(2 * math.pi * k / count))
        for k in range(count)
    ]
    for i, j in schema.skeleton:
        ends = {f"{axis}{n}": f"{places[k][a]:.3f}" for n, k in ((1, i), (2, j)) for a, axis in enumerate("xy")}
        nodes = {"data-type": "edge", "data-node-from": str(i + 1), "data-node-to": str(j + 1)}
        SubElement(drawing, "line", {**ends, "stroke": "black", **nodes})
    for k, name in enumerate(schema.names, 1):
        node = {
            "data-type": "element node",
            "data-element-id": str(k),
            "data-node-id": str(k),
            "data-label-name": name,
        }
        cx, cy = (f"{v:.3f}" for v in places[k - 1])
        SubElement(drawing, "circle", {"r": "1.5", "stroke": "black", "cx": cx, "cy": cy, **node})
    _label(labels, LABEL, "skeleton").append(svg := Element("svg"))
    svg.text = "".join(tostring(element, encoding="unicode") for element in drawing)
    for name in schema.names:
        SubElement(_label(labels, name, "points"), "parent").text = LABEL


def _label(labels: Element, name: str, kind: str) -> Element:
    label = SubElement(labels, "label")
    SubElement(label, "name").text = name
    SubElement(label, "type").text = kind
    SubElement(label, "attributes")
    return label


def _shapes(image: Element, annotations: Annotations, n: int, group: str) -> None:
    common = {"source": "manual", "z_order": "0", "group_id": group}
    if np.isfinite(annotations.boxes[n]).all():
        left, top, width, height = annotations.boxes[n].tolist()
        corners = {"xtl": left, "ytl": top, "xbr": left + width, "ybr": top + height}
        sides = {key: repr(value + EDGE) for key, value in corners.items()}
        SubElement(image, "box", {"label": LABEL, "occluded": "0", **sides, **common})
    skeleton = SubElement(image, "skeleton", {"label": LABEL, **common})
    for k, name in enumerate(annotations.schema.names):
        seen = annotations.visibility[n, k]
        x, y = (annotations.keypoints[n, k] + EDGE).tolist() if seen else (0.0, 0.0)
        flags = {"outside": str(int(seen == 0)), "occluded": str(int(seen == 1))}
        SubElement(skeleton, "points", {"label": name, "source": "manual", **flags, "points": f"{x!r},{y!r}"})
