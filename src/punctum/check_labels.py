"""`punctum check RUN DATA`: labels that a trained model finds implausible, the likeliest mistakes first."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from punctum.check_draw import write_finding_sheet
from punctum.check_judge import Judged, judge
from punctum.check_rank import FAR, Finding, rank
from punctum.data import Annotations, inspect, read
from punctum.data.errors import counted
from punctum.evaluate import check_kind_and_names, predictor_for
from punctum.files import write_text
from punctum.model_density import density_of
from punctum.predict import load_model
from punctum.predict_write import AXES
from punctum.progress import count
from punctum.terminal import print_notes

NAME = "implausible.csv"
LISTED = 20


@dataclass(frozen=True, eq=False)
class LabelCheck:
    """What was found: the lines; what they rest on, with the distance (N, K) of labels and predictions in pixels; how
    many labels were judged; and the files that were written."""

    findings: list[Finding]
    judged: Judged
    distance: NDArray[np.float64]
    n_judged: int
    notes: list[str]
    files: list[Path]


def check_labels(
    run: str | Path,
    data: str | Path,
    *,
    images: str | Path | None = None,
    out: str | Path = "check",
    console: Console | None = None,
    device: str | torch.device | None = None,
) -> LabelCheck:
    """List labels by how implausible a trained model finds them, and draw the first ones.

    Args:
        run: the run folder of a model that was trained on the same keypoints; best not on these labels.
        data: annotations, in any readable format.
        images: their folder, where it cannot be told.
        out: folder for implausible.csv (all judged labels, the likeliest mistakes first) and implausible.png (the
            first 24, labels as crosses and predictions as dots).
        console: where to report; None is silent.
        device: where to compute.
    Returns:
        The list, and what it rests on.
    Raises:
        ValueError: the data are wrong, or the model finds other keypoints than they name; no label can be judged;
            the model's calibration is broken.
        OSError: a file cannot be read or written.
    """
    console, out = console or Console(quiet=True), Path(out)
    model = load_model(run)
    annotations = read(data, images)
    check_kind_and_names(model, annotations)
    predictor, density = predictor_for(model, device), density_of(run, model)
    notes = list(inspect(annotations, predictor.crop.intensity).notes)
    with count(console, "judging", len(annotations)) as advance:
        judged = judge(predictor, annotations, density, on_batch=advance)
    n_judged = int(np.isfinite(judged.deviation).all(-1).sum())
    if not n_judged:
        raise ValueError(f"{annotations.source}: no labelled point lies in what the model sees: none can be judged")
    notes += [note for number, note in _left_out(annotations, judged) if number]
    findings = rank(judged, annotations.schema.flip_pairs)
    files = [write_text(out / NAME, _csv_text(findings, annotations, judged))]
    sheet = write_finding_sheet(annotations, judged.predicted, findings, out / "implausible.png")
    distance = np.linalg.norm(annotations.keypoints - judged.predicted, axis=-1)
    result = LabelCheck(findings, judged, distance, n_judged, notes, [*files, sheet])
    _print(result, annotations, console)
    return result


def describe(finding: Finding, annotations: Annotations, predicted: NDArray[np.float64]) -> str:
    """What seems wrong, in words."""
    names = [annotations.schema.names[k] for k in finding.keypoints]
    if finding.kind == "point":
        return names[0]
    if finding.kind == "exchanged":
        return f"{names[0]} and {names[1]} exchanged"
    if finding.kind == "mirrored":
        return f"left and right exchanged ({len(names)} points)"
    if finding.kind == "shifted":
        shift = np.median(_offsets(finding, annotations, predicted), axis=0)
        return f"all {len(names)} points shifted by ({', '.join(f'{v:.1f}' for v in shift)}) px"
    return f"most of its {len(names)} points"


def _offsets(finding: Finding, annotations: Annotations, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """From the predictions to the labels, in pixels."""
    points = list(finding.keypoints)
    return np.asarray(annotations.keypoints[finding.row, points] - predicted[finding.row, points])


def _left_out(annotations: Annotations, judged: Judged) -> list[tuple[int, str]]:
    missing, outside = int((~annotations.labelled).sum()), int(judged.outside.sum())
    return [
        (missing, f"{counted(missing, 'point')} not judged: not labelled"),
        (outside, f"{counted(outside, 'label')} not judged: outside of what the model sees"),
    ]


def _csv_text(findings: Sequence[Finding], annotations: Annotations, judged: Judged) -> str:
    """A row for each finding; of those with several points their names, and the median distance."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    axes, surprise = AXES[: annotations.dims], np.linalg.norm(judged.deviation, axis=-1) ** 2 / 2
    if annotations.dims == 1:
        axes = "y"  # A layer's depth is a row.
    places = [*(f"label_{axis}" for axis in axes), *(f"predicted_{axis}" for axis in axes)]
    writer.writerow(
        ["rank", "image", "instance", "keypoint", "finding", *places, "distance_px", "surprise", "evidence"]
    )
    for n, found in enumerate(findings, 1):
        i, points = found.row, list(found.keypoints)
        names = ";".join(annotations.schema.names[k] for k in points)
        label, predicted = annotations.keypoints[i, points[0]], judged.predicted[i, points[0]]
        shown = [f"{v:.4f}" for v in (*label, *predicted)] if len(points) == 1 else [""] * 2 * len(axes)
        what = describe(found, annotations, judged.predicted) if len(points) > 1 else found.kind
        distance = np.median(np.linalg.norm(_offsets(found, annotations, judged.predicted), axis=-1))
        nats = np.sum(surprise[i, points])
        row = [n, annotations.image_names[i], annotations.ids[i], names, what, *shown]
        writer.writerow([*row, f"{distance:.4f}", f"{nats:.4g}", f"{found.evidence:.4g}"])
    return text.getvalue()


def _print(result: LabelCheck, annotations: Annotations, console: Console) -> None:
    console.print(
        f"[bold]{annotations.source}[/bold]: {counted(result.n_judged, 'label')} of "
        f"{counted(len(annotations), 'instance')} judged"
    )
    print_notes(result.notes, console)
    several = len(set(annotations.image_names)) < len(annotations)
    table = Table(
        "", "image", *(["instance"] if several else []), "what seems wrong", "label", "predicted", "px", "evidence"
    )
    for n, found in enumerate(result.findings[:LISTED], 1):
        i, points = found.row, list(found.keypoints)
        distance = np.median(np.linalg.norm(_offsets(found, annotations, result.judged.predicted), axis=-1))
        both = (annotations.keypoints[i, points[0]], result.judged.predicted[i, points[0]])
        places = [", ".join(f"{v:.1f}" for v in place) if len(points) == 1 else "" for place in both]
        what = describe(found, annotations, result.judged.predicted)
        instance = [annotations.ids[i]] if several else []
        cells = [
            str(n),
            annotations.image_names[i],
            *instance,
            what,
            *places,
            f"{distance:.1f}",
            f"{found.evidence:.1f}",
        ]
        table.add_row(*map(Text, cells))
    console.print(table)
    far = sum(found.evidence > FAR for found in result.findings)
    console.print(
        f"{counted(far, 'line')} of {len(result.findings):,} with evidence above {FAR:g}: worth a look, from the "
        "top; the model errs, too"
    )
    for path in result.files:
        console.print(f"{'list' if path.suffix == '.csv' else 'picture'}: {path}")
