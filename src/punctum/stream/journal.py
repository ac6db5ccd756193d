"""What is done of a long prediction, piece by piece on the disk, so that it can go on after any interruption."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from punctum.alone import LOCK, remove_empty
from punctum.files import write_again
from punctum.stream.predicting import Piece
from punctum.stream.records import from_bytes, to_bytes

HEADER = "made-with.json"


class Journal:
    """A folder of pieces; every file in it is whole, even after a power cut.

    Args:
        folder: where; made here, or left by a prediction that was interrupted.
        made_with: model, options and sources, all that the points depend on, by name.
    Raises:
        ValueError: the folder is of a prediction with something else.
    """

    def __init__(self, folder: Path, made_with: Mapping[str, Any]) -> None:
        self.folder = folder
        self.begun = (folder / HEADER).is_file()
        if self.begun:
            self._check(dict(made_with))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / HEADER, json.dumps(dict(made_with), indent=1).encode() + b"\n")

    def _check(self, wanted: dict[str, Any]) -> None:
        changed = changes(self.folder / HEADER, wanted)
        if changed:
            raise ValueError(
                f"{self.folder} is what an interrupted prediction left, which was made with other settings: "
                f"{'; '.join(changed)}. Give the same command to go on, or remove the folder to begin anew"
            )

    def has(self, source: int, number: int, state: str) -> bool:
        """Whether a piece is done, and its files have not changed since."""
        try:
            return from_bytes(self._path(source, number).read_bytes())[1] == state
        except (OSError, ValueError):
            return False

    def read(self, source: int, number: int) -> Piece:
        """A piece that is done."""
        return from_bytes(self._path(source, number).read_bytes())[0]

    def write(self, source: int, number: int, piece: Piece, state: str) -> None:
        """Keep a piece."""
        _write(self._path(source, number), to_bytes(piece, state))

    def finish(self, source: int, pieces: int) -> None:
        """Remember that a source has no more than so many pieces."""
        _write(self._end(source), str(pieces).encode())

    def finished(self, source: int) -> int | None:
        """How many pieces a source has; None where its end has not been seen."""
        try:
            return int(self._end(source).read_text())
        except (OSError, ValueError):
            return None

    def pieces(self, source: int) -> Iterator[Piece]:
        """All pieces of a finished source, in order."""
        for number in range(self.finished(source) or 0):
            yield self.read(source, number)

    def done(self) -> int:
        """How many pieces are kept."""
        return len(list(self.folder.glob("[0-9]*.npz")))

    def remove(self) -> None:
        """All of it."""
        # The ends first, the header last: after a kill in between, what is left is still known for what it is.
        left = [path for path in self.folder.iterdir() if path.name != LOCK]
        for path in sorted(left, key=lambda path: (path.name == HEADER, path.suffix == ".npz")):
            path.unlink()
        remove_empty(self.folder)

    def _path(self, source: int, number: int) -> Path:
        return self.folder / f"{source:04}-{number:07}.npz"

    def _end(self, source: int) -> Path:
        return self.folder / f"{source:04}-end"


def changes(header: Path, wanted: Mapping[str, Any]) -> list[str]:
    """What has changed since a file was written that says what all was made with, in words."""
    try:
        before = json.loads(header.read_text(encoding="utf-8"))
    except ValueError:
        before = {}
    return told_changes(before, wanted)


def told_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Where two descriptions by name differ, in words.

    Example:
        >>> told_changes({"batch size": 32, "places": 0}, {"batch size": 16, "places": 0})
        ['batch size was 32, is 16']
    """
    return [
        f"{name} was {_told(before.get(name))}, is {_told(now.get(name))}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]


def _write(path: Path, content: bytes) -> None:
    write_again(path, lambda temporary: temporary.write_bytes(content))


def _told(value: Any) -> str:
    return "not given" if value is None else str(value)
