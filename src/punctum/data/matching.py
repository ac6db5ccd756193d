"""Which annotated instance a prediction is of, by what its file calls it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.errors import counted


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted points in the order of N annotated instances with K keypoints of D coordinates.

    Args:
        keypoints: (N, K, D) float64 in original-image pixels, (0, 0) the centre of the top-left pixel; NaN where
            nothing was predicted.
        score: (N, K) float64 as the file gives it; NaN where it gives none.
        notes: what was changed while reading, one sentence each.
        unmatched: predictions of what is not annotated, counted, one sentence each.
    """

    keypoints: NDArray[np.float64]
    score: NDArray[np.float64]
    notes: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()


def nothing_predicted(annotations: Annotations) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keypoints and scores that are all missing."""
    shape = annotations.visibility.shape
    return np.full((*shape, annotations.dims), np.nan), np.full(shape, np.nan)


def unmatched_note(labels: Sequence[str], annotations: Annotations) -> tuple[str, ...]:
    """What to say of predicted instances that are of no annotated one."""
    if not labels:
        return ()
    more = ", ..." if len(labels) > 3 else ""
    what = counted(len(labels), "predicted instance")
    return (f"{what} without a labelled instance in {annotations.source.name}: {', '.join(labels[:3])}{more}",)


class Places:
    """Where an instance stands in the annotations, by what a file of predictions calls it."""

    def __init__(self, annotations: Annotations) -> None:
        self.ids = annotations.ids
        self.labelled: NDArray[np.bool_] = np.asarray(annotations.labelled.any(1))
        self.rows: dict[str, list[int]] = defaultdict(list)
        for n, name in enumerate(annotations.image_names):
            self.rows[posix_name(name)].append(n)
        self.endings: dict[str, list[str]] = defaultdict(list)
        for name in self.rows:
            self.endings[name.rpartition("/")[2]].append(name)

    def find(self, image: str, instance: str) -> int | str | None:
        """The row; None where there is none; what is wrong, in words, where it cannot be told."""
        image = posix_name(image)
        known = [image] if image in self.rows else self._similar(image)
        if len(known) > 1:
            return f"image {image} may be any of {', '.join(known[:4])}: write more of its path"
        rows = self.rows[known[0]] if known else []
        exact = [n for n in rows if self.ids[n] == instance]
        if exact or instance:
            return exact[0] if exact else None
        rows = [n for n in rows if self.labelled[n]] or rows
        if len(rows) > 1:
            ids = ", ".join(self.ids[n] for n in rows[:6])
            return f"image {image} has {len(rows)} labelled instances: say whose points these are (instance: {ids})"
        return rows[0] if rows else None

    def only(self, image: str) -> list[int]:
        """The labelled rows of an image."""
        return [n for n in self.rows.get(posix_name(image), []) if self.labelled[n]]

    def _similar(self, image: str) -> list[str]:
        """Names of which one path ends with the other."""
        found = self.endings.get(image.rpartition("/")[2], [])
        return [name for name in found if f"/{name}".endswith(f"/{image}") or f"/{image}".endswith(f"/{name}")]


def posix_name(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")
