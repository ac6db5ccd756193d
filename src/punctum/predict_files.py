"""`punctum predict` with a run folder: pictures and videos from files, coordinates and drawings to files."""

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from punctum.data import Annotations
from punctum.decision import Decision
from punctum.image_prediction import ImagePrediction
from punctum.predict import check_kind
from punctum.predict_finder import Finding, finder_of, made_with
from punctum.predict_layers import LayerPredictor, ScanPrediction
from punctum.predict_scans import predict_scans
from punctum.predict_write import check_output
from punctum.stream.boxes import Detector
from punctum.stream.draw_video import TRAIL
from punctum.stream.gather import Gathered, gather
from punctum.stream.to_files import Job, predict_to_files
from punctum.stream.video import Video


def predict_files(
    run: str | Path,
    images: Sequence[str | Path],
    out: Path,
    *,
    format: str | None = None,
    boxes: str | Path | Detector | None = None,
    on_error: str = "stop",
    draw: str | Path | None = None,
    ellipses: bool = False,
    trail: int = TRAIL,
    spacing: Sequence[float] | None = None,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    flip_test: bool = False,
    compile: bool = False,
    decision: Decision | None = None,
    places: int = 0,
    level: float | None = None,
    keep: bool = True,
    console: Console | None = None,
) -> list[ImagePrediction] | list[ScanPrediction]:
    """Predict for files and write the coordinates; interrupted, the same call goes on where it was.

    Args:
        run: the run folder.
        images: pictures (or volumes), videos, folders, patterns, annotation files, whose pictures and boxes are
            taken, and `-` for a list on standard input.
        out: the file; its ending is its format: .csv (a row per point), .json, .coco.json, .h5, .parquet.
        format: csv, json, coco, deeplabcut or parquet, where the ending does not say it.
        boxes: where the instances are: a file, or a function from RGB pixels (H, W, 3) to (N, 4).
        on_error: "stop" at a picture that cannot be read, or "skip" it.
        draw: folder for overlays; for one video also a video file.
        ellipses: draw ellipses that hold their points with the probability `level`; of a model that is not
            calibrated the heatmaps' spread, at two sigma.
        trail: in drawn videos, for how many frames a point's way is shown.
        spacing: millimetres per voxel as (x, y, z), for volumes whose files do not say it.
        batch_size, device, flip_test, compile, decision, places: see `Finding`.
        level: of the regions that a csv and drawings show; None: 0.95, or the calibration's highest below.
        keep: return the predictions; without, memory stays bounded however many there are.
        console: where to report; None is silent.
    Returns:
        The predictions, in the order of the files; without `keep` none.
    Raises:
        ValueError: nothing to predict, an unknown ending, or an unreadable picture, named.
        OSError: a file is missing or cannot be written.
    """
    console = console or Console(quiet=True)
    job = Job(Path(out), format, boxes, on_error, draw, ellipses, trail, level, spacing, keep)
    finding = Finding(batch_size, device, flip_test, compile, decision, places)
    gathered = gather(images)
    finder = finder_of(run, finding, console)
    for annotations in gathered:
        if isinstance(annotations, Annotations):
            check_kind(finder.model, annotations)
    basis = made_with(run, finding, finder.network.device)
    if isinstance(finder, LayerPredictor):
        return predict_scans(finder, _scans_of(gathered, job), job, basis, console)
    return predict_to_files(finder, gathered, job, basis, console)


def _scans_of(gathered: Sequence[Gathered], job: Job) -> list[Path]:
    """Layers are in whole scans: no boxes, no videos."""
    check_output(job.out)
    refused = {
        "boxes": job.boxes is not None,
        f"format {job.written_as}": job.written_as not in ("csv", "json"),
        "videos": any(isinstance(found, Video) for found in gathered),
    }
    if any(refused.values()):
        what = ", ".join(name for name, given in refused.items() if given)
        raise ValueError(f"the model finds layers in scans, for which there is no {what}")
    pictures = [path for found in gathered if isinstance(found, list) for path in found]
    annotated = [path for found in gathered if isinstance(found, Annotations) for path in found.images]
    return list(dict.fromkeys([*pictures, *annotated]))
