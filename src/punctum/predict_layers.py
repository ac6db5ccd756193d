"""From scans to the depth of each layer in each column, in the scan's own rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from punctum.data import Annotations
from punctum.data.columns import check_width, scan_pixels, scans_of, window_of
from punctum.data.crop import CropSettings
from punctum.data.images import read_image
from punctum.heads import Prediction
from punctum.model import KeypointModel
from punctum.ops import transform_covariance, transform_points
from punctum.points import Points
from punctum.predict_network import Network
from punctum.predict_reading import read_ahead
from punctum.schema import Schema


@dataclass(frozen=True, eq=False)
class ScanPrediction:
    """The layers of one scan; row 0 is the centre of the first one.

    Args:
        image: the scan's path as it was given.
        names: K layer names.
        rows: (K, W) float64, the row of each layer in each column.
        score: (K, W) in [0, 1].
        variance: (K, W) in rows squared, or None where the head knows no spread.
        to_image: (W, 2, 2): from normalized depth to rows.
        size: (H, W) of the scan.
    """

    image: str
    names: tuple[str, ...]
    rows: NDArray[np.float64]
    score: NDArray[np.float64]
    variance: NDArray[np.float64] | None
    to_image: NDArray[np.float64]
    size: tuple[int, int]


class LayerPredictor:
    """A trained model that finds layers in whole scans of any width.

    Args:
        model: the network; its head has one axis.
        device: where to compute; None: the GPU where there is one.
        flip_test: average what is found with what is found in the mirrored scan.
        fuse: predict with `model.fuse()`.
        compile: predict through `torch.compile`; each width of scans may be compiled anew.
    Raises:
        ValueError: the model finds points, not layers.
    Example:
        >>> LayerPredictor(KeypointModel.load("runs/oct/model")).predict(["a.png"])  # doctest: +SKIP
        [ScanPrediction(image='a.png', ...)]
    """

    def __init__(
        self,
        model: KeypointModel,
        device: str | torch.device | None = None,
        *,
        flip_test: bool = False,
        fuse: bool = True,
        compile: bool = False,
    ) -> None:
        if model.dims != 1:
            raise ValueError("this model finds points in pictures: use punctum.predict.Predictor")
        self.network = Network(model, device, fuse=fuse, compile=compile)
        self.model = model
        self.flip_test = flip_test
        self.crop = CropSettings.of_model(model.config.input_size, model.config.preprocessing)

    @property
    def schema(self) -> Schema:
        """The layers that the model finds."""
        return self.model.config.schema

    def predict(
        self, images: Sequence[str | Path], on_scan: Callable[[int], object] | None = None
    ) -> list[ScanPrediction]:
        """Find the layers in each scan; `on_scan(1)` is called after each.

        Raises:
            ValueError: a picture cannot be read (named).
        """
        found = []
        for path, image in self._read(images):
            found.append(self._predict(path, image))
            if on_scan is not None:
                on_scan(1)
        return found

    def stream(self, images: Sequence[str | Path]) -> Iterator[tuple[ScanPrediction | None, str]]:
        """Find the layers in one scan after the other; memory holds a few.

        Yields:
            What is found and "", or None and the reason why a scan cannot be read.
        """

        def load(i: int) -> tuple[str | Path, NDArray[Any] | None, str]:
            try:
                return images[i], read_image(images[i]), ""
            except (ValueError, OSError) as error:
                return images[i], None, str(error)

        for path, image, reason in read_ahead(load, lambda scans: scans[0], len(images), 1):
            yield None if image is None else self._predict(path, image), reason

    def annotated_points(self, annotations: Annotations, on_batch: Callable[[int], object] | None = None) -> Points:
        """The annotated columns as arrays, for the metrics: keypoints (N, K, 1); labels are not used."""
        scans = scans_of(annotations)
        predictions = []
        paths = [annotations.images[columns.start] for columns in scans]
        for columns, (path, image) in zip(scans, self._read(paths), strict=True):
            check_width(image, len(columns), path)
            predictions.append(self._predict(path, image))
            if on_batch is not None:
                on_batch(len(columns))
        spread = [p.variance.T[..., None, None] for p in predictions if p.variance is not None]
        return Points(
            keypoints=np.concatenate([p.rows.T[..., None] for p in predictions]),
            score=np.concatenate([p.score.T for p in predictions]),
            covariance=np.concatenate(spread) if len(spread) == len(predictions) else None,
            to_image=np.concatenate([p.to_image for p in predictions]),
            # A depth's picture is its column: one axis.
            image_sizes=np.concatenate([np.full((p.size[1], 1), p.size[0]) for p in predictions]),
        )

    def heatmaps(self, annotations: Annotations) -> Iterator[tuple[Tensor, Prediction, Tensor]]:
        """`scan_heatmaps` of the annotated scans; labels are not used."""
        scans = scans_of(annotations)
        paths = [annotations.images[columns.start] for columns in scans]
        for columns, path, found in zip(scans, paths, self.scan_heatmaps(paths), strict=True):
            check_width(found[0][0].movedim(0, -1).numpy(), len(columns), path)
            yield found

    def scan_heatmaps(self, paths: Sequence[str | Path]) -> Iterator[tuple[Tensor, Prediction, Tensor]]:
        """What the model sees of each scan and what it makes of it, heatmaps included; without a flip test.

        Yields:
            The scan (1, C, H, W) in [0, 1], the prediction of its W columns, and their maps (W, 2, 2) from normalized
            depth to rows; all on the CPU.
        """
        for _, image in self._read(paths):
            pixels, to_image = self._window(image)
            yield pixels[None], self.network(pixels[None], heatmaps=True), torch.from_numpy(to_image)

    @staticmethod
    def _read(paths: Sequence[str | Path]) -> Iterator[tuple[str | Path, NDArray[Any]]]:
        """Scans in order, the next ones read while one is computed."""
        return read_ahead(lambda i: (paths[i], read_image(paths[i])), lambda scans: scans[0], len(paths), 1)

    def _predict(self, path: str | Path, image: NDArray[Any]) -> ScanPrediction:
        pixels, to_image = self._window(image)
        prediction = self._decode(pixels)
        maps = torch.from_numpy(to_image)
        spread = prediction.covariance
        return ScanPrediction(
            image=str(path),
            names=self.schema.names,
            rows=transform_points(prediction.coords, maps)[..., 0].T.numpy(),
            score=prediction.score.T.numpy(),
            variance=None if spread is None else transform_covariance(spread, maps)[..., 0, 0].T.numpy(),
            to_image=to_image,
            size=(image.shape[0], image.shape[1]),
        )

    def _window(self, image: NDArray[Any]) -> tuple[Tensor, NDArray[np.float64]]:
        """A whole scan as the network gets it, (C, H, W), and each column's map from normalized depth to rows."""
        (height, width), rows = image.shape[:2], self.crop.input_size[0]
        window = window_of((height, width), (rows, width))
        pixels = torch.from_numpy(scan_pixels(image, window, self.crop, width))
        return pixels, window.to_rows(window.columns(width), rows)

    def _decode(self, pixels: Tensor) -> Prediction:
        if not self.flip_test:
            return self.network(pixels[None])
        both, width = self.network(pixels[None], mirrored=True), pixels.shape[-1]
        # Back in order, the columns' depths need no mirroring: two mixtures, one mean and spread.
        found, other = both.map(lambda t: t[:width]), both.map(lambda t: t[width:].flip(0))
        covariance = None
        if found.covariance is not None and other.covariance is not None:
            half = (found.coords - other.coords) / 2
            covariance = (found.covariance + other.covariance) / 2 + half[..., None] * half[..., None, :]
        return Prediction((found.coords + other.coords) / 2, (found.score + other.score) / 2, covariance)
