"""Label Studio's JSON export: KeyPointLabels, and RectangleLabels as boxes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from punctum.data.annotations import Annotations
from punctum.data.assemble import assemble
from punctum.data.errors import DataError, counted
from punctum.data.json_text import kind, read_json
from punctum.data.named import EDGE, PICTURE_ENDINGS, Named, box_of, number
from punctum.data.xml_text import read_xml
from punctum.schema import Schema

# A region's free text, as Label Studio lets one write it in the panel of the region.
HIDDEN, INSTANCE = "occluded", "instance "


def read_label_studio(
    path: str | Path, images: str | Path | None = None, *, labels_only: bool = False
) -> Annotations:
    """Annotations from Label Studio's JSON export (not JSON-MIN): a list of tasks with their regions.

    Regions of the type `keypointlabels` are points; places are per cent of the picture, from its left and upper edge:
    x / 100 * width - 0.5 of our pixels. A point belongs to the rectangle (`rectanglelabels`) that is its parent
    (`parentID`) or that a relation joins it to, and the rectangle is the box. Points that nothing groups are one
    instance of their picture. A region whose text (`meta`) says `occluded` is labelled, but hidden. Keypoints have
    the order of the labelling interface (by `model_index`, or as they stand), if it lies beside the file as
    NAME.config.xml; else that of their names.

    Args:
        path: the JSON file.
        images: the folder of the pictures; without it, looked for beside the file.
        labels_only: read without images; see `assemble`.
    Raises:
        DataError: every mistake of the file at once, each with its task and region.
    """
    source = Path(path)
    content = read_json(source)
    if not isinstance(content, list):
        raise DataError([f"{source.name}: expected a list of tasks, got {kind(content)}"])
    reader = _Reader(source)
    things = [thing for i, task in enumerate(content) for thing in reader.task(i, task)]
    names = _names(source, {name for thing in things for name in thing.points}, reader.mistakes)
    here = source.parent
    folders = [here, here / "images", here.parent / "images", here.parent] if images is None else [Path(images)]
    return assemble(
        Schema(names) if names else None,
        [thing.instance(names) for thing in things],
        source=source,
        folders=folders,
        mistakes=reader.mistakes,
        notes=[sentence.replace("{}", counted(n, noun)) for (sentence, noun), n in reader.skipped.items()],
        labels_only=labels_only,
    )


def config_path(source: Path) -> Path:
    """Where the labelling interface of a JSON file lies."""
    return source.with_suffix(".config.xml")


def _names(source: Path, used: set[str], mistakes: list[str]) -> tuple[str, ...]:
    """The order of the interface beside the file, else that of the alphabet."""
    interface = config_path(source)
    if not interface.is_file():
        return tuple(sorted(used))
    tags = [tag for tag in read_xml(interface).iter() if tag.tag == "KeyPointLabels"]
    labels = [label for tag in tags for label in tag.iter("Label")]
    # As in Label Studio's own exports, where all have one; else the order in which they stand.
    indices = [number(label.get("model_index")) for label in labels]
    if all(index == index for index in indices):
        labels = [label for _, label in sorted(zip(indices, labels, strict=True), key=lambda pair: pair[0])]
    names = list(dict.fromkeys(filter(None, (label.get("value", "") for label in labels))))
    mistakes += [f"{source.name}: keypoint {name!r} is not in {interface.name}" for name in sorted(used - set(names))]
    return tuple(names)


def picture_name(text: str) -> str:
    """The picture that a task names: the path of Label Studio's local files, else the last part of the address.

    Example:
        >>> picture_name("/data/local-files/?d=mice/a%20b.png"), picture_name("s3://bucket/mice/1.png")
        ('mice/a b.png', '1.png')
    """
    text = text.replace("\\", "/")
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    if parts.path.endswith("/local-files/") and "d" in (query := parse_qs(parts.query)):
        return query["d"][0]
    if parts.scheme in ("http", "https", "s3", "gs", "azure-blob") or text.startswith("/data/"):
        return PurePosixPath(unquote(parts.path)).name
    return text


class _Reader:
    """One file being read: what is wrong with it and what was skipped gather here."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.mistakes: list[str] = []
        self.skipped: Counter[tuple[str, str]] = Counter()

    def task(self, position: int, task: Any) -> list[Named]:
        where = f"{self.source.name}: task {position}"
        if not isinstance(task, dict):
            self.mistakes.append(f"{where}: expected an object, got {kind(task)}")
            return []
        where = f"{self.source.name}: task {task.get('id', position)}"
        image = _image(task.get("data"))
        done = task.get("annotations", task.get("completions"))
        if image is None or not isinstance(done, list):
            what = "data names no picture" if image is None else "there is no list of annotations"
            self.mistakes.append(f"{where}: {what}")
            return []
        kept = [a for a in done if isinstance(a, dict) and not a.get("was_cancelled")]
        self._skip("{} without an annotation", "task", not kept)
        self._skip("{} beyond the first of their task left out", "annotation", len(kept) - 1)
        self._skip("{} of models left out", "prediction", len(task.get("predictions") or ()))
        result = kept[0].get("result") if kept else []
        if not isinstance(result, list) or not all(isinstance(region, dict) for region in result):
            self.mistakes.append(f"{where}: result should be a list of regions")
            return []
        return self._regions(f"{where} (image {image})", image, result)

    def _skip(self, sentence: str, noun: str, times: int) -> None:
        if times > 0:
            self.skipped[sentence, noun] += int(times)

    def _regions(self, where: str, image: str, result: Sequence[Mapping[str, Any]]) -> list[Named]:
        things: dict[str, Named] = {}
        for region in result:
            if region.get("type") == "rectanglelabels":
                label = str(region.get("id"))
                things[label] = Named(f"{where}, region {label}", image, label)
                self._box(things[label], region)
        # Which rectangle a region belongs to: its own, its parent's, or the one that a relation leads to.
        joined = {str(r.get("id")): str(r["parentID"]) for r in result if r.get("parentID")}
        for relation in result:
            if relation.get("type") == "relation":
                ends = str(relation.get("from_id")), str(relation.get("to_id"))
                joined |= {a: b for a, b in (ends, ends[::-1]) if b in things and a not in things}
        met: dict[str, None] = {}
        for region in result:
            if region.get("type") == "rectanglelabels":
                met[str(region.get("id"))] = None
            elif region.get("type") == "keypointlabels":
                owner = joined.get(str(region.get("id")), "")
                if owner not in things:
                    owner = f"{image}:{_texts(region, INSTANCE)}".removesuffix(":")
                    things.setdefault(owner, Named(where, image, owner))
                met[owner] = None
                self._point(things[owner], region)
            elif region.get("type") != "relation":
                self._skip(f"{{}} of type {region.get('type')!r} left out", "region", 1)
        # In the order of the file, whether a rectangle or a point comes first.
        return [things[owner] for owner in met]

    def _point(self, thing: Named, region: Mapping[str, Any]) -> None:
        where = f"{thing.where}, region {region.get('id')}"
        value = region.get("value")
        labels = value.get("keypointlabels") if isinstance(value, dict) else None
        if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str) or not labels[0]:
            self.mistakes.append(f"{where}: keypointlabels should be a list with one name, got {labels!r}")
            return
        name = labels[0]
        if name in thing.points:
            self.mistakes.append(
                f"{where}: keypoint {name} stands twice in one instance: draw a rectangle around each, as parent"
            )
        place = self._pixels(where, region, ("x", "y"))
        if place is not None:
            hidden = HIDDEN in _meta(region)
            thing.points[name] = (place[0] - EDGE, place[1] - EDGE, 1 if hidden else 2)

    def _box(self, thing: Named, region: Mapping[str, Any]) -> None:
        place = self._pixels(thing.where, region, ("x", "y", "width", "height"))
        if place is None:
            return
        box = box_of(place[0] - EDGE, place[1] - EDGE, place[2], place[3])
        if box is None:
            self.mistakes.append(f"{thing.where}: width and height should not be negative")
            return
        thing.box = box
        self._skip(
            "{} turned by an angle, which is left out", "rectangle", bool(number(region["value"].get("rotation")))
        )

    def _pixels(self, where: str, region: Mapping[str, Any], keys: Sequence[str]) -> list[float] | None:
        """Numbers of a region's value, from per cent to pixels from the edge; None is told."""
        value = region.get("value")
        sides = [number(region.get(f"original_{side}")) for side in ("width", "height")]
        if not all(side >= 1 for side in sides):
            self.mistakes.append(
                f"{where}: original_width and original_height should be the picture's size in pixels"
            )
            return None
        if region.get("image_rotation"):
            self.mistakes.append(f"{where}: the picture was turned in Label Studio (image_rotation): turn the file")
            return None
        shares = [number(value.get(key)) if isinstance(value, dict) else float("nan") for key in keys]
        if any(share != share for share in shares):
            self.mistakes.append(f"{where}: {', '.join(keys)} should be numbers, per cent of the picture")
            return None
        return [share / 100 * sides[i % 2] for i, share in enumerate(shares)]


def _image(data: Any) -> str | None:
    """The picture among a task's values: under `image`, else the first text that ends as pictures do."""
    if not isinstance(data, dict):
        return None
    texts = {key: picture_name(value) for key, value in data.items() if isinstance(value, str) and value}
    found = [name for name in texts.values() if name.lower().endswith(PICTURE_ENDINGS)]
    return texts.get("image") or next(iter(found), None)


def _meta(region: Mapping[str, Any]) -> list[str]:
    meta = region.get("meta")
    texts = meta.get("text") if isinstance(meta, dict) else None
    texts = [texts] if isinstance(texts, str) else texts
    return [text for text in texts if isinstance(text, str)] if isinstance(texts, list) else []


def _texts(region: Mapping[str, Any], start: str) -> str:
    return next((text.removeprefix(start) for text in _meta(region) if text.startswith(start)), "")
