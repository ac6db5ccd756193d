"""The files that predictions become, by name or by ending; each is written from a finished stream, piece by piece."""

from collections.abc import Callable, Iterable
from pathlib import Path

from punctum.predict_write import csv_parts, json_parts
from punctum.stream.results import Results
from punctum.stream.write_coco import write_coco
from punctum.stream.write_deeplabcut import needs_pandas, write_deeplabcut
from punctum.stream.write_parquet import needs_pyarrow, write_parquet

Writer = Callable[[Results, Path], object]


def _write_text(path: Path, parts: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        for part in parts:
            file.write(part)


def write_csv(results: Results, path: Path) -> None:
    """A row per point."""
    _write_text(path, csv_parts(results.predictions(), results.level, frames=results.frames))


def write_json(results: Results, path: Path) -> None:
    """An object per instance."""
    _write_text(path, json_parts(results.predictions()))


WRITERS: dict[str, Writer] = {
    "csv": write_csv,
    "json": write_json,
    "coco": write_coco,
    "deeplabcut": write_deeplabcut,
    "parquet": write_parquet,
}
ENDINGS = {
    "csv": (".csv",),
    "json": (".json",),
    "coco": (".json",),
    "deeplabcut": (".csv", ".h5"),
    "parquet": (".parquet",),
}
BY_ENDING = {".coco.json": "coco", ".csv": "csv", ".json": "json", ".h5": "deeplabcut", ".parquet": "parquet"}


def format_of(out: Path, named: str | None = None) -> str:
    """Which format a file gets; refused before any work is done where it cannot be written.

    Args:
        out: the file; its ending decides where nothing else is said.
        named: csv, json, coco, deeplabcut or parquet.
    Raises:
        ValueError: another name or ending.
        ImportError: the package that writes it is missing.
    Example:
        >>> format_of(Path("a.csv")), format_of(Path("a.coco.json")), format_of(Path("a.csv"), "deeplabcut")
        ('csv', 'coco', 'deeplabcut')
    """
    found = named or next((known for ending, known in BY_ENDING.items() if out.name.endswith(ending)), None)
    if found is None:
        raise ValueError(
            f"{out}: predictions are written as .csv or .json, .coco.json, .h5 or .parquet, not "
            f"{out.suffix or 'without ending'}"
        )
    if found not in WRITERS:
        raise ValueError(f"format: there is no {found!r}; there are: {', '.join(WRITERS)}")
    if out.suffix not in ENDINGS[found]:
        raise ValueError(f"{out}: format {found} is written as {' or '.join(ENDINGS[found])}")
    if found == "parquet":
        needs_pyarrow()
    if out.suffix == ".h5":
        needs_pandas()
    return found


def check_dims(name: str, dims: int) -> None:
    """Refuse points with a depth where the format has no place for it.

    Raises:
        ValueError: it has none.
    """
    if dims != 2 and name in ("coco", "deeplabcut"):
        raise ValueError(f"format {name} has places (x, y); points in volumes are written as csv, json or parquet")
