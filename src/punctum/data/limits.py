"""How large pictures, and what networks take, may be: a small file can hold, or ask for, more than any memory."""

import os

VARIABLE = "PUNCTUM_MAX_PIXELS"
MAX_PIXELS = 300_000_000

# What a network takes at most; a file that asks for more is damaged, or means harm.
LARGEST_INPUT = 2**26

# Pixels from the first that a box reaches at most: far beyond, the maps to and from it have no inverse in floats.
FARTHEST = 1e9


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
