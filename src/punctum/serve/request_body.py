"""What a request brings: its bytes, no more of them than are taken, and the pictures in them."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from punctum.serve.admission import Seat
from punctum.serve.limits import MIB, Limits, RequestError
from punctum.serve.picture_header import MEDIA_TYPES
from punctum.serve.request_boxes import Box, parse_boxes, parse_query

MULTIPART = "multipart/form-data"
_TAKEN = (*MEDIA_TYPES, "application/octet-stream")


@dataclass(frozen=True)
class Upload:
    """One picture as it was sent, and the instances in it; None for the whole picture."""

    name: str
    data: bytes
    boxes: list[Box | None]


async def read_uploads(request: Request, boxes: list[str], limits: Limits, seat: Seat) -> list[Upload]:
    """The pictures of a request, raw or as a form.

    Args:
        request: whose body nobody has read.
        boxes: of the address, for a raw picture.
        limits: bounds of bytes, pictures and boxes.
        seat: among the requests of the server; it counts the bytes.
    Raises:
        RequestError: 413 as soon as there are too many bytes, whatever the headers say; 415 of another media type;
            422 of a form that cannot be read.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in (*_TAKEN, MULTIPART):
        raise RequestError(
            415,
            f"content-type {kind[:80] or 'is missing'}: send a picture as {', '.join(MEDIA_TYPES)}, or several as "
            f"`images` of {MULTIPART}",
        )
    _check_length(request, limits)
    if kind == MULTIPART:
        if boxes:
            raise RequestError(422, "box stands in the address of a single picture; a form has a field `boxes`")
        return await _form(request, limits, seat)
    chunks = [chunk async for chunk in _bounded(request, limits, seat)]
    return [Upload("image", b"".join(chunks), parse_query(boxes, limits))]


def _check_length(request: Request, limits: Limits) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.body_bytes:
        raise _too_long(limits)


def _too_long(limits: Limits) -> RequestError:
    return RequestError(413, f"the request is longer than {limits.body_bytes / MIB:g} MiB")


async def _bounded(request: Request, limits: Limits, seat: Seat) -> AsyncGenerator[bytes, None]:
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > limits.body_bytes:
            raise _too_long(limits)
        seat.hold(len(chunk))
        yield chunk


async def _form(request: Request, limits: Limits, seat: Seat) -> list[Upload]:
    parser = MultiPartParser(
        request.headers, _bounded(request, limits, seat), max_files=limits.pictures, max_fields=8
    )
    # The body is held in memory and bounded there: no picture of anybody's shall touch the disk.
    parser.spool_max_size = limits.body_bytes + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        status = 413 if error.message.startswith("Too many files") else 422
        raise RequestError(status, f"the form cannot be read: {error.message[:200]}") from None
    # What its headers and boundaries may raise beyond that.
    except (KeyError, ValueError, UnicodeError, LookupError):
        raise RequestError(422, "the form cannot be read: its boundary or a part's headers are broken") from None
    try:
        unknown = sorted({key for key in form if key not in ("images", "boxes")})
        if unknown:
            raise RequestError(422, f"unknown field {unknown[0][:80]!r}: a form has `images` and `boxes`")
        files = form.getlist("images")
        if not files or not all(isinstance(file, UploadFile) for file in files):
            raise RequestError(422, "the form has no file `images`")
        uploaded = [file for file in files if isinstance(file, UploadFile)]
        instances = _boxes_of(form.getlist("boxes"), len(uploaded), limits)
        return [
            Upload(file.filename or f"image {i}", await file.read(), boxes)
            for i, (file, boxes) in enumerate(zip(uploaded, instances, strict=True))
        ]
    finally:
        await form.close()


def _boxes_of(given: list[UploadFile | str], pictures: int, limits: Limits) -> list[list[Box | None]]:
    if not given:
        return [[None] for _ in range(pictures)]
    if len(given) > 1 or not isinstance(given[0], str):
        raise RequestError(422, "boxes is one text field with JSON")
    return parse_boxes(given[0], pictures, limits)
