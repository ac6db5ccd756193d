"""`punctum predict`: pictures from files, coordinates and drawings to files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from punctum.calibration import Calibration
from punctum.data import Annotations, read
from punctum.data.errors import counted
from punctum.data.images import to_unit
from punctum.data.volumes import VOLUME_ENDINGS, as_spacing, is_volume, read_picture, read_spacing
from punctum.decision import Decision
from punctum.draw import write_png
from punctum.image_prediction import ImagePrediction
from punctum.layer_overlays import view_scan
from punctum.overlays import draw_instances, draw_volume
from punctum.predict import Predictor, check_kind, load_model, model_folder
from punctum.predict_layers import LayerPredictor, ScanPrediction, write_layers
from punctum.predict_network import say_compiling
from punctum.predict_write import check_output, write_predictions
from punctum.progress import count
from punctum.reading import FLAGS, reading_of
from punctum.terminal import print_notes

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", *VOLUME_ENDINGS)
# An instance is told apart that so few of the calibration instances are as uncertain as.
UNTYPICAL = 0.01
ANNOTATION_ENDINGS = (".json", ".csv", ".h5", ".mat", ".slp", ".xml", ".yaml", ".yml")


def predict_files(
    run: str | Path,
    images: Sequence[str | Path],
    out: Path,
    *,
    draw: str | Path | None = None,
    ellipses: bool = False,
    spacing: Sequence[float] | None = None,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    flip_test: bool = False,
    compile: bool = False,
    decision: Decision | None = None,
    places: int = 0,
    level: float | None = None,
    console: Console | None = None,
) -> list[ImagePrediction] | list[ScanPrediction]:
    """Predict for files and write the coordinates.

    Args:
        run: the run folder.
        images: pictures (or volumes), folders of them, or annotation files, whose pictures and boxes are taken.
        out: .csv (a row per point) or .json.
        draw: folder for overlays.
        ellipses: draw ellipses that hold their points with the probability `level`; of a model that is not
            calibrated the heatmaps' spread, at two sigma.
        spacing: millimetres per voxel as (x, y, z), for volumes whose files do not say it.
        batch_size: pictures at a time.
        device: where to compute.
        flip_test: average each prediction with that of the mirrored picture.
        compile: predict through `torch.compile`, which takes a minute before the first picture.
        decision: which place of the density is said; None: that of the model's calibration, else the head's own.
        places: how many likely places of each point to write, with their probabilities.
        level: of the regions that a csv and drawings show; None: 0.95, or the calibration's highest below.
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
    model = load_model(run)
    for annotations in annotated:
        check_kind(model, annotations)
    if not 0 <= places <= 16:
        raise ValueError(f"places must be 0 to 16, got {places}")
    reading, doubt = reading_of(model, model_folder(run), decision, flip_test=flip_test, places=places)
    column = level_of(reading.calibration, level)
    if doubt is not None:
        print_notes([doubt], console)
    say_compiling(console, compile)
    if model.dims == 1:
        if reading.needs_heatmaps:
            raise ValueError("decode and places: layers in scans are what the head reads off; they are for points")
        finder = LayerPredictor(model, device, flip_test=flip_test, compile=compile)
        return _predict_scans(finder, pictures, annotated, out, draw, console)
    predictor = Predictor(model, device, batch_size, flip_test=flip_test, compile=compile, reading=reading)
    if pictures and predictor.crop.region == "box":
        console.print(
            "[yellow]note[/yellow] the model learned on boxes around each instance, and pictures have none: whole "
            "pictures are taken (an annotation file instead of pictures gives boxes)"
        )
    lengths = volume_spacings(pictures, spacing, console)
    predictions: list[ImagePrediction] = []
    total = len(pictures) + sum(len(a) for a in annotated)
    with count(console, "predicting", total) as advance:
        predictions += predictor.predict(pictures, spacing=[lengths.get(path) for path in pictures], on_batch=advance)
        for annotations in annotated:
            predictions += predictor.predict_annotations(annotations, advance)
    write_predictions(predictions, out, column)
    console.print(f"{len(predictions)} instances, coordinates: {out}")
    _say_trust(reading.calibration, predictions, console)
    if draw is not None:
        paths = [*pictures, *(path for a in annotated for path in a.images)]
        for annotations in annotated:
            known = annotations.spacing if annotations.spacing is not None else [None] * len(annotations)
            lengths |= zip(annotations.images, known, strict=True)
        n = draw_predictions(
            predictor, predictions, paths, Path(draw), spacing=lengths, ellipses=ellipses, level=column
        )
        console.print(f"{n} drawings: {draw}")
    return predictions


def level_of(calibration: Calibration | None, level: float | None) -> int:
    """Which of a calibration's levels is shown where there is room for one.

    Raises:
        ValueError: the calibration has no such level, or there is none.
    """
    if calibration is None:
        if level is not None:
            raise ValueError("level: the model is not calibrated for these predictions: `punctum calibrate RUN`")
        return 0
    if level is None:
        below = [i for i, known in enumerate(calibration.levels) if known <= 0.95]
        return below[-1] if below else 0
    if level not in calibration.levels:
        known = ", ".join(f"{one:g}" for one in calibration.levels)
        raise ValueError(f"level: the model is calibrated for {known}, not {level:g}: `punctum calibrate --levels`")
    return calibration.levels.index(level)


def _say_trust(calibration: Calibration | None, predictions: Sequence[ImagePrediction], console: Console) -> None:
    """What the score is, and how many predictions are suspect."""
    if calibration is None:
        console.print("score: the head's own, not calibrated (`punctum calibrate`)", highlight=False)
        return
    distance = calibration.distance
    console.print(
        f"score: probability of an error of at most {distance.within:g} lengths ({distance.normalizer}), from "
        f"{sum(calibration.images)} images",
        highlight=False,
    )
    trusts = [p.trust for p in predictions if p.trust is not None]
    counts = {name: sum(int(t.flags[name].sum()) for t in trusts) for name in FLAGS}
    points = sum(len(p.names) for p in predictions)
    unlike = sum(float(t.typical) <= UNTYPICAL for t in trusts)
    console.print(
        f"flags: {counts['wide']} of {points} points wide, {counts['two']} with two places, {counts['flat']} "
        f"flat; {unlike} of {len(trusts)} instances less certain than {1 - UNTYPICAL:.0%} of the calibration images",
        highlight=False,
    )


def _predict_scans(
    predictor: LayerPredictor,
    pictures: Sequence[Path],
    annotated: Sequence[Annotations],
    out: Path,
    draw: str | Path | None,
    console: Console,
) -> list[ScanPrediction]:
    """The same for a model that finds layers: whole scans, a line per layer and column."""
    paths = list(dict.fromkeys([*pictures, *(path for a in annotated for path in a.images)]))
    with count(console, "predicting", len(paths)) as advance:
        predictions = predictor.predict(paths, advance)
    write_layers(predictions, out)
    console.print(f"{len(predictions)} scans, layers: {out}")
    if draw is not None:
        taken: set[str] = set()
        for path, p in zip(paths, predictions, strict=True):
            write_png(Path(draw) / _free_name(path.stem, taken), view_scan(path, p.rows, predictor.schema))
        console.print(f"{len(predictions)} drawings: {draw}")
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


def volume_spacings(
    pictures: Sequence[Path], spacing: Sequence[float] | None, console: Console
) -> dict[Path, NDArray[np.float64] | None]:
    """What each volume's own file says, else what was given; those that nobody knows are told."""
    given = None if spacing is None else as_spacing(list(spacing))
    lengths = {
        path: stored if (stored := read_spacing(path)) is not None else given for path in filter(is_volume, pictures)
    }
    unknown = sum(length is None for length in lengths.values())
    if unknown:
        console.print(
            f"[yellow]note[/yellow] {counted(unknown, 'volume')} without a spacing: voxels are taken to be as long "
            "on every axis; --spacing X,Y,Z gives their millimetres"
        )
    return lengths


def draw_predictions(
    predictor: Predictor,
    predictions: Sequence[ImagePrediction],
    paths: Sequence[Path],
    folder: Path,
    *,
    spacing: Mapping[Path, NDArray[np.float64] | None] | None = None,
    ellipses: bool = False,
    level: int = 0,
) -> int:
    """One drawing per picture, all its instances on it; returns how many. `spacing` is that of volumes, `level` the
    position of the ellipses' level among those of the calibration."""
    by_picture: dict[Path, list[ImagePrediction]] = {}
    for path, prediction in zip(paths, predictions, strict=True):
        by_picture.setdefault(path, []).append(prediction)
    taken: set[str] = set()
    for path, instances in by_picture.items():
        if is_volume(path):
            length = (spacing or {}).get(path)
            picture = draw_volume(path, instances, predictor.schema, spacing=length, ellipses=ellipses, level=level)
        else:
            image = (to_unit(read_picture(path), predictor.crop.intensity) * 255).astype(np.uint8)
            picture = draw_instances(image, instances, predictor.schema, ellipses=ellipses, level=level)
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
