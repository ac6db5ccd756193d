"""What the torchmetrics classes share: every distance is kept, so batches and processes split freely."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from punctum.metrics.distance import distances


class PointMetric(Metric):
    """Collects distances (and lengths) over batches and, at compute, over processes.

    The states are one-dimensional: a process that saw no data joins with an empty tensor of one axis, and
    torchmetrics can gather only tensors with the same number of axes and the same type. Subclasses call `add`
    in `update`, and the pure function on `distances()` and `lengths()` in `compute`.
    """

    full_state_update = False
    is_differentiable = False

    point_distances: list[Tensor]
    instance_lengths: list[Tensor]
    num_keypoints: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("point_distances", default=[], dist_reduce_fx="cat")
        self.add_state("instance_lengths", default=[], dist_reduce_fx="cat")
        self.add_state("num_keypoints", default=torch.tensor(0), dist_reduce_fx="max")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the states, which an empty process needs to know; `.half()` and Lightning's precision leave it."""
        return torch.float64

    def add(
        self,
        preds: Tensor,
        target: Tensor,
        visible: Tensor,
        *,
        lengths: Tensor | None = None,
        spacing: Tensor | Sequence[float] | None = None,
    ) -> None:
        """Add a batch; arguments as for `distances`, and lengths (N,) where the metric is normalized."""
        values = distances(preds, target, visible, spacing)
        n, keypoints = values.shape
        if self.num_keypoints > 0 and keypoints != self.num_keypoints:
            raise ValueError(f"this batch has {keypoints} keypoints, those before had {int(self.num_keypoints)}")
        if lengths is None:
            lengths = values.new_ones(n)
        elif lengths.shape != (n,):
            raise ValueError(f"lengths must be ({n},), one per instance, got {tuple(lengths.shape)}")
        self.point_distances.append(values.flatten())
        self.instance_lengths.append(lengths.detach().to(values))
        self.num_keypoints = torch.full_like(self.num_keypoints, keypoints)

    def distances(self) -> Tensor:
        """All distances so far, (N, K).

        Raises:
            RuntimeError: nothing was added since the last reset.
        """
        if self.num_keypoints == 0:
            name = type(self).__name__
            raise RuntimeError(f"{name}.compute() has nothing to measure: call {name}.update() first")
        return dim_zero_cat(self.point_distances).reshape(-1, int(self.num_keypoints))

    def lengths(self) -> Tensor:
        """All lengths so far, (N,)."""
        return dim_zero_cat(self.instance_lengths)

    def _wrap_compute(self, compute: Callable) -> Callable:
        # torchmetrics squeezes every result of one element, so that K = 1 would lose its axis; it does not look
        # into a box. And it warns before `distances` raises a clearer error.
        @functools.wraps(compute)
        def boxed(*args: Any, **kwargs: Any) -> _Box:
            return _Box(compute(*args, **kwargs))

        wrapped = super()._wrap_compute(boxed)

        @functools.wraps(compute)
        def unboxed(*args: Any, **kwargs: Any) -> Any:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The ``compute`` method of metric", category=UserWarning)
                return wrapped(*args, **kwargs).value

        return unboxed


class ScoredMetric(PointMetric):
    """Collects scores beside the distances and lengths. Subclasses call the pure function in `compute`."""

    point_scores: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("point_scores", default=[], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor, visible: Tensor, *, score: Tensor, lengths: Tensor) -> None:
        """Add a batch; arguments as for `distances`, scores (N, K) and lengths (N,) from a `Normalizer`."""
        if score.shape != visible.shape:
            raise ValueError(f"score must be {tuple(visible.shape)}, one per point, got {tuple(score.shape)}")
        self.add(preds, target, visible, lengths=lengths)
        self.point_scores.append(score.detach().to(self.point_distances[-1]).flatten())

    def scores(self) -> Tensor:
        """All scores so far, (N, K).

        Raises:
            RuntimeError: nothing was added since the last reset.
        """
        shape = self.distances().shape
        return dim_zero_cat(self.point_scores).reshape(shape)


class _Box:
    def __init__(self, value: Any) -> None:
        self.value = value
