"""Labels beside what a model says of their places: how far each lies off, in the model's own measure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from punctum.calibration import Density
from punctum.calibration.maps import cells_of
from punctum.data import Annotations
from punctum.diagnostics.places import true_places
from punctum.ops import GaussianMixture, to_pixels, transform_points
from punctum.predict import Predictor
from punctum.predict_layers import LayerPredictor

# Of a density's components, the heaviest ones, among which its highest place is looked for.
HEAVIEST = 16


@dataclass(frozen=True, eq=False)
class Judged:
    """N instances of K keypoints in D axes, labelled and predicted.

    Args:
        predicted: (N, K, D) in original-image pixels.
        deviation: (N, K, D), from the predicted place to the label, as `deviations` measures it; NaN where there is
            no label, or none that the model can see.
        outside: (N, K) bool: labelled, but outside of what the model sees.
        pairs: (M, 3) int: instance, and two keypoints whose labels lie nearer to each other's predictions.
        crossed: (M, 2): the lengths of those two labels' deviations, were they exchanged: of the first keypoint with
            the second one's label, and the other way round.
    """

    predicted: NDArray[np.float64]
    deviation: NDArray[np.float64]
    outside: NDArray[np.bool_]
    pairs: NDArray[np.int64]
    crossed: NDArray[np.float64]


def judge(
    predictor: Predictor | LayerPredictor,
    annotations: Annotations,
    density: Density,
    *,
    on_batch: Callable[[int], object] | None = None,
) -> Judged:
    """Look at every labelled instance, a batch at a time; no heatmaps are kept.

    Args:
        predictor: the model.
        annotations: of its keypoints.
        density: what the model says of places.
        on_batch: called with n when n more instances are done.
    """
    parts, start = [], 0
    axes = predictor.crop.input_size[: predictor.model.dims]
    for _, prediction, to_image in predictor.heatmaps(annotations):
        rows = slice(start, start + len(to_image))
        labels, seen = true_places(annotations, rows, to_image, axes)
        mixture = density.mixture(prediction).without("background")
        judged = _judge(mixture, prediction.coords, labels, seen, cells_of(prediction))
        judged["predicted"] = transform_points(prediction.coords.double(), to_image).numpy()
        judged["outside"] = annotations.labelled[rows] & ~seen.numpy()
        judged["pairs"][:, 0] += start
        parts.append(judged)
        start = rows.stop
        if on_batch is not None:
            on_batch(len(to_image))
    return Judged(**{f.name: np.concatenate([part[f.name] for part in parts]) for f in fields(Judged)})


def deviations(mixture: GaussianMixture, coords: Tensor, labels: Tensor, size: Sequence[int]) -> Tensor:
    """From the predicted places towards the labels, as long as the model is surprised.

        |d| = sqrt(2 log(max p / p(label))),     d / |d| the direction from the coordinate to the label

    For a Gaussian density this is the distance in its standard deviations; a label on a second candidate's hill, at
    half of the first one's height, is 1.2 off, wherever it lies.

    Args:
        mixture: densities p (B, K).
        coords: (B, K, D), the model's coordinates.
        labels: (B, K, D), in the same coordinates; NaN comes out as NaN.
        size: whose pixels are as long on every axis: what directions are measured in.
    Returns:
        (B, K, D).
    Example:
        >>> from punctum.ops import single_gaussian
        >>> mixture = single_gaussian(torch.zeros(1, 1, 2), 0.01 * torch.eye(2).expand(1, 1, 2, 2))
        >>> deviations(mixture, torch.zeros(1, 1, 2), torch.tensor([[[0.2, 0.0]]]), (8, 8))
        tensor([[[2., 0.]]])
    """
    away = to_pixels(labels.to(coords.dtype), size) - to_pixels(coords, size)
    far = away.norm(dim=-1, keepdim=True)
    length = _surprise(mixture, coords, labels)[..., None]
    return length * torch.where(far > 0, away / torch.where(far > 0, far, 1.0), torch.where(far.isnan(), far, 0.0))


def _surprise(mixture: GaussianMixture, coords: Tensor, labels: Tensor) -> Tensor:
    """(B, K): sqrt(2 log(max p / p(label)))."""
    heaviest = mixture.log_weights.topk(min(HEAVIEST, mixture.log_weights.shape[-1]), -1).indices
    places = mixture.means.gather(-2, heaviest[..., None].expand(*heaviest.shape, mixture.means.shape[-1]))
    # The coordinate may stand between cells, and higher than any of them; where it is NaN, another place serves.
    coords = torch.where(coords.isfinite().all(-1, keepdim=True), coords, places[..., 0, :])
    top = mixture.log_prob(torch.cat([places, coords.to(places.dtype)[..., None, :]], -2)).amax(-1)
    return (2 * (top - mixture.log_prob(labels.to(places.dtype)))).clamp_min(0).sqrt()


def _judge(
    mixture: GaussianMixture, coords: Tensor, labels: Tensor, seen: Tensor, size: Sequence[int]
) -> dict[str, NDArray[Any]]:
    labels = torch.where(seen[..., None], labels, torch.nan)
    pairs = _closer_pairs(to_pixels(labels, size), to_pixels(coords.double(), size))
    crossed = np.zeros((len(pairs), 2))
    for side, (own, other) in enumerate(((1, 2), (2, 1)) if len(pairs) else ()):
        row, keypoint = pairs[:, 0], pairs[:, own]
        chosen = mixture.map(lambda x, at=(row, keypoint): x[at][None])  # type: ignore[misc]
        swapped = labels[row, pairs[:, other]][None]
        crossed[:, side] = _surprise(chosen, coords[row, keypoint][None], swapped)[0].double().numpy()
    return {
        "deviation": deviations(mixture, coords, labels, size).double().numpy(),
        "pairs": pairs.numpy(),
        "crossed": crossed,
    }


def _closer_pairs(labels: Tensor, coords: Tensor) -> Tensor:
    """(M, 3) int64: row, i < j, where each of the two labels is nearer to the other's prediction than its own's."""
    found = [torch.zeros(0, 3, dtype=torch.int64)]
    for row, (label, coord) in enumerate(zip(labels, coords, strict=True)):
        # One row at a time: K x K distances. NaN is never nearer.
        distance = torch.cdist(coord, label)
        nearer = distance < distance.diagonal()[:, None]
        i, j = (nearer & nearer.T).triu(1).nonzero(as_tuple=True)
        found.append(torch.stack([torch.full_like(i, row), i, j], -1))
    return torch.cat(found)
