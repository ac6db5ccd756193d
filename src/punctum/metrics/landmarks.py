"""MRE and SDR: what anatomical landmarks are measured by, in millimetres."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import Tensor

from punctum.metrics.pooling import Result, check_thresholds, pooled_mean, pooled_share
from punctum.metrics.stateful import PointMetric

Unit = Literal["mm", "px"]
SDR_THRESHOLDS = (2.0, 2.5, 3.0, 4.0)


def mre(distances: Tensor) -> dict[str, Result]:
    """Mean radial error and its standard deviation over points.

        MRE = 1/n sum d,      SD = sqrt(1/(n - 1) sum (d - MRE)^2)

    Args:
        distances: (N, K) from `distances`, NaN where a point does not count: in millimetres if they were taken
            with a spacing, else in pixels.
    Returns:
        Keys "mean" and "sd", each a Result of a scalar and (K,), in the unit of the distances. The mean is NaN
        without a point, the deviation with fewer than two.
    Source:
        Wang et al. 2016, Medical Image Analysis 31 (the ISBI 2015 cephalometric challenge).
    Example:
        >>> import torch
        >>> errors = mre(torch.tensor([[1.0, 2.0], [3.0, torch.nan]]))
        >>> errors["mean"].total, errors["sd"].total
        (tensor(2.), tensor(1.))
    """
    mean = pooled_mean(distances)
    return {"mean": mean, "sd": Result(_deviation(distances.reshape(-1, 1))[0], _deviation(distances))}


def sdr(distances: Tensor, thresholds: Sequence[float] = SDR_THRESHOLDS) -> Result:
    """Successful detection rate: the share of points whose radial error is no greater than each threshold.

    Args:
        distances: (N, K) from `distances`, NaN where a point does not count: in millimetres if they were taken
            with a spacing, else in pixels.
        thresholds: T precision ranges in the unit of the distances: 2, 2.5, 3 and 4 mm are the challenge's.
    Returns:
        Result of (T,) and (T, K), in [0, 1]; NaN where there is no point.
    Raises:
        ValueError: no thresholds, or one that is not positive.
    Source:
        Wang et al. 2016, Medical Image Analysis 31 (the ISBI 2015 cephalometric challenge).
    Example:
        >>> import torch
        >>> sdr(torch.tensor([[2.0, 2.6], [3.5, torch.nan]])).total
        tensor([0.3333, 0.3333, 0.6667, 1.0000])
    """
    return pooled_share(distances, thresholds)


def _deviation(values: Tensor) -> Tensor:
    """(N, M) to (M,): standard deviation with n - 1, NaN for fewer than two values."""
    squares = (values - values.nanmean(0)).square().nansum(0)
    count = (~values.isnan()).sum(0)
    return (squares / (count - 1)).where(count > 1, squares.new_tensor(float("nan"))).sqrt()


class _LandmarkMetric(PointMetric):
    """Radial errors in one unit: a batch with a spacing and one without do not mix."""

    def __init__(self, unit: Unit = "mm", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if unit not in get_args(Unit):
            raise ValueError(f"unknown unit {unit!r}: choose one of {', '.join(get_args(Unit))}")
        self.unit = unit

    def update(
        self, preds: Tensor, target: Tensor, visible: Tensor, spacing: Tensor | Sequence[float] | None = None
    ) -> None:
        """Add a batch; arguments as for `distances`. The unit mm needs a spacing, px takes none."""
        if (spacing is None) == (self.unit == "mm"):
            fault = "needs a spacing in mm per pixel" if spacing is None else "takes no spacing"
            raise ValueError(f"{type(self).__name__}(unit={self.unit!r}) {fault}")
        self.add(preds, target, visible, spacing=spacing)


class MRE(_LandmarkMetric):
    """`mre` over batches: compute() returns what `mre` returns on all of them together.

    Args:
        unit: "mm", where each batch brings its spacing, or "px".
    """

    higher_is_better = False

    def compute(self) -> dict[str, Result]:
        """`mre` of everything added since the last reset."""
        return mre(self.distances())


class SDR(_LandmarkMetric):
    """`sdr` over batches: compute() returns what `sdr` returns on all of them together.

    Args:
        thresholds: T precision ranges, in the unit.
        unit: "mm", where each batch brings its spacing, or "px".
    """

    higher_is_better = True

    def __init__(self, thresholds: Sequence[float] = SDR_THRESHOLDS, unit: Unit = "mm", **kwargs: Any) -> None:
        super().__init__(unit, **kwargs)
        self.thresholds = check_thresholds(thresholds)

    def compute(self) -> Result:
        """`sdr` of everything added since the last reset."""
        return sdr(self.distances(), self.thresholds)
