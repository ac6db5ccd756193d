"""The calibrated part of a graph."""

from torch import Tensor, nn

from punctum.calibration import Calibration
from punctum.heads import Prediction


class TrustGraph(nn.Module):
    """TODO."""

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        self.calibration = calibration

    def forward(self, prediction: Prediction, to_image: Tensor, length: Tensor) -> dict[str, Tensor]:
        raise ValueError("not yet")
