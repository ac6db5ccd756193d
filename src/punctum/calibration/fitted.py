"""From a head's output to covariances and densities in original pixels, and to a probability of being near."""

from dataclasses import dataclass

import torch
from torch import Tensor

from punctum.calibration.density import Density
from punctum.calibration.maps import cells_of, cells_to_image, in_cells
from punctum.calibration.regions import Regions
from punctum.calibration.spread import Spread
from punctum.heads import Prediction
from punctum.ops import transform_covariance, transform_points
from punctum.ops.decisions import expected_pck_at


@dataclass(frozen=True, eq=False)
class Fitted:
    """What the fit part of the images says: how a head's output becomes covariances and densities.

    Args:
        spread: of covariances.
        density: of densities.
    """

    spread: Spread
    density: Density

    def regions(self, prediction: Prediction, to_image: Tensor) -> Regions:
        """Covariances and densities of B instances in original pixels: to_image is (B, D + 1, D + 1)."""
        cells, own = in_cells(prediction)
        matrix = cells_to_image(to_image, cells_of(prediction))
        covariance = transform_covariance(self.spread(own), matrix)
        mixture = self.density.mixture(prediction).transform(to_image)
        return Regions(transform_points(cells, matrix), covariance, mixture)

    def log_spread(self, prediction: Prediction) -> Tensor:
        """(B, K), log of the calibrated standard deviation in heatmap pixels."""
        variances = self.spread(in_cells(prediction)[1]).diagonal(dim1=-2, dim2=-1)
        return variances.mean(-1).log() / 2


@dataclass(frozen=True, eq=False)
class Distance:
    """The distance that a score is the probability of: `within` times an instance's length.

    Args:
        within: in units of the length.
        normalizer: what the lengths are, in words: "bbox".
        share: lengths as a share of the crop's longer side, their median; for instances without a length.
    """

    within: float
    normalizer: str
    share: float

    def radius(self, to_image: Tensor, lengths: Tensor | None) -> Tensor:
        """(B,) in original pixels."""
        usual = self.share * crop_side(to_image)
        if lengths is None:
            return self.within * usual
        return self.within * torch.where(lengths > 0, lengths.to(usual), usual)


def expected_within(regions: Regions, radius: Tensor) -> Tensor:
    """(B, K), the densities' own probability that an error is at most a radius (B,)."""
    points = regions.keypoints.to(regions.mixture.means)
    return expected_pck_at(regions.mixture, points, radius.to(points)[:, None])


def crop_side(to_image: Tensor) -> Tensor:
    """(B,) the crop's longer side in original pixels."""
    return 2 * torch.linalg.vector_norm(to_image[:, :-1, :-1].to(torch.float64), dim=1).amax(-1)
