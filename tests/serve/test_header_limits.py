"""What the first bytes tell, held against what the decoder makes of all of them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum.data.picture_header import kind_of, size_in_header
from punctum.serve.limits import MEDIA_TYPES
from serve.uploads import ENDINGS, encoded


@pytest.mark.parametrize("kind", MEDIA_TYPES)
@pytest.mark.parametrize("size", [(1, 1), (17, 300), (301, 2)])
def test_size_is_that_of_the_decoded_picture(kind: str, size: tuple[int, int]) -> None:
    data = encoded(np.zeros((*size, 3), np.uint8), kind)
    assert kind_of(data) == kind
    assert size_in_header(data) == cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2] == size


@pytest.mark.parametrize("quality", [50, 101])
def test_webp_with_and_without_loss(quality: int) -> None:
    data = cv2.imencode(".webp", np.zeros((40, 70, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
    assert data[12:16] in (b"VP8 ", b"VP8L")
    assert size_in_header(data) == (40, 70)


def test_extended_webp_says_its_canvas() -> None:
    alpha = cv2.imencode(".webp", np.zeros((40, 70, 4), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 50])[1].tobytes()
    if alpha[12:16] == b"VP8X":
        assert size_in_header(alpha) == (40, 70)
    made = b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + (69).to_bytes(3, "little") + (39).to_bytes(3, "little")
    assert size_in_header(made) == (40, 70)


def test_tiff_tiles_count_as_they_are_decoded_whole() -> None:
    """A picture of 1 x 1 px whose only tile is 60000 x 60000."""
    entries = [(256, 1), (257, 1), (322, 60000), (323, 60000)]
    fields = b"".join(
        tag.to_bytes(2, "big") + (3).to_bytes(2, "big") + (1).to_bytes(4, "big") + value.to_bytes(2, "big") + b"\0\0"
        for tag, value in entries
    )
    data = b"MM\0*" + (8).to_bytes(4, "big") + len(entries).to_bytes(2, "big") + fields
    assert size_in_header(data) == (60000, 60000)


@pytest.mark.parametrize("kind", ENDINGS)
def test_cut_headers_have_no_size(kind: str) -> None:
    data = encoded(np.zeros((20, 20, 3), np.uint8), kind)
    assert size_in_header(data[:12]) is None


@settings(max_examples=150, deadline=None)
@given(
    start=st.sampled_from(
        [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"BM", b"RIFF0000WEBPVP8X", b""]
    ),
    rest=st.binary(max_size=80),
)
def test_no_bytes_break_it(start: bytes, rest: bytes) -> None:
    size = size_in_header(start + rest)
    assert size is None or min(size) >= 0
