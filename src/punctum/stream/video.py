"""Videos frame by frame, upright, with the time stamps of the file: whatever FFmpeg decodes, through PyAV."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.images import ImageError, check_size
from punctum.data.limits import max_pixels
from punctum.stream.items import Item, digest, stamp

VIDEO_ENDINGS = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".flv", ".3gp",
    ".ogv", ".gif", ".h264", ".h265", ".hevc", ".mjpeg", ".y4m",
)  # fmt: skip

# What FFmpeg plays by opening other files, wherever they are.
PLAYLISTS = ("concat", "dash", "hls", "imf")


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
                    pixels, error = (None, error) if error else _pixels(frame)
                    time = None if error else frame.time
                    yield Item(f"{self.path}#{i}", pixels, frame=i, time=time, error=error)
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
        expected, read, shown, damaged = _listed(container, stream), 0, 0, False
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
            damaged |= packet.is_corrupt
            try:
                decoded = packet.decode()
            except av.error.FFmpegError as error:
                shown, damaged = shown + 1, True
                yield None, f"cannot be decoded: {error.strerror}"
                continue
            for frame in decoded:
                shown += 1
                yield frame, "its data are damaged" if frame.is_corrupt else ""
    if read < expected:
        yield None, f"the file is cut off: it should hold {expected} frames, and ends after {read}"
    elif damaged and 0 < shown < read:
        yield None, f"the file is cut off or damaged: it holds data of {read} frames, of which {shown} come out"
    elif not shown:
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
        # A name is never taken for an address, nor does what stands in the file lead anywhere but to files.
        container = av.open(f"file:{path}", metadata_errors="ignore", options={"protocol_whitelist": "file"})
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: cannot be opened as a video: {error.strerror} (cut off or damaged?)") from None
    with container:
        if any(name in PLAYLISTS for name in container.format.name.split(",")):
            raise VideoError(f"{path}: it is a list of other files, which are not opened: give the videos themselves")
        if not container.streams.video:
            raise VideoError(f"{path}: there is no video in this file")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise VideoError(f"{path}: FFmpeg has no decoder for its pictures (cut off or damaged?)")
        _check_size(stream, path)
        yield container, stream


def _check_size(stream: Any, path: Path) -> None:
    """As of pictures: no more pixels than are allowed, in the file's head or in any frame."""
    try:
        check_size((stream.height, stream.width), path)
    except ImageError as error:
        raise VideoError(str(error)) from None
    stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(max_pixels())}


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


def _pixels(frame: Any) -> tuple[NDArray[Any] | None, str]:
    """`upright`, or the reason why there is none: a frame of odd pixels, or more than fits into memory."""
    try:
        return upright(frame), ""
    except (pyav().error.FFmpegError, ValueError, MemoryError) as error:
        return None, f"its pixels cannot be had: {error}"


def upright(frame: Any) -> NDArray[Any]:
    """A frame as RGB (H, W, 3), uint8 or uint16, turned by its display matrix."""
    deep = max(part.bits for part in frame.format.components) > 8
    # Degrees against the clock, as `rot90` counts; others than quarter turns are no camera's.
    quarters = round(frame.rotation / 90)
    pixels = frame.to_ndarray(format="rgb48le" if deep else "rgb24")
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels
