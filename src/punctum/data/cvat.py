"""CVAT's XML ("CVAT for images 1.1"): skeletons, or points that a group holds together, and boxes."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element

from punctum.data.annotations import Annotations
from punctum.data.assemble import assemble
from punctum.data.errors import DataError, counted
from punctum.data.named import EDGE, Named, box_of, number
from punctum.data.xml_text import parse_xml, read_xml
from punctum.schema import Schema


def read_cvat(path: str | Path, images: str | Path | None = None, *, labels_only: bool = False) -> Annotations:
    """Annotations from a file of CVAT for images 1.1.

    A `skeleton` is an instance, and its `points` are the keypoints: `outside` not labelled, `occluded` labelled but
    hidden. `points` of one place outside skeletons are keypoints, too; those with the same `group_id` are one
    instance, those without one are an instance of their picture. A `box` of the same group is the instance's box.
    CVAT counts pixels from the picture's left and upper edge: 0.5 is subtracted. The order of the keypoints and the
    skeleton's edges are those of the labels in the file's head.

    Args:
        path: the XML file.
        images: the folder that the names are relative to; without it, looked for beside the file.
        labels_only: read without images; see `assemble`.
    Raises:
        DataError: every mistake of the file at once, each with its image and shape.
    """
    source = Path(path)
    root = read_xml(source)
    if root.tag != "annotations":
        raise DataError([f"{source.name}: expected <annotations> of CVAT, got <{root.tag}>"])
    if root.find("track") is not None:
        raise DataError([f"{source.name}: these are tracks of a video: export the task as `CVAT for images 1.1`"])
    reader = _Reader(source)
    things = [thing for image in root.iter("image") for thing in reader.image(image)]
    names, edges = _labels(root, things, reader.mistakes, source)
    here = source.parent
    folders = [here, here / "images", here.parent / "images", here.parent] if images is None else [Path(images)]
    return assemble(
        Schema(names, skeleton=edges) if names else None,
        [thing.instance(names) for thing in things],
        source=source,
        folders=folders,
        mistakes=reader.mistakes,
        notes=[sentence.replace("{}", counted(n, noun)) for (sentence, noun), n in reader.skipped.items()],
        labels_only=labels_only,
    )


def _labels(
    root: Element, things: Iterable[Named], mistakes: list[str], source: Path
) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Names and edges of the keypoints that are used: in the order of the file's head, further ones behind."""
    used = dict.fromkeys(name for thing in things for name in thing.points)
    labels = list(root.iter("label"))
    points = [_text(label, "name") for label in labels if _text(label, "type") == "points"]
    skeletons = [label for label in labels if _text(label, "type") == "skeleton"]
    # Labels of other kinds of points would be keypoints that are never labelled, so they count only if they are used,
    # unless they belong to a skeleton.
    parts = {_text(label, "name") for label in labels if _text(label, "parent")}
    names = [name for name in dict.fromkeys(points) if name in used or name in parts]
    names += [name for name in used if name not in names]
    edges: list[tuple[int, int]] = []
    for skeleton in skeletons:
        try:
            edges += _edges(_text(skeleton, "svg"), names)
        except ValueError as error:
            mistakes.append(f"{source.name}: label {_text(skeleton, 'name')}: its svg cannot be read: {error}")
    return tuple(names), tuple(edges)


def _text(element: Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _edges(svg: str, names: list[str]) -> list[tuple[int, int]]:
    """The lines of a label's drawing, between the names of the circles that they join."""
    drawing = parse_xml(f"<svg>{svg}</svg>".encode())
    nodes = {circle.get("data-node-id"): circle.get("data-label-name", "") for circle in drawing.iter("circle")}
    ends = [[nodes.get(line.get(f"data-node-{end}"), "") for end in ("from", "to")] for line in drawing.iter("line")]
    return [(names.index(a), names.index(b)) for a, b in ends if a in names and b in names]


class _Reader:
    """One file being read: what is wrong with it and what was skipped gather here."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.mistakes: list[str] = []
        self.skipped: Counter[tuple[str, str]] = Counter()

    def image(self, image: Element) -> list[Named]:
        name = image.get("name", "").replace("\\", "/")
        where = f"{self.source.name}: image {name or image.get('id')}"
        if not name:
            self.mistakes.append(f"{where}: it has no name")
            return []
        groups: dict[str, Named] = {}
        things: list[Named] = []
        for shape in image:
            if shape.tag not in ("skeleton", "points", "box"):
                self.skipped[f"{{}} <{shape.tag}> left out", "shape"] += 1
                continue
            group = shape.get("group_id") or ""
            group = "" if group == "0" else group
            if shape.tag == "skeleton" and (not group or (group in groups and groups[group].points)):
                thing = self._new(where, name, things)
            else:
                if group not in groups:
                    groups[group] = self._new(where, name, things)
                thing = groups[group]
            if shape.tag == "box":
                self._box(thing, shape, group)
            for point in shape.iter("points"):
                self._point(thing, point)
        self.skipped["{} without an annotation", "image"] += not things
        self.skipped += Counter()
        return things

    def _new(self, where: str, name: str, things: list[Named]) -> Named:
        things.append(Named(f"{where}, instance {len(things) + 1}", name, f"{name}:{len(things) + 1}"))
        return things[-1]

    def _point(self, thing: Named, point: Element) -> None:
        label = point.get("label", "")
        where = f"{thing.where}, point {label}"
        flags = [point.get(flag, "0") for flag in ("outside", "occluded")]
        if not label or any(flag not in ("0", "1") for flag in flags):
            self.mistakes.append(f"{where}: it should have a label, and outside and occluded of 0 or 1")
            return
        if label in thing.points:
            self.mistakes.append(f"{where}: it stands twice: group the points of each instance, or use skeletons")
            return
        if flags[0] == "1":
            thing.points[label] = (0.0, 0.0, 0)
            return
        place = [number(part) for part in point.get("points", "").split(",")]
        if len(place) != 2 or any(value != value for value in place):
            self.mistakes.append(f"{where}: points should be one place x,y, got {point.get('points')!r}")
            return
        thing.points[label] = (place[0] - EDGE, place[1] - EDGE, 1 if flags[1] == "1" else 2)

    def _box(self, thing: Named, shape: Element, group: str) -> None:
        if not group:
            self.skipped["{} that no group joins to points left out", "box"] += 1
            return
        left, top, right, bottom = (number(shape.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
        box = box_of(left - EDGE, top - EDGE, right - left, bottom - top)
        if box is None:
            self.mistakes.append(
                f"{thing.where}: xtl, ytl, xbr, ybr should be four numbers, from top left to bottom right"
            )
        elif number(shape.get("rotation") or 0) != 0:
            self.skipped["{} turned by an angle left out", "box"] += 1
        else:
            thing.box = box
