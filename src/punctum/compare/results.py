"""From finished cells to figures: each variant's error and its interval, and what every difference is worth."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.compare.cells import Outcome
from punctum.compare.cost import Cost
from punctum.compare.judge import higher_is_better, metric_values
from punctum.compare.recommend import pareto_front, recommend
from punctum.compare.request import Request, Variant
from punctum.evaluation import Evaluation
from punctum.metrics.paired import holm, paired_difference, per_image, seeded_mean

LEVEL = 0.95
QUANTILES = np.linspace(0, 1, 201)

Cells = Mapping[tuple[Variant, int], Outcome]
Floats = NDArray[np.float64]


def collect(
    request: Request, cells: Cells, tuned: Mapping[str, Any], costs: Mapping[Variant, Cost | None]
) -> dict[str, Any]:
    """All figures of a grid, as comparison.json holds them.

    Args:
        request: the comparison.
        cells: what became of each variant and seed.
        tuned: each head's rate and schedule.
        costs: of each variant, where it was measured.
    Raises:
        ChildProcessError: no cell has a result.
        ValueError: cells were judged by different points.
    """
    evaluations, failed = _loaded(cells)
    if not evaluations:
        first = next(iter(failed), {"name": "", "error": "there is no cell"})
        raise ChildProcessError(f"no training came to an end: {first['name']}: {first['error']}")
    some = next(iter(next(iter(evaluations.values())).values()))
    _check_rows(some, evaluations)
    numbers = np.unique(some.images, return_inverse=True)[1]
    variants = [variant for variant in request.variants() if variant in evaluations]
    values = {v: _stacked(evaluations[v], request.metric) for v in variants}
    by_image = {v: per_image(values[v], numbers) for v in variants}
    entries = {v: _entry(request, v, evaluations[v], values[v], by_image[v], cells, costs.get(v)) for v in variants}
    groups = [
        _group(request, size, {v: by_image[v] for v in variants if v.size == size}, entries)
        for size in sorted(request.sizes, key=lambda size: size or 10**12)
        if any(v.size == size for v in variants)
    ]
    main = groups[-1]
    shown = [entry for v, entry in entries.items() if v.size == main["train_images"]]
    return {
        "metric": _metric(request, some),
        "test": {
            "images": int(by_image[variants[0]].shape[1]),
            "instances": len(some.ids),
            "points": int(np.isfinite(some.errors).sum()),
        },
        "variants": list(entries.values()),
        "groups": groups,
        "recommendation": recommend(shown, main, request.metric),
        "pareto": pareto_front(shown, higher_is_better(request.metric)),
        "tuned": dict(tuned),
        "failed": failed,
        "failed_variants": [
            {**v._asdict(), "title": request.title(v)} for v in request.variants() if v not in evaluations
        ],
        "environment": _environment(),
    }


def _loaded(cells: Cells) -> tuple[dict[Variant, dict[int, Evaluation]], list[dict[str, str]]]:
    """Evaluations by variant and seed, and the cells that have none, with the reason."""
    found: dict[Variant, dict[int, Evaluation]] = {}
    failed = []
    for (variant, seed), outcome in cells.items():
        error = outcome.error or "it has no result"
        if outcome.result is not None:
            evaluation = Evaluation.load(outcome.folder / "test")
            if np.isfinite(evaluation.keypoints).all():
                found.setdefault(variant, {})[seed] = evaluation
                continue
            error = "its predictions are not numbers"
        failed.append({"name": outcome.cell.name, "head": variant.head, "error": error})
    return found, failed


def _check_rows(some: Evaluation, evaluations: Mapping[Variant, Mapping[int, Evaluation]]) -> None:
    """All were judged by the same points in the same order: else differences would be of other images."""
    for variant, by_seed in evaluations.items():
        for seed, found in by_seed.items():
            if not np.array_equal(found.ids, some.ids) or not np.array_equal(
                found.target, some.target, equal_nan=True
            ):
                raise ValueError(
                    f"{variant.head}, seed {seed}, was judged by other points than the others: the test data have "
                    "changed in between; choose another --out"
                )


def _stacked(evaluations: Mapping[int, Evaluation], metric: str) -> Floats:
    return np.stack([metric_values(evaluation, metric) for evaluation in evaluations.values()])


def _metric(request: Request, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "name": request.metric,
        "higher_is_better": higher_is_better(request.metric),
        "normalizer": str(evaluation.normalizer),
        "left_out": int((~np.isfinite(evaluation.lengths)).sum()),
    }


def _entry(
    request: Request,
    variant: Variant,
    evaluations: Mapping[int, Evaluation],
    values: Floats,
    by_image: Floats,
    cells: Cells,
    cost: Cost | None,
) -> dict[str, Any]:
    """One variant's own figures."""
    estimate = seeded_mean(by_image)
    results = [outcome.result for seed in evaluations if (outcome := cells[variant, seed]).result is not None]
    cell = cells[variant, next(iter(evaluations))].cell
    return {
        "title": request.title(variant),
        "head": variant.head,
        "output_stride": variant.stride,
        "train_images": variant.size,
        "seeds": list(evaluations),
        "value": estimate.value,
        "interval_95": _ends(estimate.interval(LEVEL)),
        "over_seeds": estimate.over_seeds,
        "by_seed": by_image.mean(1).tolist(),
        "epe_px_mean": _mean(result["metrics"]["epe_px"]["mean"] for result in results),
        "epe_px_median": _mean(result["metrics"]["epe_px"]["median"] for result in results),
        "nme": _mean(result["metrics"].get("nme", {}).get("value") for result in results),
        "pck": {
            name: _mean(result["metrics"]["pck"][name]["value"] for result in results)
            for name in results[0]["metrics"]["pck"]
        },
        "per_keypoint": _per_keypoint(evaluations, request.metric),
        "error_quantiles": _quantiles(evaluations, request.metric),
        "epochs": cell.settings.max_epochs,
        "lr": cell.settings.optimizer.lr,
        "schedule": cell.settings.optimizer.schedule,
        "train_minutes": _minutes(results),
        "cost": None if cost is None else asdict(cost),
    }


def _minutes(results: Sequence[Mapping[str, Any]]) -> float | None:
    """Of a training, on the average; an interrupted one knows only of its last part."""
    seconds = _mean(result["train_seconds"] for result in results if not result.get("resumed"))
    return None if seconds is None else seconds / 60


def _mean(values: Any) -> float | None:
    found = [value for value in values if value is not None]
    return float(np.mean(found)) if found else None


def _pointwise(evaluation: Evaluation, metric: str) -> Floats:
    """Errors (N, K) in the metric's unit: px, or lengths."""
    return evaluation.errors if metric == "epe" else evaluation.errors / evaluation.lengths[:, None]


def _per_keypoint(evaluations: Mapping[int, Evaluation], metric: str) -> list[dict[str, Any]]:
    """The metric of each keypoint, over instances and seeds; nme's is the mean of its own errors."""
    judged = [_pointwise(e, metric) if metric == "nme" else metric_values(e, metric) for e in evaluations.values()]
    columns = np.concatenate(judged).T
    names = next(iter(evaluations.values())).names
    counts = np.isfinite(columns).sum(1)
    return [
        {"name": str(name), "value": float(np.nanmean(column)) if n else None}
        for name, column, n in zip(names, columns, counts, strict=True)
    ]


def _quantiles(evaluations: Mapping[int, Evaluation], metric: str) -> list[float]:
    errors = np.concatenate([_pointwise(e, metric).ravel() for e in evaluations.values()])
    errors = errors[np.isfinite(errors)]
    return np.quantile(errors, QUANTILES).tolist() if len(errors) else []


def _group(
    request: Request, size: int, by_image: Mapping[Variant, Floats], entries: Mapping[Variant, dict[str, Any]]
) -> dict[str, Any]:
    """Variants that were trained on as many images: the best of them, and every difference.

    Whether one can be told from the best is decided at 5 % for all of them together. The comparisons that count are
    those of the truly best one with the others, so there are as many as others, not as pairs (Hsu's argument for
    comparisons with the best); each is made at 5 % / others.
    """
    turned = -1 if higher_is_better(request.metric) else 1
    ranked = sorted(by_image, key=lambda v: turned * entries[v]["value"])
    leader, others = ranked[0], ranked[1:]
    against = []
    for variant in others:
        estimate = paired_difference(by_image[variant], by_image[leader])
        p = min(1.0, estimate.p * len(others)) if estimate.images > 1 else 1.0
        against.append(
            {
                "title": entries[variant]["title"],
                "difference": estimate.value,
                "interval": _ends(estimate.interval(1 - (1 - LEVEL) / len(others))),
                "p_adjusted": p,
                "told_apart": p < 1 - LEVEL,
            }
        )
    return {
        "train_images": size,
        "best": entries[leader]["title"],
        "ranking": [entries[v]["title"] for v in ranked],
        "against_best": against,
        "pairs": _pairs(ranked, by_image, entries),
    }


def _pairs(
    ranked: Sequence[Variant], by_image: Mapping[Variant, Floats], entries: Mapping[Variant, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Every pair: second minus first, so that a positive difference says that the second one's figure is larger."""
    pairs = list(itertools.combinations(ranked, 2))
    estimates = [paired_difference(by_image[b], by_image[a]) for a, b in pairs]
    p_values = [estimate.p if estimate.images > 1 else 1.0 for estimate in estimates]
    return [
        {
            "first": entries[a]["title"],
            "second": entries[b]["title"],
            "difference": estimate.value,
            "interval_95": _ends(estimate.interval(LEVEL)),
            "p": p,
            "p_holm": adjusted,
            "told_apart": adjusted < 1 - LEVEL,
        }
        for (a, b), estimate, p, adjusted in zip(pairs, estimates, p_values, holm(p_values), strict=True)
    ]


def _ends(interval: tuple[float, float]) -> list[float] | None:
    return list(interval) if all(np.isfinite(interval)) else None


def _environment() -> dict[str, str]:
    import platform

    import torch

    return {"python": platform.python_version(), "platform": platform.platform(), "torch": torch.__version__}
