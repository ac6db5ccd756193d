"""Predicted points of many instances as arrays, in original pixels, with what a calibration says of them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

FLAGS = ("wide", "two", "flat")
"""What may be odd about a point: its spread, a second place, no place at all."""


class Joined:
    """A dataclass of arrays whose first axis is that of instances."""

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Batches, one after the other; what one of them lacks, all lack."""
        columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: _joined(values) for name, values in columns.items()})

    def rows(self, i: int) -> Self:
        """Instance i alone, without its axis."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return type(self)(**{name: _row(value, i) for name, value in values.items()})


def _joined(values: list[Any]) -> Any:
    if any(value is None for value in values):
        return None
    if isinstance(values[0], Joined):
        return type(values[0]).join(values)
    if isinstance(values[0], dict):
        return {key: _joined([value[key] for value in values]) for key in values[0]}
    # What is no array is the same of all: the levels.
    return np.concatenate(values) if isinstance(values[0], np.ndarray) else values[0]


def _row(value: Any, i: int) -> Any:
    if isinstance(value, Joined):
        return value.rows(i)
    if isinstance(value, dict):
        return {key: _row(entry, i) for key, entry in value.items()}
    return value[i] if isinstance(value, np.ndarray) else value


@dataclass(frozen=True, eq=False)
class Judged(Joined):
    """Truths beside what was promised of them, for the metrics; NaN where there is no truth.

    Args:
        inside, size: by kind (N, K, L): whether the region holds the truth, and its size in pixels^D.
        joint: by kind (N, 1, L): whether the joint regions hold all of an instance's.
        joint_size: by kind (N, K, L), of each point's part.
        level: (N, K) of the truth in the density.
        log_prob: (N, K) log density there, nats per pixel^D.
        crps, energy: (N, K) proper scores, pixels.
    """

    inside: dict[str, Array]
    size: dict[str, Array]
    joint: dict[str, Array]
    joint_size: dict[str, Array]
    level: Array
    log_prob: Array
    crps: Array
    energy: Array


@dataclass(frozen=True, eq=False)
class Trust(Joined):
    """What a calibration promises of N instances at L levels.

    Args:
        levels: L probabilities.
        radius: (N, K, L) of the balls around the points, pixels.
        factor: (N, K, L): the ellipses are all within so many standard deviations of the calibrated covariance.
        area: (N, K, L) of the highest-density regions, pixels^D; None of an exported model, which has none.
        flags: by name (N, K): "wide", "two" (places), "flat".
        typical: (N,) share of the calibration instances that are at least as uncertain.
        judged: where the truth is known, how the promises fared.
    """

    levels: tuple[float, ...]
    radius: Array
    factor: Array
    area: Array | None
    flags: dict[str, Flags]
    typical: Array
    judged: Judged | None = None


@dataclass(frozen=True, eq=False)
class Points(Joined):
    """N instances as arrays.

    Args:
        keypoints: (N, K, D) in original pixels.
        score: (N, K); of a calibrated model the probability of an error of at most its stated distance.
        covariance: (N, K, D, D) or None; of a calibrated model that of errors.
        to_image: (N, D + 1, D + 1), normalized crop coordinates to pixels.
        image_sizes: (N, D) as (H, W) or (D, H, W).
        present: (N, K), the probability that the point is in the picture, or None.
        trust: what is promised, or None where nobody has calibrated the model.
        places: (N, K, n, D) the n likeliest places, NaN where there are fewer, and `mass` (N, K, n), the probability
            of each; None where nobody asked.
    """

    keypoints: Array
    score: Array
    covariance: Array | None
    to_image: Array
    image_sizes: NDArray[np.int64]
    present: Array | None = None
    trust: Trust | None = None
    places: Array | None = None
    mass: Array | None = None
