"""A prediction's density, fitted: the temperature of the map, how wide a cell is, and how far to trust the coordinate.

The density is that of `punctum.ops.continuous`. Its parameters are those under which the true places of held-out points
are likeliest, of each keypoint, drawn towards those of all where points are few.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from punctum.calibration.fitting import pooled_then_own
from punctum.calibration.maps import MapSet, cells_of
from punctum.heads import Prediction
from punctum.ops import transform_points
from punctum.ops.continuous import MixtureFamily
from punctum.ops.mixture import GaussianMixture

COMPONENTS = 256
"""Cells of a map that are places of their own; of a larger one the others become one place together."""

RANGES = {
    "temperature": (0.05, 20.0),
    "bandwidth": (0.05, 3.0),
    "spread_scale": (1e-3, 1e3),
    "spread_floor": (1e-3, 1e3),
    "background": (1e-4, 0.2),
}
"""Where each parameter is looked for; the weight of the coordinate is anywhere between 0 and 1 less the background."""

_START = {
    "temperature": 1.0,
    "bandwidth": 0.3,
    "spread_scale": 0.5,
    "spread_floor": 0.05,
    "background": 0.003,
}


@dataclass(frozen=True, eq=False)
class Density:
    """The fitted parameters of K keypoints, as `punctum.ops.continuous.heatmap_mixture` takes them.

    Args:
        temperature, bandwidth, centre_weight, spread_scale, spread_floor, background: (K,) each.
        shape: (K, D, D), the covariance in heatmap pixels squared, of mean variance one, that h^2 and b scale.
    Example:
        >>> one = torch.ones(3)
        >>> density = Density(one, one, one / 2, one, one, one / 100, torch.eye(2).expand(3, 2, 2))
        >>> prediction = Prediction(torch.zeros(1, 3, 2), torch.ones(1, 3), heatmap=torch.rand(1, 3, 8, 8))
        >>> density.mixture(prediction).groups
        {'cells': 64, 'centre': 1, 'background': 1}
    """

    temperature: Tensor
    bandwidth: Tensor
    centre_weight: Tensor
    spread_scale: Tensor
    spread_floor: Tensor
    background: Tensor
    shape: Tensor
    offset: Tensor

    def mixture(self, prediction: Prediction) -> GaussianMixture:
        """The density of each point, in normalized coordinates."""
        parameters = {f.name: getattr(self, f.name) for f in fields(self)}
        return _family(prediction).mixture(**parameters)

    @classmethod
    def fit(cls, maps: MapSet, floor: Tensor, with_offset: bool=True) -> "Density":
        """The likeliest parameters of each keypoint, drawn towards those of all.

        Args:
            maps: of the fit part.
            floor: (K, D, D), from `Spread.fit`: its shape is kept, its size is found anew.
        Raises:
            ValueError: no point is visible.
        """
        if not maps.visible.any():
            raise ValueError("no point is visible in the images that the density is fitted to")
        shape = floor / floor.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
        family = _family(maps.prediction.map(Tensor.double))
        truth = transform_points(maps.keypoints.double(), torch.linalg.inv(maps.to_image.double()))
        truth = torch.where(maps.visible[..., None], truth, 0.0)

        def losses(t: Tensor) -> Tensor:
            return -family.mixture(**_bounded(t[:,:6]), shape=shape, offset=t[:,6:] if with_offset else None).log_prob(truth)[maps.visible]

        start = floor.new_tensor([*(math.log(value) for value in _START.values()), 0.0] + [0.0]*floor.shape[-1])
        t=pooled_then_own(losses, start, maps.visible.shape[1])
        return cls(**_bounded(t[:,:6]), shape=shape,offset=t[:,6:])


def _family(prediction: Prediction) -> MixtureFamily:
    size = cells_of(prediction)
    return MixtureFamily.of(
        prediction.heatmap, prediction.coords, prediction.covariance, size, max_components=COMPONENTS
    )


def _bounded(t: Tensor) -> dict[str, Tensor]:
    """(K, 6) unbounded numbers as parameters: five by their logarithms, and the coordinate's share by its logit."""
    values = {
        name: value.clamp(math.log(low), math.log(high)).exp()
        for (name, (low, high)), value in zip(RANGES.items(), t.unbind(-1), strict=False)
    }
    return {**values, "centre_weight": torch.sigmoid(t[:, 5]) * (1 - values["background"])}
