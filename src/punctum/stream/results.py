"""A finished stream, read back piece by piece: what files and drawings are made from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from punctum.image_prediction import ImagePrediction
from punctum.schema import Schema
from punctum.stream.journal import Journal
from punctum.stream.predicting import Entry, Piece

# A source's number and an image's name to what the picture is called.
Namer = Callable[[int, str], str]
# Pieces held where pictures of several of them belong together.
HELD = 8


def as_named(source: int, image: str) -> str:
    """The picture's name in the outputs."""
    return image


@dataclass(frozen=True, eq=False)
class Results:
    """What was found of all sources.

    Args:
        journal: where it is.
        schema: the keypoints.
        videos: of each source, whether it is a video.
        level: position of the level, among those of the calibration, that is shown where there is room for one.
    """

    journal: Journal
    schema: Schema
    videos: tuple[bool, ...]
    level: int = 0

    @property
    def frames(self) -> bool:
        """Whether some of it has frames and times."""
        return any(self.videos)

    def pieces(self) -> Iterator[Piece]:
        """All of it in order, a piece at a time."""
        for source in range(len(self.videos)):
            yield from self.journal.pieces(source)

    def predictions(self) -> Iterator[ImagePrediction]:
        """All instances in order."""
        for piece in self.pieces():
            yield from piece.predictions(self.schema)

    def entries(self) -> Iterator[Entry]:
        """What became of each item, in order."""
        for piece in self.pieces():
            yield from piece.entries

    def frames_of(self, source: int) -> Iterator[tuple[Entry, list[ImagePrediction]]]:
        """The frames of a video in order, each with its instances."""
        pairs = (pair for piece in self.journal.pieces(source) for pair in self._paired(piece))
        # A frame's instances may lie in two batches, or two pieces.
        for _, group in groupby(pairs, key=lambda pair: pair[0].image):
            together = list(group)
            yield together[0][0], [p for _, p in together if p is not None]

    def by_picture(self, named: Namer = as_named) -> Iterator[tuple[str, Entry, list[ImagePrediction]]]:
        """Each picture once, by its name, with its instances from all sources; frames of videos behind the others.

        Args:
            named: what a picture of a source is called, where that is not the name in the outputs.
        """
        places: dict[str, list[tuple[int, int, int]]] = {}
        for source, video in enumerate(self.videos):
            for number, piece in enumerate([] if video else self.journal.pieces(source)):
                for row, entry in enumerate(piece.entries):
                    places.setdefault(named(source, entry.image), []).append((source, number, row))

        @lru_cache(maxsize=HELD)
        def paired(source: int, number: int) -> list[tuple[Entry, ImagePrediction | None]]:
            return self._paired(self.journal.read(source, number))

        for name, rows in places.items():
            pairs = [paired(source, number)[row] for source, number, row in rows]
            yield name, pairs[0][0], [p for _, p in pairs if p is not None]
        for source in self._videos():
            for entry, found in self.frames_of(source):
                yield entry.image, entry, found

    def _videos(self) -> list[int]:
        return [source for source, video in enumerate(self.videos) if video]

    def _paired(self, piece: Piece) -> list[tuple[Entry, ImagePrediction | None]]:
        found = iter(piece.predictions(self.schema))
        return [(entry, next(found) if entry.found else None) for entry in piece.entries]
