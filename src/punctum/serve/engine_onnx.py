"""An exported model in a server, on ONNX Runtime: no torch is loaded."""

from collections.abc import Sequence

from punctum.deploy import OnnxPredictor
from punctum.serve.engine import Crop, Found, Wanted


class OnnxEngine:
    """What `punctum export --out model.onnx` wrote. Heatmaps and further places stay inside such a file.

    Args:
        predictor: of the file.
    """

    kind = "ONNX Runtime"
    can = Wanted(heatmaps=False, places=0)

    def __init__(self, predictor: OnnxPredictor) -> None:
        self._predictor = predictor
        self.schema, self.crop = predictor.schema, predictor.crop
        promise = predictor.description.promise
        self.levels = () if promise is None else promise.levels

    def run(self, crops: Sequence[Crop], wanted: Wanted) -> list[Found]:
        """One run of the graph."""
        samples = [(crop.pixels, crop.to_image, crop.size) for crop in crops]
        found = self._predictor.predict_samples(samples, [crop.box for crop in crops])
        return [Found(prediction) for prediction in found]
