"""DeepLabCut's CollectedData .h5, a table that pandas wrote, read without pandas: nothing in it is unpickled."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.apart import apart
from punctum.data.deeplabcut import annotations_of
from punctum.data.errors import DataError
from punctum.data.matrices import HDF5, is_held, need_h5py

_ROWS = {3: ("scorer", "bodyparts", "coords"), 4: ("scorer", "individuals", "bodyparts", "coords")}


def read_deeplabcut_h5(
    path: str | Path, images: str | Path | None = None, *, labels_only: bool = False
) -> Annotations:
    """Annotations from a DeepLabCut .h5, of one animal or several; see `read_deeplabcut`, whose csv holds the same.

    pandas puts objects that HDF5 has no type for into such files as pickles, which run code when they are opened.
    The labels are plain numbers and texts; they alone are read, by h5py.

    Args:
        path: the .h5 file.
        images: the folder that the image names are relative to; without it, looked for from the file upwards.
        labels_only: read without images; see `assemble`.
    Raises:
        ImportError: h5py is not there.
        DataError: it is no such table, or its labels are pickled; every mistake in the labels at once.
    """
    source = Path(path)
    need_h5py(source)
    return annotations_of(source, _lines(source), images, labels_only=labels_only)


@apart(*HDF5)
def _lines(source: Path) -> list[list[str]]:
    """The table as the rows of the csv that DeepLabCut writes beside it."""
    import h5py

    try:
        with h5py.File(source, "r") as file:
            held = [file[name] for name in file if is_held(file, name)]
            tables = [group for group in held if isinstance(group, h5py.Group) and is_table(group)]
            if len(tables) != 1:
                raise DataError([f"{source.name}: no table of labels in it, but {', '.join(file) or 'nothing'}"])
            return _rows(tables[0])
    except DataError:
        raise
    except ValueError as error:
        raise DataError([f"{source.name}: {error}; DeepLabCut writes a csv of the same name: give that"]) from None
    except (OSError, RuntimeError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError([f"{source.name}: the HDF5 file cannot be read: {error}"]) from None


def is_table(group: Any) -> bool:
    """Whether a group of an HDF5 file is a table that pandas wrote, with several rows of header."""
    return "axis0_level0" in group or "table" in group


def _rows(group: Any) -> list[list[str]]:
    if "table" in group:
        raise ValueError("it is written in pandas' form `table`, whose header is pickled")
    columns, index = _index(group, "axis0"), _index(group, "axis1")
    if not columns or len(columns[0]) not in _ROWS:
        raise ValueError("its header should have the rows scorer, (individuals,) bodyparts, coords")
    cells = np.full((len(index), len(columns)), np.nan)
    place = {column: i for i, column in enumerate(columns)}
    blocks = [name.removesuffix("_values") for name in group if name.startswith("block") and name.endswith("_values")]
    for block in blocks:
        values = _plain(group, f"{block}_values", "fiu").astype(np.float64)
        items = _index(group, f"{block}_items")
        if values.shape != (len(index), len(items)) or not set(items) <= place.keys():
            raise ValueError(f"its {block} has {values.shape} numbers for {len(index)} rows and {len(items)} columns")
        cells[:, [place[item] for item in items]] = values
    depth = len(index[0]) if index else 1
    head = [
        [name, *[""] * (depth - 1), *row]
        for name, row in zip(_ROWS[len(columns[0])], zip(*columns, strict=True), strict=True)
    ]
    return [*head, *([*row, *map(_cell, values)] for row, values in zip(index, cells.tolist(), strict=True))]


def _cell(value: float) -> str:
    return "" if value != value else repr(value)


def _index(group: Any, name: str) -> list[tuple[str, ...]]:
    """The labels of an axis, each a tuple of as many texts as it has levels."""
    if name in group:
        return [(text,) for text in _texts(group, name)]
    levels: list[list[str]] = []
    while f"{name}_level{len(levels)}" in group:
        n = len(levels)
        texts, codes = _texts(group, f"{name}_level{n}"), _plain(group, f"{name}_label{n}", "iu")
        if codes.ndim != 1 or (codes >= len(texts)).any() or (codes < -1).any():
            raise ValueError(f"its {name}_label{n} points outside its {len(texts)} texts")
        levels.append([texts[code] if code >= 0 else "" for code in codes.tolist()])
    if len({len(level) for level in levels}) > 1:
        raise ValueError(f"the levels of its {name} are not equally long")
    return list(zip(*levels, strict=True))


def _texts(group: Any, name: str) -> list[str]:
    return [text.decode("utf-8", "replace") for text in _plain(group, name, "S").tolist()]


def _plain(group: Any, name: str, kinds: str) -> NDArray[Any]:
    """An array of plain values; what pandas pickled has another kind of type, and is not looked into."""
    if not is_held(group, name):
        raise ValueError(f"its {name} is a link")
    item = group[name]
    if item.dtype.kind not in kinds or "PSEUDOATOM" in item.attrs:
        raise ValueError(f"its {name} is not plain numbers or texts, but a pickle, which is not opened")
    return np.asarray(item[...])
