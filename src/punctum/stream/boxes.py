"""Where the instances of a picture are: in its annotation, in a file of boxes, or where a detector finds them."""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from punctum.data.errors import DataError
from punctum.data.json_text import kind, read_json
from punctum.data.limits import FARTHEST
from punctum.data.matching import posix_name
from punctum.stream.items import Item, digest

# A picture's instances: what each is called, and its box (x, y, width, height).
Boxes = Callable[[Item, NDArray[Any]], Sequence[tuple[str, NDArray[np.float64] | None]]]
Detector = Callable[[NDArray[Any]], ArrayLike]
COLUMNS = ("image", "x", "y", "width", "height")


def own_box(item: Item, image: NDArray[Any]) -> Sequence[tuple[str, NDArray[np.float64] | None]]:
    """What the item itself says: its annotated box, or the whole picture."""
    return [(item.instance, item.box)]


def detected(detector: Detector) -> Boxes:
    """The boxes that a function finds; instances are numbered as it returns them.

    Args:
        detector: called with RGB pixels (H, W, 3), one picture at a time; returns (N, 4) as (x, y, width, height) in
            pixels, N may be 0.
    Example:
        >>> boxes = detected(lambda image: [[0, 0, 10, 20]])
        >>> boxes(Item("a", None), np.zeros((20, 20, 3)))
        [('0', array([ 0.,  0., 10., 20.]))]
    """
    one_at_a_time = Lock()

    def find(item: Item, image: NDArray[Any]) -> list[tuple[str, NDArray[np.float64] | None]]:
        with one_at_a_time:
            found = np.asarray(detector(image), dtype=np.float64)
        if found.size == 0:
            return []
        if found.ndim != 2 or found.shape[1] != 4 or not all(map(_is_box, found)):
            raise TypeError(
                f"{item.image}: a detector returns boxes (N, 4) as x, y, width, height, finite and of some size; got "
                f"{found.tolist() if found.size <= 8 else found.shape}"
            )
        return [(str(n), box) for n, box in enumerate(found)]

    return find


class BoxFile:
    """Boxes from a csv with the columns image, x, y, width, height, or a JSON list of objects with those keys.

    Several boxes of a picture are several instances, named by `instance` where there is one, else numbered. A frame
    is named `video.mp4#12`, or by its video and a column `frame`. An image name matches if one path ends with the
    other. Pictures that the file does not name have no instance.

    Args:
        path: the file.
    Raises:
        DataError: every mistake of the file at once, each with its row.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._boxes: dict[str, list[tuple[str, NDArray[np.float64] | None]]] = defaultdict(list)
        self._endings: dict[str, set[str]] = defaultdict(set)
        mistakes: list[str] = []
        for where, row in _rows(self.path):
            self._add(where, row, mistakes)
        if mistakes:
            raise DataError(mistakes)

    def __call__(self, item: Item, image: NDArray[Any]) -> Sequence[tuple[str, NDArray[np.float64] | None]]:
        name = self._find(item.image)
        return [] if name is None else self._boxes[name]

    def check(self, images: Iterable[str]) -> None:
        """Refuse pictures and videos none of which has a box here: names that do not fit, most likely.

        Raises:
            ValueError: none has.
        """
        known = {name.partition("#")[0].rpartition("/")[2] for name in self._boxes}
        names = [posix_name(image) for image in images]
        if not any(name.rpartition("/")[2] in known for name in names):
            raise ValueError(
                f"{self.path.name} has boxes of none of the pictures; it names {next(iter(self._boxes), 'nothing')}, "
                f"and given is {next(iter(names), 'nothing')}"
            )

    def unused(self, images: Iterable[str]) -> int:
        """How many pictures have boxes here, but are none of these."""
        return len(self._boxes.keys() - {self._find(image) for image in images})

    def _find(self, image: str) -> str | None:
        """The picture as this file calls it."""
        name = posix_name(image)
        if name in self._boxes:
            return name
        known = [
            other
            for other in self._endings.get(name.rpartition("/")[2], ())
            if f"/{other}".endswith(f"/{name}") or f"/{name}".endswith(f"/{other}")
        ]
        if len(known) > 1:
            raise ValueError(f"{image} may be any of {', '.join(sorted(known)[:4])} in {self.path.name}")
        return known[0] if known else None

    def _add(self, where: str, row: dict[str, Any], mistakes: list[str]) -> None:
        values = []
        for column in COLUMNS[1:]:
            try:
                values.append(float(row[column]))
            except (KeyError, TypeError, ValueError, OverflowError):
                mistakes.append(f"{where}: {column} should be a number, got {row.get(column)!r}")
        box = np.array(values)
        if len(values) == 4 and not _is_box(box):
            mistakes.append(
                f"{where}: a box has finite numbers up to {FARTHEST:g}, and a width and height above 0, got {values}"
            )
        if not row.get("image"):
            mistakes.append(f"{where}: it names no image")
            return
        frame = row.get("frame")
        name = posix_name(str(row["image"])) + ("" if frame in (None, "") else f"#{frame}")
        instance = row.get("instance")
        boxes = self._boxes[name]
        label = str(len(boxes)) if instance in (None, "") else str(instance)
        if any(label == other for other, _ in boxes):
            mistakes.append(f"{where}: instance {label} of {name} stands in the file already")
        boxes.append((label, box))
        self._endings[name.rpartition("/")[2]].add(name)


def _is_box(box: NDArray[np.float64]) -> bool:
    return bool((np.abs(box) <= FARTHEST).all() and (box[2:] > 0).all())


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    if path.suffix.lower() == ".json":
        found = read_json(path)
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise DataError([f"{path}: boxes are a list of objects with {', '.join(COLUMNS)}, got {kind(found)}"])
        return [(f"{path.name}: entry {i}", row) for i, row in enumerate(found)]
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                [f"{path}: boxes are a csv with the columns {', '.join(COLUMNS)}; here is no {', '.join(missing)}"]
            )
        return [(f"{path.name}, line {reader.line_num}", row) for row in reader]
    except OSError as error:
        raise DataError([f"{path}: cannot be read: {error.strerror or error}"]) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError([f"{path}: not a csv file: {error}"]) from None


def boxes_from(given: str | Path | Detector | None) -> Boxes:
    """Where instances are, from what a user gives: nothing, a file, a function."""
    if given is None:
        return own_box
    return BoxFile(given) if isinstance(given, (str, Path)) else detected(given)


def told_boxes(given: str | Path | Detector | None) -> str | None:
    """Boxes as they are told apart; of a function nothing but that it is one is known."""
    if given is None or not isinstance(given, (str, Path)):
        return None if given is None else "a function"
    return f"{given} ({digest([Path(given).read_text(encoding='utf-8', errors='replace')])})"
