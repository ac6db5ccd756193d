"""Layers in scans as files, a scan at a time: memory holds one, however many there are."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from punctum.files import write_again
from punctum.predict_layers import ScanPrediction
from punctum.predict_write import check_output


def write_layers(scans: Iterable[ScanPrediction], path: str | Path, names: Sequence[str]) -> Path:
    """Write layers as .csv (a line per layer and column) or .json (as `read_layers` reads them, with scores).

    Args:
        scans: what was found, in order.
        path: the file, of which nothing is seen until it is whole.
        names: of the K layers.
    Raises:
        ValueError: another ending.
        OSError: the file cannot be written.
    """
    path = Path(path)
    check_output(path)
    write = _write_csv if path.suffix == ".csv" else _write_json
    return write_again(path, lambda temporary: write(scans, temporary, names))


def _write_csv(scans: Iterable[ScanPrediction], path: Path, names: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "layer", "column", "row", "score", "variance"])
        for p in scans:
            for k, name in enumerate(names):
                for c in range(p.size[1]):
                    spread = "" if p.variance is None else f"{p.variance[k, c]:.6g}"
                    writer.writerow([p.image, name, c, f"{p.rows[k, c]:.4f}", f"{p.score[k, c]:.6g}", spread])


def _write_json(scans: Iterable[ScanPrediction], path: Path, names: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f'{{"layers": {json.dumps(list(names))}, "scans": [')
        between = ""
        for p in scans:
            scan = {
                "image": p.image,
                "rows": p.rows.round(4).tolist(),
                "score": p.score.round(4).tolist(),
                "variance": None if p.variance is None else p.variance.round(6).tolist(),
            }
            file.write(between + json.dumps(scan))
            between = ",\n"
        file.write("]}\n")
