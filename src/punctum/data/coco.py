"""COCO keypoints JSON."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.assemble import NO_BOX, Instance, assemble
from punctum.data.errors import DataError, counted
from punctum.data.json_text import kind, read_json
from punctum.data.limits import FARTHEST
from punctum.json_file import number
from punctum.schema import Schema


def read_coco(path: str | Path, images: str | Path | None = None, *, labels_only: bool = False) -> Annotations:
    """Annotations from a COCO keypoints JSON.

    The category gives `keypoints` (names), `skeleton` (indices from 1, as COCO has them), and, beyond COCO,
    `flip_pairs` (indices from 0) and `sigmas`. An annotation gives `keypoints` as x, y, v triples with v 0 not
    labelled, 1 hidden, 2 visible, and may have a `bbox` and an `area`. Crowds and instances without a labelled
    point are left out and counted in the notes.

    Args:
        path: the JSON file.
        images: the folder that `file_name` is relative to; without it, looked for beside the file.
        labels_only: read without images; see `assemble`.
    Raises:
        DataError: every mistake of the file at once, each with its row.
    """
    source = Path(path)
    reader = _Reader(source, _load(source))
    schema, instances = reader.read()
    return assemble(
        schema,
        instances,
        source=source,
        folders=_image_folders(source) if images is None else [Path(images)],
        mistakes=reader.mistakes,
        notes=reader.notes(),
        labels_only=labels_only,
    )


def _load(source: Path) -> dict[str, Any]:
    content = read_json(source)
    if not isinstance(content, dict):
        raise DataError(
            [f"{source.name}: expected an object with images, annotations and categories, got {kind(content)}"]
        )
    mistakes = [
        f"{source.name}: {key!r} should be a list, "
        + (f"got {kind(content[key])}" if key in content else "is missing")
        for key in ("images", "annotations", "categories")
        if not isinstance(content.get(key), list)
    ]
    mistakes += [
        f"{source.name}: {key}[{i}]: expected an object, got {kind(row)}"
        for key in ("images", "annotations", "categories")
        if isinstance(content.get(key), list)
        for i, row in enumerate(content[key])
        if not isinstance(row, dict)
    ]
    if mistakes:
        raise DataError(mistakes)
    return content


def _image_folders(source: Path) -> list[Path]:
    here = source.parent
    splits = dict.fromkeys([source.stem, source.stem.rpartition("_")[2]])
    folders = [here / "images", here.parent / "images", here]
    folders += [
        place / split for split in splits for place in (here, here.parent, here / "images", here.parent / "images")
    ]
    return list(dict.fromkeys(folders))


class _Reader:
    """One file being read: what is wrong with it and what was skipped gather here."""

    def __init__(self, source: Path, content: dict[str, Any]) -> None:
        self.source = source
        self.content = content
        self.mistakes: list[str] = []
        self.skipped: Counter[tuple[str, str]] = Counter()

    def wrong(self, where: str, what: str) -> None:
        self.mistakes.append(f"{self.source.name}: {where}: {what}")

    def read(self) -> tuple[Schema | None, list[Instance]]:
        names = self._images()
        category = self._category()
        schema = None if category is None else self._schema(category)
        seen: set[Any] = set()
        instances = []
        for position, row in enumerate(self.content["annotations"]):
            label = self._label("annotation", position, row, seen)
            instance = self._instance(row, label, names, category)
            if instance is not None:
                instances.append(instance)
        used = {_hashable(row.get("image_id")) for row in self.content["annotations"]}
        self.skipped["{} without an annotation", "image"] += len(names.keys() - used)
        return schema, instances

    def notes(self) -> list[str]:
        return [sentence.replace("{}", counted(n, noun)) for (sentence, noun), n in self.skipped.items() if n]

    def _label(self, kind: str, position: int, row: dict[str, Any], seen: set[Any]) -> str:
        """What messages call a row; an id that is missing or taken is a mistake."""
        value = row.get("id")
        if isinstance(value, bool) or not isinstance(value, int | str):
            label = f"{kind} at position {position}"
            self.wrong(
                label, "it has no id" if value is None else f"id {value!r} is neither a whole number nor a text"
            )
            return label
        if value in seen:
            self.wrong(f"{kind} {value}", "its id is taken by an earlier one; ids must differ")
        seen.add(value)
        return f"{kind} {value}"

    def _images(self) -> dict[Any, str]:
        """File name by image id; empty where it is wrong."""
        names: dict[Any, str] = {}
        seen: set[Any] = set()
        for position, row in enumerate(self.content["images"]):
            label = self._label("image", position, row, seen)
            name = row.get("file_name")
            if not isinstance(name, str) or not name:
                self.wrong(label, f"file_name {name!r} is not a name")
                name = ""
            if isinstance(row.get("id"), int | str):
                names.setdefault(row["id"], name)
        return names

    def _category(self) -> dict[str, Any] | None:
        """The one category with keypoints; where there are several, the one with annotations."""
        rows = self.content["categories"]
        seen: set[Any] = set()
        for position, row in enumerate(rows):
            self._label("category", position, row, seen)
        able = [r for r in rows if isinstance(r.get("keypoints"), list) and r["keypoints"]]
        if len(able) > 1:
            used = {_hashable(a.get("category_id")) for a in self.content["annotations"]}
            with_rows = [r for r in able if r.get("id") in used]
            if len(with_rows) != 1:
                listed = ", ".join(repr(r.get("name")) for r in able)
                self.wrong("categories", f"keep one category with keypoints; there are several: {listed}")
                return None
            able = with_rows
        if not able:
            listed = ", ".join(repr(r.get("name")) for r in rows)
            self.wrong("categories", f"none lists its keypoints: {listed}" if rows else "there is none")
            return None
        return {"id": None, **able[0]}

    def _schema(self, category: dict[str, Any]) -> Schema | None:
        where = f"category {category.get('name', category['id'])!r}"
        names = category["keypoints"]
        before = len(self.mistakes)
        for position, name in enumerate(names):
            if not isinstance(name, str):
                self.wrong(where, f"keypoints[{position}] should be a name, got {name!r}")
        skeleton = self._pairs(category, where, "skeleton")
        flip_pairs = self._pairs(category, where, "flip_pairs")
        sigmas = category.get("sigmas") or None
        if sigmas is not None and not _are_positive(sigmas):
            self.wrong(where, "sigmas should be a list of positive numbers")
        edges = []
        for position, (i, j) in enumerate(skeleton):
            if 1 <= i <= len(names) and 1 <= j <= len(names):
                edges.append((i - 1, j - 1))
            else:
                self.wrong(where, f"skeleton[{position}] is [{i}, {j}]: indices count from 1 to {len(names)}")
        checked = tuple(map(float, sigmas)) if sigmas and _are_positive(sigmas) else None
        try:
            schema = Schema(tuple(map(str, names)), tuple(edges), tuple(flip_pairs), checked)
        except ValueError as error:
            self.wrong(where, str(error))
        return schema if len(self.mistakes) == before else None

    def _pairs(self, category: dict[str, Any], where: str, key: str) -> list[tuple[int, int]]:
        rows = category.get(key) or []
        if not isinstance(rows, list):
            self.wrong(where, f"{key} should be a list of pairs, got {kind(rows)}")
            return []
        pairs = []
        for position, row in enumerate(rows):
            if isinstance(row, list) and len(row) == 2 and all(type(i) is int for i in row):
                pairs.append((row[0], row[1]))
            else:
                self.wrong(where, f"{key}[{position}] should be a pair of keypoint indices, got {row!r}")
        return pairs

    def _instance(
        self, row: dict[str, Any], label: str, images: dict[Any, str], category: dict[str, Any] | None
    ) -> Instance | None:
        image = images.get(_hashable(row.get("image_id")))
        if image is None:
            self.wrong(label, f"image_id {row.get('image_id')!r} is not among the images")
        else:
            label = f"{label} (image {image})"
        if category is None:
            return None
        if row.get("category_id") != category["id"]:
            self._other_category(row, label)
            return None
        if row.get("iscrowd"):
            self.skipped["{} (iscrowd) skipped", "crowd"] += 1
            return None
        names = [str(name) for name in category["keypoints"]]
        values = row.get("keypoints", [0] * (3 * len(names)))
        keypoints, visibility, problems = _points(values, names)
        box, box_problem = _box(row.get("bbox"))
        area, area_problem = _area(row.get("area"))
        for problem in [*problems, *box_problem, *area_problem]:
            self.wrong(label, problem)
        if not image or problems or box_problem or area_problem:
            return None
        self.skipped["{} without a box: the whole image counts", "instance"] += bool(np.isnan(box[0]))
        if "num_keypoints" in row and row["num_keypoints"] != int((visibility > 0).sum()):
            self.skipped["{} whose num_keypoints is not the number of labelled points", "annotation"] += 1
        return Instance(
            f"{self.source.name}: {label}", image, str(row.get("id")), keypoints, visibility, box, area=area
        )

    def _other_category(self, row: dict[str, Any], label: str) -> None:
        known = [r.get("id") for r in self.content["categories"]]
        if row.get("category_id") not in known:
            self.wrong(label, f"category_id {row.get('category_id')!r} is not among the categories")
        else:
            self.skipped["{} of other categories skipped", "annotation"] += 1


def _points(values: Any, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.int8], list[str]]:
    """x, y, v triples as (K, 2) and (K,), and what is wrong with them."""
    count = len(names)
    nothing = np.full((count, 2), np.nan), np.zeros(count, np.int8)
    if not isinstance(values, list) or len(values) != 3 * count:
        got = f"{len(values)} numbers" if isinstance(values, list) else kind(values)
        return *nothing, [f"keypoints: expected {3 * count} numbers, x, y and v of {count} points, got {got}"]
    table = np.array([number(v) for v in values]).reshape(count, 3)
    visibility = table[:, 2]
    problems = [
        f"keypoint {names[k]}: visibility {values[3 * k + 2]!r} is not 0, 1 or 2"
        for k in map(int, np.flatnonzero(~np.isin(visibility, (0, 1, 2))))
    ]
    labelled = visibility > 0
    problems += [
        f"keypoint {names[k]}: it is labelled, but its place ({values[3 * k]!r}, {values[3 * k + 1]!r}) is not "
        f"two finite numbers"
        for k in map(int, np.flatnonzero(labelled & ~np.isfinite(table[:, :2]).all(1)))
    ]
    if problems:
        return *nothing, problems
    return np.where(labelled[:, None], table[:, :2], np.nan), visibility.astype(np.int8), []


def _box(values: Any) -> tuple[NDArray[np.float64], list[str]]:
    """A bounding box, NaN where there is none or it has no area, and what is wrong with it."""
    if values is None or values == []:
        return NO_BOX, []
    if not isinstance(values, list) or len(values) != 4:
        return NO_BOX, [f"bbox should be [x, y, width, height], got {values!r}"]
    box = np.array([number(v) for v in values])
    if not (np.abs(box) <= FARTHEST).all() or (box[2:] < 0).any():
        what = f"four finite numbers up to {FARTHEST:g}, width and height not negative"
        return NO_BOX, [f"bbox should be {what}, got {values!r}"]
    return (box if (box[2:] > 0).all() else NO_BOX), []


def _area(value: Any) -> tuple[float, list[str]]:
    """An area, NaN where there is none or it is zero, and what is wrong with it."""
    if value is None:
        return np.nan, []
    area = number(value)
    if not np.isfinite(area) or area < 0:
        return np.nan, [f"area should be a finite number of square pixels, not negative, got {value!r}"]
    return area or np.nan, []


def _are_positive(values: Any) -> bool:
    return isinstance(values, list) and all(0 < number(v) < np.inf for v in values)


def _hashable(value: Any) -> Any:
    return value if isinstance(value, int | str) else None
