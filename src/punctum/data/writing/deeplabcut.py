"""Annotations as DeepLabCut's CollectedData, csv and .h5."""

import csv
import io
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.holds import Holds
from punctum.files import write_text, write_through

HOLDS = Holds()
SCORER = "punctum"
# The key under which DeepLabCut itself stores and looks for the labels.
KEY = "df_with_missing"


def write_deeplabcut(annotations: Annotations, path: Path) -> None:
    """Write DeepLabCut's csv: a row per image; several animals, where an image has them, as `animal1` and so on.

    Args:
        annotations: of pictures.
        path: the .csv file; DeepLabCut looks for CollectedData_SCORER.csv.
    Raises:
        OSError: the file cannot be written.
    """
    header, images, cells = _table(annotations)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for name, *row in zip(*header, strict=True):
        writer.writerow([name, *row])
    for image, row in zip(images, cells.tolist(), strict=True):
        writer.writerow([image, *("" if value != value else repr(value) for value in row)])
    write_text(path, text.getvalue())


def write_deeplabcut_h5(annotations: Annotations, path: Path) -> None:
    """Write DeepLabCut's .h5, as pandas reads it: the table of `write_deeplabcut`.

    Args:
        annotations: of pictures.
        path: the .h5 file; DeepLabCut looks for CollectedData_SCORER.h5.
    Raises:
        ImportError: pandas or PyTables is not there; the message says how to get them.
        OSError: the file cannot be written.
    """
    try:
        import pandas as pd
        import tables  # noqa: F401
    except ImportError:
        raise ImportError(
            f"{path.name}: pandas and PyTables write such files: pip install 'punctum[deeplabcut]'"
        ) from None
    (names, *columns), images, cells = _table(annotations)
    frame = pd.DataFrame(
        cells,
        index=pd.MultiIndex.from_tuples([_parts(image) for image in images]),
        columns=pd.MultiIndex.from_tuples(columns, names=names),
    )
    write_through(path, lambda temporary: _to_hdf(frame, temporary))


def _to_hdf(frame: Any, path: Path) -> None:
    path.unlink()
    frame.to_hdf(path, key=KEY, mode="w", format="fixed")


def _parts(image: str) -> tuple[str, str, str]:
    """`labeled-data`, video and picture, DeepLabCut's three levels; what has more or fewer is put where it fits."""
    first, _, rest = image.partition("/")
    if not rest:
        return "", "", first
    middle, _, last = rest.rpartition("/")
    return first, middle, last


def _table(annotations: Annotations) -> tuple[list[tuple[str, ...]], list[str], NDArray[np.float64]]:
    """Header columns (the first names the header's rows), image names, and cells (images, columns)."""
    rows: dict[str, list[int]] = defaultdict(list)
    for n, image in enumerate(annotations.image_names):
        rows[image].append(n)
    most = max(map(len, rows.values()))
    animals = [""] if most == 1 else [f"animal{i + 1}" for i in range(most)]
    cells = np.full((len(rows), most, len(annotations.schema.names), 2), np.nan)
    for row, instances in enumerate(rows.values()):
        cells[row, : len(instances)] = annotations.keypoints[instances]
    header: list[tuple[str, ...]] = [("scorer", "individuals", "bodyparts", "coords")]
    header += [(SCORER, a, part, axis) for a in animals for part in annotations.schema.names for axis in "xy"]
    if most == 1:
        header = [(scorer, part, axis) for scorer, _, part, axis in header]
    return header, list(rows), cells.reshape(len(rows), -1)
