"""What an annotation format can hold, and annotations without what it cannot: counted, in words."""

from dataclasses import dataclass, replace

import numpy as np

from punctum.data.annotations import Annotations
from punctum.data.errors import counted


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
    schema, notes = annotations.schema, []

    def lost(number: int, noun: str, what: str = "has none", nouns: str = "") -> None:
        if number:
            notes.append(f"{counted(number, noun, nouns)}: {title} {what}")

    kept = annotations
    if not holds.hidden:
        hidden = annotations.visibility == 1
        lost(int(hidden.sum()), "occluded flag", "has none, and these points come out as visible")
        kept = replace(kept, visibility=np.where(hidden, 2, annotations.visibility).astype(np.int8))
    if not holds.boxes:
        lost(int(np.isfinite(annotations.boxes[:, 0]).sum()), "box", nouns="boxes")
        kept = replace(kept, boxes=np.full_like(annotations.boxes, np.nan))
    if not holds.areas and annotations.areas is not None:
        lost(int(np.isfinite(annotations.areas).sum()), "area")
        kept = replace(kept, areas=None)
    if annotations.lengths is not None:
        lost(int(np.isfinite(annotations.lengths).sum()), "reference length")
        kept = replace(kept, lengths=None)
    if annotations.spacing is not None:
        lost(len(annotations), "spacing in millimetres")
        kept = replace(kept, spacing=None)
    if not holds.skeleton:
        lost(len(schema.skeleton), "skeleton edge")
        schema = replace(schema, skeleton=())
    if not holds.flip_pairs:
        lost(len(schema.flip_pairs), "flip pair")
        schema = replace(schema, flip_pairs=())
    if not holds.sigmas:
        lost(len(schema.sigmas or ()), "OKS sigma")
        schema = replace(schema, sigmas=None)
    return replace(kept, schema=schema), notes
