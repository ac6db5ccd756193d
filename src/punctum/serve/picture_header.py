"""What kind of picture some bytes are, and how large it will be: from their first bytes, without decoding."""

import struct
from collections.abc import Callable

from punctum.data.jpeg import read_header

Size = tuple[int, int]
MEDIA_TYPES = ("image/jpeg", "image/png", "image/tiff", "image/bmp", "image/webp")

# TIFF: width and height of the image, and of its tiles, which are decoded whole.
_WIDTHS, _HEIGHTS = (256, 322), (257, 323)
_SHORT, _LONG = 3, 4


def kind_of(data: bytes) -> str | None:
    """The media type that the first bytes tell; None of what is no picture that is served.

    Example:
        >>> kind_of(b"BM and so on"), kind_of(b"GIF89a")
        ('image/bmp', None)
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _STARTS.items() if data.startswith(start)), None)


def size_in_header(data: bytes) -> Size | None:
    """(H, W) as the header says, before any turning; None where it does not say, or is cut short.

    Example:
        >>> size_in_header(b"BM" + bytes(12) + struct.pack("<Iii", 40, 640, -480))
        (480, 640)
    """
    kind = kind_of(data)
    if kind is None:
        return None
    try:
        return _SIZES[kind](data)
    except (struct.error, IndexError, ValueError):
        return None


def _jpeg(data: bytes) -> Size | None:
    header = read_header(data)
    return None if header is None else header.size


def _png(data: bytes) -> Size | None:
    width, height = struct.unpack_from(">II", data, 16)
    return (height, width) if data[12:16] == b"IHDR" else None


def _bmp(data: bytes) -> Size:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    # Below zero: the rows are stored from the top.
    return abs(height), abs(width)


def _tiff(data: bytes) -> Size | None:
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    found: dict[int, int] = {}
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in (*_WIDTHS, *_HEIGHTS) and kind in (_SHORT, _LONG):
            (found[tag],) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), data, entry + 8)
    if _WIDTHS[0] not in found or _HEIGHTS[0] not in found:
        return None
    return max(found.get(tag, 0) for tag in _HEIGHTS), max(found.get(tag, 0) for tag in _WIDTHS)


def _webp(data: bytes) -> Size | None:
    form = data[12:16]
    if form == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif form == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif form == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        return None
    return (height, width) if len(data) >= 30 else None


_STARTS = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"BM": "image/bmp",
}
_SIZES: dict[str, Callable[[bytes], Size | None]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/tiff": _tiff,
    "image/bmp": _bmp,
    "image/webp": _webp,
}
