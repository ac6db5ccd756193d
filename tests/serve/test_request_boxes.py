"""Boxes, right and wrong."""

import json

import pytest

from punctum.serve.limits import Limits, RequestError
from punctum.serve.request_boxes import check_inside, parse_boxes, parse_query

LIMITS = Limits(instances=3)


def test_each_form() -> None:
    found = parse_boxes("[null, [1, 2, 3, 4.5], [[1, 2, 3, 4], [5, 6, 7, 8]]]", 3, LIMITS.__class__())
    assert found == [[None], [(1.0, 2.0, 3.0, 4.5)], [(1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)]]
    assert parse_query([], LIMITS) == [None]
    assert parse_query(["1,2,3,4", "-5,6,7.5,8"], LIMITS) == [(1.0, 2.0, 3.0, 4.0), (-5.0, 6.0, 7.5, 8.0)]


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("", 422, "not JSON"),
        ("[" * 100_000, 422, "not JSON"),
        ("{}", 422, "one entry per picture"),
        ("[]", 422, "0 entries in boxes for 1 pictures"),
        ("[[1, 2, 3]]", 422, "boxes[0] is not four numbers"),
        ("[[]]", 422, "boxes[0] is not four numbers"),
        ('[[1, 2, 3, "a"]]', 422, "boxes[0] is not four numbers"),
        ("[[1, 2, 3, null]]", 422, "boxes[0] is not four numbers"),
        ("[[1, 2, 3, true]]", 422, "boxes[0] is not four numbers"),
        ("[[[1, 2, 3, 4], [1, 2, 0, 4]]]", 422, "boxes[0][1]: width and height must be positive"),
        ("[[NaN, 2, 3, 4]]", 422, "finite"),
        ("[[1, 2, 3, 1e400]]", 422, "finite"),
        (f"[[1, 2, 3, {10**400}]]", 422, "not four numbers"),
        ("[[1, 2, 3, 1e300]]", 422, "below a million"),
        ('["nose"]', 422, "boxes[0] is not four numbers"),
        (json.dumps([[[1, 2, 3, 4]] * 4]), 413, "4 boxes; at most 3"),
    ],
)
def test_what_is_wrong_is_said(text: str, status: int, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_boxes(text, 1, LIMITS)
    assert caught.value.status == status
    assert said in caught.value.message


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,four", "1,2,-3,4", "nan,1,2,3", "1,2,3,4,5"])
def test_wrong_boxes_of_the_address(text: str) -> None:
    with pytest.raises(RequestError, match="box="):
        parse_query([text], LIMITS)


@pytest.mark.parametrize(
    ("box", "seen"),
    [
        ((-5, -5, 6, 6), True),
        ((-5, 0, 5, 9), False),
        ((31.9, 0, 1, 1), True),
        ((32, 0, 1, 1), False),
        ((0, 24, 9, 9), False),
    ],
)
def test_a_box_must_show_something(box: tuple[float, float, float, float], seen: bool) -> None:
    if seen:
        check_inside(box, (24, 32), "a")
    else:
        with pytest.raises(RequestError, match="beside the picture of 32 x 24 px"):
            check_inside(box, (24, 32), "a")
