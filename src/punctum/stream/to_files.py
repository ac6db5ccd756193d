"""From pictures and videos to files and drawings, whatever finds the points; interrupted, it goes on where it was."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from punctum.alone import alone
from punctum.data.errors import counted
from punctum.files import write_again
from punctum.image_prediction import ImagePrediction
from punctum.progress import QUIET, count
from punctum.promise import level_of
from punctum.stream.boxes import Boxes, BoxFile, Detector, boxes_from, own_box, told_boxes
from punctum.stream.draw_video import TRAIL
from punctum.stream.drawings import Drawing, draw_all
from punctum.stream.formats import WRITERS, check_dims, format_of
from punctum.stream.gather import Gathered
from punctum.stream.items import Annotated, Source
from punctum.stream.journal import Journal
from punctum.stream.predicting import Finder, ItemError
from punctum.stream.results import Results
from punctum.stream.run import already_done, predict_sources
from punctum.stream.sources import contents, source_of
from punctum.stream.summary import errors_file, say_empty, say_trust, write_errors
from punctum.stream.video import Video

# So many unreadable pictures are named while the work goes on; all of them in the list at the end.
NAMED = 10


@dataclass(frozen=True, eq=False)
class Job:
    """What becomes of the points, and where their instances are.

    Args:
        out: the file of coordinates.
        format: csv, json, coco, deeplabcut or parquet, where the ending does not say it.
        boxes: a file, or a function from RGB pixels (H, W, 3) to (N, 4).
        on_error: "stop" at a picture that cannot be read, or "skip" it.
        draw: folder for overlays; for one video also a video file.
        ellipses, trail: as `Drawing` has them.
        level: of the regions that a csv and drawings show; None: 0.95, or the highest below.
        spacing: millimetres per voxel as (x, y, z), for volumes whose files do not say it.
        keep: return the predictions.
    Raises:
        ValueError: the ending or format is unknown, or `on_error` is neither.
        ImportError: the format's library is not installed.
    """

    out: Path
    format: str | None = None
    boxes: str | Path | Detector | None = None
    on_error: str = "stop"
    draw: str | Path | None = None
    ellipses: bool = False
    trail: int = TRAIL
    level: float | None = None
    spacing: Sequence[float] | None = None
    keep: bool = True

    def __post_init__(self) -> None:
        format_of(self.out, self.format)
        if self.on_error not in ("stop", "skip"):
            raise ValueError(f"on_error must be 'stop' or 'skip', got {self.on_error!r}")

    @property
    def written_as(self) -> str:
        """The format's name."""
        return format_of(self.out, self.format)


def predict_to_files(
    finder: Finder, gathered: Sequence[Gathered], job: Job, made_with: Mapping[str, object], console: Console
) -> list[ImagePrediction]:
    """Predict, write, draw, and say what was found.

    Args:
        finder: the model.
        gathered: what `gather` found.
        job: what becomes of it.
        made_with: all that predictions depend on beside the pictures and boxes; another one does not go on with what
            this one left.
        console: where to report.
    Returns:
        The predictions in order; without `job.keep` none.
    Raises:
        ValueError: what is asked for does not fit the model, or a picture cannot be read (named).
        OSError: a file is missing or cannot be written.
    """
    axes, where = len(finder.crop.input_size), boxes_from(job.boxes)
    shown = level_of(finder.promise, job.level)
    check_dims(job.written_as, axes)
    sources = [source_of(found, axes, job.spacing, console) for found in gathered]
    check_boxes(where, finder, sources, console)
    drawing = None if job.draw is None else Drawing(Path(job.draw), job.ellipses, job.trail)
    if drawing is not None:
        drawing.check(sources)
    basis = {**made_with, "boxes": told_boxes(job.boxes), "pictures": contents(sources)}
    with kept_journal(job.out, basis, console) as journal:
        _predict(finder, sources, journal, where, job.on_error == "skip", console)
        videos = tuple(isinstance(source, Video) for source in sources)
        results = Results(journal, finder.schema, videos, shown)
        write_again(job.out, lambda path: WRITERS[job.written_as](results, path))
        _say(results, finder, where, job.out, console)
        if drawing is not None:
            drawn = draw_all(results, sources, drawing, finder.crop.intensity)
            console.print(f"{drawn}: {job.draw}", highlight=False)
        predictions = list(results.predictions()) if job.keep else []
        journal.remove()
    return predictions


def _predict(
    finder: Finder, sources: list[Source], journal: Journal, boxes: Boxes, skip: bool, console: Console
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
def kept_journal(out: Path, basis: Mapping[str, object], console: Console) -> Iterator[Journal]:
    """The journal beside `out`; where the work is interrupted, its user hears how to go on."""
    folder = out.with_name(out.name + ".parts")
    with alone(folder):
        journal = Journal(folder, basis)
        with _told(journal, console):
            yield journal


@contextmanager
def _told(journal: Journal, console: Console) -> Iterator[None]:
    try:
        yield
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


def _say(results: Results, finder: Finder, boxes: Boxes, out: Path, console: Console) -> None:
    skipped = write_errors(results, out)
    instances = say_trust(finder.promise, results, console)
    say_empty(results, boxes, console)
    if skipped:
        console.print(
            f"[yellow]skipped[/yellow] {skipped:,} that cannot be read, listed in {errors_file(out)}", highlight=False
        )
    console.print(f"{counted(instances, 'instance')}, coordinates: {out}", highlight=False)


def check_boxes(boxes: Boxes, finder: Finder, sources: Sequence[Source], console: Console) -> None:
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
