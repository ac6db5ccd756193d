"""Regions that a truth may be in: how far out in them it lies, and how large they are at a bound.

    ball      |d| / s,                   s^2 = trace(A) / D
    ellipse   sqrt(d^T A^-1 d)
    hdr       the level of the truth in the density: the probability of denser places

d is truth less prediction and A the calibrated covariance, both in original pixels. A region of a kind is all places
whose score is at most a bound; the bound makes the promise.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from punctum.calibration.spread import mahalanobis
from punctum.ops.highest_density import HighestDensity
from punctum.ops.mixture import GaussianMixture

KINDS = ("ball", "ellipse", "hdr")

DRAWS = 512
"""Draws of each density, by which levels and areas are found."""


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions of B x K predictions, in original pixels.

    Args:
        keypoints: (B, K, D), their middle; of "hdr" the density knows its own.
        covariance: (B, K, D, D), calibrated.
        mixture: the densities.
    Example:
        >>> from punctum.ops import single_gaussian
        >>> origin, spread = torch.zeros(1, 1, 2).double(), 4 * torch.eye(2).double()[None, None]
        >>> regions = Regions(origin, spread, single_gaussian(origin, spread))
        >>> regions.score("ball", torch.tensor([[[3.0, 0.0]]])), regions.size("ball", torch.tensor([[2.0]]))
        (tensor([[1.5000]], dtype=torch.float64), tensor([[50.2655]], dtype=torch.float64))
    """

    keypoints: Tensor
    covariance: Tensor
    mixture: GaussianMixture

    @cached_property
    def highest(self) -> HighestDensity:
        """The highest-density regions, which take the longest: not worked out before they are asked for."""
        return HighestDensity(self.mixture, DRAWS)

    def score(self, kind: str, truth: Tensor, noise: Tensor | None = None) -> Tensor:
        """How far out a place lies, (B, K); NaN for a NaN place.

        Args:
            kind: ball, ellipse or hdr.
            truth: (B, K, D).
            noise: (B, K) in [0, 1], for places exactly as dense as others; None for the middle.
        """
        if kind == "hdr":
            return self.highest.level(truth, noise)
        offset = truth.to(self.keypoints) - self.keypoints
        if kind == "ball":
            return offset.norm(dim=-1) / self.radius
        return mahalanobis(offset, self.covariance)

    def size(self, kind: str, bound: Tensor) -> Tensor:
        """Length, area or volume at a bound that broadcasts with (B, K), in pixels^D; infinite without an end."""
        dims = self.keypoints.shape[-1]
        unit = math.pi ** (dims / 2) / math.gamma(dims / 2 + 1)
        if kind == "hdr":
            return self.highest.volume(bound)
        bound = bound.to(self.keypoints)
        if kind == "ball":
            return unit * (bound * self.radius) ** dims
        return unit * bound**dims * torch.linalg.det(self.covariance).clamp_min(0).sqrt()

    @property
    def radius(self) -> Tensor:
        """(B, K) s, the spread per axis."""
        return (self.covariance.diagonal(dim1=-2, dim2=-1).mean(-1)).sqrt()
