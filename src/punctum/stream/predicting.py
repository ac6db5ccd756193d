"""From items to points: pictures are read ahead, cut into batches, and what cannot be read is told or skipped."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from punctum.data.crop import CropSettings
from punctum.image_prediction import ImagePrediction, as_predictions
from punctum.points import Points
from punctum.predict_reading import Crops, Picture, Sample, load_ahead
from punctum.promise import Promise
from punctum.schema import Schema
from punctum.stream.boxes import Boxes, Detector, detected, own_box
from punctum.stream.items import Item, as_items

Key = TypeVar("Key")
Box = NDArray[np.float64]


class ItemError(ValueError):
    """A picture or frame that cannot be used; the message names it and says why."""


class Finder(Protocol):
    """What finds points in pictures; `punctum.predict.Predictor` and `punctum.deploy.OnnxPredictor` do."""

    pictures: int
    crop: CropSettings

    @property
    def schema(self) -> Schema: ...

    @property
    def promise(self) -> Promise | None: ...

    def pixels(self, picture: Picture, index: int) -> NDArray[Any]: ...

    def sample(self, picture: Picture, image: NDArray[Any], box: Box | None, spacing: Box | None) -> Sample: ...

    def assemble(self, samples: list[Sample]) -> Crops: ...

    def batch_points(self, batch: Crops, boxes: list[Box | None]) -> Points: ...


@dataclass(frozen=True, eq=False)
class Entry:
    """What became of an item: an instance of it, or none.

    Args:
        image, frame, time: as the item has them.
        instance: which one of its instances.
        box: of the instance.
        error: why there is none; empty where there is one, or where the picture is known to have no instance.
        found: there is an instance.
    """

    image: str
    instance: str = ""
    box: Box | None = None
    frame: int | None = None
    time: float | None = None
    error: str = ""
    found: bool = True


@dataclass(frozen=True, eq=False)
class Piece:
    """Entries in order, and the points of those that are found, in the same order; None where there is none."""

    entries: list[Entry]
    points: Points | None

    def predictions(self, schema: Schema) -> list[ImagePrediction]:
        """The instances one by one."""
        if self.points is None:
            return []
        found = [entry for entry in self.entries if entry.found]
        images, instances = [e.image for e in found], [e.instance for e in found]
        predictions = as_predictions(self.points, images, instances, schema.names)
        return [
            p if e.frame is None else replace(p, frame=e.frame, time=e.time)
            for p, e in zip(predictions, found, strict=True)
        ]


def predicted(
    finder: Finder,
    items: Iterable[tuple[Key, Item]],
    *,
    boxes: Boxes = own_box,
    on_error: Callable[[str], object] | None = None,
) -> Iterator[tuple[Key, Piece]]:
    """Points of a stream of items, a batch at a time; memory holds a few batches.

    Args:
        finder: the model.
        items: each with a key; a batch has items of one key, so that what is found of them does not depend on others.
        boxes: the instances of an item.
        on_error: called with the reason where an item cannot be read, which is then left out; None: raised.
    Raises:
        ItemError: an item cannot be read (named).
    """

    def load(keyed: tuple[Key, Item]) -> tuple[Key, list[tuple[Entry, Sample | None]]]:
        key, item = keyed
        try:
            return key, _load(finder, item, boxes)
        except (ValueError, OSError) as error:
            if on_error is None:
                raise ItemError(str(error)) from error
            reason = str(error).removeprefix(f"{item.picture}: ").removeprefix(f"{item.image}: ")
            return key, [(_entry(item, error=reason, found=False), None)]

    def batches(
        loaded: Iterator[tuple[Key, list[tuple[Entry, Sample | None]]]],
    ) -> Iterator[tuple[Key, list[Entry], Crops | None]]:
        for key, group in groupby(loaded, key=lambda pair: pair[0]):
            instances = (instance for _, found in group for instance in found)
            while taken := list(islice(instances, finder.pictures)):
                samples = [sample for _, sample in taken if sample is not None]
                yield key, [entry for entry, _ in taken], finder.assemble(samples) if samples else None

    for key, entries, crops in load_ahead(items, load, batches):
        for entry in entries:
            if entry.error and on_error is not None:
                on_error(f"{entry.image}: {entry.error}")
        regions = [entry.box for entry in entries if entry.found]
        yield key, Piece(entries, None if crops is None else finder.batch_points(crops, regions))


def instances(
    finder: Finder,
    images: Iterable[Picture | Item],
    boxes: Detector | None,
    on_error: Callable[[str], object] | None,
) -> Iterator[ImagePrediction]:
    """The instances of pictures as they come, one by one; see `punctum.predict.Predictor.stream`."""
    where = own_box if boxes is None else detected(boxes)
    items = ((0, item) for item in as_items(images))
    for _, piece in predicted(finder, items, boxes=where, on_error=on_error):
        yield from piece.predictions(finder.schema)


def _load(finder: Finder, item: Item, boxes: Boxes) -> list[tuple[Entry, Sample | None]]:
    """The crops of an item's instances."""
    if item.error or item.picture is None:
        raise ValueError(f"{item.image}: {item.error}")
    try:
        image = finder.pixels(item.picture, 0)
        found = boxes(item, image)
        crops = [finder.sample(item.picture, image, box, item.spacing) for _, box in found]
    except ValueError as error:
        if isinstance(item.picture, np.ndarray):  # As pixels it has no name of its own.
            raise ValueError(f"{item.image}: {str(error).removeprefix('array 0 ')}") from error
        raise
    if not found:
        return [(_entry(item, found=False), None)]
    return [
        (_entry(item, instance=instance, box=box), crop) for (instance, box), crop in zip(found, crops, strict=True)
    ]


def _entry(item: Item, **known: Any) -> Entry:
    return Entry(image=item.image, frame=item.frame, time=item.time, **known)
