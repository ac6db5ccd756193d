"""Every metric of one evaluation as one JSON-ready dictionary: what `metrics.json` holds."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from punctum.metrics.bootstrap import mean_interval, quantile_interval
from punctum.metrics.distance import distances
from punctum.metrics.epe import epe
from punctum.metrics.landmarks import SDR_THRESHOLDS, mre, sdr
from punctum.metrics.nme import nme
from punctum.metrics.normalizer import Normalizer, normalized_distances
from punctum.metrics.pck import under_curve
from punctum.metrics.pooling import check_thresholds, pooled_mean, pooled_share, within
from punctum.metrics.ranking import rank_correlation, rank_correlation_interval

FAILURE_THRESHOLD = 0.1


def summarize(
    preds: Tensor,
    target: Tensor,
    visible: Tensor,
    *,
    names: Sequence[str],
    normalizer: Normalizer,
    lengths: Tensor,
    thresholds: Sequence[float],
    image_ids: Tensor,
    spacing: Tensor | Sequence[float] | None = None,
    score: Tensor | None = None,
    seed: int = 0,
    n_resamples: int = 1000,
) -> dict[str, Any]:
    """All metrics, their 95 % intervals over images, the same per keypoint, and what was left out.

    Args:
        preds: (N, K, D) in original-image pixels.
        target: (N, K, D) in original-image pixels; anything where not visible.
        visible: (N, K) bool, the points that count.
        names: of the K keypoints.
        normalizer: what `lengths` are; the output says it.
        lengths: (N,) from `normalizer.lengths`; NaN leaves the instance out of PCK and NME, and counts it.
        thresholds: of PCK, in lengths; its area runs to the largest.
        image_ids: (N,) integers: instances with the same number stand in one image.
        spacing: millimetres per pixel, (D,) or (N, D): adds MRE and SDR in millimetres.
        score: (N, K), how sure the predictor was of each point, NaN where it did not say: adds the rank correlation
            of score and closeness, with errors in lengths.
        seed: of the bootstrap.
        n_resamples: of the bootstrap.
    Returns:
        Nested dictionaries and lists of strings, numbers and None (where there is nothing to measure): no NaN.
        PCK and SDR are shares in [0, 1], NME is in lengths: none is in per cent. An interval is None where fewer
        than two images have a point, and where all resamples agree, as for a PCK of 1: how rare a failure is that
        was never seen, resampling cannot tell.
    Raises:
        ValueError: no instance at all; no visible point; and what `distances` and `pck` raise.
    Example:
        >>> from punctum.schema import Schema
        >>> image_ids, lengths = torch.arange(2), torch.tensor([1.0, 1.0])
        >>> summary = summarize(
        ...     torch.tensor([[[3.0, 4.0]], [[0.0, 1.0]]]), torch.zeros(2, 1, 2), torch.ones(2, 1).bool(),
        ...     names=["tip"], normalizer=Normalizer.parse("pixels", Schema(("tip",))), lengths=lengths,
        ...     thresholds=[1, 5], image_ids=image_ids,
        ... )
        >>> summary["epe_px"]["mean"], summary["pck"]["1"], summary["per_keypoint"][0]["n"]
        (3.0, {'value': 0.5, 'interval_95': [0.0, 1.0]}, 2)
    """
    thresholds = check_thresholds(thresholds)
    pixels = distances(preds, target, visible, names=names)
    if not visible.any():
        raise ValueError(f"nothing to evaluate: {len(preds)} instances, and not one visible point")
    if image_ids.shape != (len(preds),):
        raise ValueError(f"image_ids must be ({len(preds)},), one per instance, got {tuple(image_ids.shape)}")
    lengths, image_ids = lengths.to(pixels), image_ids.to(pixels.device)
    relative = normalized_distances(pixels, lengths)
    millimetres = None if spacing is None else distances(preds, target, visible, spacing, names=names)
    resampling: dict[str, Any] = {"n": n_resamples, "seed": seed}
    return {
        "n": int(visible.sum()),
        "n_images": image_ids.unique().numel(),
        "n_instances": len(preds),
        "left_out": _left_out(visible, lengths, normalizer),
        "normalizer": str(normalizer),
        "intervals": {
            "method": "percentile bootstrap over images",
            **resampling,
            "note": _interval_note(image_ids[visible.any(1)]),
        },
        "epe_px": _epe(pixels, image_ids, resampling),
        **_normalized(relative, thresholds, normalizer, image_ids, resampling),
        **({} if millimetres is None else _millimetres(millimetres, image_ids, resampling)),
        **({} if score is None else {"score_error_correlation": correlation(score, relative, image_ids, resampling)}),
        "per_keypoint": _per_keypoint(names, pixels, relative, millimetres, thresholds, image_ids, resampling),
    }


def _left_out(visible: Tensor, lengths: Tensor, normalizer: Normalizer) -> dict[str, Any]:
    without_length = lengths.isnan()
    count = int(without_length.sum())
    return {
        "instances_without_visible_point": int((~visible.any(1)).sum()),
        "instances_without_length": count,
        "points_without_length": int(visible[without_length].sum()),
        "why_without_length": normalizer.why_unusable if count else None,
    }


def _interval_note(ids_with_points: Tensor) -> str | None:
    images = ids_with_points.unique().numel()
    if images < 2:
        return "one image: no interval, since intervals come from the differences between images"
    if images < 20:
        return f"{images} images: intervals from fewer than 20 are too narrow"
    return None


def _epe(pixels: Tensor, image_ids: Tensor, resampling: dict[str, Any]) -> dict[str, Any]:
    names = ("median", "p90", "p95")
    mean = mean_interval([pixels], image_ids, **resampling)
    quantiles = quantile_interval(pixels, (0.5, 0.9, 0.95), image_ids, **resampling)
    intervals = {"mean": _pair(mean, 0)} | {name: _pair(quantiles, i) for i, name in enumerate(names)}
    return {name: _number(result.total) for name, result in epe(pixels).items()} | {"interval_95": intervals}


def _normalized(
    relative: Tensor,
    thresholds: Sequence[float],
    normalizer: Normalizer,
    image_ids: Tensor,
    resampling: dict[str, Any],
) -> dict[str, Any]:
    """PCK, its area and NME, from distances over lengths."""
    limit, t = max(thresholds), len(thresholds)
    errors = nme(relative, torch.ones_like(relative[:, 0]), FAILURE_THRESHOLD)
    hits, area = [within(relative, x) for x in thresholds], under_curve(relative, limit)
    intervals = mean_interval([*hits, area, errors.per_instance[:, None]], image_ids, **resampling)
    values = pooled_share(relative, thresholds).total
    failures = {"failure_rate": _number(errors.failure_rate), "failure_threshold": FAILURE_THRESHOLD}
    return {
        "pck": {_key(x): _value(values[i], intervals, i) for i, x in enumerate(thresholds)},
        "pck_auc": _value(pooled_mean(area).total, intervals, t) | {"max_threshold": limit},
        # A failure above a tenth of a length means nothing where the length is a pixel.
        "nme": _value(errors.total, intervals, t + 1) | ({} if normalizer.kind == "pixels" else failures),
    }


def _millimetres(values: Tensor, image_ids: Tensor, resampling: dict[str, Any]) -> dict[str, Any]:
    errors, rates = mre(values), sdr(values).total
    intervals = mean_interval([values, *(within(values, x) for x in SDR_THRESHOLDS)], image_ids, **resampling)
    return {
        "mre_mm": _value(errors["mean"].total, intervals, 0) | {"sd": _number(errors["sd"].total)},
        "sdr_mm": {_key(x): _value(rates[i], intervals, i + 1) for i, x in enumerate(SDR_THRESHOLDS)},
    }


def correlation(score: Tensor, errors: Tensor, image_ids: Tensor, resampling: dict[str, Any]) -> dict[str, Any]:
    """`rank_correlation` and its interval, as numbers or None."""
    score, counts = score.to(errors), ~(errors.isnan() | score.isnan())
    interval = rank_correlation_interval(score, errors, image_ids, **resampling)
    return {"n": int(counts.sum())} | reported(rank_correlation(score, errors), interval)


def _per_keypoint(
    names: Sequence[str],
    pixels: Tensor,
    relative: Tensor,
    millimetres: Tensor | None,
    thresholds: Sequence[float],
    image_ids: Tensor,
    resampling: dict[str, Any],
) -> list[dict[str, Any]]:
    errors = epe(pixels)
    columns = {f"epe_px_{name}": errors[name].per_keypoint for name in ("mean", "median", "p95")}
    shares = pooled_share(relative, thresholds).per_keypoint
    columns |= {f"pck@{_key(x)}": share for x, share in zip(thresholds, shares, strict=True)}
    columns["nme"] = relative.nanmean(0)
    if millimetres is not None:
        columns["mre_mm"] = mre(millimetres)["mean"].per_keypoint
    intervals = mean_interval(pixels[..., None].unbind(1), image_ids, **resampling)
    counts = (~pixels.isnan()).sum(0)
    return [
        {"name": name, "n": int(counts[k])}
        | {key: _number(values[k]) for key, values in columns.items()}
        | {"interval_95": {"epe_px_mean": _pair(intervals, k)}}
        for k, name in enumerate(names)
    ]


def _key(threshold: float) -> str:
    """Shortest text that reads back as the threshold: 2, 0.5."""
    return f"{threshold:g}" if float(f"{threshold:g}") == threshold else repr(threshold)


def _number(value: Tensor) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number


def _pair(intervals: Tensor, column: int) -> list[float] | None:
    low, high = intervals[:, column].tolist()
    return [low, high] if high - low > 1e-12 * abs(high) else None  # also for NaN


def _value(value: Tensor, intervals: Tensor, column: int) -> dict[str, Any]:
    return reported(value, intervals[:, column])


def reported(value: Tensor, interval: Tensor) -> dict[str, Any]:
    """A figure and its interval (2,) as numbers, None where there is nothing to tell."""
    return {"value": _number(value), "interval_95": _pair(interval[:, None], 0)}
