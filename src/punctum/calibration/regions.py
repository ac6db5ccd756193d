"""Regions around a point, of three kinds, and how deep in them a place lies.

    ball        |y - k| / s,  s^2 = trace(A) / D            a disk, as wide as the prediction is unsure
    ellipse     sqrt((y - k)^T A^-1 (y - k))                as wide each way as the errors are
    hdr         P(p(Y) > p(y)), Y drawn from p              the smallest region of the density; it may be several

k is the keypoint, A its calibrated covariance, p its density without the background: whole instances ask for levels
near one, where a background, however thin, would make each region the whole picture. A region is {y: score(y) <=
bound}.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from punctum.calibration.spread import mahalanobis
from punctum.ops.cholesky import cholesky, log_determinant
from punctum.ops.highest_density import HighestDensity
from punctum.ops.mixture import GaussianMixture

Kind = Literal["ball", "ellipse", "hdr"]
KINDS: tuple[Kind, ...] = get_args(Kind)

DRAWS = 512
"""From each density: its levels are accurate to about one in as many."""


@dataclass(frozen=True, eq=False)
class Regions:
    """B x K points with what their regions are made of, in original pixels.

    Args:
        keypoints: (B, K, D).
        covariance: (B, K, D, D), calibrated.
        mixture: B x K densities.
    Example:
        >>> from punctum.ops import single_gaussian
        >>> origin, unit = torch.zeros(1, 1, 2), torch.eye(2)[None, None]
        >>> regions = Regions(origin, 4 * unit, single_gaussian(origin, 4 * unit))
        >>> y = torch.tensor([[[2.0, 0.0]]])
        >>> [round(float(regions.score(kind, y)), 1) for kind in KINDS]  # 1 - exp(-1/2) is 0.39
        [1.0, 1.0, 0.4]
        >>> [round(float(regions.volume(kind, bound)), 0) for kind, bound in (("ball", 1.0), ("ellipse", 1.0))]
        [13.0, 13.0]
    """

    keypoints: Tensor
    covariance: Tensor
    mixture: GaussianMixture

    @cached_property
    def densest(self) -> HighestDensity:
        """Made when it is first asked for: it takes longer than everything else together."""
        return HighestDensity(self.mixture.without("background"), DRAWS)

    @property
    def spread(self) -> Tensor:
        """(B, K) s, the root of the mean variance over the axes."""
        return self.covariance.diagonal(dim1=-2, dim2=-1).mean(-1).sqrt()

    def score(self, kind: Kind, points: Tensor) -> Tensor:
        """How far out places (B, K, D) lie, (B, K); NaN at NaN."""
        if kind == "hdr":
            return self.densest.level(points.to(self.mixture.means))
        errors = points.to(self.keypoints) - self.keypoints
        if kind == "ball":
            return torch.linalg.vector_norm(errors, dim=-1) / self.spread
        return mahalanobis(errors, self.covariance)

    def volume(self, kind: Kind, bound: float | Tensor) -> Tensor:
        """Length, area or volume of the region {score <= bound}, (B, K), in pixels^D.

        Args:
            bound: not negative; a number or a tensor that broadcasts with (B, K), such as (K,).
        """
        if kind == "hdr":
            inner = self.densest.volume(bound)
            return torch.where(inner.isinf(), self._outer_volume(bound), inner) if inner.isinf().any() else inner
        dims = self.keypoints.shape[-1]
        size = math.pi ** (dims / 2) / math.gamma(dims / 2 + 1)
        radius = torch.as_tensor(bound, dtype=self.keypoints.dtype)
        if kind == "ball":
            return size * (radius * self.spread) ** dims
        return size * radius**dims * (log_determinant(cholesky(self.covariance)) / 2).exp()

    def _outer_volume(self, bound: float | Tensor) -> Tensor:
        """From draws q of a wider density, the mean of 1[p >= t] / q: also beyond the draws of p itself.

        A Gaussian of D axes falls by f nats within sqrt(2 f) deviations: as far as that the draws shall reach.
        """
        threshold, core = self.densest.threshold(bound), self.densest.mixture
        fall = (-threshold - self.densest.surprises[..., 0]).clamp_min(1.0)
        widened = (2 * fall / core.means.shape[-1]).clamp_min(1.0)[..., None, None, None]
        wide = replace(core, covariances=widened * core.covariances)
        places = wide.draw(DRAWS)
        inside = core.log_prob(places) >= threshold[..., None]
        return torch.where(inside, (-wide.log_prob(places)).exp(), 0.0).mean(-1)


def depth(kind: Kind, score: Tensor) -> Tensor:
    """A score as a number that may be multiplied by a factor: how far out, without an upper end.

        hdr     -log(1 - level):     the fall in log density on the way there, if the density is Gaussian in a plane
        others  the score, a distance already

    Example:
        >>> depth("hdr", torch.tensor([0.0, 1 - torch.e**-1.0]))
        tensor([0., 1.])
    """
    if kind != "hdr":
        return score
    # Past the last draw, levels go on by differences in log density already.
    last = DRAWS / (DRAWS + 1)
    return -torch.log1p(-score.clamp_max(last)) + (score - last).clamp_min(0)


def score_at(kind: Kind, depths: Tensor) -> Tensor:
    """The inverse of `depth`.

    Example:
        >>> score_at("hdr", depth("hdr", torch.tensor([0.3, 0.95, 4.0])))
        tensor([0.3000, 0.9500, 4.0000])
    """
    if kind != "hdr":
        return depths
    last = math.log(DRAWS + 1)
    return -torch.expm1(-depths.clamp_max(last)) + (depths - last).clamp_min(0)
