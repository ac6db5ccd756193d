"""Pieces of a stream as files: arrays of numbers and a list of what they are of. Nothing is pickled."""

import io
import json
import zipfile
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.points import Points, Trust
from punctum.stream.predicting import Entry, Piece

Arrays = dict[str, NDArray[Any]]


def joined(pieces: list[Piece]) -> Piece:
    """Pieces one after the other."""
    points = [piece.points for piece in pieces if piece.points is not None]
    return Piece([entry for piece in pieces for entry in piece.entries], Points.join(points) if points else None)


def to_bytes(piece: Piece, state: str) -> bytes:
    """A piece as the contents of an `.npz` file, with the state of the files that it was made from."""
    entries = [_plain(entry) for entry in piece.entries]
    text = json.dumps({"state": state, "entries": entries})
    content = io.BytesIO()
    arrays = {} if piece.points is None else _arrays(piece.points)
    np.savez(content, allow_pickle=False, about=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)
    return content.getvalue()


def from_bytes(content: bytes) -> tuple[Piece, str]:
    """The same back.

    Raises:
        ValueError: these are no such contents.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(arrays.pop("about").tobytes())
        entries = [_entry(row) for row in about["entries"]]
        return Piece(entries, _points(arrays) if arrays else None), str(about["state"])
    except (KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"not a piece of a prediction: {error}") from error


def _plain(entry: Entry) -> dict[str, Any]:
    """What is not as usual, as JSON has it."""
    row = {f.name: getattr(entry, f.name) for f in fields(entry)}
    row["box"] = None if entry.box is None else np.asarray(entry.box).tolist()
    return {key: value for key, value in row.items() if key == "image" or value != getattr(_USUAL, key)}


def _entry(row: dict[str, Any]) -> Entry:
    box = row.get("box")
    return Entry(**{**row, "box": None if box is None else np.array(box, dtype=np.float64)})


_USUAL = Entry(image="")


def _arrays(value: Any, name: str = "") -> Arrays:
    """Every array of a dataclass, those within others as `outer.inner`."""
    if value is None:
        return {}
    if is_dataclass(value):
        inner = {f.name: getattr(value, f.name) for f in fields(value)}
    elif isinstance(value, dict):
        inner = value
    else:
        return {name: np.asarray(value)}
    return {key: a for k, part in inner.items() for key, a in _arrays(part, f"{name}.{k}" if name else k).items()}


def _points(arrays: Arrays) -> Points:
    trust = {name.removeprefix("trust."): v for name, v in arrays.items() if name.startswith("trust.")}
    own: dict[str, Any] = {name: value for name, value in arrays.items() if "." not in name}
    return Points(**{"covariance": None, **own, "trust": _trust(trust) if trust else None})


def _trust(arrays: Arrays) -> Trust:
    flags = {name.removeprefix("flags."): v for name, v in arrays.items() if name.startswith("flags.")}
    own: dict[str, Any] = {name: v for name, v in arrays.items() if "." not in name and name != "levels"}
    return Trust(**{"area": None, **own, "levels": tuple(arrays["levels"].tolist()), "flags": flags})
