"""The calibrated part of a graph: what of a calibration has a closed form."""

import torch
from torch import Tensor, nn

from punctum.calibration import Calibration
from punctum.heads import Prediction
from punctum.points import FLAGS

LEFT_OUT = "areas of highest-density regions, likely places (--places) and other rules of decoding (--decode)"
"""Of a calibrated run folder, and not of its export: they rest on draws, or climb until they stand still."""


class TrustGraph(nn.Module):
    """Scores, covariances, regions and flags of a calibration, by the very code that a run folder predicts with.

    Args:
        calibration: of the run.
    """

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        self.calibration = calibration

    def forward(self, prediction: Prediction, to_image: Tensor, length: Tensor) -> dict[str, Tensor]:
        """By name: `score` (B, K), `covariance` (B, K, 2, 2), `radius` and `factor` (B, K, L), flags (B, K) bool, and
        `typical` (B,)."""
        found = self.calibration.apply(prediction, to_image, length)
        levels = found.levels
        return {
            "score": found.score,
            "covariance": found.covariance,
            "radius": torch.stack([found.radius(level) for level in levels], -1),
            "factor": torch.stack([found.factor(level).expand(found.score.shape) for level in levels], -1),
            **{name: getattr(found.flags, name) for name in FLAGS},
            "typical": found.flags.typical,
        }
