"""Engines for tests: one that is held back, or that breaks, at will."""

import threading
from collections.abc import Sequence

import numpy as np

from punctum.data.crop import CropSettings
from punctum.image_prediction import ImagePrediction
from punctum.schema import Schema
from punctum.serve.engine import Crop, Found, Wanted


class StubEngine:
    """Says of every crop where its brightest pixel is, once `free` is set; breaks on a crop that is all white."""

    kind = "stub"
    levels: tuple[float, ...] = ()
    can = Wanted(heatmaps=False, places=0)

    def __init__(self, size: int = 16) -> None:
        self.schema = Schema(("brightest",))
        self.crop = CropSettings((size, size), region="box", padding=1.0)
        self.free = threading.Event()
        self.free.set()
        self.batches: list[int] = []

    def run(self, crops: Sequence[Crop], wanted: Wanted) -> list[Found]:
        self.free.wait(20)
        self.batches.append(len(crops))
        return [Found(self._find(crop)) for crop in crops]

    def _find(self, crop: Crop) -> ImagePrediction:
        gray = crop.pixels.mean(0)
        if gray.min() == 1:
            raise RuntimeError("/a/path/that/nobody/shall/see: white")
        y, x = np.unravel_index(gray.argmax(), gray.shape)
        h, w = gray.shape
        place = crop.to_image @ np.array([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1, 1])
        return ImagePrediction("a", "", self.schema.names, place[None, :2], np.array([gray.max()]), None)
