"""What a JPEG says beside its pixels: its size, whether it can be decoded at a part of it, whether it ends."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_START, _EXIF, _ORIENTATION = b"\xff\xd8", b"Exif\0\0", 0x0112
# Frame headers are FFC0 to FFCF, but for tables (C4), extensions (C8) and arithmetic conditioning (CC).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class JpegHeader:
    """Of one picture.

    Args:
        size: (H, W) as stored.
        reducible: 8 bits, gray or three colours, and upright as stored: its DCT blocks can be decoded at 1/2, 1/4 or
            1/8, and the first pixel is the first one of the file.
    """

    size: tuple[int, int]
    reducible: bool


def read_header(data: bytes) -> JpegHeader | None:
    """The header of a JPEG; None of another file, or one without a frame."""
    if not data.startswith(_START):
        return None
    upright, frame = True, None
    # To the last segment: Exif data may stand behind the frame's header.
    for marker, start, end in _segments(data):
        if marker == 0xE1 and data[start : start + 6] == _EXIF:
            upright = upright and _is_upright(data[start + 6 : end])
        if marker in _FRAMES and min(end, len(data)) - start >= 6:
            frame = struct.unpack_from(">BHHB", data, start)
    if frame is None:
        return None
    bits, height, width, components = frame
    return JpegHeader((height, width), upright and bits == 8 and components in (1, 3) and min(height, width) > 0)


def is_cut(data: bytes) -> bool:
    """Whether a JPEG has no end-of-image marker: OpenCV 4 fills such an image up with gray and says nothing."""
    if not data.startswith(_START):
        return False
    # Segments before the scan may hold a whole thumbnail with an end of its own: step over them.
    ends = [end for _, _, end in _segments(data)]
    return data.find(b"\xff\xd9", ends[-1] if ends else 2) < 0


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, where its content starts, where it ends) of each segment before the scan."""
    position = 2
    while data[position : position + 1] == b"\xff" and data[position + 1 : position + 2] not in (b"", b"\xda"):
        if data[position + 1] == 0xFF:  # Any number of these may fill the space before a marker.
            position += 1
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        yield data[position + 1], position + 4, end
        position = end


def _is_upright(tiff: bytes) -> bool:
    """Whether Exif data say so, or say nothing; what cannot be understood is not upright."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is None:
            return False
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", tiff, entry)
            if tag == _ORIENTATION:
                return kind == 3 and struct.unpack_from(order + "H", tiff, entry + 8) == (1,)
    except struct.error:
        return False
    return True
