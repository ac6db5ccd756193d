"""What an annotation format can hold, and annotations without what it cannot: counted, in words."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.errors import counted
from punctum.schema import Schema


@dataclass(frozen=True)
class Holds:
    """What a format keeps of 2-D annotations beside names, places and which points are labelled.

    Args:
        hidden: that a labelled point is hidden.
        boxes: an instance's box, and that it has none.
        skeleton: edges.
        flip_pairs: which points trade places in a mirror.
        sigmas: of OKS.
        areas: an instance's area.
        ids: any text that names an instance.
    """

    hidden: bool = False
    boxes: bool = False
    skeleton: bool = False
    flip_pairs: bool = False
    sigmas: bool = False
    areas: bool = False
    ids: bool = False


def keep(annotations: Annotations, holds: Holds, title: str) -> tuple[Annotations, list[str]]:
    """The annotations as a format can hold them, and a sentence for each kind of thing that is lost.

    Args:
        annotations: of pictures.
        holds: what the format can.
        title: what sentences call it.
    Raises:
        ValueError: the annotations are of volumes or of layers.
    """
    if annotations.dims != 2 or annotations.picture_axes != 2:
        what = "layers in scans" if annotations.dims == 1 else "volumes"
        raise ValueError(f"{annotations.source}: {title} holds points in pictures, and these are of {what}")
    kept, lost = _instances(annotations, holds)
    schema, more = _schema(annotations.schema, holds)
    return replace(kept, schema=schema), [what.format(title) for number, what in [*lost, *more] if number]


def _instances(annotations: Annotations, holds: Holds) -> tuple[Annotations, list[tuple[int, str]]]:
    """What is kept of the instances, and what is lost: how many, and the sentence for it."""
    lost, kept = [], annotations
    if not holds.hidden:
        hidden = annotations.visibility == 1
        flags = counted(int(hidden.sum()), "occluded flag")
        lost.append((int(hidden.sum()), f"{flags}: {{}} has none, and these points come out as visible"))
        kept = replace(kept, visibility=np.where(hidden, 2, annotations.visibility).astype(np.int8))
    if not holds.boxes:
        lost.append(_none(int(np.isfinite(annotations.boxes[:, 0]).sum()), "box", "boxes"))
        kept = replace(kept, boxes=np.full_like(annotations.boxes, np.nan))
    if not holds.ids:
        ids = counted(len(annotations), "instance id")
        lost.append((len(annotations), f"{ids}: {{}} has none, and their order in each picture tells them apart"))
    if not holds.areas:
        lost.append(_none(_finite(annotations.areas), "area"))
        kept = replace(kept, areas=None)
    lost.append(_none(_finite(annotations.lengths), "reference length"))
    lost.append(_none(0 if annotations.spacing is None else len(annotations), "spacing in millimetres"))
    return replace(kept, lengths=None, spacing=None), lost


def _schema(schema: Schema, holds: Holds) -> tuple[Schema, list[tuple[int, str]]]:
    lost = []
    if not holds.skeleton:
        lost.append(_none(len(schema.skeleton), "skeleton edge"))
        schema = replace(schema, skeleton=())
    if not holds.flip_pairs:
        lost.append(_none(len(schema.flip_pairs), "flip pair"))
        schema = replace(schema, flip_pairs=())
    if not holds.sigmas:
        lost.append(_none(len(schema.sigmas or ()), "OKS sigma"))
        schema = replace(schema, sigmas=None)
    return schema, lost


def _none(number: int, noun: str, nouns: str = "") -> tuple[int, str]:
    return number, f"{counted(number, noun, nouns)}: {{}} has none"


def _finite(values: NDArray[np.float64] | None) -> int:
    return 0 if values is None else int(np.isfinite(values).sum())
