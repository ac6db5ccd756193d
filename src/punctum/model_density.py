"""What a model says of places, as a density: where labels are judged by it, and doubt is measured."""

from collections.abc import Callable

from punctum.heads import Prediction
from punctum.model import KeypointModel
from punctum.ops import GaussianMixture, heatmap_mixture

Size = tuple[int, ...]
Density = Callable[[Prediction, Size], GaussianMixture]
"""A prediction, and the size of its heatmaps, as a mixture in normalized coordinates."""


def default_density(prediction: Prediction, size: Size) -> GaussianMixture:
    """The density of a model that nobody has calibrated."""
    return heatmap_mixture(prediction.heatmap, prediction.coords, prediction.covariance, size)


def map_size(model: KeypointModel, prediction: Prediction) -> Size:
    """The size of the heatmaps, in whose pixels widths are told; of the features where the head has no map."""
    if prediction.heatmap is not None:
        return tuple(prediction.heatmap.shape[2:])
    return tuple(model.backbone.feature_size(model.config.input_size))
