"""Sizes out of headers agree with what comes out of the decoder."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from punctum.data.images import ImageError, read_image
from punctum.data.picture_header import size_in_header

FILES = Path(__file__).parents[1] / "corpus" / "files" / "pictures"


@pytest.mark.parametrize("name", ["jpeg_named.png", "one_pixel.png", "one_column.png", "palette.png", "animated.gif",
                                  "animated.webp", "sixteen_bits.png", "bright.tif", "cmyk.jpg"])  # fmt: skip
def test_the_size_is_the_decoders(name: str) -> None:
    data = (FILES / name).read_bytes()
    assert size_in_header(data) == read_image(FILES / name).shape[:2]


@pytest.mark.parametrize("ending", [".bmp", ".ppm", ".pgm", ".webp", ".tif", ".jpg", ".png", ".gif"])
def test_every_kind(ending: str) -> None:
    image = np.zeros((7, 12, 1 if ending == ".pgm" else 3), np.uint8)
    assert size_in_header(cv2.imencode(ending, image)[1].tobytes()) == (7, 12)


def test_big_tiff() -> None:
    entries = [struct.pack("<HHQQ", tag, 4, 1, side) for tag, side in ((256, 70_000), (257, 80_000))]
    data = b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + struct.pack("<Q", 2) + b"".join(entries)
    assert size_in_header(data) == (80_000, 70_000)


@pytest.mark.parametrize("name", ["empty.png", "text.png", "header_only.png", "pickle.png"])
def test_what_does_not_say(name: str) -> None:
    assert size_in_header((FILES / name).read_bytes()) is None


def test_the_limit_is_the_users_to_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), np.uint8))
    monkeypatch.setenv("PUNCTUM_MAX_PIXELS", "1200")
    assert read_image(tmp_path / "a.png").shape == (30, 40, 3)
    monkeypatch.setenv("PUNCTUM_MAX_PIXELS", "1199")
    with pytest.raises(ImageError, match=r"a\.png: 40 x 30 px are more than the 1,199 pixels .* PUNCTUM_MAX_PIXELS"):
        read_image(tmp_path / "a.png")
    monkeypatch.setenv("PUNCTUM_MAX_PIXELS", "many")
    with pytest.raises(ValueError, match="PUNCTUM_MAX_PIXELS must be a positive whole number"):
        read_image(tmp_path / "a.png")
