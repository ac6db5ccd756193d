"""What a stream is made of: pictures one by one, wherever they come from."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from punctum.data import Annotations


@dataclass(frozen=True, eq=False)
class Item:
    """One picture, not read yet if it is a file.

    Args:
        image: what it is called in outputs: its path as given, `video.mp4#12` for a frame.
        picture: the file, or an RGB array (H, W, 3); None where there is nothing to read.
        instance: what tells several instances of a picture apart; empty for whole pictures.
        box: (2 D,) as (x, y[, z], width, height[, depth]) in its pixels, or None for the whole picture.
        spacing: of a volume, millimetres per voxel as (x, y, z), or None.
        frame: of a video, its number from 0.
        time: of a frame, seconds, as the file says.
        error: why there is no picture; empty where there is one.
    """

    image: str
    picture: Path | NDArray[Any] | None
    instance: str = ""
    box: NDArray[Any] | None = None
    spacing: NDArray[Any] | None = None
    frame: int | None = None
    time: float | None = None
    error: str = ""


def as_items(images: Iterable[str | Path | NDArray[Any] | Item]) -> Iterator[Item]:
    """Pictures as a user holds them, named as `Predictor.predict` names them."""
    for i, image in enumerate(images):
        if isinstance(image, Item):
            yield image
        elif isinstance(image, np.ndarray):
            yield Item(f"array {i}", image)
        else:
            yield Item(str(image), Path(image))


class Source(Protocol):
    """Pictures that belong together, in an order that stays."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    @property
    def count(self) -> int | None:
        """How many items there are, as far as is known without reading."""

    def items(self, start: int = 0) -> Iterator[Item]:
        """All items from the one at `start` on."""

    def contents(self) -> str:
        """What tells it from another source: names, not what is in the files."""

    def state(self, start: int, stop: int) -> str:
        """Changes where the files behind these items do."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Image files (or volumes), one instance each.

    Args:
        paths: the files.
        spacing: of each volume, or None.
    """

    paths: Sequence[Path]
    spacing: Sequence[NDArray[Any] | None] | None = None

    @property
    def name(self) -> str:
        return str(self.paths[0]) if len(self.paths) == 1 else f"{self.paths[0]} ... {self.paths[-1]}"

    @property
    def count(self) -> int:
        return len(self.paths)

    def items(self, start: int = 0) -> Iterator[Item]:
        spacing = self.spacing or [None] * len(self.paths)
        for path, length in islice(zip(self.paths, spacing, strict=True), start, None):
            yield Item(str(path), path, spacing=length)

    def contents(self) -> str:
        return digest([*map(str, self.paths), repr(self.spacing)])

    def state(self, start: int, stop: int) -> str:
        return digest(map(stamp, self.paths[start:stop]))


@dataclass(frozen=True, eq=False)
class Annotated:
    """The instances of an annotation file, with their boxes; labels are not used."""

    annotations: Annotations

    @property
    def name(self) -> str:
        return str(self.annotations.source)

    @property
    def count(self) -> int:
        return len(self.annotations)

    def items(self, start: int = 0) -> Iterator[Item]:
        a = self.annotations
        for i in range(start, len(a)):
            length = None if a.spacing is None else a.spacing[i]
            yield Item(a.image_names[i], a.images[i], a.ids[i], a.boxes[i], length)

    def contents(self) -> str:
        a = self.annotations
        return digest([*a.image_names, *a.ids, repr(a.boxes.tolist()), repr(a.spacing)])

    def state(self, start: int, stop: int) -> str:
        return digest(map(stamp, self.annotations.images[start:stop]))


def digest(words: Any) -> str:
    """A short name of a sequence of words."""
    found = hashlib.sha256()
    for word in words:
        found.update(word.encode() + b"\0")
    return found.hexdigest()[:16]


def stamp(path: Path) -> str:
    """Size and time of a file, which change when it does; of no file, nothing."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"
