"""What training varies in each sample: flip, scale, rotation, place, colour."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from punctum.schema import Schema

Distribution = Literal["uniform", "normal"]


@dataclass(frozen=True)
class Variation:
    """One sample's draw.

    Args:
        flip: mirror left and right.
        scale: zoom factor.
        rotation: degrees.
        shift: (x, y, z), as a fraction of the region.
        colour: (3,), a factor per channel; a single channel takes the first.
        axis: unit vector (x, y, z) that a volume is turned about.
    """

    flip: bool
    scale: float
    rotation: float
    shift: tuple[float, float, float]
    colour: NDArray[np.float32]
    axis: tuple[float, float, float]


@dataclass(frozen=True)
class Augmentation:
    """How far samples are varied.

        uniform   zoom 1 + U(-scale, scale),            turn U(-rotation, rotation)
        normal    zoom 2^clip(N(0, scale), 2 scale),    turn clip(N(0, rotation), 2 rotation)

    Flip, shift and colour are drawn alike in both: by a coin, and uniformly. Values beyond a clip are set to it.

    Args:
        flip: probability of a mirror image. Only used where the annotations have flip pairs: without them a
            mirror would teach the network that left is right.
        scale: zoom within 1 +- scale; if normal, the standard deviation of its binary logarithm.
        rotation: within +- rotation degrees; if normal, the standard deviation in degrees. Of volumes, about an
            axis of any direction.
        shift: of the window, within +- shift of the region's width and height.
        colour: factor of each channel, within 1 +- colour.
        distribution: of zoom and turn: uniform as the papers say, or clipped normal as their code does.
        rotation_probability: share of the samples that are turned at all.
    Raises:
        ValueError: a value is out of its range.
    Source:
        Nibali et al. 2018, arXiv:1801.07372, Section 5, and Newell et al. 2016, arXiv:1603.06937: flip, 75-125 %,
        +-30 degrees, 60-140 % per channel, no shift. The public code of both: `distribution="normal"`,
        `rotation_probability=0.4` and otherwise the same numbers.
    """

    flip: float = 0.5
    scale: float = 0.25
    rotation: float = 30.0
    shift: float = 0.05
    colour: float = 0.4
    distribution: Distribution = "uniform"
    rotation_probability: float = 1.0

    def __post_init__(self) -> None:
        upper = {"flip": 1.0, "scale": 0.99, "rotation": 180.0, "shift": 1.0, "colour": 1.0}
        upper["rotation_probability"] = 1.0
        problems = [
            f"{name} must be between 0 and {most:g}, got {value}"
            for name, most in upper.items()
            if not (math.isfinite(value := getattr(self, name)) and 0 <= value <= most)
        ]
        if self.distribution not in get_args(Distribution):
            problems.append(f"distribution must be uniform or normal, got {self.distribution!r}")
        if problems:
            raise ValueError("augmentation: " + "; ".join(problems))

    @property
    def reach(self) -> tuple[float, float, float]:
        """Smallest and largest zoom factor, and largest turn in degrees, that `draw` can come to.

        Example:
            >>> Augmentation().reach
            (0.75, 1.25, 30.0)
        """
        if self.distribution == "normal":
            return 2 ** (-2 * self.scale), 2 ** (2 * self.scale), 2 * self.rotation
        return 1 - self.scale, 1 + self.scale, self.rotation

    def draw(self, rng: np.random.Generator) -> Variation:
        """One sample's variation. It always takes the same number of values from `rng`, whatever the settings.

        Example:
            >>> drawn = Augmentation(flip=0, rotation=0).draw(np.random.default_rng(0))
            >>> drawn.flip, drawn.rotation, round(drawn.scale, 3)
            (False, 0.0, 0.885)
        """
        chance = rng.random()
        zoom, turn, x, y, *colour = rng.uniform(-1, 1, 7)
        turned = rng.random() < self.rotation_probability
        normal = self.distribution == "normal"
        # Volumes' own draws come last, so that images are varied as if there were none.
        z, axis = rng.uniform(-1, 1), rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        return Variation(
            flip=bool(chance < self.flip),
            scale=float(2 ** (self.scale * _clipped_normal(zoom)) if normal else 1 + self.scale * zoom),
            rotation=float(self.rotation * (_clipped_normal(turn) if normal else turn) * turned) + 0.0,
            shift=(float(self.shift * x) + 0.0, float(self.shift * y) + 0.0, float(self.shift * z) + 0.0),
            colour=(1 + self.colour * np.array(colour)).astype(np.float32),
            axis=(float(axis[0]), float(axis[1]), float(axis[2])),
        )


def _clipped_normal(uniform: float) -> float:
    """A standard normal value clipped at +-2, from one that is uniform in [-1, 1): the same draw, shaped anew."""
    # Within the clip, whose ends the quantile function reaches at P(|N| < 2) = 0.9545: it never meets 0 or 1.
    inside = min(max(uniform, -0.96), 0.96)
    return min(max(NormalDist().inv_cdf((1 + inside) / 2), -2.0), 2.0)


def flip_notes(schema: Schema) -> list[str]:
    """What is suspicious about a schema's flip pairs, one sentence each.

    Flip pairs that are wrong but well-formed train a worse model and say nothing, so names that differ only in
    left and right are compared with them.

    Example:
        >>> flip_notes(Schema(("left_eye", "right_eye", "nose"), flip_pairs=((0, 2),)))
        ["'left_eye' is paired with 'nose' in flip_pairs, but by its name belongs to 'right_eye'",
         "'right_eye' is in no flip pair, but by its name belongs to 'left_eye'"]
    """
    if not schema.flip_pairs:
        return ["there are no flip_pairs, so images are never mirrored in training"]
    notes = []
    for i, other in enumerate(schema.flip_order):
        name = schema.names[i]
        expected = _mirrored(name)
        if expected in schema.names and expected != schema.names[other]:
            stands = "is in no flip pair" if other == i else f"is paired with {schema.names[other]!r} in flip_pairs"
            notes.append(f"{name!r} {stands}, but by its name belongs to {expected!r}")
    return notes


def _mirrored(name: str) -> str | None:
    """The name with left for right or right for left, or None where it says neither."""
    for one, other in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")):
        if (one in name) != (other in name):
            return name.replace(one, other) if one in name else name.replace(other, one)
    return None
