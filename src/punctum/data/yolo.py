"""Ultralytics' YOLO-pose: data.yaml, and a text file of labels for each image."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.assemble import Instance, assemble, image_path
from punctum.data.errors import DataError, counted
from punctum.data.images import ImageError, image_size
from punctum.data.named import EDGE, PICTURE_ENDINGS, box_of, number
from punctum.schema import Schema

YAML = ("data.yaml", "dataset.yaml")


def read_yolo(path: str | Path, images: str | Path | None = None, *, labels_only: bool = False) -> Annotations:
    """Annotations from a data set of YOLO-pose.

    `kpt_shape`, `flip_idx` and `kpt_names` of the yaml file give the keypoints (without `kpt_names` they are called
    `keypoint_0` and so on). A line of a label file is class, box centre and size, then x, y and, where `kpt_shape`
    says so, 0 not labelled, 1 hidden or 2 visible. All are shares of the image's size, from its edges: a share s of a
    width w is the pixel s w - 0.5, and the mirror image of s is 1 - s, as in Ultralytics' own code. So the images
    must be there, even for labels alone. Without a third number, a point at 0 0 is not labelled.

    Args:
        path: the yaml file, whose `train` images are read, or a folder of images or labels of one split
            (`labels/val`), with the yaml file in one of the three folders above it.
        images: the folder of that split's images, where they are not where the yaml file says.
        labels_only: keep instances without a labelled point; see `assemble`.
    Raises:
        DataError: every mistake of the files at once, each with its line.
    """
    source, split = _yaml_of(Path(path))
    # PyYAML is not there where only exported models predict.
    from punctum.data.yaml_text import read_yaml

    content = read_yaml(source)
    mistakes: list[str] = []
    shape = _shape(source, content, mistakes)
    if shape is None:
        raise DataError(mistakes)
    schema = _schema(source, content, shape[0], mistakes)
    folder, labels = _folders(source, content, split, None if images is None else Path(images))
    reader = _Reader(folder, labels, *shape)
    instances = reader.read()
    return assemble(
        schema,
        instances,
        source=Path(path),
        folders=[folder],
        mistakes=[*mistakes, *reader.mistakes],
        notes=reader.notes(content),
        labels_only=labels_only,
    )


def yolo_yaml(folder: Path) -> Path | None:
    """The yaml file of a YOLO-pose data set that a folder holds."""
    found = [folder / name for name in YAML if (folder / name).is_file()]
    return next((file for file in found if b"kpt_shape" in file.read_bytes()), None)


def yaml_above(folder: Path) -> Path | None:
    """The yaml file of the data set of which the folder holds a split's images or labels."""
    places = list(folder.resolve().parents)[:3] if "labels" in folder.parts or "images" in folder.parts else []
    return next((file for place in places if (file := yolo_yaml(place)) is not None), None)


def _yaml_of(path: Path) -> tuple[Path, Path | None]:
    """The yaml file, and the folder of a split, None: the one for training."""
    if not path.is_dir():
        return path, None
    if (own := yolo_yaml(path)) is not None:
        return own, None
    above = yaml_above(path)
    if above is None:
        raise DataError([f"{path}: no {' or '.join(YAML)} with kpt_shape here or in the folders above"])
    return above, path.resolve()


def _shape(source: Path, content: dict[str, Any], mistakes: list[str]) -> tuple[int, int] | None:
    shape: Any = content.get("kpt_shape")
    good = isinstance(shape, list) and len(shape) == 2 and all(type(n) is int for n in shape)
    if not good or shape[0] < 1 or shape[0] > 10_000 or shape[1] not in (2, 3):
        mistakes.append(
            f"{source.name}: kpt_shape should be [K, 2] or [K, 3], K the number of keypoints, got {shape!r}"
        )
        return None
    return shape[0], shape[1]


def _schema(source: Path, content: dict[str, Any], count: int, mistakes: list[str]) -> Schema | None:
    names = _names(content.get("kpt_names"), count)
    if names is None:
        given = content.get("kpt_names")
        mistakes.append(f"{source.name}: kpt_names should be {counted(count, 'name')} for each class, got {given!r}")
        return None
    order: Any = content.get("flip_idx", list(range(count)))
    if not isinstance(order, list) or not all(type(k) is int for k in order) or sorted(order) != list(range(count)):
        mistakes.append(f"{source.name}: flip_idx should be each index from 0 to {count - 1} once, got {order!r}")
        return None
    if any(order[order[k]] != k for k in range(count)):
        mistakes.append(f"{source.name}: flip_idx {order!r} is not its own inverse")
        return None
    try:
        return Schema(names, flip_pairs=tuple((k, order[k]) for k in range(count) if k < order[k]))
    except ValueError as error:
        mistakes.append(f"{source.name}: {error}")
        return None


def _names(given: Any, count: int) -> tuple[str, ...] | None:
    """Names of the keypoints: for each class a list of them, of which the first is taken, or one list for all."""
    if given is None:
        return tuple(f"keypoint_{k}" for k in range(count))
    rows = list(given.values()) if isinstance(given, dict) else given
    names = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], list) else rows
    good = isinstance(names, list) and len(names) == count and all(isinstance(name, str | int) for name in names)
    return tuple(map(str, names)) if good else None


def _folders(source: Path, content: dict[str, Any], split: Path | None, images: Path | None) -> tuple[Path, Path]:
    """Where the images and the labels of the split are."""
    if split is not None:
        return images or _swap(split, "labels", "images"), _swap(split, "images", "labels")
    train = content.get("train")
    if not isinstance(train, str):
        raise DataError([f"{source.name}: train should be one folder of images, got {train!r}"])
    root, given = source.parent, content.get("path")
    named = Path(given) if isinstance(given, str) else Path()
    # A relative `path` counts from Ultralytics' own folder of data sets, which a copy of the data set is not in.
    tried = [named / train, root / named / train, root / train]
    folder = images or next((place for place in tried if place.is_dir()), None)
    if folder is None:
        raise DataError(
            [f"{source.name}: train: there is no folder {root / train}; --images names the one of images"]
        )
    if not folder.is_dir():
        raise DataError([f"{folder}: no such folder of images"])
    labels = _swap(folder, "images", "labels")
    if not labels.is_dir():
        labels = _swap(root / train, "images", "labels")
    return folder, labels


def _swap(folder: Path, old: str, new: str) -> Path:
    """The folder with its last part called `old` replaced: as Ultralytics finds labels by images."""
    parts = list(folder.parts)
    if old not in parts:
        return folder
    parts[len(parts) - 1 - parts[::-1].index(old)] = new
    return Path(*parts)


@dataclass
class _Reader:
    """One split being read: what is wrong with it and what was skipped gather here."""

    folder: Path
    labels: Path
    count: int
    numbers: int

    def __post_init__(self) -> None:
        self.mistakes: list[str] = []
        self.skipped: Counter[tuple[str, str]] = Counter()
        self.classes: set[str] = set()

    def notes(self, content: dict[str, Any]) -> list[str]:
        notes = [sentence.replace("{}", counted(n, noun)) for (sentence, noun), n in self.skipped.items() if n]
        if len(self.classes) > 1:
            notes.append(f"{len(self.classes)} classes become one: {', '.join(sorted(self.classes)[:10])}")
        left = [split for split in ("val", "test") if content.get(split)]
        if left:
            notes.append(f"only one split is read; {' and '.join(left)}: give the folder of labels, labels/{left[0]}")
        return notes

    def read(self) -> list[Instance]:
        found = []
        for image in sorted(self.folder.rglob("*")):
            if image.suffix.lower() not in PICTURE_ENDINGS or image.name.startswith("."):
                continue
            name = image.relative_to(self.folder).as_posix()
            label = (self.labels / name).with_suffix(".txt")
            if label.is_file():
                found += self._file(name, label)
            else:
                self.skipped["{} without a label file", "image"] += 1
        if not found and not self.mistakes:
            self.mistakes.append(f"{self.labels}: no labels of images in {self.folder}")
        return found

    def _file(self, name: str, label: Path) -> list[Instance]:
        try:
            lines = [line.split() for line in label.read_text(encoding="utf-8").splitlines()]
            height, width = image_size(image_path(self.folder, name))
        except (OSError, UnicodeDecodeError, ImageError, ValueError) as error:
            self.mistakes.append(f"{label.name}: {error}")
            return []
        size = np.array([width, height], dtype=np.float64)
        rows = [(i, line) for i, line in enumerate(lines, 1) if line]
        found = [self._line(f"{label.name}, line {i}", f"{name}:{i}", name, line, size) for i, line in rows]
        return [instance for instance in found if instance is not None]

    def _line(self, where: str, label: str, name: str, line: list[str], size: NDArray[np.float64]) -> Instance | None:
        values = np.array([number(cell) for cell in line])
        expected = 5 + self.count * self.numbers
        if len(values) != expected or np.isnan(values).any():
            what = "some are no numbers" if len(values) == expected else f"got {len(values)}"
            self.mistakes.append(f"{where}: expected {expected} numbers (class, box, {self.count} points): {what}")
            return None
        self.classes.add(line[0])
        centre, extent = values[1:3] * size, values[3:5] * size
        box = box_of(*(centre - extent / 2 - EDGE), *extent)
        table = values[5:].reshape(self.count, self.numbers)
        if self.numbers == 3:
            visibility = table[:, 2]
            if not np.isin(visibility, (0, 1, 2)).all():
                self.mistakes.append(f"{where}: visibilities should be 0, 1 or 2, got {sorted(set(visibility))}")
                return None
        else:
            visibility = np.where((table < 0).any(1) | (table == 0).all(1), 0, 2)
            self.skipped["{} at 0 0 taken as not labelled", "point"] += int((table == 0).all(1).sum())
        if box is None:
            self.mistakes.append(f"{where}: width and height of the box should not be negative")
            return None
        points = np.where(visibility[:, None] > 0, table[:, :2] * size - EDGE, np.nan)
        return Instance(where, name, label, points, visibility.astype(np.int8), box)
