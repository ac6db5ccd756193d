"""Predictions as a Parquet file: the csv's columns, as numbers in full precision."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from punctum.image_prediction import ImagePrediction
from punctum.predict_write import point_row
from punctum.stream.results import Results

WORDS, WHOLE = ("image", "instance", "keypoint", "flags"), ("frame",)
KNOWN = ("image", "instance", "keypoint", "x", "y", "score")


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
    table = PointTable(path, results.level, frames=results.frames)
    for piece in results.pieces():
        table.add(piece.predictions(results.schema))
    table.close()


class PointTable:
    """A Parquet file under way.

    Args:
        path: the file.
        level: position of the level, among those of the calibration, that there are columns of.
        frames: whether there are columns for a video's frame and time.
    """

    def __init__(self, path: Path, level: int, *, frames: bool) -> None:
        self._arrow = needs_pyarrow()
        self._path, self._level, self._frames = path, level, frames
        self._writer: Any = None
        self.rows = 0

    def add(self, predictions: Sequence[ImagePrediction]) -> None:
        """A row group of these; of none, nothing."""
        rows = [point_row(p, k, self._level, frames=self._frames) for p in predictions for k in range(len(p.names))]
        if not rows:
            return
        if self._writer is None:
            self._open(list(rows[0]))
        self._writer.write_table(self._arrow.Table.from_pylist(rows, schema=self._writer.schema))
        self.rows += len(rows)

    def close(self, about: Mapping[str, str] | None = None, columns: Sequence[str] = KNOWN) -> None:
        """Finish the file.

        Args:
            about: words for its footer.
            columns: of a table without rows.
        """
        if self._writer is None:
            self._open(columns)
        if about:
            self._writer.add_key_value_metadata(about)
        self._writer.close()

    def _open(self, columns: Sequence[str]) -> None:
        schema = _schema(self._arrow, columns)
        self._writer = self._arrow.parquet.ParquetWriter(self._path, schema, compression="zstd")


def _schema(arrow: Any, columns: Sequence[str]) -> Any:
    def kind(name: str) -> Any:
        return arrow.string() if name in WORDS else arrow.int64() if name in WHOLE else arrow.float64()

    return arrow.schema([(name, kind(name)) for name in columns])
