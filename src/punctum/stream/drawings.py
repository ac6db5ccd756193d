"""Predictions drawn into their pictures and videos, one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from punctum.data.errors import counted
from punctum.data.images import Intensity, to_unit
from punctum.data.volumes import is_volume, read_picture
from punctum.draw import write_png
from punctum.image_prediction import ImagePrediction
from punctum.overlays import draw_instances, draw_volume
from punctum.schema import Schema
from punctum.stream.draw_video import TRAIL, draw_video
from punctum.stream.items import Annotated, Pictures, Source
from punctum.stream.results import Results
from punctum.stream.video import Video, is_video


@dataclass(frozen=True)
class Drawing:
    """What to draw, and where.

    Args:
        to: a folder, for pictures as PNG files and videos as .mp4; or the file of a single video.
        ellipses: draw regions, or the heatmaps' spread.
        trail: how many frames a point's way is shown in videos.
    """

    to: Path
    ellipses: bool = False
    trail: int = TRAIL

    def check(self, sources: Sequence[Source]) -> None:
        """Refuse what cannot be drawn there, before any work is done.

        Raises:
            ValueError: a video file, but pictures or several videos.
        """
        if self.trail < 0:
            raise ValueError(f"trail must be at least 0, got {self.trail}")
        if is_video(self.to) and not (len(sources) == 1 and isinstance(sources[0], Video)):
            raise ValueError(f"draw: {self.to} is a video, so one video is to be given; of pictures, name a folder")
        if is_video(self.to) and self.to.resolve() == Path(sources[0].name).resolve():
            raise ValueError(f"draw: {self.to} is the video itself, which would be lost")


def draw_all(results: Results, sources: Sequence[Source], drawing: Drawing, intensity: Intensity) -> str:
    """Draw everything; says what was drawn.

    A picture of several instances, or that was named twice, is drawn once.
    """
    taken: set[str] = set()
    frames = 0
    for number, source in enumerate(sources):
        if isinstance(source, Video) and _any_frame(results, number):
            out = drawing.to if is_video(drawing.to) else drawing.to / free_name(source.path.stem, taken, ".mp4")
            frames += draw_video(
                source.path,
                results.frames_of(number),
                out,
                results.schema,
                intensity=intensity,
                trail=drawing.trail,
                ellipses=drawing.ellipses,
                level=results.level,
            )
    pictures = 0
    paths = [_paths(source) for source in sources]
    lengths = _lengths(sources)
    for path, entry, found in results.by_picture(lambda source, image: paths[source].get(image, image)):
        if entry.frame is not None:
            break
        if entry.error:
            continue
        picture = _drawn(Path(path), found, results, drawing.ellipses, intensity, lengths.get(path))
        write_png(drawing.to / free_name(Path(path).stem, taken), picture)
        pictures += 1
    parts = [counted(pictures, "drawing")] if pictures or not frames else []
    return ", ".join([*parts, *([f"{counted(frames, 'frame')} of video"] if frames else [])])


def _any_frame(results: Results, source: int) -> bool:
    """Whether anything could be read of a video."""
    return any(not entry.error for entry, _ in results.frames_of(source))


def _drawn(
    path: Path,
    found: Sequence[ImagePrediction],
    results: Results,
    ellipses: bool,
    intensity: Intensity,
    spacing: NDArray[np.float64] | None,
) -> NDArray[np.uint8]:
    schema: Schema = results.schema
    if is_volume(path):
        return draw_volume(path, found, schema, spacing=spacing, ellipses=ellipses, level=results.level)
    image = (to_unit(read_picture(path), intensity) * 255).astype(np.uint8)
    return draw_instances(image, found, schema, ellipses=ellipses, level=results.level)


def _paths(source: Source) -> dict[str, str]:
    """The files of annotated pictures, whose names in the outputs are those of the annotation."""
    if not isinstance(source, Annotated):
        return {}
    return dict(zip(source.annotations.image_names, map(str, source.annotations.images), strict=True))


def _lengths(sources: Sequence[Source]) -> Mapping[str, NDArray[np.float64] | None]:
    """Millimetres per voxel, by file."""
    known: dict[str, NDArray[np.float64] | None] = {}
    for source in sources:
        if isinstance(source, Pictures):
            known |= zip(map(str, source.paths), source.spacing or [None] * len(source.paths), strict=True)
        elif isinstance(source, Annotated) and source.annotations.spacing is not None:
            known |= zip(map(str, source.annotations.images), source.annotations.spacing, strict=True)
    return known


def free_name(stem: str, taken: set[str], ending: str = ".png") -> str:
    """A file name for the stem; two pictures of one name in two folders get two drawings."""
    name, n = stem, 1
    while name + ending in taken:
        n += 1
        name = f"{stem}-{n}"
    taken.add(name + ending)
    return name + ending
