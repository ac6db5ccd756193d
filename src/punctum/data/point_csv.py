"""Points in pictures as a plain csv: a row per point, as `punctum predict` writes it, or a row per instance."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.assemble import NO_BOX, assemble
from punctum.data.errors import DataError, counted
from punctum.data.named import Named, box_of, number
from punctum.schema import Schema

BOX = ("box_x", "box_y", "box_width", "box_height")
_LONG = {"image", "keypoint", "x", "y"}
_MISSING = ("", "nan", "na", "none")


def read_point_csv(path: str | Path, images: str | Path | None = None, *, labels_only: bool = False) -> Annotations:
    """Annotations from a csv of points in pictures, in either of two forms.

    A row per point has the columns `image`, `keypoint`, `x`, `y`, and, if wanted, `instance` (what tells several in
    one image apart), `visible` (0 not labelled, 1 hidden, 2 visible) and `box_x`, `box_y`, `box_width`, `box_height`.
    A row per instance has `image`, then `x_NAME` and `y_NAME` (or `NAME_x`, `NAME_y`) for each keypoint, and, if
    wanted, `visible_NAME`, `instance` and the box. Places are pixels, (0, 0) the centre of the first; empty ones are
    not labelled. Keypoints keep the order in which the file names them. Other columns are ignored, and named in a
    note.

    Args:
        path: the csv file.
        images: the folder that `image` is relative to; without it, looked for beside the file.
        labels_only: read without images; see `assemble`.
    Raises:
        DataError: every mistake of the file at once, each with its line.
    """
    source = Path(path)
    header, rows = _table(source)
    mistakes: list[str] = []
    notes: list[str] = []
    if set(header) >= _LONG:
        names, things = _long(rows, mistakes)
        known = {*_LONG, "instance", "visible", *BOX}
    else:
        columns = wide_columns(header)
        names, things = list(columns), _wide(rows, columns, mistakes)
        known = {"image", "instance", *BOX, *(f"visible_{name}" for name in names)}
        known |= {column for pair in columns.values() for column in pair}
    ignored = [column for column in header if column not in known]
    if ignored:
        notes.append(f"{counted(len(ignored), 'column')} ignored: {', '.join(ignored[:10])}")
    if "score" in ignored:
        notes.append("these are predictions (there is a score): they are taken as if somebody had labelled them")
    here = source.parent
    folders = [here, here / "images", here.parent / "images", here.parent] if images is None else [Path(images)]
    return assemble(
        Schema(tuple(names)) if names else None,
        [thing.instance(names) for thing in things],
        source=source,
        folders=folders,
        mistakes=mistakes,
        notes=notes,
        labels_only=labels_only,
    )


def is_point_csv(first_line: str) -> bool:
    """Whether a csv file's first line has the columns of `read_point_csv`.

    Example:
        >>> is_point_csv("image,instance,keypoint,x,y,score"), is_point_csv("image,nose_x,nose_y")
        (True, True)
    """
    try:
        header = [cell.strip() for cell in next(csv.reader([first_line]), [])]
    except csv.Error:
        return False
    return "image" in header and (set(header) >= _LONG or bool(wide_columns(header)))


def wide_columns(header: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The columns of x and y of each keypoint of a file with a row per instance, in the file's order."""
    found: dict[str, tuple[str, str]] = {}
    present = set(header)
    for column in header:
        if column in BOX:
            continue
        for pattern, form in ((r"x_(.+)", "{}_{}"), (r"(.+)_x", "{1}_{0}")):
            match = re.fullmatch(pattern, column, re.DOTALL)
            pair = (form.format("x", match[1]), form.format("y", match[1])) if match else ("", "")
            if match and pair[1] in present and match[1] not in found:
                found[match[1]] = pair
                break
    return found


def _table(source: Path) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    """The header, and every row with its place in the file."""
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in row] for row in csv.reader(file)]
    except OSError as error:
        raise DataError([f"{source}: cannot be read: {error.strerror or error}"]) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError([f"{source.name}: not a csv file: {error}"]) from None
    header = lines[0] if lines else []
    twice = sorted({name for name in header if header.count(name) > 1})
    if "image" not in header or not (set(header) >= _LONG or wide_columns(header)) or twice:
        wrong = f"it has twice {', '.join(map(repr, twice))}" if twice else f"it has {', '.join(header[:10])}"
        raise DataError(
            [f"{source.name}: its columns should be image, keypoint, x, y, or image, x_NAME, y_NAME, ...: {wrong}"]
        )
    mistakes, rows = [], []
    for line, cells in enumerate(lines[1:], start=2):
        where = f"{source.name}, line {line}"
        if len(cells) == len(header):
            rows.append((where, dict(zip(header, cells, strict=True))))
        elif any(cells):
            mistakes.append(f"{where}: {counted(len(cells), 'cell')}, but the header has {len(header)}")
    if mistakes:
        raise DataError(mistakes)
    return header, rows


def _long(rows: Sequence[tuple[str, dict[str, str]]], mistakes: list[str]) -> tuple[list[str], list[Named]]:
    things: dict[tuple[str, str], Named] = {}
    names: dict[str, None] = {}
    for where, row in rows:
        image, name = row["image"].replace("\\", "/"), row["keypoint"]
        if not image or not name:
            mistakes.append(f"{where}: it names no {'keypoint' if image else 'image'}")
            continue
        label = row.get("instance", "")
        if (image, label) not in things:
            things[image, label] = Named(where, image, label or image, box=_box(where, row, mistakes))
        thing = things[image, label]
        if name in thing.points:
            mistakes.append(f"{where}: keypoint {name} of {image} {label} stands twice".replace("  ", " "))
        names[name] = None
        thing.points[name] = _point(where, name, (row["x"], row["y"]), row.get("visible", ""), mistakes)
    return list(names), list(things.values())


def _wide(
    rows: Sequence[tuple[str, dict[str, str]]], columns: Mapping[str, tuple[str, str]], mistakes: list[str]
) -> list[Named]:
    things: dict[tuple[str, str], Named] = {}
    for where, row in rows:
        image, label = row["image"].replace("\\", "/"), row.get("instance", "")
        if not image:
            mistakes.append(f"{where}: it names no image")
            continue
        if (image, label) in things:
            mistakes.append(f"{where}: {image} {label} stands twice: a column `instance` would tell them apart")
            continue
        things[image, label] = Named(where, image, label or image, box=_box(where, row, mistakes))
        for name, (x, y) in columns.items():
            point = _point(where, name, (row[x], row[y]), row.get(f"visible_{name}", ""), mistakes)
            things[image, label].points[name] = point
    return list(things.values())


def _point(
    where: str, name: str, cells: tuple[str, str], visible: str, mistakes: list[str]
) -> tuple[float, float, int]:
    seen = visible or "2"
    if seen not in ("0", "1", "2"):
        mistakes.append(f"{where}, keypoint {name}: visible should be 0, 1 or 2, got {visible!r}")
        return 0.0, 0.0, 0
    empty = [cell.lower() in _MISSING for cell in cells]
    if all(empty) or seen == "0":
        return 0.0, 0.0, 0
    x, y = map(number, cells)
    if x != x or y != y:
        mistakes.append(f"{where}, keypoint {name}: its place should be two numbers, got {cells[0]!r}, {cells[1]!r}")
        return 0.0, 0.0, 0
    return x, y, int(seen)


def _box(where: str, row: Mapping[str, str], mistakes: list[str]) -> NDArray[np.float64]:
    cells = [row.get(column, "") for column in BOX]
    if all(cell.lower() in _MISSING for cell in cells):
        return NO_BOX
    box = box_of(*map(number, cells))
    if box is None:
        mistakes.append(f"{where}: {', '.join(BOX)} should be four numbers, width and height not negative")
        return NO_BOX
    return box
