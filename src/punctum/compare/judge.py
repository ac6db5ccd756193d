"""The metric that heads are compared by, point by point."""

import numpy as np
from numpy.typing import NDArray

from punctum.compare.cells import Outcome
from punctum.evaluation import Evaluation

Floats = NDArray[np.float64]


def higher_is_better(metric: str) -> bool:
    """Whether the metric is a share of good points.

    Example:
        >>> higher_is_better("pck@0.5"), higher_is_better("nme")
        (True, False)
    """
    return metric.startswith("pck")


def metric_values(evaluation: Evaluation, metric: str) -> Floats:
    """What the metric is the mean of; NaN where there is no label, or no length to divide by.

    Args:
        evaluation: of N instances of K keypoints.
        metric: epe, errors in px (N, K); pck@T, whether they are at most T lengths (N, K), 1 or 0; nme, each
            instance's mean error in lengths (N, 1).
    """
    errors, lengths = evaluation.errors, evaluation.lengths[:, None]
    if metric == "epe":
        return errors
    normalized = errors / np.where(lengths > 0, lengths, np.nan)
    if metric == "nme":
        counts = np.isfinite(normalized).sum(1, keepdims=True)
        sums = np.nansum(normalized, 1, keepdims=True)
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    threshold = float(metric.partition("@")[2])
    return np.where(np.isnan(normalized), np.nan, normalized <= threshold)


def outcome_value(outcome: Outcome, metric: str) -> float | None:
    """The metric of a cell, turned so that lower is better; None where no point has one, or a prediction is no
    number."""
    evaluation = Evaluation.load(outcome.folder / "test")
    values = metric_values(evaluation, metric)
    # Means leave out what is no number: a head must not gain by predicting such.
    if np.isnan(values).all() or not np.isfinite(evaluation.keypoints).all():
        return None
    mean = float(np.nanmean(values))
    return 1 - mean if higher_is_better(metric) else mean


def written(value: float, metric: str) -> str:
    """A value as tables show it: per cent of a length, per cent of points, or pixels.

    Example:
        >>> written(0.0421, "nme"), written(3.456, "epe")
        ('4.21 %', '3.46 px')
    """
    return f"{value:.2f} px" if metric == "epe" else f"{100 * value:.2f} %"
