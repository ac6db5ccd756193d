"""From what a network says of a batch to points in pixels: as the head reads them, by another rule, calibrated."""

from dataclasses import dataclass, replace

import torch
from numpy.typing import NDArray
from torch import Tensor

from punctum.calibration import Calibrated, Calibration, Density
from punctum.decision import Decision, decide
from punctum.heads import Prediction
from punctum.ops import transform_covariance, transform_points
from punctum.scales import Scales


@dataclass(frozen=True, eq=False)
class Reading:
    """How predictions are read.

    Args:
        decision: which place of the density is said.
        calibration: what `punctum calibrate` found; None: scores and covariances are the head's own.
        sigmas: of the keypoints, for the rule "oks"; None where they are not known.
    Raises:
        ValueError: the calibration is of another rule, or of other keypoints.
    """

    decision: Decision = Decision()
    calibration: Calibration | None = None
    sigmas: tuple[float, ...] | None = None

    @property
    def needs_heatmaps(self) -> bool:
        """Whether the density behind the head's own word is asked for."""
        return self.calibration is not None or self.decision.kind != "head"

    def decided(self, prediction: Prediction, to_image: Tensor, scales: Scales) -> Prediction:
        """The prediction with its coordinates where the rule puts them."""
        if self.decision.kind == "head":
            return prediction
        keypoints = prediction.coords.shape[1]
        density = Density.default(keypoints) if self.calibration is None else self.calibration.density
        return decided(prediction, density, self.decision, to_image, scales, self.sigmas)


def decided(
    prediction: Prediction,
    density: Density,
    decision: Decision,
    to_image: Tensor,
    scales: Scales,
    sigmas: tuple[float, ...] | None,
) -> Prediction:
    """A prediction with its coordinates where a rule puts them, its density being given."""
    to_image = to_image.to(torch.float64)
    lengths = torch.from_numpy(scales.lengths("bbox"))
    known = (decision.value,) * prediction.coords.shape[1] if decision.kind == "oks" and decision.value else sigmas
    oks_lengths = None if known is None else torch.from_numpy(scales.oks_lengths(known))
    keypoints = decide(density.mixture(prediction).transform(to_image), decision, lengths, oks_lengths)
    return replace(prediction, coords=transform_points(keypoints.double(), torch.linalg.inv(to_image)))
