"""`punctum convert`: annotations from one format into another, read back and compared."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from punctum.data import Annotations, read
from punctum.data.errors import counted
from punctum.data.formats import as_held, format_named, format_of_output, output_file
from punctum.data.label_studio import config_path
from punctum.data.round_trip import RoundTrip, compare
from punctum.data.sleap import stores_frames, write_frames
from punctum.data.writing.yolo import SPLITS, place_image, write_yolo
from punctum.terminal import print_notes


def convert(
    source: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    from_format: str | None = None,
    to_format: str | None = None,
    split: str = "train",
    copy_images: bool = False,
    force: bool = False,
    console: Console | None = None,
) -> RoundTrip:
    """Read annotations, write them in another format, read that back and compare.

    Args:
        source: the annotations.
        out: the file; for YOLO-pose its yaml file or a folder.
        images: the folder of the pictures, where it cannot be told from the annotations.
        from_format, to_format: names of `punctum.data.formats.FORMATS`; None: by content, and by the name of `out`.
        split: of YOLO-pose: train, val or test.
        copy_images: copy the pictures into `images` beside the file; of a SLEAP file of videos its labelled frames.
        force: write over files that are there.
        console: where to report; None is silent.
    Returns:
        How the labels came back.
    Raises:
        ValueError: an unknown format, mistakes in the data, a file that is there already, labels that come back
            otherwise.
        OSError: a file is missing or cannot be written.
    """
    console = console or Console(quiet=True)
    source, out = Path(source), Path(out)
    name = to_format or format_of_output(out)
    target = format_named(name, write=True)
    out = output_file(out, name)
    _check_output(out, name, split, force=force)
    reader = read if from_format is None else format_named(from_format).read
    folder = None if images is None else Path(images)
    if copy_images and source.suffix == ".slp" and folder is None and stores_frames(source):
        folder = out.parent / "images"
        console.print(f"{counted(write_frames(source, folder), 'frame')}: {folder}", highlight=False)
    before = reader(source, folder, labels_only=False)
    console.print(f"read {_described(before)}", highlight=False)
    print_notes(before.notes, console)
    kept, lost = as_held(before, name)
    shown = _write(kept, out, name, split, target.write, copy=copy_images)
    back = target.read(out.parent / "labels" / split if name == "yolo" else out, shown, labels_only=False)
    trip = compare(kept, back, ids=target.holds.ids)
    console.print(f"wrote {_described(back)}", highlight=False)
    _tell(lost, trip, target.title, console)
    if name != "yolo" and not copy_images:
        console.print(f"pictures stay where they are: --images {shown} where they are not found", highlight=False)
    if trip.differences:
        raise ValueError(f"{out} was written, but does not come back as it should: {'; '.join(trip.differences[:5])}")
    return trip


def _check_output(out: Path, name: str, split: str, *, force: bool) -> None:
    """Refuse what cannot or shall not be written, before any work."""
    if split not in SPLITS:
        raise ValueError(f"split should be one of {', '.join(SPLITS)}, got {split!r}")
    files = [out.parent / "labels" / split] if name == "yolo" else [out]
    files += [config_path(out)] if name == "label-studio" else []
    there = [str(file) for file in files if file.exists()]
    if there and not force:
        raise ValueError(f"{', '.join(there)}: there already; --force writes over it")


def _described(annotations: Annotations) -> str:
    pictures = counted(len(set(annotations.image_names)), "image")
    points = counted(int(annotations.labelled.sum()), "labelled point")
    kinds = counted(len(annotations.schema.names), "keypoint")
    return f"{annotations.source}: {counted(len(annotations), 'instance')} in {pictures}, {kinds}, {points}"


def _write(
    kept: Annotations,
    out: Path,
    name: str,
    split: str,
    write: Callable[[Annotations, Path], None] | None,
    *,
    copy: bool,
) -> Path | None:
    """Write, and say where the pictures are then; None: where YOLO-pose wants them."""
    if name == "yolo":
        write = partial(write_yolo, split=split, copy=copy)
    elif copy:
        for image, path in dict(zip(kept.image_names, kept.images, strict=True)).items():
            place_image(path, out.parent / "images", image, copy=True)
        copies = tuple(out.parent / "images" / image for image in kept.image_names)
        kept = replace(kept, images=copies)
    if write is not None:
        write(kept, out)
    return None if name == "yolo" else image_folder(kept)


def image_folder(annotations: Annotations) -> Path:
    """The folder that the image names are relative to."""
    path, name = annotations.images[0], annotations.image_names[0].replace("\\", "/")
    return path.parents[len(Path(name).parts) - 1]


def _tell(lost: list[str], trip: RoundTrip, title: str, console: Console) -> None:
    console.print(
        f"read back: {counted(trip.points, 'point')} compared, none further than {trip.furthest:.2g} px from itself",
        highlight=False,
    )
    if not lost:
        console.print(f"nothing is lost: {title} holds all of it", highlight=False)
    for sentence in lost:
        console.print(f"[yellow]lost[/yellow] {sentence}", highlight=False)
