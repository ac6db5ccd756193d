"""Pictures on their way to what finds points in them: read, cut out, and all of that ahead of it by threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from os import cpu_count
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from punctum.data.crop import CropSettings, crop_image, crop_matrix, to_image_matrix
from punctum.data.images import ImageError, as_image
from punctum.data.volumes import as_volume, is_volume, read_picture, read_spacing

# Batches that are read, or waiting, while one is computed: what bounds the memory.
AHEAD = 2
READERS = min(16, max(4, cpu_count() or 1))
# Of crops that are kept between looking at the pictures and predicting: 890 of them at 224 px.
KEPT_BYTES = 512 * 2**20

Picture = str | Path | NDArray[Any]
# A crop, its map to pixels, and the size of its picture. As its network has them: tensors, or arrays.
Sample = tuple[Any, Any, tuple[int, ...]]
# A batch of those: (B, C, *input_size), (B, D + 1, D + 1), (B, D).
Crops = tuple[Any, Any, NDArray[np.int64]]
Item = TypeVar("Item")
T = TypeVar("T")
Batch = TypeVar("Batch")


def pixels_of(picture: Picture, axes: int, name: str) -> NDArray[Any]:
    """A picture as (*S, C).

    Args:
        picture: a file, or an array.
        axes: of the pictures that the model takes.
        name: what an array is called in messages.
    Raises:
        ValueError: it cannot be read, or has other axes.
    """
    if isinstance(picture, np.ndarray):
        return as_image(picture, name) if axes == 2 else as_volume(picture, name)
    image = read_picture(picture)
    if image.ndim - 1 != axes:
        kinds = {2: "images", 3: "volumes (.npy, .npz)"}
        raise ValueError(f"{picture}: the model finds points in {kinds[axes]}, this is one of the {kinds[5 - axes]}")
    return image


def crop_of(
    picture: Picture,
    image: NDArray[Any],
    box: Sequence[float] | NDArray[np.float64] | None,
    spacing: Sequence[float] | NDArray[np.float64] | None,
    settings: CropSettings,
) -> tuple[NDArray[np.float32], NDArray[np.float64], tuple[int, ...]]:
    """A decoded picture's crop (C, *input_size), the map from there to pixels, and the picture's size.

    Args:
        picture: what was decoded: a volume's file may say how long its voxels are.
        image: (*S, C).
        box: (2 D,) in pixels; None: the whole picture.
        spacing: millimetres per voxel; None: what the file says.
        settings: of the model.
    """
    size = image.shape[:-1]
    if spacing is None and isinstance(picture, (str, Path)) and is_volume(picture):
        spacing = read_spacing(picture)
    length = None if spacing is None else np.asarray(spacing, dtype=np.float64)
    region = None if box is None else np.asarray(box, dtype=np.float64)
    matrix = crop_matrix(region, size, settings, spacing=length)
    try:
        crop = crop_image(image, matrix, settings)
    except ValueError as error:
        raise ImageError(f"{picture if isinstance(picture, (str, Path)) else 'array'}: {error}") from None
    return crop, to_image_matrix(matrix, settings.input_size), size


def read_ahead(
    load: Callable[[int], T], assemble: Callable[[list[T]], Batch], count: int, batch_size: int
) -> Iterator[Batch]:
    """Batches in order, read by threads while earlier ones are used; at most `AHEAD` of them wait.

    Args:
        load: sample i; called in several threads.
        assemble: a batch of samples in order; called in a thread of its own.
        count: samples in all.
        batch_size: of all batches but the last.
    Raises:
        Exception: whatever `load` raised, at its batch's turn; what was still waiting is not read any more.
    Example:
        >>> list(read_ahead(lambda i: i * i, sum, count=5, batch_size=2))
        [1, 13, 16]
    """

    def gathered(samples: list[Future[T]]) -> Batch:
        return assemble([sample.result() for sample in samples])

    readers, assembler = ThreadPoolExecutor(READERS), ThreadPoolExecutor(1)

    def submitted() -> Iterator[Future[Batch]]:
        for start in range(0, count, batch_size):
            stop = min(start + batch_size, count)
            yield assembler.submit(gathered, [readers.submit(load, i) for i in range(start, stop)])

    batches = submitted()
    try:
        waiting = deque(islice(batches, 1 + AHEAD))
        while waiting:
            batch = waiting.popleft().result()
            waiting.extend(islice(batches, 1))
            yield batch
    finally:
        for pool in (readers, assembler):
            pool.shutdown(cancel_futures=True)


def load_ahead(
    items: Iterable[Item], load: Callable[[Item], T], batches: Callable[[Iterator[T]], Iterator[Batch]]
) -> Iterator[Batch]:
    """The same of a stream that comes in its own time, a film say: what is loaded, in order, made into batches.

    At most `READERS` items are held until they are loaded, and `AHEAD` batches wait.

    Args:
        items: iterated in a thread of its own.
        load: one item; called in several threads.
        batches: what is loaded to batches; called in the items' thread.
    Raises:
        Exception: whatever was raised by any of them, at its batch's turn.
    Example:
        >>> list(load_ahead(range(5), lambda i: i * i, lambda loaded: iter([sum(loaded)])))
        [30]
    """
    readers, assembler = ThreadPoolExecutor(READERS), ThreadPoolExecutor(1)

    def loaded() -> Iterator[T]:
        begun: deque[Future[T]] = deque()
        for item in items:
            if len(begun) == READERS:
                yield begun.popleft().result()
            begun.append(readers.submit(load, item))
        while begun:
            yield begun.popleft().result()

    ready = batches(loaded())

    def following() -> list[Batch]:
        return list(islice(ready, 1))

    try:
        waiting = deque(assembler.submit(following) for _ in range(1 + AHEAD))
        while found := waiting.popleft().result():
            waiting.append(assembler.submit(following))
            yield found[0]
    finally:
        # The stream's thread first: it hands work to the others.
        for pool in (assembler, readers):
            pool.shutdown(cancel_futures=True)


class KeptCrops:
    """Crops of pictures that were decoded for another purpose, as many as fit; the rest is decoded again.

    Args:
        make: instance and its decoded picture to its crop.
        images: the picture of each instance.
        axes: of the pictures that the model takes; of others nothing is kept.
        limit: bytes.
    """

    def __init__(
        self, make: Callable[[int, NDArray[Any]], Sample], images: Sequence[Path], axes: int, limit: int
    ) -> None:
        self._make, self._axes, self._left = make, axes, limit
        self._instances: dict[Path, list[int]] = {}
        for i, path in enumerate(images):
            self._instances.setdefault(path, []).append(i)
        self._kept: dict[int, Sample] = {}
        self._lock = Lock()

    def add(self, path: Path, image: NDArray[Any]) -> None:
        """Keep the crops of a picture's instances; called from several threads."""
        for i in self._instances[path] if image.ndim - 1 == self._axes else ():
            if self._left <= 0:
                return
            sample = self._make(i, image)
            with self._lock:
                self._left -= sample[0].nbytes
                if self._left >= 0:
                    self._kept[i] = sample

    def take(self, i: int) -> Sample | None:
        """The crop of instance i, which is not kept any longer; None where there is none."""
        return self._kept.pop(i, None)
