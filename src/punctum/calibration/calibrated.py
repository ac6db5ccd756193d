"""A prediction with its promises: what `Calibration.apply` makes."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from punctum.calibration.regions import Kind, Regions
from punctum.ops.mixture import GaussianMixture


@dataclass(frozen=True, eq=False)
class Flags:
    """What looks unlike the images that were calibrated on.

    Args:
        wide: (B, K) bool, a spread that fewer than one in a hundred of the calibration points had.
        two: (B, K) bool, the map has two candidates.
        flat: (B, K) bool, the map is spread over half of the crop.
        typical: (B,) p-value of the instance's mean log spread: in images like those calibrated on, it is p or less
            with a probability of p or less.
    """

    wide: Tensor
    two: Tensor
    flat: Tensor
    typical: Tensor

    @property
    def any(self) -> Tensor:
        """(B, K) bool: any of the three."""
        return self.wide | self.two | self.flat


@dataclass(frozen=True, eq=False)
class Calibrated:
    """B instances of K points in original pixels, with regions that keep promises.

    Args:
        regions: keypoints, calibrated covariances and densities, and what regions are made of them.
        levels: L probabilities.
        bounds: by kind, (K, L): {score <= bound} holds the point's truth with that probability.
        joint: by kind, (K, L): all regions together hold the truths of all visible points of an instance.
        score: (B, K), the probability that the error is at most the stated distance.
        flags: what looks unlike the calibration images.
        present: (B, K), the head's own probability that the point is in the picture, as it is, or None.
    """

    regions: Regions
    levels: tuple[float, ...]
    bounds: dict[Kind, Tensor]
    joint: dict[Kind, Tensor]
    score: Tensor
    flags: Flags
    present: Tensor | None = None

    @property
    def keypoints(self) -> Tensor:
        """(B, K, D), where the head says the points are."""
        return self.regions.keypoints

    @property
    def covariance(self) -> Tensor:
        """(B, K, D, D), calibrated, in pixels squared."""
        return self.regions.covariance

    @property
    def mixture(self) -> GaussianMixture:
        """B x K densities, for every rule of decoding and every plausible place."""
        return self.regions.mixture

    def radius(self, level: float, *, joint: bool = False) -> Tensor:
        """(B, K), of the ball that holds the truth with the level's probability, in pixels.

        Raises:
            ValueError: the level is none of `levels`.
        """
        return self._bound("ball", level, joint) * self.regions.spread

    def factor(self, level: float, *, joint: bool = False) -> Tensor:
        """(K,), of the ellipse: {y: (y - k)^T A^-1 (y - k) <= factor^2}."""
        return self._bound("ellipse", level, joint)

    def threshold(self, level: float, *, joint: bool = False) -> Tensor:
        """(B, K), of the highest-density region: {y: log p(y) >= threshold}, in nats per pixel^D.

        p is without its background.
        """
        return self.regions.densest.threshold(self._bound("hdr", level, joint))

    def volume(self, kind: Kind, level: float, *, joint: bool = False) -> Tensor:
        """(B, K), length, area or volume of the regions, in pixels^D."""
        return self.regions.volume(kind, self._bound(kind, level, joint))

    def holds(self, kind: Kind, level: float, points: Tensor, *, joint: bool = False) -> Tensor:
        """(B, K) bool: places (B, K, D) in pixels lie in the regions; NaN does not."""
        return self.regions.score(kind, points) <= self._bound(kind, level, joint)

    def _bound(self, kind: Kind, level: float, joint: bool) -> Tensor:
        return (self.joint if joint else self.bounds)[kind][:, level_index(self.levels, level)]


def level_index(levels: Sequence[float], level: float) -> int:
    """Which of the levels it is.

    Raises:
        ValueError: none of them.
    Example:
        >>> level_index((0.5, 0.95), 0.95)
        1
    """
    found = [i for i, known in enumerate(levels) if abs(known - level) < 1e-9]
    if not found:
        raise ValueError(f"nothing was calibrated at {level:g}: the levels are {', '.join(f'{v:g}' for v in levels)}")
    return found[0]
