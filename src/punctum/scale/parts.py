"""A shard's file: a row per point, and in its footer what became of the pictures. It is whole, or it is not there."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from punctum.files import write_again, write_through
from punctum.schema import Schema
from punctum.stream.predicting import Entry, Piece
from punctum.stream.write_parquet import PointTable, needs_pyarrow

ABOUT = "punctum"
# What starts with an underscore is no part of a data set, for all that read folders of Parquet files.
ERRORS = "_errors.csv"
# Any instance: of those that are found, nothing but their number is kept.
FOUND = Entry("")


@dataclass(frozen=True)
class Account:
    """What a part says of itself.

    Args:
        state: of the pictures, when they were read.
        items: pictures, frames or annotated instances that it accounts for.
        instances: that were found in them.
        empty: pictures that have no instance.
        errors: (picture, frame or None, reason) of what could not be read.
    """

    state: str
    items: int
    instances: int
    empty: int
    errors: Sequence[tuple[str, int | None, str]]


def write_part(
    path: Path,
    pieces: Iterable[Piece],
    schema: Schema,
    *,
    state: str,
    items: Callable[[], int],
    level: int,
    frames: bool,
    columns: Callable[[], Sequence[str]],
) -> Account:
    """Write a part as its pieces come; it gets its name when all of it is on the disk.

    Args:
        path: the part.
        pieces: of the shard, in order.
        schema: the keypoints.
        state: of the shard's pictures before they were read.
        items: how many were read; asked when the pieces are at their end.
        level, frames: as `PointTable` has them.
        columns: those of a table without rows.
    """
    account = Account(state, 0, 0, 0, [])

    def write(temporary: Path) -> None:
        nonlocal account
        table = PointTable(temporary, level, frames=frames)
        entries: list[Entry] = []
        for piece in pieces:
            table.add(piece.predictions(schema))
            entries += (entry if entry.error or not entry.found else FOUND for entry in piece.entries)
        errors = [(entry.image, entry.frame, entry.error) for entry in entries if entry.error]
        instances = sum(entry.found for entry in entries)
        account = Account(state, items(), instances, len(entries) - instances - len(errors), errors)
        table.close({ABOUT: json.dumps(asdict(account))}, () if instances else columns())
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())

    # A name of its own for each attempt: a worker that was given up may still be writing.
    write_through(path, write)
    return account


def read_account(path: Path, points: int) -> Account | None:
    """What a part says of itself; None where it is not there, or is no part.

    Args:
        path: the part.
        points: of each instance; a part without a row for each of them is none.
    """
    arrow = needs_pyarrow()
    try:
        footer = arrow.parquet.read_metadata(path)
        about = json.loads(footer.metadata[ABOUT.encode()])
        account = Account(**{**about, "errors": [tuple(error) for error in about["errors"]]})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return account if footer.num_rows == points * account.instances else None


def write_errors(accounts: Iterable[Account], folder: Path) -> int:
    """List what could not be read in `_errors.csv`; without any, an older list goes away. Returns how many."""
    errors = [error for account in accounts for error in account.errors]
    path = folder / ERRORS

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image", "frame", "error"])
            writer.writerows(errors)

    if errors:
        write_again(path, write)
    else:
        path.unlink(missing_ok=True)
    return len(errors)


def leftovers(folder: Path, name: str = "part-") -> list[Path]:
    """What killed workers have begun and not finished: an attempt each."""
    return list(folder.glob(f".{name}*"))


def remove_leftovers(folder: Path) -> None:
    """All of that away."""
    for path in leftovers(folder):
        path.unlink(missing_ok=True)
