"""A prediction's density, fitted: temperature of the map, width of a cell, and how far to trust the coordinate.

The density is that of `punctum.ops.continuous`. Its parameters are those under which the true places of held-out
points are likeliest, of each keypoint, drawn towards those of all where points are few.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from punctum.calibration.fitting import pooled_then_own
from punctum.calibration.likelihood import Likelihood
from punctum.calibration.maps import MapSet, cells_of
from punctum.heads import Prediction
from punctum.ops.continuous import MixtureFamily
from punctum.ops.mixture import GaussianMixture

COMPONENTS = 64
"""Cells of a map that are places of their own; of a larger one the others become one place together."""

RANGES = {
    "temperature": (0.05, 20.0),
    "bandwidth": (0.05, 3.0),
    "spread_scale": (1e-3, 1e3),
    "spread_floor": (1e-3, 1e3),
    "background": (1e-4, 0.2),
}
"""Where each parameter is looked for; the coordinate's weight is within 0 and 1 less the background."""

_START = {
    "temperature": 1.0,
    "bandwidth": 0.3,
    "spread_scale": 0.5,
    "spread_floor": 0.05,
    "background": 0.003,
}


_UNFITTED = {
    "temperature": 1.0,
    "bandwidth": 0.25,
    "centre_weight": 0.0,
    "spread_scale": 1.0,
    "spread_floor": 0.0625,
    "background": 1e-3,
}


@dataclass(frozen=True, eq=False)
class Density:
    """The fitted parameters of K keypoints, as `punctum.ops.continuous.heatmap_mixture` takes them.

    Args:
        temperature, bandwidth, centre_weight, spread_scale, spread_floor, background: (K,) each.
        shape: (K, D, D), the covariance in heatmap pixels squared, of mean variance one, that h^2 and b scale: labels
            scatter further along an edge than across it.
        offset: (K, D), in heatmap pixels: labels lie to one side of what the head finds.
    Example:
        >>> one = torch.ones(3)
        >>> density = Density(one, one, one / 2, one, one, one / 100, torch.eye(2).expand(3, 2, 2),
        ...                   torch.zeros(3, 2))
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
    def default(cls, keypoints: int, dims: int) -> "Density":
        """Of a model that nobody has calibrated: the head's own map, a quarter of a cell wide about each place."""
        return cls(
            **{name: torch.full((keypoints,), value) for name, value in _UNFITTED.items()},
            shape=torch.eye(dims).expand(keypoints, dims, dims),
            offset=torch.zeros(keypoints, dims),
        )

    @classmethod
    def fit(cls, maps: MapSet, floor: Tensor) -> "Density":
        """The likeliest parameters of each keypoint, drawn towards those of all.

        Args:
            maps: of the fit part.
            floor: (K, D, D) in heatmap pixels squared, from `Spread.fit`: its shape is kept, its size is found anew.
        Raises:
            ValueError: no point is visible.
        """
        variance = floor.diagonal(dim1=-2, dim2=-1).mean(-1)
        shape = floor / variance[:, None, None]
        points = Likelihood.of(maps, _family(maps.prediction.map(Tensor.double)), shape)
        if not len(points.keypoint):
            raise ValueError("no point is visible in the images that the density is fitted to")
        dims = floor.shape[-1]
        start = floor.new_tensor([*(math.log(value) for value in _START.values()), 0.0, *[0.0] * dims])
        t = pooled_then_own(lambda t: -points.log_prob(**_bounded(t, variance)), start, len(floor))
        fitted = _bounded(t, variance)
        lower = torch.linalg.cholesky(shape)
        return cls(**{**fitted, "offset": (lower @ fitted["offset"][..., None])[..., 0]}, shape=shape)


def _family(prediction: Prediction) -> MixtureFamily:
    size = cells_of(prediction)
    return MixtureFamily.of(
        prediction.heatmap, prediction.coords, prediction.covariance, size, max_components=COMPONENTS
    )


def _bounded(t: Tensor, variance: Tensor) -> dict[str, Tensor]:
    """Unbounded numbers (K, 6 + D) as parameters: five by their logarithms, the coordinate's share by its logit, the
    offset, whitened, in standard deviations of the errors."""
    values = {
        name: value.clamp(math.log(low), math.log(high)).exp()
        for (name, (low, high)), value in zip(RANGES.items(), t.unbind(-1), strict=False)
    }
    share = torch.sigmoid(t[:, len(values)]) * (1 - values["background"])
    return {**values, "centre_weight": share, "offset": variance.sqrt()[:, None] * t[:, len(values) + 1 :]}
