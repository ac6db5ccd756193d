"""Boxes as they are sent: JSON beside pictures, or numbers in the address."""

import json
import math
from typing import Any

from punctum.serve.limits import Limits, RequestError

Box = tuple[float, float, float, float]
_FORM = (
    "boxes is JSON with one entry per picture: null for the whole picture, [x, y, width, height], or a list of these"
)


def parse_boxes(text: str, pictures: int, limits: Limits) -> list[list[Box | None]]:
    """The instances of each picture.

    Args:
        text: JSON, a list with an entry per picture: null, a box, or a list of boxes.
        pictures: how many there are.
        limits: `instances` bounds all boxes together.
    Raises:
        RequestError: 422 of another form, naming the place; 413 of too many.
    Example:
        >>> parse_boxes("[null, [1, 2, 30, 40]]", 2, Limits())
        [[None], [(1.0, 2.0, 30.0, 40.0)]]
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise RequestError(422, f"boxes is not JSON; {_FORM}") from None
    if not isinstance(given, list):
        raise RequestError(422, _FORM)
    if len(given) != pictures:
        raise RequestError(422, f"{len(given)} entries in boxes for {pictures} pictures; {_FORM}")
    found = [_of_picture(entry, f"boxes[{i}]") for i, entry in enumerate(given)]
    _check_count(sum(map(len, found)), limits)
    return found


def parse_query(boxes: list[str], limits: Limits) -> list[Box | None]:
    """The instances of the only picture: each `x,y,width,height`; none: the whole picture.

    Raises:
        RequestError: as `parse_boxes`.
    """
    _check_count(len(boxes), limits)
    return [_box(text.split(","), f"box={text[:80]}") for text in boxes] or [None]


def check_inside(box: Box | None, size: tuple[int, ...], where: str) -> None:
    """Refuse a box that shows nothing of its picture, whose size is (H, W)."""
    if box is None:
        return
    x, y, width, height = box
    if x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
        raise RequestError(422, f"{where}: the box {list(box)} lies beside the picture of {size[1]} x {size[0]} px")


def _of_picture(entry: Any, where: str) -> list[Box | None]:
    if entry is None:
        return [None]
    if isinstance(entry, list) and entry and all(isinstance(one, list) for one in entry):
        return [_box(one, f"{where}[{i}]") for i, one in enumerate(entry)]
    return [_box(entry, where)]


def _box(values: Any, where: str) -> Box:
    if not isinstance(values, list) or len(values) != 4 or any(isinstance(v, bool) for v in values):
        raise RequestError(422, f"{where} is not four numbers: x, y, width, height, in pixels")
    try:
        x, y, width, height = (float(v) for v in values)
    except (TypeError, ValueError, OverflowError):
        raise RequestError(422, f"{where} is not four numbers: x, y, width, height, in pixels") from None
    # Larger than any picture: beyond it the crop's map could not be inverted.
    if not all(math.isfinite(v) and abs(v) < 1e6 for v in (x, y, width, height)):
        raise RequestError(422, f"{where}: its numbers must be finite and below a million pixels")
    if min(width, height) < 1e-3:
        raise RequestError(422, f"{where}: width and height must be positive")
    return x, y, width, height


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.instances:
        raise RequestError(413, f"{count} boxes; at most {limits.instances} are taken in one request")
