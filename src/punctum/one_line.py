"""Words from files that others wrote, made safe to print: one line, no control characters, no end without sight."""

import re

LONGEST = 400

# C0 and C1, line and paragraph separators, marks that turn the direction of writing, halves of surrogate pairs.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str, longest: int = LONGEST) -> str:
    """The text with its control characters written out, its middle left out where it is too long.

    Args:
        text: of any origin.
        longest: number of characters that are shown.
    Example:
        >>> one_line("a\\nb\\x1b[31m.png")
        'a\\\\nb\\\\x1b[31m.png'
        >>> one_line("a" * 50 + "z" * 50, longest=20)
        'aaaaaaaaaa ... (80 more) ... zzzzzzzzzz'
    """
    if len(text) > longest:
        half = longest // 2
        text = f"{text[:half]} ... ({len(text) - 2 * half} more) ... {text[-half:]}"
    return _UNSAFE.sub(lambda found: repr(found[0])[1:-1], text)


def told(error: BaseException) -> str:
    """An error of Python's or a library's own, for a message of ours: its kind and what it says, however long.

    Example:
        >>> told(KeyError("nose"))
        "KeyError: 'nose'"
    """
    return f"{type(error).__name__}: {one_line(str(error))}"


def is_plain(text: str) -> bool:
    """Whether a text can stand in a table or a file as it is.

    Example:
        >>> is_plain("left eye"), is_plain("left\\neye")
        (True, False)
    """
    return _UNSAFE.search(text) is None
