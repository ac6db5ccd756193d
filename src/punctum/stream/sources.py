"""What was gathered, as sources of pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from punctum.data import Annotations
from punctum.data.errors import counted
from punctum.data.volumes import as_spacing, is_volume, read_spacing
from punctum.stream.gather import Gathered
from punctum.stream.items import Annotated, Pictures, Source, digest
from punctum.stream.video import Video


def source_of(found: Gathered, picture_axes: int, spacing: Sequence[float] | None, console: Console) -> Source:
    """One of what `gather` found as a source.

    Args:
        found: pictures, annotations or a video.
        picture_axes: of the pictures that the model takes.
        spacing: millimetres per voxel as (x, y, z), for volumes whose files do not say it.
        console: hears of volumes without a spacing.
    Raises:
        ValueError: a video for a model of volumes.
    """
    if isinstance(found, Annotations):
        return Annotated(found)
    if isinstance(found, Video):
        if picture_axes != 2:
            raise ValueError(f"{found.name}: the model finds points in volumes (.npy, .npz), this is a video")
        return found
    lengths = volume_spacings(found, spacing, console)
    return Pictures(found, [lengths.get(path) for path in found] if lengths else None)


def contents(sources: Sequence[Source]) -> str:
    """What tells these sources from others, for people and programs."""
    more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    return f"{sources[0].name}{more} ({digest(source.contents() for source in sources)})"


def volume_spacings(
    pictures: Sequence[Path], spacing: Sequence[float] | None, console: Console
) -> dict[Path, NDArray[np.float64] | None]:
    """What each volume's own file says, else what was given; those that nobody knows are told."""
    given = None if spacing is None else as_spacing(list(spacing))
    lengths = {
        path: stored if (stored := read_spacing(path)) is not None else given for path in filter(is_volume, pictures)
    }
    unknown = sum(length is None for length in lengths.values())
    if unknown:
        console.print(
            f"[yellow]note[/yellow] {counted(unknown, 'volume')} without a spacing: voxels are taken to be as long "
            "on every axis; --spacing X,Y,Z gives their millimetres"
        )
    return lengths
