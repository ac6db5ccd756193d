"""Look at the labels before training on them: counts, sizes, what is missing, what looks wrong, and a picture."""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from punctum.data import Annotations, Inspection, inspect, read
from punctum.data.columns import scans_of
from punctum.data.crop import CropSettings
from punctum.data.places import crop_coords
from punctum.draw import contact_sheet, write_png
from punctum.layer_overlays import write_label_sheet
from punctum.overlays import title_of, view_labels
from punctum.terminal import print_notes

SHEET_CELLS = 24
SHEET_SCANS = 9
# A reason found in a larger share of the instances is no exception.
COMMON_SHARE = 0.05
# In robust standard deviations from the keypoint's usual place: beyond it a label is worth a look.
FAR = 6.0
# Median distance from the centre of a normal distribution of so many dimensions, in its standard deviations.
NORMAL_MEDIAN = {1: 0.6745, 2: math.sqrt(2 * math.log(2)), 3: 1.5382}


@dataclass
class CheckResult:
    """What was found: counts, one sentence per suspicious row, and the pictures that were written."""

    n_images: int
    n_instances: int
    labelled: dict[str, int]
    suspicious: dict[int, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    figures: list[Path] = field(default_factory=list)


def check(
    data: str | Path,
    *,
    images: str | Path | None = None,
    out: str | Path = "check",
    seed: int = 0,
    console: Console | None = None,
) -> CheckResult:
    """Read annotations, print what is in them, and draw labels on pictures.

    Args:
        data: annotations, in any readable format.
        images: their folder, where it cannot be told.
        out: folder for labels.png (a sample of the instances, some mirrored as training would mirror them) and
            suspicious.png (the rows that look wrong).
        seed: of the sample.
        console: where to report; None is silent.
    Returns:
        Counts, suspicious rows, pictures.
    Raises:
        ValueError: the annotations hold mistakes; the message lists them all.
        OSError: a file cannot be read or written.
    """
    console = console or Console(quiet=True)
    annotations = read(data, images)
    # Volumes of signed or floating type have no range; whether the chosen intensity fits them, `train` says.
    inspection = inspect(annotations, "percentile" if annotations.picture_axes == 3 else "range")
    names = annotations.schema.names
    suspicious, common = set_common_apart(find_suspicious(annotations, inspection), len(annotations))
    result = CheckResult(
        n_images=len(set(annotations.images)),
        n_instances=len(annotations),
        labelled=dict(zip(names, annotations.labelled.sum(0).tolist(), strict=True)),
        suspicious=suspicious,
        notes=[*inspection.notes, *common],
    )
    _print(annotations, inspection.sizes, result, console)
    result.figures = _draw(annotations, result, Path(out), seed)
    for path in result.figures:
        console.print(f"picture: {path}")
    return result


def find_suspicious(annotations: Annotations, inspection: Inspection) -> dict[int, list[str]]:
    """Rows worth a look, by their position, each with its reasons.

    Found: what lies outside its picture, points at exactly (0, 0), two points at one place, points far from where
    that keypoint usually lies in the crop.
    """
    names = annotations.schema.names
    found: dict[int, list[str]] = {}
    unusual = _unusual(annotations, inspection.sizes)
    for i in range(len(annotations)):
        points, labelled = annotations.keypoints[i], annotations.labelled[i]
        reasons = [
            *inspection.suspicious.get(i, ()),
            *_at_origin(points, labelled, names),
            *_coinciding(points, labelled, names),
            *(f"{names[k]} lies far from its usual place" for k in np.flatnonzero(unusual[i])),
        ]
        if reasons:
            found[i] = reasons
    return found


def set_common_apart(found: dict[int, list[str]], total: int) -> tuple[dict[int, list[str]], list[str]]:
    """What is found in many rows is how these data are (a closed mouth's lips coincide): a note, not a suspicion.

    Returns:
        The rows with what is left, and a note for each common reason.
    """
    counts = Counter(reason for reasons in found.values() for reason in reasons)
    common = {reason: n for reason, n in counts.items() if n > max(COMMON_SHARE * total, 10)}
    rows = {i: left for i, reasons in found.items() if (left := [r for r in reasons if r not in common])}
    return rows, [f"{reason} in {n} of {total} instances" for reason, n in common.items()]


def _at_origin(points: NDArray[np.float64], labelled: NDArray[np.bool_], names: tuple[str, ...]) -> list[str]:
    zero = labelled & (points == 0).all(-1)
    origin = ", ".join("0" * points.shape[-1])
    return [f"{names[k]} is at exactly ({origin}): missing, rather than there?" for k in np.flatnonzero(zero)]


def _coinciding(points: NDArray[np.float64], labelled: NDArray[np.bool_], names: tuple[str, ...]) -> list[str]:
    places: dict[tuple[float, ...], list[str]] = {}
    for k in np.flatnonzero(labelled):
        places.setdefault(tuple(points[k].tolist()), []).append(names[k])
    return [f"{' and '.join(group)} are at the same place" for group in places.values() if len(group) > 1]


def _unusual(annotations: Annotations, sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, K): the point is more than FAR robust deviations from the keypoint's median place in the crop."""
    places = crop_coords(annotations, sizes, CropSettings(input_size=(128,) * annotations.picture_axes))
    scale = NORMAL_MEDIAN[annotations.dims]
    unusual = np.zeros(annotations.labelled.shape, dtype=bool)
    for k in range(places.shape[1]):
        rows = np.flatnonzero(annotations.labelled[:, k])
        if len(rows) < 10:  # Too few to say what is usual.
            continue
        offset = np.linalg.norm(places[rows, k] - np.median(places[rows, k], axis=0), axis=-1)
        unusual[rows, k] = offset > FAR * max(float(np.median(offset)) / scale, 0.01)
    return unusual


def _print(annotations: Annotations, sizes: NDArray[np.int64], result: CheckResult, console: Console) -> None:
    console.print(f"[bold]{annotations.source}[/bold]: {result.n_instances} instances, {result.n_images} images")
    common = Counter(" x ".join(map(str, size[::-1])) for size in sizes.tolist()).most_common(4)
    unit = "voxels" if annotations.picture_axes == 3 else "px"
    console.print("sizes: " + ", ".join(f"{size} {unit} ({n} instances)" for size, n in common), highlight=False)
    if annotations.dims > 1:  # Scans are mirrored without: a layer has no left and right.
        pairs = len(annotations.schema.flip_pairs)
        console.print(f"left/right pairs: {pairs or 'none, so pictures are not mirrored'}", highlight=False)
    table = Table("keypoint", "labelled", "hidden", "missing", "missing %")
    for k, name in enumerate(annotations.schema.names):
        seen = annotations.visibility[:, k]
        missing = int((seen == 0).sum())
        share = f"{missing / max(len(seen), 1):.1%}".rstrip("%")
        table.add_row(name, str(int((seen > 0).sum())), str(int((seen == 1).sum())), str(missing), share)
    console.print(table)
    print_notes(result.notes, console)
    console.print(f"suspicious rows: {len(result.suspicious)}")
    for i, reasons in list(result.suspicious.items())[:20]:
        row = f"  {annotations.image_names[i]} ({annotations.ids[i]}): {'; '.join(reasons[:4])}"
        console.print(row, highlight=False, markup=False)
    if len(result.suspicious) > 20:
        console.print(f"  ... and {len(result.suspicious) - 20} more")


def _draw(annotations: Annotations, result: CheckResult, out: Path, seed: int) -> list[Path]:
    rng = np.random.default_rng(seed)
    if annotations.dims == 1:
        return _draw_scans(annotations, result, out, rng)
    sample = rng.permutation(len(annotations))[:SHEET_CELLS]
    # The last quarter is mirrored, so that a wrong left/right pair is seen before it is trained on.
    mirrored = {int(i) for i in sample[-(len(sample) // 4) :]} if annotations.schema.flip_pairs else set()
    sheets = {"labels.png": [int(i) for i in sample], "suspicious.png": list(result.suspicious)[:SHEET_CELLS]}
    columns = 6 if annotations.picture_axes == 2 else 2
    written: list[Path] = []
    for name, rows in sheets.items():
        if rows:
            flips = [name == "labels.png" and i in mirrored for i in rows]
            cells = [view_labels(annotations, i, flip=flip) for i, flip in zip(rows, flips, strict=True)]
            titles = [
                f"{title_of(annotations, i)}{' (mirrored)' if flip else ''}"
                for i, flip in zip(rows, flips, strict=True)
            ]
            written.append(write_png(out / name, contact_sheet(cells, columns, titles)))
    return written


def _draw_scans(annotations: Annotations, result: CheckResult, out: Path, rng: np.random.Generator) -> list[Path]:
    """Scans with their layers: a sample, and those with suspicious columns."""
    scans = scans_of(annotations)
    sample = rng.permutation(len(scans))[:SHEET_SCANS].tolist()
    suspicious = [i for i, scan in enumerate(scans) if any(c in result.suspicious for c in scan)][:SHEET_SCANS]
    sheets = {"labels.png": sample, "suspicious.png": suspicious}
    return [write_label_sheet(annotations, rows, out / name) for name, rows in sheets.items() if rows]
