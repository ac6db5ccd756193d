"""A JSON file's content, or what is wrong with the file as it is told to users."""

from pathlib import Path
from typing import Any

from punctum.data.errors import DataError
from punctum.json_file import parse_json


def read_json(source: Path) -> Any:
    """The content of a JSON file, with or without a byte-order mark.

    Raises:
        DataError: the file cannot be read, or is not JSON.
    """
    try:
        return parse_json(source.read_bytes())
    except OSError as error:
        raise DataError([f"{source}: cannot be read: {error.strerror or error}"]) from None
    except ValueError as error:
        raise DataError([f"{source.name}: {error}"]) from None


def kind(value: Any) -> str:
    """What messages call a JSON value.

    Example:
        >>> kind([1]), kind(None), kind(1.5)
        ('a list', 'null', 'a number')
    """
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
