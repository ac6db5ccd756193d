"""Pictures as bytes, good and bad."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ENDINGS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/tiff": ".tif",
    "image/bmp": ".bmp",
    "image/webp": ".webp",
}


def spot(x: int = 5, y: int = 9, size: tuple[int, int] = (24, 32)) -> NDArray[np.uint8]:
    """Black, with one white pixel."""
    image = np.zeros((*size, 3), np.uint8)
    image[y, x] = 255
    return image


def encoded(image: NDArray[Any], kind: str = "image/png") -> bytes:
    """The file's contents."""
    return cv2.imencode(ENDINGS[kind], image)[1].tobytes()


def claiming(height: int, width: int) -> bytes:
    """A small PNG whose header says that it is of this size."""
    data = bytearray(encoded(spot()))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(data)
