"""A video with its points drawn in: skeleton, trails, ellipses; the frame times are those of the original."""

from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from punctum.data.images import Intensity, to_unit
from punctum.draw import LEGIBLE, enlarge, keypoint_colours
from punctum.files import write_again
from punctum.image_prediction import ImagePrediction
from punctum.overlays import draw_enlarged
from punctum.schema import Schema
from punctum.stream.predicting import Entry
from punctum.stream.video import frames, opened, pyav, upright

Picture = NDArray[np.uint8]
TRAIL = 10
# Of the newest part of a trail, of 255.
OPACITY = 230
# As good as the eye can tell, and small: x264's scale, where 18 to 28 are usual.
QUALITY = "20"
# Of MPEG-4, whose clock has 16 bits.
COARSE = Fraction(1, 1000)


def draw_video(
    source: Path,
    found: Iterator[tuple[Entry, list[ImagePrediction]]],
    out: Path,
    schema: Schema,
    *,
    intensity: Intensity = "range",
    trail: int = TRAIL,
    ellipses: bool = False,
    level: int = 0,
) -> int:
    """Write a video with predictions drawn in; returns how many frames it has.

    Args:
        source: the original.
        found: its frames in order, each with its instances; those that could not be read are left out.
        out: the file; H.264 where PyAV has an encoder for it, else MPEG-4.
        schema: the keypoints.
        intensity: which pixel values become black and white.
        trail: how many frames a point's way is shown; 0 for none.
        ellipses, level: as `overlays.draw_instances` has them.
    Raises:
        ValueError: the container cannot be written.
    """
    trails = Trails(schema, trail)

    def pictures() -> Iterator[tuple[Any, Picture]]:
        for (frame, error), (_, instances) in zip(frames(source), found, strict=False):
            if error or frame is None:
                continue
            image = (to_unit(upright(frame), intensity) * 255).astype(np.uint8)
            picture, matrix = enlarge(image)
            picture = trails.drawn(picture, matrix, instances)
            yield frame, draw_enlarged(picture, matrix, instances, schema, ellipses=ellipses, level=level)

    counted = 0

    def write(temporary: Path) -> None:
        nonlocal counted
        with opened(source) as (_, stream):
            clock, rate = Fraction(stream.time_base), stream.average_rate or Fraction(25)
        counted = _encode(temporary, pictures(), clock, Fraction(rate))

    write_again(out, write)
    return counted


class Trails:
    """The ways of points over the last frames, fading as they get older.

    Args:
        schema: the keypoints.
        length: frames; 0 draws nothing.
    """

    def __init__(self, schema: Schema, length: int) -> None:
        self._colours = keypoint_colours(schema)
        self._before: deque[dict[str, NDArray[np.float64]]] = deque(maxlen=length + 1)
        self.length = length

    def drawn(self, picture: Picture, matrix: NDArray[np.float64], instances: Sequence[ImagePrediction]) -> Picture:
        """The picture with the ways that lead to these instances; `matrix` takes original pixels to its own."""
        if not self.length:
            return picture
        places = {p.instance: p.keypoints @ matrix[:2, :2].T + matrix[:2, 2] for p in instances}
        self._before.append(places)
        colour, strength = picture.copy(), np.zeros(picture.shape[:2], np.uint8)
        width = max(1, round(2 * max(picture.shape[:2]) / LEGIBLE))
        # The oldest first: what is new lies on top.
        steps = list(zip(self._before, list(self._before)[1:], strict=False))
        for age, (old, new) in zip(range(len(steps), 0, -1), steps, strict=True):
            opacity = OPACITY * (1 - (age - 1) / self.length)
            for name in old.keys() & new.keys():
                for ends, shade in zip(np.stack([old[name], new[name]], 1), self._colours, strict=True):
                    if np.isfinite(ends).all():
                        whole = np.rint(ends.clip(-1e4, 1e4)).astype(np.int32)
                        cv2.polylines(colour, [whole], False, shade.tolist(), width)
                        cv2.polylines(strength, [whole], False, [opacity], width)
        share = strength[..., None].astype(np.float32) / 255
        return (picture + share * (colour.astype(np.float32) - picture)).round().astype(np.uint8)


def _encode(path: Path, pictures: Iterator[tuple[Any, Picture]], clock: Fraction, rate: Fraction) -> int:
    """Frames into a file, at their original times; the first one's size is everyone's."""
    av, count, stream, last = pyav(), 0, None, -1
    try:
        with av.open(str(path), "w") as container:
            for original, picture in pictures:
                if stream is None:
                    stream = _stream(av, container, _even(picture), clock, rate)
                    clock = stream.codec_context.time_base
                frame = av.VideoFrame.from_ndarray(_fitted(picture, (stream.height, stream.width)), format="rgb24")
                time = original.pts if original.pts is not None else count / rate / original.time_base
                # Frames that share a time, in a broken file or a coarser clock, still follow one another.
                last = max(last + 1, round(time * original.time_base / clock))
                frame.pts, frame.time_base = last, clock
                container.mux(stream.encode(frame))
                count += 1
            if stream is not None:
                container.mux(stream.encode(None))
    except av.error.FFmpegError as error:
        raise ValueError(
            f"{path.name}: a video cannot be written so: {error.strerror}; out.mp4 always can"
        ) from error
    return count


def _stream(av: Any, container: Any, size: tuple[int, int], clock: Fraction, rate: Fraction) -> Any:
    modern = "libx264" in av.codecs_available
    stream = container.add_stream("libx264" if modern else "mpeg4", rate=rate)
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    # A clock of its own, not one tick a frame: that would make every video one of constant rate.
    stream.codec_context.time_base = clock if modern or clock.denominator < 2**16 else COARSE
    stream.options = {"crf": QUALITY, "preset": "veryfast"} if modern else {"qscale": "3"}
    return stream


def _even(picture: Picture) -> tuple[int, int]:
    """Video has colours for 2 x 2 pixels: both sides are even."""
    height, width = picture.shape[:2]
    return height + height % 2, width + width % 2


def _fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """Black at the right and below where the picture is smaller; a film that changes its size is cut there."""
    whole = np.zeros((*size, 3), np.uint8)
    height, width = (min(a, b) for a, b in zip(size, picture.shape, strict=False))
    whole[:height, :width] = picture[:height, :width]
    return whole
