"""`punctum calibrate`: what a model's predictions promise, found on images that it has not seen."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from punctum.calibration import Calibration, MapSet, needed
from punctum.data import Annotations, inspect, read
from punctum.data.errors import counted
from punctum.decision import Decision
from punctum.evaluate import check_kind_and_names, image_numbers
from punctum.heads import Prediction
from punctum.held_out import parts_of, refuse_trained_on
from punctum.predict import Predictor, load_model, model_folder
from punctum.progress import count
from punctum.reading import Scales
from punctum.terminal import print_notes
from punctum.train_settings import load_config

LEVELS = (0.5, 0.8, 0.9, 0.95)


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
        normalizer: bbox, image or pixels, which are known of a picture without labels; None: bbox where every instance
            has a box, else image.
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
    _check_enough(annotations, levels)
    word = normalizer or default_normalizer(annotations)
    predictor = Predictor(model, device, batch_size, flip_test=flip_test)
    inspection = inspect(annotations, predictor.crop.intensity)
    print_notes([*notes, *inspection.notes], console)
    with count(console, "predicting", len(annotations)) as advance:
        maps = collect(predictor, annotations, Scales.of(annotations.boxes, inspection.sizes).lengths(word), advance)
    calibration = Calibration.fit(
        maps,
        names=model.config.schema.names,
        levels=tuple(levels),
        within=within,
        normalizer=word,
        decision=decision or Decision(),
        flip_test=flip_test,
        seed=seed,
    )
    path = calibration.save(model_folder(run))
    print_calibration(calibration, console)
    console.print(f"calibration: {path}")
    return calibration


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
    lengths: NDArray[np.float64],
    on_batch: Callable[[int], object] | None = None,
) -> MapSet:
    """What a model says of every instance, heatmaps included, beside the truth.

    Args:
        predictor: of points in pictures.
        annotations: N instances.
        lengths: (N,) what distances are measured by, in original pixels.
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
        lengths=torch.from_numpy(lengths),
    )


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Batches, one after the other; what one of them lacks, all lack."""
    columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(Prediction)}
    return Prediction(
        **{name: None if any(v is None for v in values) else torch.cat(values) for name, values in columns.items()}
    )
