"""How large a picture may be before it is decoded: a small file can hold more pixels than any memory."""

import os

VARIABLE = "PUNCTUM_MAX_PIXELS"
MAX_PIXELS = 300_000_000


def max_pixels() -> int:
    """The most pixels that a picture may have; the environment variable PUNCTUM_MAX_PIXELS says otherwise.

    Raises:
        ValueError: the variable is no positive whole number.
    Example:
        >>> max_pixels() >= 30_000 * 10_000
        True
    """
    given = os.environ.get(VARIABLE)
    if given is None:
        return MAX_PIXELS
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"{VARIABLE} must be a positive whole number, got {given!r}")
    return int(given)
