"""What is said at the end of a stream: how many were found, how far to trust them, what could not be read."""

import csv
from collections import Counter
from pathlib import Path

from rich.console import Console

from punctum.data.errors import counted
from punctum.files import write_again
from punctum.points import FLAGS
from punctum.promise import Promise
from punctum.stream.boxes import Boxes, BoxFile
from punctum.stream.results import Results

# An instance is told apart that so few of the calibration instances are as uncertain as.
UNTYPICAL = 0.01


def errors_file(out: Path) -> Path:
    """Where the pictures are listed that could not be read."""
    return out.with_name(out.name + ".errors.csv")


def write_errors(results: Results, out: Path) -> int:
    """List what could not be read in a file beside `out`; without any, an older list goes away."""
    found = 0
    path = errors_file(out)

    def write(temporary: Path) -> None:
        nonlocal found
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image", "frame", "error"])
            for entry in results.entries():
                if entry.error:
                    found += 1
                    writer.writerow([entry.image, "" if entry.frame is None else entry.frame, entry.error])

    write_again(path, write)
    if not found:
        path.unlink()
        return 0
    return found


def say_empty(results: Results, boxes: Boxes, console: Console) -> None:
    """How many pictures had no box, and how many boxes no picture."""
    empty = sum(not entry.found and not entry.error for entry in results.entries())
    if empty:
        console.print(f"{counted(empty, 'picture')} without a box: nothing is predicted there", highlight=False)
    if isinstance(boxes, BoxFile):
        unused = boxes.unused(entry.image for entry in results.entries() if entry.found)
        if unused:
            console.print(
                f"[yellow]note[/yellow] {counted(unused, 'picture')} of {boxes.path} not among those given",
                highlight=False,
            )


def say_trust(promise: Promise | None, results: Results, console: Console) -> int:
    """What the score is, and how many predictions are suspect; returns the number of instances."""
    instances = points = rated = unlike = 0
    flags: Counter[str] = Counter()
    for piece in results.pieces():
        if piece.points is None:
            continue
        instances += len(piece.points.score)
        points += piece.points.score.size
        if (trust := piece.points.trust) is not None:
            rated += len(trust.typical)
            unlike += int((trust.typical <= UNTYPICAL).sum())
            flags.update({name: int(trust.flags[name].sum()) for name in FLAGS})
    if promise is None:
        console.print("score: the head's own, not calibrated (`punctum calibrate`)", highlight=False)
        return instances
    console.print(
        f"score: probability of an error of at most {promise.within:g} lengths ({promise.normalizer}), from "
        f"{promise.images} images",
        highlight=False,
    )
    console.print(
        f"flags: {flags['wide']} of {points} points wide, {flags['two']} with two places, {flags['flat']} "
        f"flat; {unlike} of {rated} instances less certain than {1 - UNTYPICAL:.0%} of the calibration images",
        highlight=False,
    )
    return instances
