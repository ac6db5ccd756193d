"""`punctum calibrate`: what a model's predictions promise, found on images that it has not seen."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from punctum import calibration as calibrating
from punctum.calibration import KINDS, LEVELS, Calibration, MapSet, images_to_fit
from punctum.data import Annotations, inspect, read
from punctum.decision import Decision
from punctum.evaluate import check_kind_and_names
from punctum.heads import Prediction
from punctum.held_out import fingerprints, parts_of, refuse_trained_on
from punctum.judging import image_numbers
from punctum.metrics import sigmas_of
from punctum.predict import Predictor, load_model, model_folder
from punctum.progress import count
from punctum.reading import Reading
from punctum.scales import Scales
from punctum.terminal import print_notes
from punctum.train_settings import load_config

MEANING = {"bbox": "longer side of the box", "image": "longer side of the picture", "pixels": "pixel"}


def calibrate(
    run: str | Path,
    data: str | Path | None = None,
    *,
    images: str | Path | None = None,
    levels: Sequence[float] = LEVELS,
    within: float = 0.05,
    normalizer: str | None = None,
    decision: Decision | None = None,
    flip_test: bool = False,
    seed: int = 0,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    console: Console | None = None,
) -> Calibration:
    """Find out how far to trust a model, on images that it has not learned from, and keep that beside the model.

    Args:
        run: the run folder.
        data: annotations; None: the images that the run kept back for validation.
        images: their folder, where it cannot be told.
        levels: what regions shall promise.
        within: the distance that the score is about, in lengths of the normalizer.
        normalizer: bbox, image or pixels, which are known of a picture without labels; None: bbox where every
            instance has a box, else image.
        decision: which place of the density is said; None: what the head reads off.
        flip_test: predict with the flip test, now and whenever the calibration shall hold.
        seed: of the split between what is fitted and what is promised.
        batch_size: pictures at a time.
        device: where to compute.
        console: where to report; None is silent.
    Returns:
        What was written to `calibration.json` in the model's folder.
    Raises:
        ValueError: too few images for a level, and how many it needs; images that the model was trained on; other
            keypoints than the model's.
        OSError: a file cannot be read or written.
    """
    run, console = Path(run), console or Console(quiet=True)
    model = load_model(run)
    annotations, notes = _held_out(run, data, images)
    check_kind_and_names(model, annotations)
    if model.dims == 1:
        raise ValueError("calibrate: this model finds layers in scans; regions are for points in images and volumes")
    images_to_fit(len(set(annotations.images)), levels)
    if not within > 0:
        raise ValueError(f"within must be a positive distance in lengths, got {within:g}")
    reading = Reading(decision or Decision(), sigmas=sigmas_of(model.config.schema))
    word = normalizer or default_normalizer(annotations)
    predictor = Predictor(model, device, batch_size, flip_test=flip_test)
    inspection = inspect(annotations, predictor.crop.intensity)
    print_notes([*notes, *inspection.notes], console)
    with count(console, "predicting", len(annotations)) as advance:
        maps = collect(predictor, annotations, Scales.of(annotations.boxes, inspection.sizes), word, advance)
    calibration = calibrating.calibrate(
        maps,
        model.config.schema.names,
        levels=tuple(levels),
        within=within,
        normalizer=word,
        decision=str(reading.decision),
        decide=None if reading.decision.kind == "head" else reading.decide_maps,
        flip_test=flip_test,
        seed=seed,
    )
    calibration = replace(calibration, pictures=fingerprints(annotations.images))
    path = calibration.save(model_folder(run))
    print_calibration(calibration, console)
    console.print(f"calibration: {path}")
    return calibration


def print_calibration(calibration: Calibration, console: Console) -> None:
    """What was found, in a few lines."""
    fitted, promised = calibration.images
    console.print(
        f"{fitted + promised} images: {fitted} for densities and covariances, {promised} for what they promise; "
        f"rule: {calibration.decision}",
        highlight=False,
    )
    table = Table("region holds its point", *(f"{100 * level:g} %" for level in calibration.levels))
    units = {"ball": "spreads", "ellipse": "deviations", "hdr": "of the density"}
    for kind, unit in zip(KINDS, units.values(), strict=True):
        bounds = calibration.bounds[kind].median(0).values.tolist()
        table.add_row(f"{kind}: median bound, {unit}", *(f"{bound:.3f}" for bound in bounds))
    console.print(table)
    console.print(
        f"score: probability of an error of at most {calibration.distance.within:g} of the "
        f"{MEANING[calibration.distance.normalizer]}",
        highlight=False,
    )


def _held_out(run: Path, data: str | Path | None, images: str | Path | None) -> tuple[Annotations, list[str]]:
    """Annotations that the run has not learned from, and a note where that cannot be told."""
    if data is None:
        return parts_of(load_config(run))[1], []
    annotations = read(data, images)
    doubt = refuse_trained_on(run, annotations)
    return annotations, [] if doubt is None else [doubt]


def default_normalizer(annotations: Annotations) -> str:
    """The box where every instance has one, else the picture."""
    return "bbox" if np.isfinite(annotations.boxes).all() else "image"


def collect(
    predictor: Predictor,
    annotations: Annotations,
    scales: Scales,
    normalizer: str,
    on_batch: Callable[[int], object] | None = None,
) -> MapSet:
    """What a model says of every instance, heatmaps included, beside the truth.

    Args:
        predictor: of points in pictures.
        annotations: N instances.
        scales: how large they are.
        normalizer: what distances are measured by: bbox, image or pixels.
        on_batch: called with n when n more instances are done.
    Returns:
        All of it in memory: 4 bytes for each cell of each map.
    """
    predictions, matrices = [], []
    for _, prediction, to_image in predictor.heatmaps(annotations):
        predictions.append(prediction)
        matrices.append(to_image)
        if on_batch is not None:
            on_batch(len(to_image))
    return MapSet(
        prediction=joined(predictions),
        to_image=torch.cat(matrices),
        keypoints=torch.from_numpy(annotations.keypoints),
        visible=torch.from_numpy(annotations.labelled),
        images=torch.from_numpy(image_numbers(annotations.images)),
        lengths=torch.from_numpy(scales.lengths(normalizer)),
        sides=torch.from_numpy(scales.boxes),
    )


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Batches, one after the other; what one of them lacks, all lack."""
    columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(Prediction)}
    values: dict[str, Any] = {k: None if any(v is None for v in vs) else torch.cat(vs) for k, vs in columns.items()}
    return Prediction(**values)
