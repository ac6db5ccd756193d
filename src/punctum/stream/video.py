"""Videos frame by frame, upright, with the time stamps of the file: whatever FFmpeg decodes, through PyAV."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.stream.items import Item, digest, stamp

VIDEO_ENDINGS = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".flv", ".3gp",
    ".ogv", ".gif", ".h264", ".h265", ".hevc", ".mjpeg", ".y4m",
)  # fmt: skip


class VideoError(ValueError):
    """A file of which not one frame can be had."""


def is_video(path: str | Path) -> bool:
    """Whether a file is a video, by its ending.

    Example:
        >>> is_video("a/b.MP4"), is_video("b.png")
        (True, False)
    """
    return Path(path).suffix.lower() in VIDEO_ENDINGS


@dataclass(frozen=True, eq=False)
class Video:
    """The frames of a video file as a source of items.

    Frames are numbered from 0 in the order in which they are shown; one that cannot be decoded keeps its number, and
    its item says why. So does a single item without a number, where the file cannot be opened. Frames are turned as
    the file's rotation flag says; formats with more than 8 bits stay deep (uint16). Reading always goes from the
    beginning: to enter a video elsewhere is not exact with every codec.

    Args:
        path: the file.
    Raises:
        ImportError: PyAV is missing.
    """

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def count(self) -> int | None:
        """What the file says of itself, by frames or by duration; it need not be true."""
        try:
            with opened(self.path) as (_, stream):
                if stream.frames:
                    return int(stream.frames)
                seconds = stream.duration * stream.time_base if stream.duration else None
                return None if seconds is None or not stream.average_rate else round(seconds * stream.average_rate)
        except VideoError:  # It will be told when its turn comes.
            return None

    def items(self, start: int = 0) -> Iterator[Item]:
        try:
            for i, (frame, error) in enumerate(frames(self.path)):
                if i >= start:
                    name = f"{self.path}#{i}"
                    pixels = None if error else upright(frame)
                    yield Item(name, pixels, frame=i, time=None if error else frame.time, error=error)
        except VideoError as reason:
            yield Item(str(self.path), None, error=str(reason).removeprefix(f"{self.path}: "))

    def contents(self) -> str:
        return digest([str(self.path)])

    def state(self, start: int, stop: int) -> str:
        return digest([stamp(self.path)])


def read_video(path: str | Path) -> Iterator[Item]:
    """The frames of a video, for `Predictor.stream`.

    Example:
        >>> for item in read_video("mouse.mp4"):  # doctest: +SKIP
        ...     print(item.frame, item.time, item.picture.shape)
    """
    return Video(Path(path)).items()


def frames(path: Path) -> Iterator[tuple[Any, str]]:
    """A video's frames as PyAV has them, each with the reason why it cannot be used, or "".

    Raises:
        VideoError: the file cannot be opened, or there is no frame in it.
    """
    av = pyav()
    with opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        expected, read, any_frame = _listed(container, stream), 0, False
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                yield None, f"the file is damaged, and nothing behind this frame can be read: {error.strerror}"
                return
            if packet is None:
                break
            read += packet.size > 0
            try:
                decoded = packet.decode()
            except av.error.FFmpegError as error:
                yield None, f"cannot be decoded: {error.strerror}"
                continue
            for frame in decoded:
                any_frame = True
                yield frame, "its data are damaged" if frame.is_corrupt else ""
    if read < expected:
        yield None, f"the file is cut off: it should hold {expected} frames, and ends after {read}"
    elif not any_frame:
        raise VideoError(f"{path}: the video holds no frame that can be decoded")


def _listed(container: Any, stream: Any) -> int:
    """How many packets the file's own index speaks of; 0 where it is not to be relied on."""
    if "mp4" not in container.format.name:
        return 0
    try:
        return len(stream.index_entries)
    except (AttributeError, IndexError):  # PyAV before 17 has none; of a file without packets it cannot be asked.
        return 0


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """A video file and its first video stream.

    Raises:
        VideoError: it is no video, or damaged beyond opening.
        OSError: there is no such file, or it may not be read.
    """
    av = pyav()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        container = av.open(str(path), metadata_errors="ignore")
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: cannot be opened as a video: {error.strerror} (cut off or damaged?)") from None
    with container:
        if not container.streams.video:
            raise VideoError(f"{path}: there is no video in this file")
        yield container, container.streams.video[0]


def pyav() -> Any:
    """The package av.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError(f"videos are read by PyAV: pip install 'punctum[video]' ({error})") from None
    return av


def upright(frame: Any) -> NDArray[Any]:
    """A frame as RGB (H, W, 3), uint8 or uint16, turned by its display matrix."""
    deep = max(part.bits for part in frame.format.components) > 8
    # Degrees against the clock, as `rot90` counts; others than quarter turns are no camera's.
    quarters = round(frame.rotation / 90)
    pixels = frame.to_ndarray(format="rgb48le" if deep else "rgb24")
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels
