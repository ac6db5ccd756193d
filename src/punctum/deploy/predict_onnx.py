"""`punctum predict model.onnx ...`: pictures from files, coordinates to a file, without torch."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from punctum.deploy.description import Promise
from punctum.deploy.inputs import Instance, gather_instances
from punctum.deploy.onnx_predictor import FLAGS, OnnxPredictor
from punctum.image_prediction import ImagePrediction
from punctum.predict_write import check_output, write_predictions
from punctum.progress import count


def predict_onnx(
    model: str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    *,
    batch_size: int = 32,
    level: float | None = None,
    device: str | None = None,
    console: Console | None = None,
) -> list[ImagePrediction]:
    """Predict for files with an exported model and write the coordinates.

    Args:
        model: what `punctum export --out model.onnx` wrote.
        images: pictures, folders of them, or annotation files, whose pictures and boxes are taken.
        out: .csv (a row per point) or .json.
        batch_size: pictures at a time.
        level: of the regions that a csv shows; None: 0.95, or the next below.
        device: cpu, cuda, or a provider of ONNX Runtime by its name; None: CUDA where it is there, else the CPU.
        console: where to report; None is silent.
    Returns:
        The predictions, in the order of the files.
    Raises:
        ValueError: nothing to predict, an unknown ending, or an unreadable picture, named.
        OSError: a file is missing or cannot be written.
        ImportError: ONNX Runtime is not installed.
    """
    console, out = console or Console(quiet=True), Path(out)
    check_output(out)
    predictor = OnnxPredictor(model, OnnxPredictor.providers_of(device), batch_size)
    column = _column(predictor.description.promise, level)
    instances = gather_instances(images)
    _say_whole_pictures(predictor, instances, console)
    predictions: list[ImagePrediction] = []
    with count(console, "predicting", len(instances)) as advance:
        for batch in predictor.predict_batches((one.path, one.box) for one in instances):
            named = zip(batch, instances[len(predictions) : len(predictions) + len(batch)], strict=True)
            predictions += [replace(p, image=one.image, instance=one.instance) for p, one in named]
            advance(len(batch))
    write_predictions(predictions, out, column)
    console.print(f"{len(predictions)} instances, coordinates: {out}")
    _say_trust(predictor.description.promise, predictions, console)
    return predictions


def _column(promise: Promise | None, level: float | None) -> int:
    """Which of the levels a csv has columns of."""
    if promise is None:
        if level is not None:
            raise ValueError("level: the exported model is not calibrated: `punctum calibrate RUN`, and export again")
        return 0
    if level is None:
        below = [i for i, known in enumerate(promise.levels) if known <= 0.95]
        return below[-1] if below else 0
    if level not in promise.levels:
        known = ", ".join(f"{one:g}" for one in promise.levels)
        raise ValueError(f"level: the exported model promises {known}, not {level:g}")
    return promise.levels.index(level)


def _say_whole_pictures(predictor: OnnxPredictor, instances: Sequence[Instance], console: Console) -> None:
    if predictor.crop.region == "box" and any(one.box is None for one in instances):
        console.print(
            "[yellow]note[/yellow] the model learned on boxes around each instance, and pictures have none: whole "
            "pictures are taken (an annotation file instead of pictures gives boxes)"
        )


def _say_trust(promise: Promise | None, predictions: Sequence[ImagePrediction], console: Console) -> None:
    """What the score is, and how many predictions are suspect."""
    if promise is None:
        console.print("score: the head's own, not calibrated", highlight=False)
        return
    console.print(
        f"score: probability of an error of at most {promise.within:g} lengths ({promise.normalizer}), from "
        f"{promise.images} images",
        highlight=False,
    )
    trusts = [p.trust for p in predictions if p.trust is not None]
    counts = {name: int(sum(np.sum(trust.flags[name]) for trust in trusts)) for name in FLAGS}
    points = sum(len(p.names) for p in predictions)
    console.print(
        f"flags: {counts['wide']} of {points} points wide, {counts['two']} with two places, {counts['flat']} flat",
        highlight=False,
    )
