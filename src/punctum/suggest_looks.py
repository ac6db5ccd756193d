"""How pictures look to a model: how unsure it is of them, and the features that it sees in them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from punctum.calibration import Density
from punctum.data import Annotations
from punctum.heads import Prediction
from punctum.model import KeypointModel
from punctum.ops import transform_points
from punctum.predict import Predictor
from punctum.predict_layers import LayerPredictor
from punctum.schema import Schema

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Looks:
    """How N pictures look to a model.

    Args:
        images: N paths, all different.
        doubt: (N,) the expected squared error, averaged over the points, in units of the crop's side squared; of
            several instances in a picture, that of the most doubtful one.
        features: (N, C) of that instance: the last ones of the network, averaged over their places.
        keypoints: (N, K, D) of that instance as predicted, in pixels; of a scan (K, W) rows, scan by scan.
        boxes: (N, 2 D) of that instance; NaN for the whole picture.
    """

    images: list[Path]
    doubt: Array
    features: Array
    keypoints: list[Array]
    boxes: list[Array]

    def subset(self, rows: Sequence[int]) -> "Looks":
        """The pictures at these positions."""
        at = list(rows)
        return Looks(
            [self.images[i] for i in at],
            self.doubt[at],
            self.features[at],
            [self.keypoints[i] for i in at],
            [self.boxes[i] for i in at],
        )

    @classmethod
    def joined(cls, parts: Sequence["Looks"]) -> "Looks":
        """One after the other."""
        if not parts:
            return cls([], np.zeros(0), np.zeros((0, 0)), [], [])
        return cls(
            [path for part in parts for path in part.images],
            np.concatenate([part.doubt for part in parts]),
            np.concatenate([part.features for part in parts]),
            [points for part in parts for points in part.keypoints],
            [box for part in parts for box in part.boxes],
        )


def look(
    predictor: Predictor | LayerPredictor,
    pictures: Annotations | Sequence[Path],
    density: Density,
    *,
    on_batch: Callable[[int], object] | None = None,
) -> Looks:
    """Look at pictures, or at the instances of annotations, whose labels are not used.

    Args:
        predictor: the model.
        pictures: pictures (or volumes, or scans), or annotations.
        density: what the model says of places.
        on_batch: called with n when n more of them are done.
    """
    paths = list(pictures.images if isinstance(pictures, Annotations) else pictures)
    if predictor.model.dims == 1:  # Of a scan every column is an instance.
        paths = list(dict.fromkeys(paths))
    doubt, keypoints, boxes = [], [], []
    with recorded_features(predictor) as features:
        for prediction, to_image, box in _batches(predictor, pictures):
            spread = expected_error(prediction, density)
            points = transform_points(prediction.coords.double(), to_image).numpy()
            if predictor.model.dims == 1:  # Columns are samples of their own; a picture is all of them.
                spread, points = spread.mean(0, keepdim=True), points[None, ..., 0].transpose(0, 2, 1)
            doubt.append(spread.mean(1).double().numpy())
            keypoints += list(points)
            boxes += list(box)
            if on_batch is not None:
                on_batch(len(points))
    values = np.concatenate(doubt) if doubt else np.zeros(0)
    seen = np.concatenate(features) if features else np.zeros((0, 0))
    return Looks(paths, values, seen, keypoints, boxes).subset(_most_doubtful(paths, values))


def expected_error(prediction: Prediction, density: Density) -> Tensor:
    """(B, K), the expected squared distance of truth and prediction, in units of the crop's side squared.

        E|Y - mu|^2 = tr S,     Y from the density of mean mu and covariance S

    Normalized coordinates run over two units, so it is a quarter of that.
    """
    _, covariance = density.mixture(prediction).without("background").moments()
    return covariance.diagonal(dim1=-2, dim2=-1).sum(-1) / 4


@contextmanager
def recorded_features(predictor: Predictor | LayerPredictor) -> Iterator[list[Array]]:
    """A list that grows by (B, C) with each predicted batch: what the last head is given, averaged over places.

    Of scans, by (1, C): averaged over the columns too.
    """
    network = predictor.network.forward
    if not isinstance(network, KeypointModel):
        raise TypeError("features are recorded of a network that is not compiled")
    found: list[Array] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        mean = inputs[0].flatten(2).mean(-1).double().cpu().numpy()
        found.append(mean.mean(0, keepdims=True) if predictor.model.dims == 1 else mean)

    hook = network.heads[-1].register_forward_pre_hook(record)
    try:
        yield found
    finally:
        hook.remove()


def unlabelled(pictures: Sequence[Path], schema: Schema, dims: int) -> Annotations:
    """Pictures without labels or boxes, one instance each."""
    n, k = len(pictures), len(schema.names)
    return Annotations(
        schema=schema,
        images=tuple(pictures),
        image_names=tuple(map(str, pictures)),
        keypoints=np.full((n, k, dims), np.nan),
        visibility=np.zeros((n, k), dtype=np.int8),
        boxes=np.full((n, 2 * dims), np.nan),
        ids=("",) * n,
        source=Path(),
    )


def _batches(
    predictor: Predictor | LayerPredictor, pictures: Annotations | Sequence[Path]
) -> Iterator[tuple[Prediction, Tensor, Array]]:
    """Predictions, their maps to pixels, and the boxes they were made in."""
    if isinstance(predictor, LayerPredictor):
        paths = list(pictures.images if isinstance(pictures, Annotations) else pictures)
        for _, prediction, to_image in predictor.scan_heatmaps(list(dict.fromkeys(paths))):
            yield prediction, to_image, np.full((1, 4), np.nan)
        return
    if not isinstance(pictures, Annotations):
        pictures = unlabelled(pictures, predictor.schema, predictor.model.dims)
    start = 0
    for _, prediction, to_image in predictor.heatmaps(pictures):
        yield prediction, to_image, pictures.boxes[start : start + len(to_image)]
        start += len(to_image)


def _most_doubtful(paths: Sequence[Path], doubt: Array) -> list[int]:
    """Of each picture its most doubtful instance, in the order of the pictures."""
    best: dict[Path, int] = {}
    for i, path in enumerate(paths):
        if path not in best or doubt[i] > doubt[best[path]]:
            best[path] = i
    return list(best.values())
