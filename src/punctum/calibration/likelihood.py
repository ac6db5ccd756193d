"""How likely true places are under densities, for many parameters one after the other.

The same numbers as `MixtureFamily.mixture(...).log_prob`, several times faster: what belongs to a cell is linear in a
few coefficients of the keypoint, once everything that does not change is worked out beforehand.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from punctum.calibration.maps import MapSet, errors_in_cells, in_cells
from punctum.calibration.spread import gaussian_surprise
from punctum.ops import to_normalized, to_pixels
from punctum.ops.continuous import MixtureFamily

# Instead of minus infinity, of which no gradient is left: at any temperature there is, its exponential is zero.
_NOTHING = -1e6


@dataclass(frozen=True, eq=False)
class Likelihood:
    """P visible points, each beside the M cells of its map, in heatmap pixels; whitened by the keypoint's shape.

    Args:
        keypoint: (P,) which of the K points each one is.
        error: (P, D), truth less the head's coordinate, whitened.
        covariance: (P, D, D) of the head, whitened.
        features: (P, M, 2 + D): log mass of a cell, and of the way from there to the truth its square and itself,
            whitened. None without maps.
        everywhere: (P,) log density of the background.
        log_volume: (K,) of the shape: what whitening makes densities larger by.
    """

    keypoint: Tensor
    error: Tensor
    covariance: Tensor
    features: Tensor | None
    everywhere: Tensor
    log_volume: Tensor

    @classmethod
    def of(cls, maps: MapSet, family: MixtureFamily, shape: Tensor) -> "Likelihood":
        """Of the visible points of which the head says where they are.

        Args:
            maps: predictions and truth.
            family: of the predictions.
            shape: (K, D, D) what stands for the unit matrix in heatmap pixels squared.
        """
        use = maps.visible & family.has_centre
        log_mass = family.log_mass
        if log_mass is not None:
            use = use & (log_mass > -torch.inf).any(-1)
        keypoint, size = use.nonzero()[:, 1], maps.size
        whiten = torch.linalg.inv(torch.linalg.cholesky(shape))[keypoint]
        coords, covariance = in_cells(maps.prediction)
        truth = (coords + errors_in_cells(maps))[use]
        features = None
        if log_mass is not None and family.places is not None:
            kept = slice(family.kept)
            way = truth[:, None] - to_pixels(family.places[use][:, kept].double(), size)
            white = way @ whiten.mT
            logs = log_mass[use].double()
            logs = (logs - logs.logsumexp(-1, keepdim=True))[:, kept].clamp_min(_NOTHING)
            features = torch.cat([logs[..., None], white.square().sum(-1, keepdim=True), white], -1)
        unit = torch.eye(len(size), dtype=torch.float64)
        jacobian = sum(math.log(2 / n) for n in size)
        return cls(
            keypoint,
            (whiten @ (truth - coords[use])[..., None])[..., 0],
            whiten @ covariance[use] @ whiten.mT,
            features,
            jacobian - gaussian_surprise(to_normalized(truth, size), unit.expand(*truth.shape, -1)),
            torch.linalg.slogdet(shape).logabsdet / 2,
        )

    def log_prob(
        self,
        temperature: Tensor,
        bandwidth: Tensor,
        centre_weight: Tensor,
        spread_scale: Tensor,
        spread_floor: Tensor,
        background: Tensor,
        offset: Tensor,
    ) -> Tensor:
        """(P,) log density of true places, in nats per heatmap pixel^D; parameters (K,), offset (K, D) whitened."""
        dims, k = self.error.shape[-1], self.keypoint
        unit = torch.eye(dims, dtype=self.error.dtype)
        spread = spread_scale[k, None, None] * self.covariance + spread_floor[k, None, None] * unit
        centre = -gaussian_surprise(self.error - offset[k], spread) - self.log_volume[k]
        nowhere = self.everywhere + background[k].log()
        if self.features is None:
            return torch.logaddexp(centre + torch.log1p(-background[k]), nowhere)
        precision = 1 / bandwidth.square()
        ways = torch.cat([-precision[:, None] / 2, precision[:, None] * offset], -1)
        coefficients = torch.cat([1 / temperature[:, None], ways], -1)[k]
        terms = torch.bmm(self.features, coefficients[..., None])[..., 0]
        # The sum over all cells of the tempered mass: of those alone that are kept, where not all are.
        mass = (self.features[..., 0] * coefficients[:, :1]).logsumexp(-1)
        constant = dims * (bandwidth.log() + 0.5 * math.log(2 * math.pi)) + self.log_volume
        constant = constant + 0.5 * precision * offset.square().sum(-1)
        cells = terms.logsumexp(-1) - mass - constant[k]
        shares = torch.log(1 - centre_weight - background)[k], centre_weight[k].log()
        return torch.stack([cells + shares[0], centre + shares[1], nowhere]).logsumexp(0)
