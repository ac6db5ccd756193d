"""Two readings of the same labels, compared: what differs, in words."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from punctum.data.annotations import Annotations
from punctum.data.errors import counted


@dataclass(frozen=True)
class RoundTrip:
    """How labels came back.

    Args:
        points: how many labelled points were compared.
        furthest: the largest distance between a point and itself, pixels.
        differences: what differs beyond the tolerance, a sentence each; empty: nothing does.
    """

    points: int
    furthest: float
    differences: tuple[str, ...]


def compare(before: Annotations, after: Annotations, *, tolerance: float = 1e-3, ids: bool = False) -> RoundTrip:
    """Compare labels that should be the same: instance by instance, in their order within each picture.

    Args:
        before, after: two readings. Pictures are matched by their names.
        tolerance: of places and boxes, pixels.
        ids: the instances' ids should be the same, too.
    Example:
        >>> import numpy as np
        >>> from punctum.schema import Schema
        >>> one = Annotations(Schema(("a",)), (Path("x.png"),), ("x.png",), np.ones((1, 1, 2)), np.full((1, 1), 2),
        ...                   np.full((1, 4), np.nan), ("1",), Path("x.json"))
        >>> compare(one, one)
        RoundTrip(points=1, furthest=0.0, differences=())
    """
    differences = _schema_differences(before, after)
    pairs, unpaired = _pairs(before, after)
    differences += unpaired
    if before.schema.names != after.schema.names or not pairs:
        return RoundTrip(0, 0.0, tuple(differences))
    a, b = before.subset([i for i, _ in pairs]), after.subset([j for _, j in pairs])
    flags = int((a.visibility != b.visibility).sum())
    both = a.labelled & b.labelled
    distance = np.abs(a.keypoints - b.keypoints)[both].max(-1) if both.any() else np.zeros(0)
    moved = int((distance > tolerance).sum())
    boxes = int((~np.isclose(a.boxes, b.boxes, rtol=0, atol=tolerance, equal_nan=True)).any(1).sum())
    areas = a.areas if a.areas is not None else np.full(len(a), np.nan)
    others = b.areas if b.areas is not None else np.full(len(b), np.nan)
    counts = {
        "flag": (flags, "came back as another one"),
        "point": (moved, f"moved by more than {tolerance:g} px"),
        "box": (boxes, "came back otherwise"),
        "area": (int((~np.isclose(areas, others, equal_nan=True)).sum()), "came back otherwise"),
        "id": (sum(x != y for x, y in zip(a.ids, b.ids, strict=True)) if ids else 0, "came back as another one"),
    }
    differences += [
        f"{counted(n, noun, 'boxes' if noun == 'box' else '')} {what}" for noun, (n, what) in counts.items() if n
    ]
    return RoundTrip(int(both.sum()), float(distance.max(initial=0.0)), tuple(differences))


def _schema_differences(before: Annotations, after: Annotations) -> list[str]:
    a, b = before.schema, after.schema
    found = []
    if a.names != b.names:
        found.append(f"names: {', '.join(a.names)} became {', '.join(b.names)}")
    if {frozenset(edge) for edge in a.skeleton} != {frozenset(edge) for edge in b.skeleton}:
        found.append(f"skeleton: {len(a.skeleton)} edges became {len(b.skeleton)}, or others")
    if {frozenset(pair) for pair in a.flip_pairs} != {frozenset(pair) for pair in b.flip_pairs}:
        found.append(f"flip pairs: {len(a.flip_pairs)} became {len(b.flip_pairs)}, or others")
    if a.sigmas != b.sigmas:
        found.append("sigmas came back otherwise")
    return found


def _pairs(before: Annotations, after: Annotations) -> tuple[list[tuple[int, int]], list[str]]:
    """Rows of both that are the same instance, and pictures that have more of them on one side."""
    sides: list[dict[str, list[int]]] = []
    for side in (before, after):
        rows: dict[str, list[int]] = defaultdict(list)
        for n, name in enumerate(side.image_names):
            rows[Path(name).as_posix()].append(n)
        sides.append(rows)
    pairs, uneven = [], []
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        mine, theirs = sides[0].get(name, []), sides[1].get(name, [])
        pairs += list(zip(mine, theirs, strict=False))
        if len(mine) != len(theirs):
            uneven.append(f"{name}: {counted(len(mine), 'instance')} became {len(theirs)}")
    return pairs, uneven
