"""The last step of every reader: instances become `Annotations`, images are found, what is missing is told."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.errors import DataError, counted
from punctum.schema import Schema

NO_BOX = np.full(4, np.nan)


@dataclass(frozen=True)
class Instance:
    """One labelled thing, as a reader found it.

    Args:
        where: file and row, for messages: "train.json: annotation 17 (image 12.jpg)".
        image: the image's name as the file writes it.
        id: names the instance.
        keypoints: (K, D); NaN where unlabelled.
        visibility: (K,) of 0, 1, 2.
        box: (2 D,) as (x, y[, z], width, height[, depth]), or NaN.
        length: the reference length that the file gives, in pixels, or NaN.
        area: in pixels squared, or NaN.
    """

    where: str
    image: str
    id: str
    keypoints: NDArray[np.float64]
    visibility: NDArray[np.int8]
    box: NDArray[np.float64]
    length: float = np.nan
    area: float = np.nan


def assemble(
    schema: Schema | None,
    instances: Sequence[Instance],
    *,
    source: Path,
    folders: Sequence[Path],
    mistakes: Sequence[str],
    notes: Sequence[str],
    labels_only: bool = False,
) -> Annotations:
    """Annotations of every instance with a labelled point.

    Args:
        schema: None where the reader could not make one (then there are mistakes).
        instances: all that could be read.
        source: the annotation file.
        folders: where the images may be; the first that holds one of them is taken.
        mistakes, notes: what the reader found so far.
        labels_only: no image is looked for or need exist, and instances without a labelled point stay, so that
            the file's rows can be counted: for those who compare labels with predictions.
    Raises:
        DataError: there are mistakes, the reader's or those found here: images that are missing or lie
            outside their folder, nothing labelled in the whole file.
    """
    labelled = [i for i in instances if i.visibility.any()]
    mistakes = [*mistakes, *([] if labelled else _nothing_labelled(source, instances, mistakes))]
    kept = list(instances) if labels_only else labelled
    if labels_only:
        paths = {i.image: folders[0] / _posix(i.image) for i in kept}
    else:
        paths = _locate(kept, folders, source, mistakes)
    if mistakes or schema is None:
        raise DataError(mistakes)
    areas = np.array([i.area for i in kept])
    return Annotations(
        schema=schema,
        images=tuple(paths[i.image] for i in kept),
        image_names=tuple(i.image for i in kept),
        keypoints=np.stack([i.keypoints for i in kept]),
        visibility=np.stack([i.visibility for i in kept]),
        boxes=np.stack([i.box for i in kept]),
        ids=tuple(i.id for i in kept),
        source=source,
        notes=(*notes, *_notes(kept, len(instances) - len(kept))),
        lengths=_lengths(kept),
        areas=None if np.isnan(areas).all() else areas,
    )


def _nothing_labelled(source: Path, instances: Sequence[Instance], mistakes: Sequence[str]) -> list[str]:
    # Where every row is broken, its own message says so already.
    if mistakes and not instances:
        return []
    found = f"{counted(len(instances), 'instance')}, none with a labelled keypoint" if instances else "no instance"
    return [f"{source.name}: there is nothing to learn from: {found}"]


def _lengths(kept: Sequence[Instance]) -> NDArray[np.float64] | None:
    lengths = np.array([i.length for i in kept], dtype=np.float64)
    return lengths if np.isfinite(lengths).any() else None


def _notes(kept: Sequence[Instance], empty: int) -> list[str]:
    notes = []
    if empty:
        notes.append(f"{counted(empty, 'instance')} without a labelled keypoint left out")
    origin = sum(int(((i.keypoints == 0).all(-1) & (i.visibility > 0)).sum()) for i in kept)
    if origin:
        zero = ", ".join("0" * kept[0].keypoints.shape[-1])
        notes.append(f"{counted(origin, 'labelled point')} exactly at ({zero}): meant as missing?")
    unboxed = Counter(i.image for i in kept if np.isnan(i.box[0]))
    shared = sum(n > 1 for n in unboxed.values())
    if shared:
        notes.append(
            f"{counted(shared, 'image')} with several instances that have no box: the same whole image stands "
            f"for each of them, which no network can learn"
        )
    return notes


def _locate(kept: Sequence[Instance], folders: Sequence[Path], source: Path, mistakes: list[str]) -> dict[str, Path]:
    """The file of every image name; appends to `mistakes` what cannot be found, once per image."""
    first = {i.image: i.where for i in reversed(kept)}
    first = {name: first[name] for name in dict.fromkeys(i.image for i in kept)}
    folder = _folder_of(first, folders)
    if folder is None:
        if first:
            looked = ", ".join(str(f) for f in folders)
            name = next(iter(first))
            mistakes.append(f"{source.name}: no image is found; looked for {name!r} and others in: {looked}")
        return {}
    root = os.path.realpath(folder)
    paths = {}
    for name, where in first.items():
        try:
            paths[name] = image_path(folder, name, root)
        except ValueError as error:
            mistakes.append(f"{where}: {error}")
    return paths


def _folder_of(names: Iterable[str], folders: Sequence[Path]) -> Path | None:
    """The first folder that holds an image; the very first folder where no name may be looked for at all."""
    safe = [n for n in names if not _leaves(n)][:100]
    found = next((f for f in folders if any(_holds(f, n) for n in safe)), None)
    relative = any(not os.path.isabs(n) for n in safe)
    return found if found is not None or relative else folders[0]


def _holds(folder: Path, name: str) -> bool:
    path = folder / _posix(name)
    return os.path.isfile(path) and (not os.path.isabs(name) or _is_within(os.path.realpath(folder), path))


def _is_within(root: str, path: Path) -> bool:
    return os.path.commonpath([root, os.path.realpath(path)]) == root


def image_path(folder: Path, name: str, root: str | None = None) -> Path:
    """The file that an image name means, never one outside its folder.

    Args:
        folder: where the images are.
        name: relative to it, or absolute and in it; a backslash counts as a slash.
        root: `os.path.realpath(folder)`, where it is known already.
    Raises:
        ValueError: the name leads out of the folder (`..`, a link, an absolute path elsewhere); there is no such
            file.
    """
    path = folder / _posix(name)
    if _leaves(name) or (os.path.isabs(name) and not _is_within(root or os.path.realpath(folder), path)):
        raise ValueError(
            f"image name {name!r} leads out of the image folder {folder}; --images FOLDER names the folder that may "
            "be read"
        )
    if not _is_within(root or os.path.realpath(folder), path):
        raise ValueError(f"image {name!r} is a link that leads out of {folder}; put the file itself there")
    if not os.path.isfile(path):
        raise ValueError(f"there is no image {path}")
    return path


def _posix(name: str) -> str:
    return name.replace("\\", "/")


def _leaves(name: str) -> bool:
    """Whether a name can be in no folder; an absolute one may be, which its folder tells."""
    if os.path.isabs(name) and "\0" not in name:
        return False
    windows = PureWindowsPath(name)
    if "\0" in name or windows.drive or windows.root:
        return True
    return os.path.normpath(_posix(name)).split(os.sep)[0] == os.pardir
