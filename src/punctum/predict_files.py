"""`punctum predict`: pictures and videos from files, coordinates and drawings to files, after any interruption."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from punctum.data import Annotations
from punctum.data.errors import counted
from punctum.data.volumes import as_spacing, is_volume, read_spacing
from punctum.decision import Decision
from punctum.files import write_again
from punctum.image_prediction import ImagePrediction
from punctum.predict import Predictor, check_kind
from punctum.predict_finder import Finding, finder_of, level_of, made_with
from punctum.predict_layers import LayerPredictor, ScanPrediction
from punctum.predict_scans import predict_scans
from punctum.predict_write import check_output
from punctum.progress import QUIET, count
from punctum.stream.boxes import Boxes, BoxFile, Detector, detected, own_box
from punctum.stream.draw_video import TRAIL
from punctum.stream.drawings import Drawing, draw_all
from punctum.stream.formats import WRITERS, check_dims, format_of
from punctum.stream.gather import Gathered, gather
from punctum.stream.items import Annotated, Pictures, Source, digest
from punctum.stream.journal import Journal
from punctum.stream.predicting import ItemError
from punctum.stream.results import Results
from punctum.stream.run import already_done, predict_sources
from punctum.stream.summary import errors_file, say_empty, say_trust, write_errors
from punctum.stream.video import Video

# So many unreadable pictures are named while the work goes on; all of them in the list at the end.
NAMED = 10


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
    console, out = console or Console(quiet=True), Path(out)
    written_as = format_of(out, format)
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error must be 'stop' or 'skip', got {on_error!r}")
    finding = Finding(batch_size, device, flip_test, compile, decision, places)
    gathered = gather(images)
    where = boxes_from(boxes)
    finder = finder_of(run, finding, console)
    for annotations in gathered:
        if isinstance(annotations, Annotations):
            check_kind(finder.model, annotations)
    if isinstance(finder, LayerPredictor):
        return _predict_layers(finder, gathered, out, written_as, boxes, on_error, draw, console)
    shown = level_of(finder.reading.calibration, level)
    check_dims(written_as, finder.model.dims)
    sources = [source_of(found, finder, spacing, console) for found in gathered]
    check_boxes(where, finder, sources, console)
    drawing = None if draw is None else Drawing(Path(draw), ellipses, trail)
    if drawing is not None:
        drawing.check(sources)
    basis = made_with(run, finding, finder.network.device)
    basis |= {"boxes": told_boxes(boxes), "pictures": told_contents(sources)}
    with _journal(out, basis, console) as journal:
        _predict(finder, sources, journal, where, on_error == "skip", console)
        videos = tuple(isinstance(source, Video) for source in sources)
        results = Results(journal, finder.schema, videos, shown)
        write_again(out, lambda path: WRITERS[written_as](results, path))
        _say(results, finder, where, out, console)
        if drawing is not None:
            console.print(f"{draw_all(results, sources, drawing, finder.crop.intensity)}: {draw}", highlight=False)
        predictions = list(results.predictions()) if keep else []
        journal.remove()
    return predictions


def _predict(
    finder: Predictor, sources: list[Source], journal: Journal, boxes: Boxes, skip: bool, console: Console
) -> None:
    """Everything that is not in the journal yet."""
    named = 0

    def tell(reason: str) -> None:
        nonlocal named
        named += 1
        if named <= NAMED:
            console.print(f"[yellow]skipped[/yellow] {reason}", highlight=False)

    done = already_done(finder, sources, journal)
    if journal.begun and done:
        console.print(
            f"going on after {counted(done, 'picture')} that an interrupted prediction left", highlight=False
        )
    counts = [source.count for source in sources]
    total = None if any(n is None for n in counts) else sum(n or 0 for n in counts)
    unit = "frames" if any(isinstance(source, Video) for source in sources) else "images"
    with count(console, "predicting", total, unit=unit, done=done, log=QUIET) as advance:
        predict_sources(finder, sources, journal, boxes=boxes, on_error=tell if skip else None, advance=advance)


@contextmanager
def _journal(out: Path, basis: dict[str, object], console: Console) -> Iterator[Journal]:
    """The journal beside `out`; where the work is interrupted, its user hears how to go on."""
    journal = Journal(out.with_name(out.name + ".parts"), basis)
    try:
        yield journal
    except BaseException as error:
        kept = journal.done()
        if not kept:
            journal.remove()
        elif not isinstance(error, ItemError):
            console.print(f"what is done is kept in {journal.folder}: the same command goes on", highlight=False)
        if isinstance(error, ItemError):
            more = f"; what is done is kept in {journal.folder}, and the same command goes on" if kept else ""
            raise ValueError(f"{error} (--on-error skip leaves out what cannot be read{more})") from error
        raise


def _say(results: Results, finder: Predictor, boxes: Boxes, out: Path, console: Console) -> None:
    skipped = write_errors(results, out)
    instances = say_trust(finder.reading.calibration, results, console)
    say_empty(results, boxes, console)
    if skipped:
        console.print(
            f"[yellow]skipped[/yellow] {skipped:,} that cannot be read, listed in {errors_file(out)}", highlight=False
        )
    console.print(f"{counted(instances, 'instance')}, coordinates: {out}", highlight=False)


def source_of(found: Gathered, finder: Predictor, spacing: Sequence[float] | None, console: Console) -> Source:
    """What was named on the command line, as pictures for the model."""
    if isinstance(found, Annotations):
        return Annotated(found)
    if isinstance(found, Video):
        if len(finder.crop.input_size) != 2:
            raise ValueError(f"{found.name}: the model finds points in volumes (.npy, .npz), this is a video")
        return found
    lengths = volume_spacings(found, spacing, console)
    return Pictures(found, [lengths.get(path) for path in found] if lengths else None)


def boxes_from(given: str | Path | Detector | None) -> Boxes:
    """Where instances are, from what a user gives: nothing, a file, a function."""
    if given is None:
        return own_box
    return BoxFile(given) if isinstance(given, (str, Path)) else detected(given)


def check_boxes(boxes: Boxes, finder: Predictor, sources: Sequence[Source], console: Console) -> None:
    """Boxes must be of use to the model, and of these pictures."""
    plain = [source for source in sources if not isinstance(source, Annotated)]
    if boxes is own_box:
        if plain and finder.crop.region == "box":
            console.print(
                "[yellow]note[/yellow] the model learned on boxes around each instance, and pictures have none: "
                "whole pictures are taken (--boxes, or an annotation file instead of pictures, gives boxes)"
            )
        return
    if finder.crop.region == "image" or len(finder.crop.input_size) != 2:
        raise ValueError(
            "boxes: the model was trained on whole pictures (--crop.region image), and looks at no boxes"
        )
    if isinstance(boxes, BoxFile):
        names = (item.image for source in sources if not isinstance(source, Video) for item in source.items())
        boxes.check([*names, *(source.name for source in sources if isinstance(source, Video))])


def told_boxes(boxes: str | Path | Detector | None) -> str | None:
    """Boxes as they are told apart; of a function nothing but that it is one is known."""
    if boxes is None or not isinstance(boxes, (str, Path)):
        return None if boxes is None else "a function"
    return f"{boxes} ({digest([Path(boxes).read_text(encoding='utf-8', errors='replace')])})"


def told_contents(sources: Sequence[Source]) -> str:
    """Sources as they are told apart: the first one's name, and a digest of all."""
    more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    return f"{sources[0].name}{more} ({digest(source.contents() for source in sources)})"


def _predict_layers(
    finder: LayerPredictor,
    gathered: Sequence[Gathered],
    out: Path,
    written_as: str,
    boxes: object,
    on_error: str,
    draw: str | Path | None,
    console: Console,
) -> list[ScanPrediction]:
    """Layers in whole scans: no boxes, no videos, nothing to go on with."""
    check_output(out)
    refused = {
        "boxes": boxes is not None,
        "on_error skip": on_error == "skip",
        f"format {written_as}": written_as not in ("csv", "json"),
        "videos": any(isinstance(found, Video) for found in gathered),
    }
    if any(refused.values()):
        what = ", ".join(name for name, given in refused.items() if given)
        raise ValueError(f"the model finds layers in scans, for which there is no {what}")
    pictures = [path for found in gathered if isinstance(found, list) for path in found]
    annotated = [found for found in gathered if isinstance(found, Annotations)]
    return predict_scans(finder, pictures, annotated, out, draw, console)


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
