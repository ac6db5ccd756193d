"""EPE: the end-point error, in pixels."""

from torch import Tensor

from punctum.metrics.pooling import Result, pooled_mean, pooled_quantile
from punctum.metrics.stateful import PointMetric


def epe(distances: Tensor) -> dict[str, Result]:
    """End-point error: mean, median, 90th and 95th percentile of the distances, pooled over all points.

    Percentiles interpolate linearly between order statistics, as NumPy's default does.

    Args:
        distances: (N, K) from `distances`, NaN where a point does not count.
    Returns:
        Keys "mean", "median", "p90", "p95"; each a Result of a scalar and (K,), in the unit of the distances.
        NaN where there is no point.
    Example:
        >>> import torch
        >>> errors = epe(torch.tensor([[1.0, 2.0], [3.0, torch.nan]], dtype=torch.float64))
        >>> errors["median"].total, errors["mean"].per_keypoint
        (tensor(2., dtype=torch.float64), tensor([2., 2.], dtype=torch.float64))
    """
    return {
        "mean": pooled_mean(distances),
        "median": pooled_quantile(distances, 0.5),
        "p90": pooled_quantile(distances, 0.9),
        "p95": pooled_quantile(distances, 0.95),
    }


class EPE(PointMetric):
    """`epe` over batches: compute() returns what `epe` returns on all of them together.

    Example:
        >>> import torch
        >>> metric = EPE()
        >>> for distance in (3.0, 4.0, 8.0):
        ...     metric.update(torch.tensor([[[distance, 0.0]]]), torch.zeros(1, 1, 2), torch.ones(1, 1).bool())
        >>> metric.compute()["median"].total
        tensor(4., dtype=torch.float64)
    """

    higher_is_better = False

    def update(self, preds: Tensor, target: Tensor, visible: Tensor) -> None:
        """Add a batch; arguments as for `distances`."""
        self.add(preds, target, visible)

    def compute(self) -> dict[str, Result]:
        """`epe` of everything added since the last reset."""
        return epe(self.distances())
