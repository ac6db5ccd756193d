"""What the instruments say of many points: of all, of the easy and the hard ones, of each keypoint."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from punctum.diagnostics.measured import Measured
from punctum.diagnostics.peaks import FLAT
from punctum.metrics.bootstrap import mean_interval

# Medians of the chi-square distribution with D degrees of freedom.
CHI_SQUARE_MEDIAN = {1: 0.4549364, 2: 1.3862944, 3: 2.3659739}

THIRDS = ("near", "middle", "far")
"""Points by their own error: the third that the model has best, the next, and the worst."""

DECODERS = ("error", "argmax", "mean", "local", "expected")

Mask = NDArray[np.bool_]


def thirds(measured: Measured) -> dict[str, Mask]:
    """Masks (N, K) of the points with the smallest, middle and largest errors; a third of them each."""
    errors = measured.error[measured.counted]
    if not len(errors):
        return dict.fromkeys(THIRDS, measured.counted)
    low, high = np.quantile(errors, [1 / 3, 2 / 3])
    error = np.nan_to_num(measured.error, nan=-1.0)
    known = measured.counted
    masks = (known & (error <= low), known & (error > low) & (error <= high), known & (error > high))
    return dict(zip(THIRDS, masks, strict=True))


def summarize_maps(measured: Measured, mask: Mask, image_ids: NDArray[np.int64]) -> dict[str, Any]:
    """The figures of the points under a mask, as plain JSON values; None where nothing can be said.

    Args:
        measured: of N instances with K points.
        mask: (N, K) bool.
        image_ids: (N,) integers; the interval of A(2) resamples images.
    Returns:
        n, error (mean and median), activation (means of A(0), A(1), ...), a2 with its interval, sigma (quartiles),
        chi_square, errors of the ways to read the map, effective_cells, shares of flat and two-candidate maps, what
        stands on flip partners, gradient shares, spread, and `confidence`, see `confidence_ratio`.
    """
    mask = mask & measured.counted
    n = int(mask.sum())
    if not n:
        return {"n": 0}
    a2 = torch.from_numpy(np.where(mask, measured.activation[..., 2], np.nan))
    low, high = mean_interval([a2], torch.from_numpy(image_ids))[:, 0].tolist()
    flat = measured.effective[mask] >= FLAT * np.prod(measured.size)
    return {
        "n": n,
        "error": {"mean": _mean(measured.error[mask]), "median": _quantiles(measured.error[mask])[1]},
        "activation": [float(v) for v in measured.activation[mask].mean(0)],
        "a2": {"value": _mean(measured.activation[mask][:, 2]), "interval_95": None if low != low else [low, high]},
        "sigma": dict(zip(("q25", "median", "q75"), _quantiles(measured.sigma[mask]), strict=True)),
        "chi_square": _quantiles(measured.statistic[mask])[1],
        "errors": {name: _mean(getattr(measured, name)[mask]) for name in DECODERS},
        "effective_cells": _quantiles(measured.effective[mask])[1],
        "flat": _mean(flat.astype(float)),
        "two": _mean(measured.two[mask]),
        "partner": {
            "n": int(np.isfinite(measured.partner[mask]).sum()),
            "share": _mean(measured.partner[mask]),
            "chance": _mean(measured.chance[mask]),
        },
        "gradient": {
            name: _mean(getattr(measured, name)[mask])
            for name in ("near_truth", "near_peak", "elsewhere", "gradient")
        },
        "spread": _quantiles(measured.spread[mask])[1],
        "confidence": confidence_ratio(measured, mask),
        "below_half_a_cell": _mean((measured.error[mask] < 0.5).astype(float)),
    }


def confidence_ratio(measured: Measured, mask: Mask) -> float | None:
    """How many times larger the errors are than the head's own covariance says, for the point in the middle.

        r^2 = median of d^T S^-1 d / median of chi-square with D degrees of freedom

    One where the covariance is honest and errors are Gaussian; 2 says that errors are twice as large as promised. By
    medians, since a few outliers would decide the mean. None where the head has no covariance.
    """
    surprise = measured.surprise[mask]
    surprise = surprise[np.isfinite(surprise)]
    if not len(surprise):
        return None
    dims = measured.truth.shape[-1]
    return float(np.sqrt(np.median(surprise) * dims / CHI_SQUARE_MEDIAN[dims]))


def splits(
    measured: Measured, image_ids: NDArray[np.int64], levels: Mapping[str, Mapping[str, Mask]]
) -> dict[str, dict[str, Any]]:
    """`summarize_maps` of every level of every split: {"joints": {"easy": ..., "medium": ..., "hard": ...}, ...}."""
    return {
        split: {level: summarize_maps(measured, mask, image_ids) for level, mask in masks.items()}
        for split, masks in levels.items()
    }


def gain(measured: Measured, decoder: str, image_ids: NDArray[np.int64]) -> tuple[float, float, float] | None:
    """How much smaller the mean error would be if the map were read another way, in cells, and its 95 % interval.

    Point by point, so that what both ways err by together does not count. None with fewer than two images.
    """
    difference = torch.from_numpy(measured.error - getattr(measured, decoder))
    low, high = mean_interval([difference], torch.from_numpy(image_ids))[:, 0].tolist()
    return None if low != low else (float(difference.nanmean()), low, high)


def _mean(values: NDArray[np.float64]) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def _quantiles(values: NDArray[np.float64]) -> list[float]:
    return [float(v) for v in np.quantile(values, [0.25, 0.5, 0.75])]
