"""What only the pixels tell: whether every image can be read, and whether the points lie in it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.columns import scans_of, width_mistake
from punctum.data.crop import ImageSize, inside
from punctum.data.errors import DataError, counted
from punctum.data.images import Image, ImageError, Intensity, intensity_range
from punctum.data.volumes import read_picture


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found in the images.

    Args:
        sizes: (N, D) as (H, W) or (D, H, W), the image of each instance.
        labelled: (K,) how many instances label this keypoint.
        outside: (K,) how many of those lie outside their image: trained as not visible.
        notes: the reader's notes and what was found here, one sentence each.
        suspicious: what is wrong with which instance, by its position.
        deep: (N,) whether the image of each instance has more than 8 bits.
    """

    sizes: NDArray[np.int64]
    labelled: NDArray[np.int64]
    outside: NDArray[np.int64]
    notes: tuple[str, ...]
    suspicious: dict[int, tuple[str, ...]]
    deep: NDArray[np.bool_]


def check_images(annotations: Annotations, intensity: Intensity = "range") -> NDArray[np.int64]:
    """Decodes every image once.

    Args:
        annotations: whose images.
        intensity: how they are to be scaled; a float image that leaves [0, 1] cannot be with "range".
    Returns:
        (N, D) as (H, W) or (D, H, W), the image of each instance.
    Raises:
        DataError: images that cannot be used, all of them.
    """
    return _sizes(annotations, _decode_all(annotations, intensity))


def inspect(
    annotations: Annotations,
    intensity: Intensity = "range",
    on_image: Callable[[Path, Image], object] | None = None,
) -> Inspection:
    """Decodes every image once and compares the points with it.

    Args:
        annotations: whose images and points.
        intensity: how the images are to be scaled; see `check_images`.
        on_image: called with each good image while it is there, from several threads.
    Raises:
        DataError: images that cannot be used, all of them.
    """
    facts = _decode_all(annotations, intensity, on_image)
    sizes = _sizes(annotations, facts)
    if annotations.dims == 1:
        _check_widths(annotations, sizes)
    within = np.zeros(annotations.visibility.shape, dtype=bool)
    overlap = np.ones(len(annotations), dtype=bool)
    for size in np.unique(sizes, axis=0):
        rows = (sizes == size).all(1)
        within[rows] = inside(annotations.keypoints[rows], tuple(size.tolist())[: annotations.dims])
        overlap[rows] = _overlaps(annotations.boxes[rows], size)
    outside = annotations.labelled & ~within
    notes = [*annotations.notes]
    if outside.any():
        notes.append(f"{counted(int(outside.sum()), 'labelled point')} outside the image: trained as not visible")
    if not overlap.all():
        notes.append(f"{counted(int((~overlap).sum()), 'instance')} whose box lies outside the image")
    return Inspection(
        sizes=sizes,
        labelled=annotations.labelled.sum(0),
        outside=outside.sum(0),
        notes=(*notes, *_dark(facts)),
        suspicious=_suspicious(annotations, outside, overlap),
        deep=np.array([facts[image].dtype != "uint8" for image in annotations.images], dtype=bool),
    )


@dataclass(frozen=True)
class _Facts:
    """What is kept of a decoded image."""

    size: ImageSize
    dtype: str
    brightest: float


def _facts(path: Path, intensity: Intensity, on_image: Callable[[Path, Image], object] | None) -> _Facts | ImageError:
    try:
        image = read_picture(path)
        if image.dtype in (np.float32, np.int16):
            intensity_range(image, intensity)
        if on_image is not None:
            on_image(path, image)
    except ImageError as error:
        return error
    except ValueError as error:
        return ImageError(f"{path}: {error}")
    return _Facts(image.shape[:-1], str(image.dtype), float(image.max()))


def _sizes(annotations: Annotations, facts: dict[Path, _Facts]) -> NDArray[np.int64]:
    sizes = [facts[image].size for image in annotations.images]
    return np.array(sizes, dtype=np.int64).reshape(-1, annotations.picture_axes)


def _decode_all(
    annotations: Annotations, intensity: Intensity, on_image: Callable[[Path, Image], object] | None = None
) -> dict[Path, _Facts]:
    """Facts of every image; OpenCV lets go of the interpreter while it decodes, so threads do."""
    images = list(dict.fromkeys(annotations.images))
    with _quiet(), ThreadPoolExecutor() as pool:
        found = dict(
            zip(images, pool.map(partial(_facts, intensity=intensity, on_image=on_image), images), strict=True)
        )
    kinds = {2: "an image (H, W)", 3: "a volume (D, H, W)"}
    expected = annotations.picture_axes
    unreadable = [
        str(f) if isinstance(f, ImageError) else f"{path} is {kinds[len(f.size)]}, expected {kinds[expected]}"
        for path, f in found.items()
        if isinstance(f, ImageError) or len(f.size) != expected
    ]
    if unreadable:
        raise DataError([f"{annotations.source.name}: {reason}" for reason in unreadable])
    return {path: f for path, f in found.items() if isinstance(f, _Facts)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without OpenCV's own lines about broken files on the terminal: each comes back as an `ImageError`."""
    # OpenCV 5 moved the function.
    set_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    before = set_level(0)
    try:
        yield
    finally:
        set_level(before)


def _check_widths(annotations: Annotations, sizes: NDArray[np.int64]) -> None:
    """Refuse scans that have not as many columns as their labels."""
    wrong = [
        f"{annotations.images[scan.start]}: {width_mistake(int(sizes[scan.start, 1]), len(scan))}"
        for scan in scans_of(annotations)
        if sizes[scan.start, 1] != len(scan)
    ]
    if wrong:
        raise DataError(wrong)


def _overlaps(boxes: NDArray[np.float64], size: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether boxes (n, 2 D) meet an image of size (H, W) or (D, H, W); a missing one does."""
    dims = len(size)
    low, high = boxes[:, :dims], boxes[:, :dims] + boxes[:, dims:]
    return ~np.asarray((high < 0).any(1) | (low > size[::-1]).any(1))


def _dark(facts: dict[Path, _Facts]) -> list[str]:
    """16-bit images that use a corner of their range look black to the network."""
    dark = sum(f.dtype == "uint16" and f.brightest < 65535 / 8 for f in facts.values())
    if not dark:
        return []
    return [
        f"{counted(dark, '16-bit image')} below an eighth of the full range: intensity 'percentile' stretches them"
    ]


def _place(value: float) -> str:
    """A coordinate to a tenth of a pixel, and what is beyond all pictures in few digits."""
    return f"{value:.1f}" if abs(value) < 1e6 else f"{value:.3g}"


def _suspicious(
    annotations: Annotations, outside: NDArray[np.bool_], overlap: NDArray[np.bool_]
) -> dict[int, tuple[str, ...]]:
    found = {}
    for n in np.flatnonzero(outside.any(1) | ~overlap).tolist():
        box = [] if overlap[n] else [f"its box {annotations.boxes[n].tolist()} lies outside the image"]
        points = (
            f"{annotations.schema.names[k]} at ({', '.join(_place(v) for v in point)}) lies outside the image"
            for k, point in enumerate(annotations.keypoints[n])
            if outside[n, k]
        )
        found[n] = (*box, *points)
    return found
