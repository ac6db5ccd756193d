"""Bytes that somebody sent to a picture: what they would become is judged before they are decoded."""

from punctum.data.images import Image, ImageError, decode_image
from punctum.serve.limits import Limits, RequestError
from punctum.serve.picture_header import MEDIA_TYPES, kind_of, size_in_header

# How long a name in a message may be.
_NAME = 80


def decode_upload(data: bytes, name: str, limits: Limits) -> Image:
    """The picture as `read_image` would give it from a file.

    Args:
        data: the file's contents.
        name: for messages.
        limits: `pixels` bounds width times height.
    Returns:
        (H, W, 3), uint8, uint16 or float32.
    Raises:
        RequestError: 415 of what is no picture, 413 of one that is too large, 422 of one that is damaged.
    """
    name = name[:_NAME]
    if not data:
        raise RequestError(422, f"{name}: the picture is empty")
    if kind_of(data) is None:
        raise RequestError(415, f"{name}: not a picture of a kind that is served: {', '.join(MEDIA_TYPES)}")
    size = size_in_header(data)
    if size is None or 0 in size:
        raise RequestError(422, f"{name}: the picture's header is damaged or cut short")
    _check_pixels(size, name, limits)
    try:
        image = decode_image(data, name)
    except ImageError as error:
        raise RequestError(422, str(error)) from None
    # A header may lie about what follows it.
    _check_pixels(image.shape[:2], name, limits)
    return image


def _check_pixels(size: tuple[int, ...], name: str, limits: Limits) -> None:
    height, width = size
    if height * width > limits.pixels:
        raise RequestError(
            413, f"{name}: {width} x {height} px are {height * width:,} pixels; at most {limits.pixels:,} are taken"
        )
