"""Predict sources piece by piece, and keep each piece: what is done is never done again."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import count, groupby

from punctum.stream.boxes import Boxes
from punctum.stream.items import Item, Source
from punctum.stream.journal import Journal
from punctum.stream.predicting import Finder, Piece, predicted
from punctum.stream.records import joined

# What a kill costs at most, in batches.
PIECE_BATCHES = 4


def predict_sources(
    finder: Finder,
    sources: list[Source],
    journal: Journal,
    *,
    boxes: Boxes,
    on_error: Callable[[str], object] | None,
    advance: Callable[[int], object],
) -> None:
    """Predict what is missing in the journal.

    A piece is always made of the same items, in the same batches, wherever the work was interrupted.

    Args:
        finder: the model.
        sources: of the items.
        journal: where pieces are kept.
        boxes: the instances of an item.
        on_error: called with the reason where an item cannot be read; None: it is raised.
        advance: called with n when n more instances are done.
    Raises:
        ValueError: an item cannot be read (named).
    """
    for number, source in enumerate(sources):
        _predict(finder, number, source, journal, boxes, on_error, advance)


def piece_size(finder: Finder) -> int:
    """Items of a piece."""
    return PIECE_BATCHES * finder.pictures


def already_done(finder: Finder, sources: list[Source], journal: Journal) -> int:
    """How many items need not be predicted again."""
    size = piece_size(finder)
    return sum(_first_missing(number, source, journal, size) * size for number, source in enumerate(sources))


def _predict(
    finder: Finder,
    number: int,
    source: Source,
    journal: Journal,
    boxes: Boxes,
    on_error: Callable[[str], object] | None,
    advance: Callable[[int], object],
) -> None:
    size = piece_size(finder)
    first = _first_missing(number, source, journal, size)
    if first == journal.finished(number):
        return
    seen = first * size

    def missing() -> Iterator[tuple[int, Item]]:
        nonlocal seen
        has = cache(lambda n: journal.has(number, n, _state(source, n, size)))
        for i, item in enumerate(source.items(first * size), first * size):
            seen = i + 1
            if not has(i // size):
                yield i // size, item

    def advanced(pairs: Iterator[tuple[int, Piece]]) -> Iterator[tuple[int, Piece]]:
        for n, piece in pairs:
            advance(len(piece.entries))
            yield n, piece

    found = advanced(predicted(finder, missing(), boxes=boxes, on_error=on_error))
    for n, group in groupby(found, key=lambda pair: pair[0]):
        journal.write(number, n, joined([piece for _, piece in group]), _state(source, n, size))
    journal.finish(number, -(-seen // size))


def _first_missing(number: int, source: Source, journal: Journal, size: int) -> int:
    end = journal.finished(number)
    return next(n for n in count() if n == end or not journal.has(number, n, _state(source, n, size)))


def _state(source: Source, n: int, size: int) -> str:
    return source.state(n * size, (n + 1) * size)
