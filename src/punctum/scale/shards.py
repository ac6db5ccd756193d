"""A long list of pictures cut into shards: each is predicted by itself, and becomes a file of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from punctum.stream.items import Annotated, Pictures, Source
from punctum.stream.video import Video

# Items of a shard: what a worker's death costs at most.
SHARD = 512
# Of a shard's items, for `Source.state`: all of them.
ALL = 2**62


@dataclass(frozen=True, eq=False)
class Shard:
    """Some pictures in order, or a whole video.

    Args:
        number: its place among all, from 0.
        source: the pictures, and no others.
    """

    number: int
    source: Source

    def path(self, folder: Path) -> Path:
        """Its file: the same whoever predicts it, and however often."""
        return folder / f"part-{self.number:05}.parquet"

    def state(self) -> str:
        """Changes where its files do."""
        return self.source.state(0, ALL)


def cut(sources: Sequence[Source], size: int = SHARD) -> list[Shard]:
    """Shards of at most so many items, in order; a video is one shard, since it can only be read from its beginning.

    Args:
        sources: what to cut.
        size: items of a shard.
    Raises:
        ValueError: a shard would hold nothing.
    Example:
        >>> pictures = Pictures([Path(f"{i}.png") for i in range(5)])
        >>> [shard.source.count for shard in cut([pictures], 2)]
        [2, 2, 1]
    """
    if size < 1:
        raise ValueError(f"shard must be at least 1 picture, got {size}")
    parts = (part for source in sources for part in _parts(source, size))
    return [Shard(number, part) for number, part in enumerate(parts)]


def _parts(source: Source, size: int) -> Iterator[Source]:
    if isinstance(source, Video):
        yield source
        return
    for start in range(0, source.count or 0, size):
        yield _part(source, start, start + size)


def _part(source: Source, start: int, stop: int) -> Source:
    if isinstance(source, Pictures):
        return Pictures(source.paths[start:stop], source.spacing and source.spacing[start:stop])
    if isinstance(source, Annotated):
        every = range(len(source.annotations))
        return Annotated(source.annotations.subset(every[start:stop]))
    raise ValueError(f"{source.name}: only pictures, annotation files and videos can be cut into shards")
