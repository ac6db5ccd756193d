"""Layers in scans: a JSON that says, for each picture and layer, in which row it lies in every column."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.assemble import image_path
from punctum.data.errors import DataError, counted
from punctum.data.json_text import read_json
from punctum.json_file import number
from punctum.schema import Schema


def read_layers(path: str | Path, images: str | Path | None = None, *, labels_only: bool = False) -> Annotations:
    """Annotations from a layers JSON: one instance for each column of each picture.

        {"layers": ["top", "bottom"],
         "scans": [{"image": "a.png", "rows": [[10.5, 10.7, null], [40.0, 40.2, 40.1]]}]}

    `rows` holds one list per layer, with one number per column of the picture: the row of the layer, 0 being
    the centre of the first one, or null where it is not labelled. In the result, `keypoints` are (N, K, 1),
    the rows; column c has the box (c - 0.5, NaN, 1, NaN): as wide as the column, as high as the picture. All
    columns of a picture stand together, in order.

    Args:
        path: the JSON file.
        images: the folder that `image` is relative to; without it, the file's own, or `images` in it.
        labels_only: read without images, and keep scans without a labelled layer.
    Raises:
        DataError: every mistake of the file at once, each with its scan.
    """
    source = Path(path)
    content = _load(source)
    mistakes: list[str] = []
    schema = _schema(source, content, mistakes)
    folders = [Path(images)] if images is not None else [source.parent, source.parent / "images"]
    rows, names, paths = [], [], []
    unlabelled = 0
    for i, scan in enumerate(content["scans"]):
        where = f"{source.name}: scans[{i}]"
        table = _rows(scan, where, content["layers"], mistakes)
        file = _image(scan, where, folders, mistakes, labels_only)
        if table is None or file is None:
            continue
        if np.isnan(table).all() and not labels_only:
            unlabelled += 1
            continue
        rows.append(table)
        names.append(scan["image"])
        paths.append(file)
    if not rows and not mistakes:
        mistakes.append(f"{source.name}: there is nothing to learn from: no scan has a labelled layer")
    mistakes += [f"{source.name}: image {n!r} stands in two scans" for n in sorted(set(names)) if names.count(n) > 1]
    if mistakes or schema is None:
        raise DataError(mistakes)
    notes = [f"{counted(unlabelled, 'scan')} without a labelled layer left out"] if unlabelled else []
    return _annotations(schema, rows, names, paths, source, notes)


def lists_layers(source: Path) -> bool:
    """Whether a JSON file is one for `read_layers`."""
    content = source.read_bytes()
    return b'"layers"' in content and b'"scans"' in content


def _annotations(
    schema: Schema,
    rows: Sequence[NDArray[np.float64]],
    names: Sequence[str],
    paths: Sequence[Path],
    source: Path,
    notes: Sequence[str],
) -> Annotations:
    widths = [table.shape[1] for table in rows]
    columns = np.concatenate([np.arange(width) for width in widths])
    keypoints = np.concatenate([table.T for table in rows])[..., None]
    boxes = np.full((len(columns), 4), np.nan)
    boxes[:, 0], boxes[:, 2] = columns - 0.5, 1.0
    return Annotations(
        schema=schema,
        images=tuple(path for path, width in zip(paths, widths, strict=True) for _ in range(width)),
        image_names=tuple(name for name, width in zip(names, widths, strict=True) for _ in range(width)),
        keypoints=keypoints,
        visibility=np.where(np.isnan(keypoints[..., 0]), 0, 2).astype(np.int8),
        boxes=boxes,
        ids=tuple(f"column {c}" for c in columns),
        source=source,
        notes=tuple(notes),
    )


def _load(source: Path) -> dict[str, Any]:
    content = read_json(source)
    wanted = {"layers": "a list of names", "scans": "a list of objects with image and rows"}
    missing = [
        f"{source.name}: {key!r} should be {what}"
        for key, what in wanted.items()
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if missing:
        raise DataError(missing)
    return content


def _schema(source: Path, content: dict[str, Any], mistakes: list[str]) -> Schema | None:
    try:
        return Schema(tuple(str(name) for name in content["layers"]))
    except ValueError as error:
        mistakes.append(f"{source.name}: layers: {error}".replace("keypoint", "layer"))
        return None


def _rows(scan: Any, where: str, layers: Sequence[str], mistakes: list[str]) -> NDArray[np.float64] | None:
    """(K, W) of one scan, NaN where unlabelled."""
    rows = scan.get("rows") if isinstance(scan, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        mistakes.append(f"{where}: expected an object with 'image' and 'rows', one list of numbers per layer")
        return None
    if len(rows) != len(layers):
        mistakes.append(f"{where}: {len(rows)} lists of rows for {counted(len(layers), 'layer')}")
        return None
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or 0 in lengths:
        mistakes.append(f"{where}: each layer needs a number or null for every column, got {sorted(lengths)} of them")
        return None
    bad = [
        f"{where}: layer {layer!r}, column {c}: {value!r} is neither a finite number nor null"
        for layer, row in zip(layers, rows, strict=True)
        for c, value in enumerate(row)
        if value is not None and not _is_number(value)
    ]
    mistakes += bad
    return None if bad else np.array(rows, dtype=np.float64)


def _is_number(value: Any) -> bool:
    return math.isfinite(number(value))


def _image(scan: Any, where: str, folders: Sequence[Path], mistakes: list[str], labels_only: bool) -> Path | None:
    name = scan.get("image") if isinstance(scan, dict) else None
    if not isinstance(name, str):
        if isinstance(scan, dict):
            mistakes.append(f"{where}: 'image' should be a file name, got {name!r}")
        return None
    if labels_only:
        return folders[0] / name
    problem = ""
    for folder in folders:
        try:
            return image_path(folder, name)
        except ValueError as error:
            problem = problem or str(error)
    mistakes.append(f"{where}: {problem}")
    return None
