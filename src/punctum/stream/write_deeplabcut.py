"""Predictions as DeepLabCut has them: a row per picture, columns scorer / bodyparts / coords, as csv or HDF5."""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from punctum.image_prediction import ImagePrediction
from punctum.stream.results import Results

SCORER = "punctum"
COORDS = ("x", "y", "likelihood")
KEY = "df_with_missing"
# Rows of an HDF5 file that are written at once.
ROWS = 2000

Row = tuple[str | int, list[float | None]]


def needs_pandas() -> Any:
    """The packages pandas and tables.

    Raises:
        ImportError: one of them is not installed.
    """
    try:
        import pandas
        import tables  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"DeepLabCut's .h5 needs pandas and tables: pip install 'punctum[deeplabcut]' ({error})"
        ) from error
    return pandas


def write_deeplabcut(results: Results, path: Path) -> None:
    """A row per picture or frame, those in which nothing was found with empty cells.

    Rows of a single video are named by the frame's number, others by the picture. Where a picture has several
    instances, there is a header row `individuals`, as in DeepLabCut's projects of several animals.
    """
    animals, longest = 1, 1
    for name, _, found in results.by_picture():
        animals, longest = max(animals, len(found)), max(longest, len(name.encode()))
    header = _header(results.schema.names, animals)
    rows = _rows(results, animals)
    if path.suffix == ".h5":
        _write_hdf(path, header, rows, longest)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([name, *cells] for name, cells in header.items())
        writer.writerows([index, *("" if v is None else f"{v:.4f}" for v in cells)] for index, cells in rows)


def _header(names: tuple[str, ...], animals: int) -> dict[str, list[str]]:
    columns = [(f"individual{n + 1}", name, kind) for n in range(animals) for name in names for kind in COORDS]
    header = {"scorer": [SCORER] * len(columns), "individuals": [column[0] for column in columns]}
    header |= {"bodyparts": [column[1] for column in columns], "coords": [column[2] for column in columns]}
    if animals == 1:
        del header["individuals"]
    return header


def _rows(results: Results, animals: int) -> Iterator[Row]:
    numbered = results.videos == (True,)
    missing: list[float | None] = [None] * (len(COORDS) * len(results.schema.names))
    for _, entry, found in results.by_picture():
        if numbered and entry.frame is None:  # A video that cannot be opened has no frame to name a row by.
            continue
        cells = [value for p in found for value in _cells(p)] + missing * (animals - len(found))
        yield entry.image if entry.frame is None or not numbered else entry.frame, cells


def _cells(p: ImagePrediction) -> list[float | None]:
    return [v for (x, y), score in zip(p.keypoints.tolist(), p.score.tolist(), strict=True) for v in (x, y, score)]


def _write_hdf(path: Path, header: dict[str, list[str]], rows: Iterator[Row], longest: int) -> None:
    pandas = needs_pandas()
    columns = pandas.MultiIndex.from_arrays(list(header.values()), names=list(header))
    with pandas.HDFStore(path, mode="w") as store:
        while taken := list(islice(rows, ROWS)):
            table = pandas.DataFrame(
                [cells for _, cells in taken], [index for index, _ in taken], columns, dtype=float
            )
            # What comes first fixes how long a name may be.
            width = {} if table.index.dtype.kind == "i" else {"min_itemsize": {"index": longest}}
            # Without times of making: the same predictions are the same bytes.
            store.put(KEY, table, format="table", append=True, index=False, track_times=False, **width)
