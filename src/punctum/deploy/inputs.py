"""What was named on the command line, as pictures with their boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from punctum.data.named import ANNOTATION_ENDINGS, PICTURE_ENDINGS
from punctum.data.readers import read


@dataclass(frozen=True, eq=False)
class Instance:
    """A picture, or what is in one box of it.

    Args:
        path: of the picture.
        image: its name in outputs.
        instance: what tells several instances of a picture apart; empty for whole pictures.
        box: (4,) as (x, y, width, height), or None for the whole picture.
        keypoints: (K, 2) its labels, NaN where unlabelled; None where there are none.
    """

    path: Path
    image: str
    instance: str = ""
    box: NDArray[np.float64] | None = None
    keypoints: NDArray[np.float64] | None = None


def gather_instances(given: Sequence[str | Path], names: Sequence[str] | None = None) -> list[Instance]:
    """The instances behind paths of pictures, folders of pictures, and annotation files, in their order.

    Args:
        given: the paths.
        names: of the K keypoints, which labels must have to be kept; None: labels are not asked for.
    Raises:
        FileNotFoundError: paths that do not exist, all of them named.
        ValueError: a folder without pictures, or annotations that are not of points in images.
    """
    missing = [str(path) for path in given if not Path(path).exists()]
    if missing:
        raise FileNotFoundError(f"no such file or folder: {', '.join(missing[:10])}")
    found: list[Instance] = []
    for path in map(Path, given):
        if path.is_dir():
            pictures = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURE_ENDINGS)
            if not pictures:
                raise ValueError(f"{path} holds no pictures ({', '.join(PICTURE_ENDINGS)})")
            found += [Instance(p, str(p)) for p in pictures]
        elif path.suffix.lower() in ANNOTATION_ENDINGS:
            found += _annotated(path, names)
        else:
            found.append(Instance(path, str(path)))
    return found


def _annotated(path: Path, names: Sequence[str] | None) -> list[Instance]:
    annotations = read(path)
    if annotations.picture_axes != 2 or annotations.dims != 2:
        raise ValueError(f"{path}: an exported model finds points in images, and these annotations are of others")
    labels: Sequence[NDArray[np.float64] | None] = [None] * len(annotations)
    if names is not None and annotations.schema.names == tuple(names):
        labels = list(np.where(annotations.labelled[..., None], annotations.keypoints, np.nan))
    rows = (annotations.images, annotations.image_names, annotations.ids, annotations.boxes, labels)
    return [Instance(*row) for row in zip(*rows, strict=True)]
