"""DeepLabCut's CollectedData csv."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.assemble import NO_BOX, Instance, assemble
from punctum.data.errors import DataError, counted
from punctum.schema import Schema

_HEADER = ["scorer", "bodyparts", "coords"]
_MISSING = ("", "nan", "na", "none")
# DeepLabCut files the parts that an image has once, whoever is in it, under this individual.
_SHARED = "single"


def read_deeplabcut(path: str | Path, images: str | Path | None = None, *, labels_only: bool = False) -> Annotations:
    """Annotations from a DeepLabCut csv, of one animal or several.

    Header rows are `scorer`, with several animals `individuals`, then `bodyparts` and `coords`. A row begins with its
    image, in one column ("labeled-data/video/img001.png") or in several ("labeled-data", "video",
    "img001.png"). An empty cell or NaN means not labelled. There are no boxes and no flip pairs in such a file.

    Args:
        path: the csv file.
        images: the folder that the image names are relative to; without it, looked for from the file upwards.
        labels_only: read without images; see `assemble`.
    Raises:
        DataError: every mistake of the file at once, each with its line and column.
    """
    source = Path(path)
    return annotations_of(source, _lines(source), images, labels_only=labels_only)


def annotations_of(
    source: Path, lines: list[list[str]], images: str | Path | None, *, labels_only: bool = False
) -> Annotations:
    """Annotations from the cells of such a file, header and all; see `read_deeplabcut`."""
    mistakes: list[str] = []
    table = _header(source, lines, mistakes)
    instances = [] if mistakes else _instances(source, lines, table, mistakes)
    here = source.parent
    folders = [here, here.parent, here.parent.parent, here / "images", here.parent / "images"]
    return assemble(
        Schema(table.names) if table.names and not mistakes else None,
        instances,
        source=source,
        folders=list(dict.fromkeys(folders)) if images is None else [Path(images)],
        mistakes=mistakes,
        notes=table.notes,
        labels_only=labels_only,
    )


@dataclass
class _Table:
    """What the header says: which column holds what.

    Args:
        start: number of header lines.
        index: number of columns that name the image.
        labels: what messages call each column.
        columns: by individual ("" where the file knows only one) and body part, the columns of x and y.
        names: the body parts.
        notes: what is left out.
    """

    start: int = 0
    index: int = 1
    labels: list[str] = field(default_factory=list)
    columns: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def _lines(source: Path) -> list[list[str]]:
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            return [[cell.strip() for cell in row] for row in csv.reader(file)]
    except OSError as error:
        raise DataError([f"{source}: cannot be read: {error.strerror or error}"]) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError([f"{source.name}: not a csv file: {error}"]) from None


def _header(source: Path, lines: list[list[str]], mistakes: list[str]) -> _Table:
    rows = {row[0].lower(): row for row in lines[:4] if row}
    found = list(rows)
    if found[:3] != _HEADER and found != [_HEADER[0], "individuals", *_HEADER[1:]]:
        got = ", ".join(map(repr, found[:3])) or "nothing"
        mistakes.append(f"{source.name}: the first lines should begin with {', '.join(_HEADER)}, got {got}")
        return _Table()
    width = len(rows["coords"])
    animals, parts = rows.get("individuals", [""] * width), rows["bodyparts"]
    table = _Table(start=4 if "individuals" in rows else 3, labels=[""] * width)
    table.index = next((i for i, cell in enumerate(rows["coords"]) if i and cell), width)
    ignored = 0
    for column in range(table.index, width):
        if column >= len(parts) or column >= len(animals) or not parts[column]:
            mistakes.append(f"{source.name}, column {column + 1}: it has no body part")
            continue
        animal, part, kind = animals[column], parts[column], rows["coords"][column].lower()
        table.labels[column] = "_".join(filter(None, (animal, part, kind)))
        where = f"{source.name}, column {table.labels[column]}"
        ignored += kind == "likelihood"
        if kind in ("x", "y"):
            places = table.columns.setdefault(animal, {}).setdefault(part, {})
            if places.setdefault(kind, column) != column:
                mistakes.append(f"{where}: it stands twice")
        elif kind != "likelihood":
            mistakes.append(f"{where}: coords should be x, y or likelihood, got {kind!r}")
    if ignored:
        table.notes.append(f"{counted(ignored, 'likelihood column')} ignored")
    _check_columns(source, table, mistakes)
    return table


def _check_columns(source: Path, table: _Table, mistakes: list[str]) -> None:
    """Sets the names; every body part needs x and y, and every individual the same body parts."""
    for animal, parts in table.columns.items():
        for part, places in parts.items():
            mistakes.extend(
                f"{source.name}, body part {' '.join(filter(None, (animal, part)))}: it has no {axis} column"
                for axis in ("x", "y")
                if axis not in places
            )
    if not table.columns:
        mistakes.append(f"{source.name}: there is no body part")
        return
    first = next((a for a in table.columns if a != _SHARED), _SHARED)
    table.names = tuple(table.columns[first])
    for animal in list(table.columns):
        if set(table.columns[animal]) == set(table.names):
            continue
        listed = ", ".join(table.columns[animal])
        if animal == _SHARED:
            del table.columns[animal]
            table.notes.append(
                f"individual {_SHARED!r} left out: its body parts ({listed}) are not those of the others"
            )
        else:
            mistakes.append(
                f"{source.name}, individual {animal!r}: its body parts ({listed}) are not those of {first!r} "
                f"({', '.join(table.names)})"
            )


def _instances(source: Path, lines: list[list[str]], table: _Table, mistakes: list[str]) -> list[Instance]:
    instances: list[Instance] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(lines[table.start :], start=table.start + 1):
        if not any(row):
            continue
        where = f"{source.name}, line {number}"
        image = "/".join(cell for cell in row[: table.index] if cell).replace("\\", "/")
        if len(row) != len(table.labels):
            mistakes.append(f"{where}: {counted(len(row), 'cell')}, but the header has {len(table.labels)}")
            continue
        if not image:
            mistakes.append(f"{where}: it names no image")
            continue
        if image in seen:
            mistakes.append(f"{where}: image {image} stands in line {seen[image]} already")
            continue
        seen[image] = number
        found = [_instance(row, where, image, animal, table, mistakes) for animal in table.columns]
        labelled = [i for i in found if i.visibility.any()]
        # An animal that is not in the picture is no empty instance; a picture with none of them is one.
        instances += labelled or found[:1]
    return instances


def _instance(row: list[str], where: str, image: str, animal: str, table: _Table, mistakes: list[str]) -> Instance:
    keypoints = np.full((len(table.names), 2), np.nan)
    for k, name in enumerate(table.names):
        keypoints[k] = _point(row, where, table.columns[animal][name], table.labels, mistakes)
    visibility = np.where(np.isfinite(keypoints).all(1), 2, 0).astype(np.int8)
    label = f"{image}:{animal}" if animal else image
    return Instance(where, image, label, keypoints, visibility, NO_BOX)


def _point(
    row: list[str], where: str, places: dict[str, int], labels: list[str], mistakes: list[str]
) -> NDArray[np.float64]:
    """(x, y) of one body part in one row; NaN where both are missing."""
    point = np.full(2, np.nan)
    before = len(mistakes)
    for axis, column in enumerate((places["x"], places["y"])):
        cell = row[column]
        if cell.lower() in _MISSING:
            continue
        try:
            point[axis] = float(cell)
        except ValueError:
            mistakes.append(f"{where}, column {labels[column]}: {cell!r} is not a number")
        else:
            if not np.isfinite(point[axis]):
                mistakes.append(f"{where}, column {labels[column]}: {cell!r} is not finite")
    if len(mistakes) == before and np.isnan(point).any() and not np.isnan(point).all():
        empty = places["x" if np.isnan(point[0]) else "y"]
        mistakes.append(f"{where}, column {labels[empty]}: it is empty, but the point's other coordinate is not")
    return point if len(mistakes) == before else np.full(2, np.nan)
