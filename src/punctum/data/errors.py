"""How the mistakes and oddities of a data set are gathered, so that all of them are told at once."""

from collections.abc import Sequence

SHOWN = 20


class DataError(ValueError):
    """What is wrong with a data set: every mistake, each with its file and row.

    Args:
        mistakes: one sentence each; the message lists the first 20 and counts the rest.
    Example:
        >>> print(DataError(["train.json: annotation 3: it has no id", "train.json: annotation 4: it has no id"]))
        2 mistakes in the data:
          train.json: annotation 3: it has no id
          train.json: annotation 4: it has no id
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        lines = [f"{counted(len(self.mistakes), 'mistake')} in the data:", *self.mistakes[:SHOWN]]
        if len(self.mistakes) > SHOWN:
            lines.append(f"and {len(self.mistakes) - SHOWN} more")
        super().__init__("\n  ".join(lines) if len(self.mistakes) != 1 else self.mistakes[0])

    def __reduce__(self) -> tuple[type["DataError"], tuple[tuple[str, ...]]]:
        return type(self), (self.mistakes,)


def counted(number: int, noun: str, nouns: str = "") -> str:
    """A number and its noun; `nouns` is the plural where it is not made by an s.

    Example:
        >>> counted(1, "image"), counted(1200, "image"), counted(2, "box", "boxes")
        ('1 image', '1,200 images', '2 boxes')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {nouns or noun + 's'}"
