"""What is calibrated: predictions of held-out instances beside their true places."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from punctum.heads import Prediction
from punctum.ops import pixels_matrix, spatial_size, transform_covariance, transform_points
from punctum.ops.coords import normalized_matrix

CELLS = 16
"""Cells per axis of a crop of which there is no heatmap: the unit that spreads are counted in."""


@dataclass(frozen=True, eq=False)
class MapSet:
    """N predictions of K points, as the network gave them, and the truth in original pixels.

    Args:
        prediction: coords (N, K, D), score (N, K), and where the head has them covariance (N, K, D, D) and heatmap
            (N, K, *S), present (N, K).
        to_image: (N, D + 1, D + 1), normalized crop coordinates to original pixels.
        keypoints: (N, K, D) true places in original pixels; anything where not visible.
        visible: (N, K) bool: the point has a true place.
        images: (N,) integers; instances of one picture share one.
        lengths: (N,) what distances are measured by, in original pixels; NaN where an instance has none.
        sides: (N, D) of the instances' boxes, in original pixels, or None: what rules ask that depend on size.
    Raises:
        ValueError: shapes do not fit.
    Example:
        >>> prediction = Prediction(torch.zeros(2, 3, 2), torch.ones(2, 3), heatmap=torch.rand(2, 3, 12, 16))
        >>> maps = MapSet(prediction, torch.eye(3).expand(2, 3, 3), torch.zeros(2, 3, 2), torch.ones(2, 3).bool(),
        ...               torch.arange(2), torch.ones(2))
        >>> maps.size, len(maps.subset(torch.tensor([1])))
        ((12, 16), 1)
    """

    prediction: Prediction
    to_image: Tensor
    keypoints: Tensor
    visible: Tensor
    images: Tensor
    lengths: Tensor
    sides: Tensor | None = None

    def __post_init__(self) -> None:
        n, k, d = self.prediction.coords.shape
        shapes: dict[str, tuple[int, ...]] = {
            "to_image": (n, d + 1, d + 1),
            "keypoints": (n, k, d),
            "visible": (n, k),
            "images": (n,),
            "lengths": (n,),
            "sides": (n, d),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"{name} must be {shape}, got {tuple(value.shape)}")
        if self.visible.dtype != torch.bool:
            raise ValueError(f"visible must be bool, got {self.visible.dtype}")

    def __len__(self) -> int:
        return len(self.visible)

    @property
    def size(self) -> tuple[int, ...]:
        """S of the heatmaps; without any, `CELLS` along each axis."""
        return cells_of(self.prediction)

    def subset(self, rows: Tensor | Sequence[int] | slice) -> "MapSet":
        """Some of the instances: integers or a mask."""
        changed: dict[str, Any] = {
            f.name: value[rows] for f in fields(self)[1:] if (value := getattr(self, f.name)) is not None
        }
        return replace(self, prediction=self.prediction.map(lambda t: t[rows]), **changed)

    def split(self, n: int, seed: int) -> tuple["MapSet", "MapSet"]:
        """The instances of n images drawn at random, and those of the others.

        Raises:
            ValueError: there are not more than n images.
        Example:
            >>> prediction = Prediction(torch.zeros(4, 1, 2), torch.ones(4, 1))
            >>> maps = MapSet(prediction, torch.eye(3).expand(4, 3, 3), torch.zeros(4, 1, 2),
            ...               torch.ones(4, 1).bool(), torch.tensor([7, 7, 8, 9]), torch.ones(4))
            >>> [part.images.tolist() for part in maps.split(1, seed=0)]
            [[9], [7, 7, 8]]
        """
        images = self.images.unique()
        if not 0 < n < len(images):
            raise ValueError(f"{n} of {len(images)} images cannot be split off: none may be left without")
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        first = torch.isin(self.images, images[order[:n]])
        return self.subset(first), self.subset(~first)


def cells_of(prediction: Prediction) -> tuple[int, ...]:
    """The grid whose cells spreads are counted in: the heatmap's, or `CELLS` along each axis."""
    if prediction.heatmap is not None:
        return spatial_size(prediction.heatmap)
    return (CELLS,) * prediction.coords.shape[-1]


def in_cells(prediction: Prediction) -> tuple[Tensor, Tensor]:
    """Coordinates (B, K, D) and covariances (B, K, D, D) in heatmap pixels, float64; no covariance is zero.

    A covariance that is not finite is zero too: such a map says nothing of its spread.
    """
    matrix = pixels_matrix(cells_of(prediction))
    coords = transform_points(prediction.coords.to(torch.float64), matrix)
    dims = coords.shape[-1]
    if prediction.covariance is None:
        return coords, coords.new_zeros(*coords.shape, dims)
    spread = transform_covariance(prediction.covariance.to(torch.float64), matrix)
    finite = spread.isfinite().flatten(-2).all(-1)[..., None, None]
    return coords, torch.where(finite, spread, 0.0)


def cells_to_image(to_image: Tensor, size: Sequence[int]) -> Tensor:
    """(B, D + 1, D + 1) float64: from heatmap pixels to original pixels."""
    return to_image.to(torch.float64) @ normalized_matrix(size)


def errors_in_cells(maps: MapSet) -> Tensor:
    """(N, K, D) truth less prediction, in heatmap pixels; NaN where the point is not visible."""
    back = torch.linalg.inv(cells_to_image(maps.to_image, maps.size))
    coords, _ = in_cells(maps.prediction)
    errors = transform_points(maps.keypoints.to(torch.float64), back) - coords
    return torch.where(maps.visible[..., None], errors, torch.nan)
