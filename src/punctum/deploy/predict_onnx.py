"""`punctum predict model.onnx ...`: what a run folder's predictions can be, without torch."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from punctum import __version__
from punctum.data import Annotations
from punctum.deploy.onnx_predictor import OnnxPredictor, onnx_runtime
from punctum.image_prediction import ImagePrediction
from punctum.kinds import check_axes
from punctum.stream.boxes import Detector
from punctum.stream.draw_video import TRAIL
from punctum.stream.gather import gather
from punctum.stream.to_files import Job, predict_to_files


def predict_onnx(
    model: str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    *,
    format: str | None = None,
    boxes: str | Path | Detector | None = None,
    on_error: str = "stop",
    draw: str | Path | None = None,
    ellipses: bool = False,
    trail: int = TRAIL,
    batch_size: int = 32,
    device: str | None = None,
    level: float | None = None,
    keep: bool = True,
    console: Console | None = None,
) -> list[ImagePrediction]:
    """Predict for files with an exported model; interrupted, the same call goes on where it was.

    Args:
        model: what `punctum export --out model.onnx` wrote.
        images, out, format, boxes, on_error, draw, ellipses, trail, level, keep: as `punctum.predict_files` has them.
        batch_size: pictures at a time.
        device: cpu, cuda, or a provider of ONNX Runtime by its name; None: CUDA where it is there, else the CPU.
        console: where to report; None is silent.
    Returns:
        The predictions, in the order of the files; without `keep` none.
    Raises:
        ValueError: nothing to predict, an unknown ending, or an unreadable picture, named.
        OSError: a file is missing or cannot be written.
        ImportError: ONNX Runtime, or what reads videos or writes the format, is not installed.
    Example:
        >>> predict_onnx("model.onnx", ["mouse.mp4"], "points.csv", draw="drawn.mp4")  # doctest: +SKIP
    """
    console = console or Console(quiet=True)
    job = Job(Path(out), format, boxes, on_error, draw, ellipses, trail, level, keep=keep)
    gathered = gather(images)
    predictor = OnnxPredictor(model, OnnxPredictor.providers_of(device), batch_size)
    for annotations in gathered:
        if isinstance(annotations, Annotations):
            check_axes(2, 2, annotations)
    return predict_to_files(predictor, gathered, job, made_with(predictor), console)


def made_with(predictor: OnnxPredictor) -> dict[str, Any]:
    """What predictions depend on, by name, as far as it is not the pictures."""
    with predictor.path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "model": found[:16],
        "punctum": __version__,
        "onnxruntime": onnx_runtime().__version__,
        "provider": predictor.session.get_providers()[0],
        "batch size": predictor.batch_size,
    }
