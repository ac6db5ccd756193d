"""A run folder's model in a server, on PyTorch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from punctum.predict import Predictor
from punctum.serve.engine import Crop, Found, Wanted, make_crop


class TorchEngine:
    """A run folder's model on PyTorch.

    Args:
        predictor: of `punctum.load`.
    Raises:
        ValueError: the model is not one of points in pictures.
    """

    kind = "PyTorch"

    def __init__(self, predictor: Predictor) -> None:
        if len(predictor.crop.input_size) != 2 or predictor.model.dims != 2:
            raise ValueError("serve: the model finds points in volumes; only pictures are served")
        self._predictor = predictor
        self.schema, self.crop = predictor.schema, predictor.crop
        calibration = predictor.reading.calibration
        self.levels = () if calibration is None else tuple(calibration.levels)
        self.can = Wanted(heatmaps=self._has_heatmaps(), places=16)

    def run(self, crops: Sequence[Crop], wanted: Wanted) -> list[Found]:
        """One batch, on the predictor's device."""
        samples: list[Any] = [
            (torch.from_numpy(crop.pixels), torch.from_numpy(crop.to_image), crop.size) for crop in crops
        ]
        reading = replace(self._predictor.reading, places=wanted.places)
        predictions, heatmaps = self._predictor.predict_samples(
            samples, [crop.box for crop in crops], reading, heatmaps=wanted.heatmaps
        )
        if heatmaps is None or not wanted.heatmaps:
            return [Found(prediction) for prediction in predictions]
        return [Found(p, h) for p, h in zip(predictions, heatmaps.float().numpy(), strict=True)]

    def _has_heatmaps(self) -> bool:
        blank = make_crop(np.zeros((8, 8, 3), np.uint8), None, self.crop)
        return self.run([blank], Wanted(heatmaps=True))[0].heatmaps is not None
