"""`punctum predict` with a model that finds layers: whole scans, a line per layer and column."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from punctum.data import Annotations
from punctum.draw import write_png
from punctum.layer_overlays import view_scan
from punctum.predict_layers import LayerPredictor, ScanPrediction, write_layers
from punctum.progress import count
from punctum.stream.drawings import free_name


def predict_scans(
    predictor: LayerPredictor,
    pictures: Sequence[Path],
    annotated: Sequence[Annotations],
    out: Path,
    draw: str | Path | None,
    console: Console,
) -> list[ScanPrediction]:
    """The same for a model that finds layers: whole scans, a line per layer and column."""
    paths = list(dict.fromkeys([*pictures, *(path for a in annotated for path in a.images)]))
    with count(console, "predicting", len(paths)) as advance:
        predictions = predictor.predict(paths, advance)
    write_layers(predictions, out)
    console.print(f"{len(predictions)} scans, layers: {out}")
    if draw is not None:
        taken: set[str] = set()
        for path, p in zip(paths, predictions, strict=True):
            write_png(Path(draw) / free_name(path.stem, taken), view_scan(path, p.rows, predictor.schema))
        console.print(f"{len(predictions)} drawings: {draw}")
    return predictions
