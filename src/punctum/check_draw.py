"""The first findings as pictures: the labels in question as crosses, tied to what the model predicts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from punctum.check_rank import FAR, Finding
from punctum.data import Annotations
from punctum.data.columns import scans_of
from punctum.draw import contact_sheet, write_png
from punctum.layer_overlays import view_scan
from punctum.overlays import view_finding

CELLS, COLUMNS = 24, 6
SCANS = 6


def write_finding_sheet(
    annotations: Annotations, predicted: NDArray[np.float64], findings: Sequence[Finding], path: Path
) -> Path:
    """A sheet of the first findings as a PNG file: of points the first 24 instances, of layers the first 6 scans.

    Args:
        annotations: N instances.
        predicted: (N, K, D) in original-image pixels.
        findings: in their order.
        path: of the PNG.
    """
    if annotations.dims == 1:
        return _write_scans(annotations, predicted, findings, path)
    volumes, names = annotations.picture_axes == 3, annotations.schema.names
    first = _by_instance(findings, CELLS // 4 if volumes else CELLS)
    cells, titles = [], []
    for row, lines in first.items():
        keypoints = [k for n in lines for k in findings[n].keypoints]
        cells.append(view_finding(annotations, row, predicted[row], keypoints))
        words = [names[f.keypoints[0]] if f.kind == "point" else f.kind for f in (findings[n] for n in lines)]
        titles.append(f"{lines[0] + 1}. {annotations.image_names[row]}: {', '.join(words)}")
    return write_png(path, contact_sheet(cells, 1 if volumes else COLUMNS, titles))


def _by_instance(findings: Sequence[Finding], most: int) -> dict[int, list[int]]:
    """The first instances in the list, each with its first line and all others that are far off."""
    first: dict[int, list[int]] = {}
    for n, finding in enumerate(findings):
        if finding.row in first:
            if finding.evidence > FAR:
                first[finding.row].append(n)
        elif len(first) < most:
            first[finding.row] = [n]
        elif finding.evidence <= FAR:
            break
    return first


def _write_scans(
    annotations: Annotations, predicted: NDArray[np.float64], findings: Sequence[Finding], path: Path
) -> Path:
    """Whole scans, the labels in white beneath the predicted layers."""
    scans = scans_of(annotations)
    scan_of = np.repeat(np.arange(len(scans)), [len(scan) for scan in scans])
    first: dict[int, int] = {}
    for n, finding in enumerate(findings, 1):
        first.setdefault(int(scan_of[finding.row]), n)
        if len(first) == SCANS:
            break
    cells, titles = [], []
    for scan, n in first.items():
        columns = list(scans[scan])
        rows, labels = (points[columns, :, 0].T for points in (predicted, annotations.keypoints))
        cells.append(view_scan(annotations.images[columns[0]], rows, annotations.schema, labels))
        column = findings[n - 1].row - columns[0]
        titles.append(f"{n}. {annotations.image_names[columns[0]]}, column {column}")
    return write_png(path, contact_sheet(cells, 3, titles))
