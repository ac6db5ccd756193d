"""A table's cells as they are written, and what they are sorted by."""

import math
from dataclasses import dataclass

from punctum.report.blocks import Cell, Column, Table

FILTERED = 12
"""Rows above which a table gets a box to filter it by."""
SHORT = 24
"""Letters up to which the names of rows are kept on one line."""


@dataclass(frozen=True)
class GridCell:
    """A cell's text; the number it sorts by ("" for words, None where there is nothing); whether it is the best."""

    text: str
    number: str | None
    best: bool


@dataclass(frozen=True)
class Grid:
    """A table ready for a template."""

    caption: str
    titles: list[str]
    numeric: list[bool]
    rows: list[list[GridCell]]
    filtered: bool
    short: bool


def grid(table: Table) -> Grid:
    """What a template shows of a table.

    Raises:
        ValueError: a row has another number of cells than there are columns.
    Example:
        >>> columns = [Column("head"), Column("error, px", ".1f", "low")]
        >>> shown = grid(Table(columns, [["a", 1.25], ["b", 3], ["c", None]]))
        >>> [(cell.text, cell.number, cell.best) for _, cell in shown.rows]
        [('1.2', '1.25', True), ('3.0', '3.0', False), ('–', None, False)]
    """
    for i, row in enumerate(table.rows, 1):
        if len(row) != len(table.columns):
            name = f"table {table.caption!r}" if table.caption else "a table"
            raise ValueError(f"{name}: row {i} has {len(row)} cells, and there are {len(table.columns)} columns")
    cells = [list(column) for column in zip(*table.rows, strict=True)] or [[] for _ in table.columns]
    columns = [_column(column, values) for column, values in zip(table.columns, cells, strict=True)]
    return Grid(
        caption=table.caption,
        titles=[column.title for column in table.columns],
        numeric=[_numeric(values) for values in cells],
        rows=[list(row) for row in zip(*columns, strict=True)] if table.rows else [],
        filtered=len(table.rows) > FILTERED,
        short=all(len(row[0].text) <= SHORT for row in zip(*columns, strict=True)),
    )


def _column(column: Column, values: list[Cell]) -> list[GridCell]:
    numbers = [v for v in values if v is not None and not isinstance(v, str) and not math.isnan(v)]
    best = {"low": min, "high": max}[column.best](numbers) if column.best and len(numbers) > 1 else None
    return [GridCell(_text(v, column.form), _sorts_by(v), best is not None and v == best) for v in values]


def _text(value: Cell, form: str) -> str:
    if _missing(value):
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format(value, form or (".4g" if isinstance(value, float) else ""))


def _sorts_by(value: Cell) -> str | None:
    """As a browser's `Number` reads it."""
    if _missing(value):
        return None
    if isinstance(value, str):
        return ""
    number = float(value)  # type: ignore[arg-type]
    return repr(number).replace("inf", "Infinity")


def _missing(value: Cell) -> bool:
    return value is None or (not isinstance(value, str) and math.isnan(value))


def _numeric(values: list[Cell]) -> bool:
    return any(not isinstance(v, str) and not _missing(v) for v in values) and not any(
        isinstance(v, str) for v in values
    )
