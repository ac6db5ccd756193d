"""`punctum predict`: pictures from files, coordinates and drawings to files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from punctum.data import Annotations, read
from punctum.data.images import read_image, to_unit
from punctum.draw import write_png
from punctum.overlays import draw_instances
from punctum.predict import ImagePrediction, Predictor, check_output, load, write_predictions
from punctum.progress import count

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
ANNOTATION_ENDINGS = (".json", ".csv", ".h5", ".mat")


def predict_files(
    run: str | Path,
    images: Sequence[str | Path],
    out: Path,
    *,
    draw: str | Path | None = None,
    ellipses: bool = False,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    flip_test: bool = False,
    console: Console | None = None,
) -> list[ImagePrediction]:
    """Predict for files and write the coordinates.

    Args:
        run: the run folder.
        images: pictures, folders of pictures, or annotation files, whose pictures and boxes are taken.
        out: .csv (a row per point) or .json.
        draw: folder for overlays.
        ellipses: draw the heatmaps' spread, at two sigma; it is not calibrated.
        batch_size: pictures at a time.
        device: where to compute.
        flip_test: average each prediction with that of the mirrored picture.
        console: where to report; None is silent.
    Returns:
        The predictions, in the order of the files.
    Raises:
        ValueError: nothing to predict, an unknown ending, or an unreadable picture, named.
        OSError: a file is missing or cannot be written.
    """
    console = console or Console(quiet=True)
    check_output(out)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    pictures, annotated = gather(images)
    predictor = load(run, device, flip_test=flip_test)
    predictor.batch_size = batch_size
    if pictures and predictor.crop.region == "box":
        console.print(
            "[yellow]note[/yellow] the model learned on boxes around each instance, and pictures have none: whole "
            "pictures are taken (an annotation file instead of pictures gives boxes)"
        )
    predictions: list[ImagePrediction] = []
    total = len(pictures) + sum(len(a) for a in annotated)
    with count(console, "predicting", total) as advance:
        for start in range(0, len(pictures), 16 * batch_size):
            chunk = pictures[start : start + 16 * batch_size]
            predictions += predictor.predict(chunk)
            advance(len(chunk))
        for annotations in annotated:
            predictions += predictor.predict_annotations(annotations)
            advance(len(annotations))
    write_predictions(predictions, out)
    console.print(f"{len(predictions)} instances, coordinates: {out}")
    if draw is not None:
        paths = [*pictures, *(path for a in annotated for path in a.images)]
        n = draw_predictions(predictor, predictions, paths, Path(draw), ellipses=ellipses)
        console.print(f"{n} drawings: {draw}")
    return predictions


def gather(given: Sequence[str | Path]) -> tuple[list[Path], list[Annotations]]:
    """Pictures and annotations behind the given paths; every missing one is named at once."""
    pictures: list[Path] = []
    annotated: list[Annotations] = []
    missing = [str(path) for path in given if not Path(path).exists()]
    if missing:
        raise FileNotFoundError(f"no such file or folder: {', '.join(missing[:10])}")
    for path in map(Path, given):
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURE_ENDINGS)
            if not found:
                raise ValueError(f"{path} holds no pictures ({', '.join(PICTURE_ENDINGS)})")
            pictures += found
        elif path.suffix.lower() in ANNOTATION_ENDINGS:
            annotated.append(read(path))
        else:
            pictures.append(path)
    return pictures, annotated


def draw_predictions(
    predictor: Predictor,
    predictions: Sequence[ImagePrediction],
    paths: Sequence[Path],
    folder: Path,
    *,
    ellipses: bool = False,
) -> int:
    """One drawing per picture, all its instances on it; returns how many."""
    by_picture: dict[Path, list[ImagePrediction]] = {}
    for path, prediction in zip(paths, predictions, strict=True):
        by_picture.setdefault(path, []).append(prediction)
    taken: set[str] = set()
    for path, instances in by_picture.items():
        image = (to_unit(read_image(path), predictor.crop.intensity) * 255).astype(np.uint8)
        picture = draw_instances(image, instances, predictor.schema, ellipses=ellipses)
        write_png(folder / _free_name(path.stem, taken), picture)
    return len(by_picture)


def _free_name(stem: str, taken: set[str]) -> str:
    """A file name for the stem; two pictures of one name in two folders get two drawings."""
    name, n = stem, 1
    while name in taken:
        n += 1
        name = f"{stem}-{n}"
    taken.add(name)
    return f"{name}.png"
