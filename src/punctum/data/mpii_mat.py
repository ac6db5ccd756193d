"""MPII Human Pose in its official form, `mpii_human_pose_v1_u12_1.mat`; `mpii` says how it relates to the others."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from punctum.data.annotations import Annotations
from punctum.data.assemble import Instance, assemble
from punctum.data.errors import DataError, counted
from punctum.data.matrices import read_matlab
from punctum.data.mpii import FIRST_PIXEL, SCHEMA, image_folders, person_box

HEAD_SHARE = 0.6
"""Of the head box's diagonal: the length that PCKh divides by."""


def read_mpii_mat(path: str | Path, images: str | Path | None = None, *, labels_only: bool = False) -> Annotations:
    """Annotations from MPII's official MATLAB file.

    The struct `RELEASE` has `annolist`, an element per image with `image.name` and `annorect`, the people: each with
    a head box (`x1`, `y1`, `x2`, `y2`), `scale`, `objpos` and `annopoints.point` with `x`, `y`, `id` and
    `is_visible`. Images of the test set (`img_train` 0) are skipped: their joints were never published. All people
    with joints are taken, those in `single_person` and others, and every joint counts that is listed. A person's id
    is `IMAGE:PERSON`, both counted from 1, as MATLAB does.

    Args:
        path: the .mat file.
        images: the folder of the images; without it, looked for near the file.
        labels_only: read without images; see `assemble`.
    Raises:
        DataError: every mistake of the file at once, each with its image, person and keypoint.
        ImportError: SciPy is not there.
    """
    source = Path(path)
    content = read_matlab(source)
    release: Any = content.get("RELEASE")
    if not hasattr(release, "annolist"):
        found = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
        raise DataError([f"{source.name}: no MPII annotations: no RELEASE.annolist in it, but {found}"])
    pictures = _structs(release.annolist)
    training = np.atleast_1d(getattr(release, "img_train", np.ones(len(pictures)))).reshape(-1)
    if len(training) != len(pictures):
        raise DataError([f"{source.name}: img_train has {len(training)} elements, annolist {len(pictures)}"])
    mistakes: list[str] = []
    skipped: Counter[str] = Counter()
    instances: list[Instance] = []
    for i, picture in enumerate(pictures):
        if not training[i]:
            skipped["image"] += 1
            continue
        people = _structs(getattr(picture, "annorect", None))
        name = getattr(getattr(picture, "image", None), "name", None)
        if people and not isinstance(name, str):
            mistakes.append(f"{source.name}: image {i + 1}: image.name should be a text")
            continue
        for j, person in enumerate(people):
            where = f"{source.name}: image {i + 1}, person {j + 1}"
            instances.append(_person(person, where, f"{i + 1}:{j + 1}", str(name), mistakes))
    return assemble(
        SCHEMA,
        instances,
        source=source,
        folders=image_folders(source) if images is None else [Path(images)],
        mistakes=mistakes,
        notes=[f"{counted(n, noun)} of the test set skipped: it has no joints" for noun, n in skipped.items()],
        labels_only=labels_only,
    )


def _person(person: Any, where: str, label: str, image: str, mistakes: list[str]) -> Instance:
    keypoints = np.full((len(SCHEMA.names), 2), np.nan)
    visibility = np.zeros(len(SCHEMA.names), np.int8)
    for point in _points(person):
        k, x, y = (_number(point, name) for name in ("id", "x", "y"))
        if k not in range(len(SCHEMA.names)):
            mistakes.append(f"{where}: a point's id is {k:g}, not one of 0 to {len(SCHEMA.names) - 1}")
            continue
        if not np.isfinite([x, y]).all():
            mistakes.append(
                f"{where}: keypoint {SCHEMA.names[int(k)]}: its place ({x}, {y}) is not two finite numbers"
            )
            continue
        keypoints[int(k)] = x - FIRST_PIXEL, y - FIRST_PIXEL
        # Neck and head top have no flag, and count as visible.
        visibility[int(k)] = 1 if _number(point, "is_visible") == 0 else 2
    centre = next(iter(_structs(getattr(person, "objpos", None))), None)
    head = np.array([_number(person, name) for name in ("x1", "y1", "x2", "y2")])
    length = HEAD_SHARE * float(np.hypot(*(head[2:] - head[:2])))
    return Instance(
        where=where,
        image=image,
        id=label,
        keypoints=keypoints,
        visibility=visibility,
        box=person_box([_number(centre, "x"), _number(centre, "y")], _number(person, "scale")),
        length=length if length > 0 else np.nan,
    )


def _points(person: Any) -> Iterator[Any]:
    for points in _structs(getattr(person, "annopoints", None)):
        yield from _structs(getattr(points, "point", None))


def _structs(value: Any) -> list[Any]:
    """The elements of a struct array: MATLAB writes one as itself, and none as an empty matrix."""
    if isinstance(value, np.ndarray):
        return [item for item in value.flat if hasattr(item, "_fieldnames")]
    return [value] if hasattr(value, "_fieldnames") else []


def _number(struct: Any, name: str) -> float:
    """A field as a number, also where it is a text ("1"); NaN where it is absent or empty."""
    value = getattr(struct, name, np.nan)
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan
