"""What the verbs' parsers share: options that mean the same everywhere, in the same words."""

from typing import Any

FLIP_TEST = "average each prediction with that of the mirrored picture"
COMPILE = "compile the network first: a minute or more, paid back after thousands of pictures"
DECODE = "which place to say: head, mean, mode, median, oks, oks:SIGMA or pck:DISTANCE"
AS_CALIBRATED = " (default: as calibrated, else head)"


def parser_of(verb: str, description: str) -> Any:
    """The parser of a verb, without options yet; its library is imported here, so that `--help` answers at once."""
    from jsonargparse import ArgumentParser

    return ArgumentParser(prog=f"punctum {verb}", description=description)


def numbers(text: str, option: str) -> tuple[float, ...]:
    """Numbers with commas between them.

    Raises:
        ValueError: they are none.
    Example:
        >>> numbers("0.1,5", "--thresholds")
        (0.1, 5.0)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{option}: {text!r} is not a list of numbers such as 0.1,0.5") from None
