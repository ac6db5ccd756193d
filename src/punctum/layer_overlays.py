"""Scans with their layers drawn in: labels, predictions, sheets of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from punctum.data import Annotations, read_image, to_unit
from punctum.data.columns import scans_of
from punctum.draw import contact_sheet, draw_layers, write_png
from punctum.predict_layers import ScanPrediction
from punctum.schema import Schema

Picture = NDArray[np.uint8]


def view_scan(
    path: str | Path, rows: NDArray[np.float64], schema: Schema, truth: NDArray[np.float64] | None = None
) -> Picture:
    """A scan with its layers (K, W), and beneath them the true ones in white."""
    # Percentiles: a person shall see something in a dark 16-bit scan, too.
    image = (to_unit(read_image(path), "percentile") * 255).round().astype(np.uint8)
    return draw_layers(image, rows, schema, truth=truth)


def write_label_sheet(annotations: Annotations, scans: Sequence[int], path: Path, *, columns: int = 3) -> Path:
    """A sheet of labelled scans, by their positions, as a PNG file."""
    ranges = scans_of(annotations)
    cells = [
        view_scan(annotations.images[ranges[i].start], annotations.keypoints[ranges[i], :, 0].T, annotations.schema)
        for i in scans
    ]
    return write_png(path, contact_sheet(cells, columns, [annotations.image_names[ranges[i].start] for i in scans]))


def write_layer_sheet(
    annotations: Annotations, predictions: Sequence[ScanPrediction], path: Path, *, columns: int = 3
) -> Path:
    """A sheet of predicted scans, the first of `annotations` in order, with their labels and median errors."""
    cells, titles = [], []
    for span, prediction in zip(scans_of(annotations), predictions, strict=False):
        truth = annotations.keypoints[span, :, 0].T
        cells.append(view_scan(annotations.images[span.start], prediction.rows, annotations.schema, truth))
        error = np.nanmedian(np.abs(prediction.rows - truth))
        titles.append(f"{annotations.image_names[span.start]}: {error:.2f} px")
    return write_png(path, contact_sheet(cells, columns, titles))
