"""What the points are called and how they belong together: travels from the annotations into the model."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from punctum.one_line import is_plain, one_line

Pair = tuple[int, int]


@dataclass(frozen=True)
class Schema:
    """Names, skeleton, left/right pairs and OKS sigmas of K keypoints. All indices count from 0.

    Args:
        names: K distinct, non-empty names.
        skeleton: edges (i, j) to draw.
        flip_pairs: (left, right) indices that trade places when an image is mirrored. A point in no pair
            keeps its place.
        sigmas: K per-keypoint OKS sigmas, or None.
    Raises:
        ValueError: names repeat or are empty; an index is out of range; flip pairs are not an involution
            (a point stands in two pairs, or is paired with itself); the number of sigmas is not K.
    Example:
        >>> Schema(("nose", "left_eye", "right_eye"), flip_pairs=((1, 2),)).flip_order
        [0, 2, 1]
    """

    names: tuple[str, ...]
    skeleton: tuple[Pair, ...] = ()
    flip_pairs: tuple[Pair, ...] = ()
    sigmas: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        problems = [
            *_name_problems(self.names),
            *_edge_problems(self.skeleton, self.names),
            *_flip_problems(self.flip_pairs, self.names),
        ]
        if self.sigmas is not None and len(self.sigmas) != len(self.names):
            problems.append(f"{len(self.sigmas)} sigmas for {len(self.names)} keypoints")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def flip_order(self) -> list[int]:
        """Permutation of the keypoints under a mirror: flipped[i] = points[flip_order[i]]."""
        order = list(range(len(self.names)))
        for i, j in self.flip_pairs:
            order[i], order[j] = j, i
        return order

    def index(self, name: str) -> int:
        """Position of a keypoint by its name; a ValueError lists the names there are."""
        if name not in self.names:
            raise ValueError(f"no keypoint is called {name!r}; there are: {', '.join(self.names)}")
        return self.names.index(name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Schema":
        """The inverse of `to_dict`, also after a trip through JSON."""
        sigmas = values.get("sigmas")
        return cls(
            names=tuple(values["names"]),
            skeleton=as_pairs(values.get("skeleton", ())),
            flip_pairs=as_pairs(values.get("flip_pairs", ())),
            sigmas=None if sigmas is None else tuple(float(s) for s in sigmas),
        )


def as_pairs(values: Sequence[Sequence[int]]) -> tuple[Pair, ...]:
    """Pairs of integers as tuples; a ValueError names what is not a pair."""
    for value in values:
        if len(value) != 2 or not all(isinstance(i, int) for i in value):
            raise ValueError(f"{value!r} is not a pair of keypoint indices")
    return tuple((i, j) for i, j in values)


def _name_problems(names: Sequence[str]) -> list[str]:
    if not names:
        return ["there are no keypoint names"]
    problems = [f"keypoint {i} has an empty name" for i, name in enumerate(names) if not name]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    unsafe = [name for name in names if not is_plain(name)]
    problems += [f"keypoint name {one_line(name)} has control characters: leave them out" for name in unsafe]
    return problems + [f"keypoint name {name!r} stands twice" for name in repeated]


def _edge_problems(edges: Sequence[Pair], names: Sequence[str]) -> list[str]:
    return [
        f"skeleton edge {edge} is out of range for {len(names)} keypoints (indices count from 0)"
        for edge in edges
        if not all(0 <= i < len(names) for i in edge)
    ]


def _flip_problems(pairs: Sequence[Pair], names: Sequence[str]) -> list[str]:
    problems = []
    seen: dict[int, Pair] = {}
    for pair in pairs:
        if not all(0 <= i < len(names) for i in pair):
            problems.append(f"flip pair {pair} is out of range for {len(names)} keypoints (indices count from 0)")
            continue
        if pair[0] == pair[1]:
            problems.append(f"flip pair {pair} pairs {names[pair[0]]!r} with itself: leave it out")
            continue
        for i in pair:
            if i in seen and set(seen[i]) != set(pair):
                problems.append(f"{names[i]!r} stands in two flip pairs, {seen[i]} and {pair}")
            seen[i] = pair
    return problems
