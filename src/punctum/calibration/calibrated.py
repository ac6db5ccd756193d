"""A prediction that says how far to trust it, in original pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from punctum.calibration.regions import Regions

Flag = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Calibrated:
    """B x K points with regions that keep their promise, in original pixels.

    Args:
        regions: middle, calibrated covariance and density of each point.
        score: (B, K), the probability that the error is at most the stated distance.
        bounds: for each kind (L, K): the scores that regions reach to, at L levels.
        joint: the same, of regions of which all of an instance's hold their points at once.
        levels: L of them.
        flags: by name (B, K) bool: "wide", "two_places", "flat": what makes a prediction suspect.
        typical: (B,), how many calibration instances are at least as uncertain as this one, as a share: small where
            the picture is unlike them.
        present: (B, K), the probability that the point is in the picture, or None.
    """

    regions: Regions
    score: Tensor
    bounds: dict[str, Tensor]
    joint: dict[str, Tensor]
    levels: tuple[float, ...]
    flags: Flag
    typical: Tensor
    present: Tensor | None = None

    @property
    def keypoints(self) -> Tensor:
        """(B, K, D)."""
        return self.regions.keypoints

    @property
    def covariance(self) -> Tensor:
        """(B, K, D, D), calibrated: that of errors."""
        return self.regions.covariance

    def radius(self) -> Tensor:
        """(B, K, L) radii of the balls, in pixels."""
        return torch.stack([bound * self.regions.radius for bound in self.bounds["ball"]], -1)

    def factor(self) -> Tensor:
        """(B, K, L): the ellipse is what lies within so many standard deviations of the calibrated covariance."""
        return self.bounds["ellipse"].T.expand(*self.score.shape, -1)

    def sizes(self, kind: str, *, joint: bool = False) -> Tensor:
        """(B, K, L) lengths, areas or volumes, in pixels^D."""
        bounds = (self.joint if joint else self.bounds)[kind]
        return torch.stack([self.regions.size(kind, bound) for bound in bounds], -1)

    def inside(self, kind: str, truth: Tensor, noise: Tensor | None = None, *, joint: bool = False) -> Tensor:
        """(B, K, L), 1 where the region holds the truth and 0 where not; NaN where the truth is NaN. With `joint`
        (B, 1, L): whether the regions of all points that have a truth hold theirs."""
        score = self.regions.score(kind, truth, noise)[..., None]
        held = torch.where(
            score.isnan(), torch.nan, (score <= (self.joint if joint else self.bounds)[kind].T).double()
        )
        if not joint:
            return held
        known = ~held.isnan()
        every = torch.where(known, held, 1.0).amin(1, keepdim=True)
        return torch.where(known.any(1, keepdim=True), every, torch.nan)
