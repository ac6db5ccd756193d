"""Landmarks in volumes: a JSON file, or a csv with a row per landmark.

Places are voxels as (x, y, z), (0, 0, 0) the centre of the first voxel: array[z, y, x] is the voxel at (x, y, z).
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.assemble import Instance, assemble
from punctum.data.errors import DataError, counted
from punctum.data.images import ImageError
from punctum.data.json_text import read_json
from punctum.data.volumes import VOLUME_ENDINGS, as_spacing, read_spacing
from punctum.json_file import number
from punctum.schema import Schema

_COLUMNS = ("volume", "keypoint", "x", "y", "z")
_OPTIONAL = ("visible", "spacing_x", "spacing_y", "spacing_z")
_ENTRIES = {"keypoints", "volumes", "flip_pairs", "skeleton"}
_FIELDS = {"file", "spacing", "points", "box", "id"}
_MISSING = ("", "nan", "na", "none")


@dataclass
class _Scan:
    """One volume as the file describes it, before its landmarks have an order."""

    where: str
    file: str
    id: str
    points: dict[str, tuple[NDArray[np.float64], int]] = field(default_factory=dict)
    spacing: NDArray[np.float64] | None = None
    box: NDArray[np.float64] = field(default_factory=lambda: np.full(6, np.nan))


def read_volumes_json(
    path: str | Path, images: str | Path | None = None, *, labels_only: bool = False
) -> Annotations:
    """Annotations of landmarks in volumes, from a JSON file.

    The file is an object with `keypoints` (names), `volumes`, and, if wanted, `flip_pairs` and `skeleton` (pairs of
    names). A volume has `file` (.npy or .npz), `points` (name: [x, y, z] in voxels; null or left out: not labelled),
    and, if wanted, `spacing` ([x, y, z], millimetres per voxel), `box` ([x, y, z, width, height, depth]) and `id`.

    Args:
        path: the JSON file.
        images: the folder that `file` is relative to; without it, looked for beside the JSON file.
        labels_only: read without volumes; see `assemble`.
    Raises:
        DataError: every mistake of the file at once, each with its volume and landmark.
    """
    source = Path(path)
    mistakes: list[str] = []
    content = _load_json(source)
    schema = _json_schema(source, content, mistakes)
    scans = [
        scan
        for i, row in enumerate(content["volumes"])
        if (scan := _json_scan(source, i, row, schema, mistakes)) is not None
    ]
    return _annotations(source, schema, scans, images, mistakes, labels_only)


def read_volumes_csv(path: str | Path, images: str | Path | None = None, *, labels_only: bool = False) -> Annotations:
    """Annotations of landmarks in volumes, from a csv with a row per landmark.

    The columns, in any order, are `volume` (.npy or .npz), `keypoint`, `x`, `y`, `z` in voxels, and, if wanted,
    `visible` (0 not labelled, 1 hidden, 2 visible) and `spacing_x`, `spacing_y`, `spacing_z` in millimetres. Empty
    places are not labelled. Keypoints are ordered by name, so that two files of the same landmarks agree. There are
    no boxes and no flip pairs in such a file.

    Args:
        path: the csv file.
        images: the folder that `volume` is relative to; without it, looked for beside the csv file.
        labels_only: read without volumes; see `assemble`.
    Raises:
        DataError: every mistake of the file at once, each with its line.
    """
    source = Path(path)
    mistakes: list[str] = []
    scans = _csv_scans(source, mistakes)
    names = tuple(sorted({name for scan in scans for name in scan.points}))
    return _annotations(source, Schema(names) if names else None, scans, images, mistakes, labels_only)


def is_volumes_csv(first_line: str) -> bool:
    """Whether a csv file's first line has the columns of `read_volumes_csv`."""
    return {"volume", "keypoint"} <= {cell.strip().strip('"').lower() for cell in first_line.split(",")}


def _annotations(
    source: Path,
    schema: Schema | None,
    scans: Sequence[_Scan],
    images: str | Path | None,
    mistakes: list[str],
    labels_only: bool,
) -> Annotations:
    """What both files end in: the landmarks in order, the volumes found, the spacing settled."""
    names = () if schema is None else schema.names
    instances = []
    for scan in scans:
        keypoints, visibility = np.full((len(names), 3), np.nan), np.zeros(len(names), np.int8)
        for name, (point, seen) in scan.points.items():
            if name in names and seen:
                keypoints[names.index(name)], visibility[names.index(name)] = point, seen
        instances.append(Instance(scan.where, scan.file, scan.id, keypoints, visibility, scan.box))
        if Path(scan.file).suffix.lower() not in VOLUME_ENDINGS:
            mistakes.append(f"{scan.where}: {scan.file!r} is no volume: it should end in .npy or .npz")
    taken = [scan.id for scan in scans]
    mistakes += [f"{scan.where}: id {scan.id!r} stands twice" for n, scan in enumerate(scans) if scan.id in taken[:n]]
    here = source.parent
    folders = [here, here / "volumes", here / "images", here.parent] if images is None else [Path(images)]
    found = assemble(
        schema, instances, source=source, folders=folders, mistakes=mistakes, notes=[], labels_only=labels_only
    )
    given = {scan.id: scan for scan in scans}
    return _with_spacing(found, [given[i] for i in found.ids])


def _with_spacing(annotations: Annotations, scans: Sequence[_Scan]) -> Annotations:
    """The spacing that the annotations or the .npz files give: all volumes have one, or none has."""
    spacing, mistakes = np.full((len(annotations), 3), np.nan), []
    for i, (scan, path) in enumerate(zip(scans, annotations.images, strict=True)):
        try:
            # Absent where only labels are read.
            stored = read_spacing(path) if path.is_file() else None
        except ImageError as error:
            mistakes.append(f"{scan.where}: {error}")
            continue
        if scan.spacing is not None and stored is not None and not np.allclose(scan.spacing, stored, rtol=1e-3):
            mistakes.append(
                f"{scan.where}: its spacing {scan.spacing.tolist()} is not the one in {path.name}, "
                f"{stored.tolist()} (both are millimetres along x, y and z)"
            )
        known = stored if scan.spacing is None else scan.spacing
        spacing[i] = np.nan if known is None else known
    unknown = np.isnan(spacing[:, 0])
    if unknown.any() and not unknown.all():
        mistakes += [
            f"{scans[i].where}: {annotations.image_names[i]} has no spacing, but other volumes do"
            for i in np.flatnonzero(unknown).tolist()
        ]
    if mistakes:
        raise DataError(mistakes)
    if not unknown.all():
        return replace(annotations, spacing=spacing)
    note = "no volume has a spacing: voxels are taken to be as long on every axis, and errors are in voxels"
    return replace(annotations, notes=(*annotations.notes, note))


# --- JSON --------------------------------------------------------------------------------------------------


def _load_json(source: Path) -> dict[str, Any]:
    content = read_json(source)
    if not isinstance(content, dict):
        raise DataError([f"{source.name}: expected an object with keypoints and volumes"])
    mistakes = [
        f"{source.name}: {key!r} should be a list" + ("" if key in content else ", and is missing")
        for key in ("keypoints", "volumes")
        if not isinstance(content.get(key), list)
    ]
    mistakes += [f"{source.name}: unknown entry {key!r}" for key in sorted(content.keys() - _ENTRIES)]
    if mistakes:
        raise DataError(mistakes)
    return content


def _json_schema(source: Path, content: Mapping[str, Any], mistakes: list[str]) -> Schema | None:
    names = content["keypoints"]
    if not all(isinstance(name, str) for name in names):
        mistakes.append(f"{source.name}: keypoints should be names, got {names!r}")
        return None
    pairs: dict[str, tuple[tuple[int, int], ...]] = {}
    for key in ("flip_pairs", "skeleton"):
        rows = content.get(key, [])
        listed = rows if isinstance(rows, list) else []
        good = [r for r in listed if isinstance(r, list) and len(r) == 2 and all(n in names for n in r)]
        if not isinstance(rows, list) or len(good) != len(rows):
            mistakes.append(f"{source.name}: {key} should be pairs of keypoint names, got {rows!r}")
        pairs[key] = tuple((names.index(a), names.index(b)) for a, b in good)
    try:
        return Schema(tuple(names), flip_pairs=pairs["flip_pairs"], skeleton=pairs["skeleton"])
    except ValueError as error:
        mistakes.append(f"{source.name}: {error}")
        return None


def _json_scan(source: Path, i: int, row: Any, schema: Schema | None, mistakes: list[str]) -> _Scan | None:
    if not isinstance(row, dict) or not isinstance(row.get("file"), str) or not row["file"]:
        mistakes.append(f"{source.name}: volumes[{i}]: expected an object with a file, points and perhaps a spacing")
        return None
    # Several things in one volume are told apart by their ids, so the position is part of it where none is given.
    scan = _Scan(
        f"{source.name}: volumes[{i}] ({row['file']})", row["file"], str(row.get("id", f"{i}:{row['file']}"))
    )
    mistakes += [f"{scan.where}: unknown entry {key!r}" for key in sorted(row.keys() - _FIELDS)]
    points = row.get("points")
    if not isinstance(points, dict):
        mistakes.append(f"{scan.where}: points should be an object, name: [x, y, z]")
        points = {}
    for name, point in points.items():
        if schema is not None and name not in schema.names:
            mistakes.append(f"{scan.where}: {name!r} is none of the keypoints: {', '.join(schema.names)}")
        elif point is not None and not _are_numbers(point, 3):
            mistakes.append(f"{scan.where}: keypoint {name}: its place should be [x, y, z] in voxels, got {point!r}")
        elif point is not None:
            scan.points[name] = (np.array(point, dtype=np.float64), 2)
    if row.get("spacing") is not None:
        scan.spacing = _spacing_of(scan.where, row["spacing"], mistakes)
    if (box := row.get("box")) is not None:
        if _are_numbers(box, 6) and min(box[3:]) >= 0:
            scan.box = np.array(box, dtype=np.float64)
        else:
            mistakes.append(f"{scan.where}: box should be [x, y, z, width, height, depth] in voxels, got {box!r}")
    return scan


def _are_numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(math.isfinite(number(v)) for v in values)


def _spacing_of(where: str, values: Any, mistakes: list[str]) -> NDArray[np.float64] | None:
    try:
        return as_spacing(values)
    except ValueError as error:
        mistakes.append(f"{where}: {error}")
        return None


# --- csv ---------------------------------------------------------------------------------------------------


def _csv_scans(source: Path, mistakes: list[str]) -> list[_Scan]:
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in row] for row in csv.reader(file)]
    except OSError as error:
        raise DataError([f"{source}: cannot be read: {error.strerror or error}"]) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError([f"{source.name}: not a csv file: {error}"]) from None
    header = [cell.lower() for cell in lines[0]] if lines else []
    missing = [name for name in _COLUMNS if name not in header]
    unknown = [name for name in header if name not in (*_COLUMNS, *_OPTIONAL)]
    twice = sorted({name for name in header if header.count(name) > 1})
    problems = [
        f"{word} {', '.join(map(repr, names))}"
        for word, names in (("it lacks", missing), ("it has unknown", unknown), ("it has twice", twice))
        if names
    ]
    if problems:
        raise DataError(
            [f"{source.name}: the first line names the columns volume, keypoint, x, y, z: {'; '.join(problems)}"]
        )
    scans: dict[str, _Scan] = {}
    for line, cells in enumerate(lines[1:], start=2):
        where = f"{source.name}, line {line}"
        if len(cells) == len(header):
            _csv_row(where, dict(zip(header, cells, strict=True)), scans, mistakes)
        elif any(cells):
            mistakes.append(f"{where}: {counted(len(cells), 'cell')}, but the header has {len(header)}")
    return list(scans.values())


def _csv_row(where: str, row: dict[str, str], scans: dict[str, _Scan], mistakes: list[str]) -> None:
    file, name = row["volume"].replace("\\", "/"), row["keypoint"]
    if not file or not name:
        mistakes.append(f"{where}: it names no {'keypoint' if file else 'volume'}")
        return
    scan = scans.setdefault(file, _Scan(where, file, file))
    if name in scan.points:
        mistakes.append(f"{where}: {name} of {file} stands twice")
        return
    point = _numbers(where, [row[axis] for axis in "xyz"], f"place of {name}", mistakes)
    seen = row.get("visible") or "2"
    if seen not in ("0", "1", "2"):
        mistakes.append(f"{where}: visible should be 0, 1 or 2, got {seen!r}")
        seen = "0"
    scan.points[name] = (np.full(3, np.nan), 0) if point is None else (point, int(seen))
    spacing = _numbers(where, [row.get(f"spacing_{axis}", "") for axis in "xyz"], "spacing", mistakes)
    if spacing is None:
        return
    checked = _spacing_of(where, spacing.tolist(), mistakes)
    if scan.spacing is not None and checked is not None and not np.array_equal(scan.spacing, checked):
        mistakes.append(
            f"{where}: spacing {checked.tolist()}, but {scan.spacing.tolist()} in an earlier line of {file}"
        )
    scan.spacing = checked


def _numbers(where: str, cells: list[str], what: str, mistakes: list[str]) -> NDArray[np.float64] | None:
    """Three numbers, or None where all three are missing or one is wrong."""
    empty = [cell.lower() in _MISSING for cell in cells]
    if all(empty):
        return None
    try:
        values = np.array([float("nan") if gap else float(c) for c, gap in zip(cells, empty, strict=True)])
    except ValueError:
        values = np.full(3, np.nan)
    if not np.isfinite(values).all():
        mistakes.append(f"{where}: the {what} should be three numbers, got {', '.join(map(repr, cells))}")
        return None
    return values
