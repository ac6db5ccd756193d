"""Fills the cache of windows: every image is decoded once, into shared memory or a file."""

import hashlib
import io
import json
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from punctum.data.annotations import Annotations
from punctum.data.augment import Augmentation
from punctum.data.crop import CropSettings
from punctum.data.images import Image, ImageError, intensity_range, read_image, scale_intensity
from punctum.data.inspection import Inspection
from punctum.data.windows import ROW, Windows, window_of_sample
from punctum.files import write_through

VERSION = 1
_MAGIC = b"punctumW"
_FOOTER = struct.Struct("<8sQ")
_SEGMENT = 256 << 20
_AT_ONCE = 64

Advance = Callable[[int], None]


class _Store(Protocol):
    """Takes the windows' bytes one after the other, and says where it put them: segment and start."""

    def put(self, pixels: Image) -> tuple[int, int]: ...


def planned_bytes(
    annotations: Annotations, inspected: Inspection, crop: CropSettings, augmentation: Augmentation | None
) -> int:
    """Bytes that the windows take: of images of more than 8 bits twice as many.

    Args:
        annotations: the samples.
        inspected: their images.
        crop, augmentation: as in `window_of_sample`.
    """
    total = 0
    for box, size, deep in zip(annotations.boxes, inspected.sizes.tolist(), inspected.deep.tolist(), strict=True):
        low, high, side = window_of_sample(box, tuple(size), crop, augmentation)
        total += 3 * (1 + deep) * math.prod(-(-(b - a) // side) for a, b in zip(low, high, strict=True))
    return total


def fill_memory(
    annotations: Annotations,
    crop: CropSettings,
    augmentation: Augmentation | None,
    planned: int,
    advance: Advance | None = None,
) -> Windows:
    """Windows in shared memory, which is gone with the processes that hold it.

    Args:
        annotations: the samples, on images.
        crop, augmentation: as in `window_of_sample`.
        planned: bytes that are expected: `planned_bytes`.
        advance: called with a number of samples that are done.
    Raises:
        ImageError: an image cannot be read.
    """
    store = _Memory(planned + 8 * len(annotations))
    rows = _fill(store, annotations, crop, augmentation, advance)
    return Windows(store.segments, rows)


def fill_file(
    path: Path,
    annotations: Annotations,
    crop: CropSettings,
    augmentation: Augmentation | None,
    advance: Advance | None = None,
) -> Windows:
    """Windows in a file, which gets its name when it is whole.

    Args:
        path: of the file.
        annotations, crop, augmentation, advance: as in `fill_memory`.
    Raises:
        ImageError: an image cannot be read.
        OSError: the file cannot be written.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            rows = _fill(_File(file), annotations, crop, augmentation, advance)
            end = file.tell()
            np.save(file, rows)
            file.write(_FOOTER.pack(_MAGIC, end))

    try:
        write_through(path, write)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # A full disk does not say which.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    return open_file(path)


def open_file(path: Path) -> Windows:
    """The windows in a file that `fill_file` wrote.

    Raises:
        ValueError: the file is another one.
    """
    with path.open("rb") as file:
        if file.seek(0, io.SEEK_END) < _FOOTER.size:
            raise ValueError(f"{path} is no cache of windows: delete it")
        file.seek(-_FOOTER.size, io.SEEK_END)
        magic, end = _FOOTER.unpack(file.read(_FOOTER.size))
        if magic != _MAGIC:
            raise ValueError(f"{path} is no cache of windows: delete it")
        file.seek(end)
        try:
            rows = np.load(file, allow_pickle=False)
        except (ValueError, EOFError):
            raise ValueError(f"{path} is damaged: delete it") from None
    return Windows(path, rows)


def key_of(annotations: Annotations, crop: CropSettings, augmentation: Augmentation | None) -> str:
    """What a cache depends on, as a name: the images (path, size, time of change), boxes, crop and reach.

    Raises:
        OSError: an image is missing.
    """
    reach = None if augmentation is None else (*augmentation.reach, augmentation.shift)
    said = json.dumps([VERSION, crop.input_size, crop.region, crop.padding, crop.intensity, reach])
    digest = hashlib.sha256(said.encode())
    for path, box in zip(annotations.images, annotations.boxes, strict=True):
        stat = path.stat()
        digest.update(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|".encode())
        digest.update(np.ascontiguousarray(box, "<f8").tobytes())
    return digest.hexdigest()[:16]


class _Memory:
    """Shared tensors, each for many windows."""

    def __init__(self, planned: int) -> None:
        self.segments: list[Tensor] = []
        self._left, self._used = planned, 0

    def put(self, pixels: Image) -> tuple[int, int]:
        count = pixels.nbytes
        if not self.segments or self._used + count > len(self.segments[-1]):
            size = max(count, min(_SEGMENT, max(self._left, 1 << 20)))
            self.segments.append(torch.empty(size, dtype=torch.uint8).share_memory_())
            self._used = 0
        start = self._used
        self.segments[-1].numpy()[start : start + count] = pixels.reshape(-1).view(np.uint8)
        # Every window starts where any kind of number may.
        self._used += _aligned(count)
        self._left -= _aligned(count)
        return len(self.segments) - 1, start


class _File:
    """One file, written from its beginning to its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def put(self, pixels: Image) -> tuple[int, int]:
        start = self._file.tell()
        self._file.write(pixels.tobytes())
        self._file.write(bytes(_aligned(pixels.nbytes) - pixels.nbytes))
        return 0, start


def _aligned(count: int) -> int:
    return -(-count // 8) * 8


def _fill(
    store: _Store,
    annotations: Annotations,
    crop: CropSettings,
    augmentation: Augmentation | None,
    advance: Advance | None,
) -> NDArray[Any]:
    rows = np.zeros(len(annotations), ROW)
    samples: dict[Path, list[int]] = {}
    for i, path in enumerate(annotations.images):
        samples.setdefault(path, []).append(i)
    cut = partial(_windows_of_image, annotations=annotations, crop=crop, augmentation=augmentation)
    with ThreadPoolExecutor() as pool:
        # A few images at a time: decoding must not run ahead of writing, or it fills the memory.
        for part in _parts(list(samples.items()), _AT_ONCE):
            for found in pool.map(cut, part):
                for i, row, pixels in found:
                    rows[i] = row
                    rows[i]["segment"], rows[i]["start"] = store.put(pixels)
                if advance:
                    advance(len(found))
    return rows


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _windows_of_image(
    item: tuple[Path, list[int]],
    annotations: Annotations,
    crop: CropSettings,
    augmentation: Augmentation | None,
) -> list[tuple[int, NDArray[Any], Image]]:
    path, samples = item
    image = read_image(path)
    try:
        levels = intensity_range(image, crop.intensity)
    except ValueError as error:
        raise ImageError(f"{path}: {error}") from None
    size = image.shape[0], image.shape[1]
    found = []
    for i in samples:
        low, high, side = window_of_sample(annotations.boxes[i], size, crop, augmentation)
        pixels = _averaged(image[low[1] : high[1], low[0] : high[0]], side)
        kept = levels
        if pixels.dtype == np.float32:
            pixels = np.rint(scale_intensity(pixels, *levels) * 65535).astype(np.uint16)
            kept = 0.0, 65535.0
        row = np.zeros((), ROW)
        row["height"], row["width"] = pixels.shape[:2]
        row["deep"], row["side"], row["first"] = pixels.dtype == np.uint16, side, low
        row["image_size"], row["levels"] = size, kept
        found.append((i, row, np.ascontiguousarray(pixels)))
    return found


def _averaged(image: Image, side: int) -> Image:
    """Averages over squares of a whole number of pixels; what a square has beyond the image is black."""
    if side == 1 or not image.size:
        return image if image.size else np.zeros((0, 0, 3), image.dtype)
    height, width = image.shape[:2]
    rows, columns = -(-height // side), -(-width // side)
    padded = cv2.copyMakeBorder(
        image, 0, rows * side - height, 0, columns * side - width, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0)
    )
    return np.asarray(cv2.resize(padded, (columns, rows), interpolation=cv2.INTER_AREA))
