"""What kind of picture some bytes are, and how large it will be: from their first bytes, without decoding."""

import re
import struct
from collections.abc import Callable

from punctum.data.jpeg import read_header

Size = tuple[int, int]

# TIFF: width and height of the image, and of its tiles, which are decoded whole.
_WIDTHS, _HEIGHTS = (256, 322), (257, 323)
_INTEGERS = {3: "H", 4: "I", 16: "Q"}


def kind_of(data: bytes) -> str | None:
    """The media type that the first bytes tell; None of what is none of those that are known here.

    Example:
        >>> kind_of(b"BM and so on"), kind_of(b"<html>")
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


def _gif(data: bytes) -> Size:
    width, height = struct.unpack_from("<HH", data, 6)
    return height, width


def _pnm(data: bytes) -> Size | None:
    found = _PNM.match(data)
    return None if found is None else (int(found[2]), int(found[1]))


def _bmp(data: bytes) -> Size:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    # Below zero: the rows are stored from the top.
    return abs(height), abs(width)


def _tiff(data: bytes) -> Size | None:
    order = "<" if data[:2] == b"II" else ">"
    # BigTIFF's numbers are twice as long.
    big = b"+" in data[:4]
    start_at, start_of, count_of, step, value = (8, "Q", "Q", 20, 12) if big else (4, "I", "H", 12, 8)
    (start,) = struct.unpack_from(order + start_of, data, start_at)
    (count,) = struct.unpack_from(order + count_of, data, start)
    first = start + struct.calcsize(order + count_of)
    found: dict[int, int] = {}
    for entry in range(first, min(first + step * count, len(data)), step):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in (*_WIDTHS, *_HEIGHTS) and kind in _INTEGERS:
            (found[tag],) = struct.unpack_from(order + _INTEGERS[kind], data, entry + value)
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


# Between the numbers of a PNM's header stand blanks and comments.
_GAP = rb"(?:\s|#[^\n]*\n)+"
_PNM = re.compile(rb"P[1-6]" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})\s")
_STARTS = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"II+\0": "image/tiff",
    b"MM\0+": "image/tiff",
    b"BM": "image/bmp",
    b"GIF8": "image/gif",
    **{b"P%d" % n: "image/x-portable-anymap" for n in range(1, 7)},
}
_SIZES: dict[str, Callable[[bytes], Size | None]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/tiff": _tiff,
    "image/bmp": _bmp,
    "image/webp": _webp,
    "image/gif": _gif,
    "image/x-portable-anymap": _pnm,
}
