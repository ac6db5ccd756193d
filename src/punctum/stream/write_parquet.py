"""Predictions as a Parquet file: the csv's columns, as numbers in full precision."""

from pathlib import Path
from typing import Any

from punctum.predict_write import point_row
from punctum.stream.results import Results

WORDS, WHOLE = ("image", "instance", "keypoint", "flags"), ("frame",)


def needs_pyarrow() -> Any:
    """The package pyarrow.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"Parquet files are written by pyarrow: pip install 'punctum[parquet]' ({error})"
        ) from error
    return pyarrow


def write_parquet(results: Results, path: Path) -> None:
    """A row per point; a row group for each piece of the stream."""
    arrow = needs_pyarrow()
    writer = None
    for piece in results.pieces():
        rows = [
            point_row(p, k, results.level, frames=results.frames)
            for p in piece.predictions(results.schema)
            for k in range(len(p.names))
        ]
        if rows:
            schema = writer.schema if writer else _schema(arrow, list(rows[0]))
            writer = writer or arrow.parquet.ParquetWriter(path, schema, compression="zstd")
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
    if writer is None:
        schema = _schema(arrow, ["image", "instance", "keypoint", "x", "y", "score"])
        writer = arrow.parquet.ParquetWriter(path, schema)
    writer.close()


def _schema(arrow: Any, columns: list[str]) -> Any:
    def kind(name: str) -> Any:
        return arrow.string() if name in WORDS else arrow.int64() if name in WHOLE else arrow.float64()

    return arrow.schema([(name, kind(name)) for name in columns])
