"""JSON that others wrote: whatever is wrong with it is a ValueError."""

import json
import math
from pathlib import Path
from typing import Any


def parse_json(content: bytes) -> Any:
    """The value that some bytes mean, with or without a byte-order mark.

    Raises:
        ValueError: they are not UTF-8, not JSON, nested too deeply, or hold a number without end.
    Example:
        >>> parse_json(b"[1, 2]")
        [1, 2]
        >>> parse_json(b"[" * 10**6)
        Traceback (most recent call last):
            ...
        ValueError: not JSON: it is nested too deeply
    """
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("not JSON: it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not JSON: it is not UTF-8 text (byte {error.start})") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None


def read_json(path: str | Path) -> Any:
    """The value of a JSON file.

    Raises:
        ValueError: as `parse_json`; the file is named.
        OSError: it cannot be read.
    """
    path = Path(path)
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is {error}") from None


def number(value: Any) -> float:
    """A JSON number as a float; NaN for anything else, and for integers beyond all floats.

    Example:
        >>> number(3), number(True), number("3"), number(10**400)
        (3.0, nan, nan, nan)
    """
    if type(value) not in (int, float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan
