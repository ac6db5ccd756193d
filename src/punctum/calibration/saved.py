"""Entries of a JSON file, each checked as it is read: what is wrong is named."""

from typing import Any

import torch
from torch import Tensor

# Python's integers go on beyond it, and become no float.
LARGEST = torch.finfo(torch.float64).max


class Entries:
    """A JSON object whose entries have names like `density.offset`.

    Args:
        content: what `json.loads` gave.
    Raises:
        ValueError: it is no object.
    Example:
        >>> Entries({"a": {"b": [[1, 2]]}}).numbers("a.b", (1, 2))
        tensor([[1., 2.]], dtype=torch.float64)
        >>> Entries({"a": {"b": [[1, "2"]]}}).numbers("a.b", (1, 2))
        Traceback (most recent call last):
            ...
        ValueError: a.b[0][1] is '2', not a finite number
    """

    def __init__(self, content: Any) -> None:
        if not isinstance(content, dict):
            raise ValueError(f"a calibration is a JSON object, got {type(content).__name__}")
        self.content = content

    def entry(self, name: str) -> Any:
        """The value of an entry; a ValueError if there is none."""
        value: Any = self.content
        for part in name.split("."):
            if not isinstance(value, dict) or part not in value:
                raise ValueError(f"{name} is missing")
            value = value[part]
        return value

    def numbers(
        self, name: str, shape: tuple[int | None, ...], low: float = -torch.inf, high: float = torch.inf
    ) -> Tensor:
        """Finite numbers within [low, high] as float64; None in the shape is any number of them, but none at all.

        Raises:
            ValueError: the entry, or a number in it, is something else.
        """
        values: list[float] = []
        lengths = list(shape)
        _collect(self.entry(name), name, lengths, 0, values)
        found = torch.tensor(values, dtype=torch.float64).reshape([n or 0 for n in lengths])
        if not bool(((found >= low) & (found <= high)).all()):
            raise ValueError(f"{name} must be within [{low:g}, {high:g}]")
        return found

    def covariances(self, name: str, shape: tuple[int, int, int]) -> Tensor:
        """Symmetric, positive definite matrices."""
        found = self.numbers(name, shape)
        if not torch.allclose(found, found.mT) or bool((torch.linalg.eigvalsh(found) <= 0).any()):
            raise ValueError(f"{name} must be symmetric, positive definite matrices")
        return found

    def whole(self, name: str, low: float = -torch.inf, high: float = torch.inf) -> int:
        """An integer within [low, high]."""
        value = self.entry(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{name} is {value!r}, not an integer within [{low:g}, {high:g}]")
        return value

    def word(self, name: str) -> str:
        """A string."""
        value = self.entry(name)
        if not isinstance(value, str):
            raise ValueError(f"{name} is {value!r}, not a string")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """Strings, one at least, no two alike."""
        value = self.entry(name)
        if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
            raise ValueError(f"{name} is not a list of strings")
        if len(set(value)) < len(value):
            raise ValueError(f"{name} holds a name twice")
        return tuple(value)


def _collect(value: Any, name: str, lengths: list[int | None], axis: int, into: list[float]) -> None:
    """Numbers of nested lists, whose lengths are checked, or filled in where they are None."""
    if axis == len(lengths):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= LARGEST:
            raise ValueError(f"{name} is {value!r:.40}, not a finite number")
        into.append(float(value))
        return
    if not isinstance(value, list):
        raise ValueError(f"{name} is {value!r:.40}, not a list")
    wanted = lengths[axis]
    if not value or len(value) != (wanted or len(value)):
        raise ValueError(f"{name} has {len(value)} entries, not {wanted or 'some'}")
    lengths[axis] = len(value)
    for i, inner in enumerate(value):
        _collect(inner, f"{name}[{i}]", lengths, axis + 1, into)
