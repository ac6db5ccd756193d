"""Annotations as a data set of Ultralytics' YOLO-pose: images, labels, data.yaml."""

import os
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.assemble import image_path
from punctum.data.errors import counted
from punctum.data.holds import Holds
from punctum.data.images import image_size
from punctum.data.named import EDGE
from punctum.data.yaml_text import read_yaml
from punctum.files import write_text

HOLDS = Holds(hidden=True, boxes=True, flip_pairs=True)
SPLITS = ("train", "val", "test")


def fit_yolo(annotations: Annotations) -> tuple[Annotations, list[str]]:
    """What Ultralytics would refuse is mended and told: missing boxes, and what sticks out of the image.

    Ultralytics leaves out every image with a number outside 0 to 1 in its labels, and needs a box for each instance.
    """
    sizes = {path: image_size(path) for path in dict.fromkeys(annotations.images)}
    last = np.array([sizes[path][::-1] for path in annotations.images], dtype=np.float64) - EDGE
    points = annotations.keypoints.copy()
    outside = annotations.labelled & ~((points >= -EDGE) & (points <= last[:, None])).all(-1)
    points[outside] = np.nan
    visibility = np.where(outside, 0, annotations.visibility).astype(np.int8)
    empty = ~(visibility > 0).any(1)
    missing = np.isnan(annotations.boxes[:, 0]) & ~empty
    low, high = _corners(annotations.boxes, points, missing)
    inner_low, inner_high = np.clip(low, -EDGE, last), np.clip(high, -EDGE, last)
    boxes = np.concatenate([inner_low, inner_high - inner_low], axis=1)
    gone = empty | (boxes[:, 2:] <= 0).any(1)
    clipped = ((inner_low != low) | (inner_high != high)).any(1) & ~missing & ~gone
    refused = counted(int(outside.sum()), "point outside its image", "points outside their image")
    unboxed = counted(int(missing.sum()), "instance without a box", "instances without a box")
    cut = counted(int(clipped.sum()), "box beyond its image", "boxes beyond their image")
    told = {
        f"{refused}: YOLO-pose refuses them, and they come out as not labelled": outside,
        f"{unboxed}: YOLO-pose needs one, and gets the one around the points": missing,
        f"{cut}: cut at the border, as YOLO-pose needs it": clipped,
        f"{counted(int(gone.sum()), 'instance')} left out: all of it is outside the image": gone,
    }
    mended = replace(annotations, keypoints=points, visibility=visibility, boxes=boxes)
    return mended.subset(np.flatnonzero(~gone)), [sentence for sentence, rows in told.items() if rows.any()]


def _corners(
    boxes: NDArray[np.float64], points: NDArray[np.float64], missing: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Upper left and lower right of each box; of those that are missing, a pixel around the points."""
    low, high = boxes[:, :2].copy(), boxes[:, :2] + boxes[:, 2:]
    if missing.any():
        low[missing] = np.nanmin(points[missing], axis=1) - 1
        high[missing] = np.nanmax(points[missing], axis=1) + 1
    return low, high


def write_yolo(annotations: Annotations, path: Path, *, split: str = "train", copy: bool = False) -> None:
    """Write `images/SPLIT`, `labels/SPLIT` and `data.yaml`; another split can be added to the same folder later.

    Args:
        annotations: as `fit_yolo` makes them.
        path: the yaml file; the folders stand beside it.
        split: train, val or test.
        copy: pictures are copies; else they are hard links where the file system has them, which take no space.
    Raises:
        ValueError: two pictures would have the same file of labels, or the folder holds other keypoints.
        OSError: a file cannot be written.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for n, image in enumerate(annotations.image_names):
        rows[image].append(n)
    _check_names(list(rows))
    schema = annotations.schema
    entries: dict[str, Any] = {"kpt_shape": [len(schema.names), 3]}
    if schema.flip_pairs:
        entries["flip_idx"] = schema.flip_order
    entries |= {"names": {0: "instance"}, "kpt_names": {0: list(schema.names)}}
    _check_yaml(path, entries)
    images, labels = path.parent / "images" / split, path.parent / "labels" / split
    for image, instances in rows.items():
        text = "".join(_line(annotations, n) for n in instances)
        write_text((labels / image).with_suffix(".txt"), text)
        place_image(annotations.images[instances[0]], images, image, copy=copy)
    there = [name for name in SPLITS if (path.parent / "images" / name).is_dir()]
    # Ultralytics asks for both; with one of them it trains and validates on the same images.
    splits = {"train": there[0], "val": there[0]} | {name: name for name in there}
    places = {name: f"images/{folder}" for name, folder in splits.items()}
    write_text(path, yaml.safe_dump({**places, **entries}, sort_keys=False, allow_unicode=True))


def _check_yaml(path: Path, entries: dict[str, Any]) -> None:
    """What another split has written must be of the same keypoints."""
    if path.exists():
        there = read_yaml(path)
        if {key: there.get(key) for key in ("kpt_shape", "flip_idx", "kpt_names")} != {
            key: entries.get(key) for key in ("kpt_shape", "flip_idx", "kpt_names")
        }:
            raise ValueError(f"{path} is of other keypoints: write to another folder")


def _check_names(names: list[str]) -> None:
    taken: dict[PurePosixPath, str] = {}
    for name in names:
        stem = PurePosixPath(name).with_suffix("")
        if stem in taken:
            raise ValueError(f"{taken[stem]} and {name} would share one file of labels in YOLO-pose: rename one")
        taken[stem] = name


def place_image(source: Path, folder: Path, name: str, *, copy: bool) -> None:
    """A picture below a folder: a hard link, or, asked for or where there are none, a copy."""
    target = folder / name
    if target.exists() and os.path.samefile(source, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if not copy:
        try:
            os.link(os.path.realpath(source), target)
        except OSError:
            copy = True
    if copy:
        shutil.copyfile(source, target)
    # Never outside the folder, whatever the name is: as readers ask for it.
    image_path(folder, name)


def _line(annotations: Annotations, n: int) -> str:
    height, width = image_size(annotations.images[n])
    size = np.array([width, height], dtype=np.float64)
    box = annotations.boxes[n]
    values = [*((box[:2] + box[2:] / 2 + EDGE) / size).tolist(), *(box[2:] / size).tolist()]
    cells = [f"{min(max(value, 0.0), 1.0):.9f}" for value in values]
    for point, seen in zip(annotations.keypoints[n], annotations.visibility[n].tolist(), strict=True):
        share = (point + EDGE) / size if seen else np.zeros(2)
        cells += [*(f"{value:.9f}" for value in share.tolist()), str(seen)]
    return " ".join(["0", *cells]) + "\n"
