"""Every figure of trust as one JSON-ready dictionary: what `metrics.json` holds under "trust"."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from punctum.metrics.bootstrap import mean_interval
from punctum.metrics.calibration.correlation import linear_correlation, linear_correlation_interval
from punctum.metrics.calibration.densities import nll, pit_chance, pit_distance, pit_histogram
from punctum.metrics.calibration.regions import NOMINAL, Outcomes, coverage_and_size, coverage_and_size_interval
from punctum.metrics.calibration.reliability import brier, ece, reliability, squared_gap_interval
from punctum.metrics.calibration.risk import aurc, aurc_interval, excess_aurc, risk_coverage
from punctum.metrics.normalizer import normalized_distances
from punctum.metrics.pooling import within
from punctum.metrics.ranking import rank_correlation, rank_correlation_interval

KEPT = tuple(i / 20 for i in range(1, 21))
"""Shares of points that the risk-coverage curve is told at."""
FEWER = 4
"""Times fewer resamples for each keypoint than for all points: there are many, and nobody reads their third digit."""
GROUP = 20
"""Points that a group of the reliability curve shall have at least: a keypoint with few points has fewer groups."""


def summarize_trust(
    errors: Tensor,
    score: Tensor,
    *,
    names: Sequence[str],
    lengths: Tensor,
    distance: float,
    image_ids: Tensor,
    levels: Sequence[float] = NOMINAL,
    regions: Mapping[str, Outcomes] | None = None,
    joint: Mapping[str, Outcomes] | None = None,
    level: Tensor | None = None,
    log_prob: Tensor | None = None,
    crps: Tensor | None = None,
    energy: Tensor | None = None,
    similarity: Tensor | None = None,
    flags: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    n_resamples: int = 1000,
) -> dict[str, Any]:
    """All figures of trust, their 95 % intervals over images, and the same per keypoint.

    Args:
        errors: (N, K) in pixels, from `distances`. Where it is NaN a point does not count, whatever else it has.
        score: (N, K), the probability of an error of at most `distance` lengths; NaN where there is none.
        names: of the K keypoints.
        lengths: (N,) in pixels, those that the score is about; NaN leaves the instance out of what is measured in
            lengths.
        distance: what a hit is, in lengths.
        image_ids: (N,) integers: instances with the same number stand in one image.
        levels: L nominal levels of the regions.
        regions: by kind (ball, ellipse, hdr).
        joint: by kind, of whole instances: inside (N, 1, L), and the size of each point's part (N, K, L).
        level: (N, K), the highest-density level of each truth.
        log_prob: (N, K), log density at the truth, nats per pixel^D.
        crps: (N, K), from `crps`, pixels.
        energy: (N, K), from `energy_score`, pixels.
        similarity: (N, K), from `keypoint_similarity`.
        flags: by name, (N, K) bool: what makes a prediction suspect.
        seed: of the bootstrap.
        n_resamples: of the bootstrap.
    Returns:
        Nested dictionaries and lists of strings, numbers and None: no NaN, no infinity (the mean of areas one of
        which is infinite is None). What was not handed over is missing. "aurc", "e_aurc", "risk_coverage" and the
        errors of "flags" are in lengths, sizes in pixels^D.
    Raises:
        ValueError: shapes do not fit; no point counts; what `normalized_distances` raises.
    Example:
        >>> errors, score = torch.tensor([[1.0], [4.0], [2.0]]), torch.tensor([[0.9], [0.2], [0.7]])
        >>> summary = summarize_trust(
        ...     errors, score, names=["tip"], lengths=torch.ones(3), distance=3.0, image_ids=torch.arange(3)
        ... )
        >>> round(summary["brier"]["value"], 4), summary["correlation"]["error"]["spearman"]["value"], summary["n"]
        (0.0467, 1.0, 3)
    """
    figures = {"level": level, "log_prob": log_prob, "crps": crps, "energy": energy, "similarity": similarity}
    given = {name: value for name, value in figures.items() if value is not None}
    _check(errors, {"score": score, **given, **(flags or {})}, names, image_ids)
    relative = normalized_distances(errors.to(torch.float64), lengths.to(torch.float64))
    points = _Points(
        counts=~errors.isnan(),
        relative=relative,
        hit=within(relative, distance),
        score=score.to(torch.float64),
        regions={kind: _counted(some, errors) for kind, some in (regions or {}).items()},
        given={name: torch.where(errors.isnan(), torch.nan, v.to(torch.float64)) for name, v in given.items()},
        image_ids=image_ids,
        levels=tuple(levels),
        resampling={"n": n_resamples, "seed": seed},
    )
    whole = {kind: _regions(points, _counted(some, errors)) for kind, some in (joint or {}).items()}
    each = [points.keypoint(k) for k in range(len(names))]
    return {
        "n_images": image_ids[points.counts.any(1)].unique().numel(),
        "n_instances": int(points.counts.any(1).sum()),
        "intervals": {
            "method": "percentile bootstrap over images",
            **points.resampling,
            "n_per_keypoint": each[0].resampling["n"],
        },
        "distance": distance,
        "levels": list(points.levels),
        **_figures(points),
        **({"joint": whole} if whole else {}),
        **_curves(points),
        **({"flags": {name: _flag(points, flag) for name, flag in flags.items()}} if flags else {}),
        "per_keypoint": [{"name": name, **_figures(one)} for name, one in zip(names, each, strict=True)],
    }


@dataclass(frozen=True)
class _Points:
    """Everything that is known of (N, K) points, NaN where it does not count."""

    counts: Tensor
    relative: Tensor
    hit: Tensor
    score: Tensor
    regions: dict[str, Outcomes]
    given: dict[str, Tensor]
    image_ids: Tensor
    levels: tuple[float, ...]
    resampling: dict[str, Any]

    def keypoint(self, k: int) -> "_Points":
        """The points of one keypoint, (N, 1)."""
        one = slice(k, k + 1)
        columns = {name: getattr(self, name)[:, one] for name in ("counts", "relative", "hit", "score")}
        return replace(
            self,
            **columns,
            regions={kind: Outcomes(some.inside[:, one], some.size[:, one]) for kind, some in self.regions.items()},
            given={name: value[:, one] for name, value in self.given.items()},
            resampling=self.resampling | {"n": -(-self.resampling["n"] // FEWER)},
        )

    @property
    def bins(self) -> int:
        """Groups of the reliability curve: ten, or as many as have enough points."""
        return max(1, min(10, int(self.hit.isfinite().sum()) // GROUP))


def _check(errors: Tensor, given: Mapping[str, Tensor], names: Sequence[str], image_ids: Tensor) -> None:
    if errors.ndim != 2 or errors.shape[1] != len(names) or image_ids.shape != errors.shape[:1]:
        raise ValueError(
            f"errors must be (N, {len(names)}) for {len(names)} names, and image_ids (N,), got {tuple(errors.shape)} "
            f"and {tuple(image_ids.shape)}"
        )
    for name, value in given.items():
        if value.shape != errors.shape:
            raise ValueError(f"{name} must be {tuple(errors.shape)}, as the errors are, got {tuple(value.shape)}")
    if errors.isnan().all():
        raise ValueError(f"nothing to judge: of {len(errors)} instances, not one point has an error")


def _counted(outcomes: Outcomes, errors: Tensor) -> Outcomes:
    """Outcomes with NaN where no point counts: of whole instances, where not one does."""
    counts = ~errors.isnan()[..., None]
    inside, size = (values.to(torch.float64) for values in outcomes)
    if inside.shape[:2] not in (errors.shape, (len(errors), 1)) or size.shape[:2] != errors.shape:
        raise ValueError(
            f"regions need inside (N, K, L), or (N, 1, L) of whole instances, and size (N, K, L), for errors "
            f"{tuple(errors.shape)}, got {tuple(inside.shape)} and {tuple(size.shape)}"
        )
    held = counts if inside.shape[:2] == errors.shape else counts.any(1, keepdim=True)
    return Outcomes(torch.where(held, inside, torch.nan), torch.where(counts, size, torch.nan))


# --- what there is of all points, and of each keypoint -------------------------------------------------------------


def _figures(points: _Points) -> dict[str, Any]:
    means = {"crps_px": points.given.get("crps"), "energy_px": points.given.get("energy")}
    found: dict[str, Any] = {"n": int(points.counts.sum())}
    if points.regions:
        found["regions"] = {kind: _regions(points, some) for kind, some in points.regions.items()}
    if (log_prob := points.given.get("log_prob")) is not None:
        impossible = int((log_prob == -torch.inf).sum())
        found["nll"] = _mean(nll(log_prob).total, -log_prob, points) | {"impossible": impossible}
    found |= {name: _mean(value.nanmean(), value, points) for name, value in means.items() if value is not None}
    if (level := points.given.get("level")) is not None:
        chance = pit_chance(level, points.image_ids, **points.resampling)
        found["pit"] = {"ks": _number(pit_distance(level).total), "ks_by_chance_95": _number(chance)}
    return found | _score(points)


def _regions(points: _Points, outcomes: Outcomes) -> dict[str, Any]:
    figures = coverage_and_size(outcomes)
    ends = coverage_and_size_interval(outcomes, points.image_ids, **points.resampling)
    endless = outcomes.size.isinf().sum((0, 1))
    return {
        repr(float(level)): {
            "coverage": _figure(figures.coverage.total[i], ends.coverage[:, i]),
            "mean_size": _figure(figures.mean.total[i], ends.mean[:, i]),
            "median_size": _figure(figures.median.total[i], ends.median[:, i]),
            "endless": int(endless[i]),
        }
        for i, level in enumerate(points.levels)
    }


def _score(points: _Points) -> dict[str, Any]:
    """How often the score is right, and how well it orders."""
    score, hit, relative, ids = points.score, points.hit, points.relative, points.image_ids
    gap = ece(score, hit, ids, bins=points.bins)
    ends = squared_gap_interval(score, hit, ids, bins=points.bins, **points.resampling)
    areas = aurc_interval(score, relative, ids, **points.resampling)
    similarity = points.given.get("similarity")
    kinds = {"error": relative, **({} if similarity is None else {"oks": -similarity})}
    return {
        "hits": _mean(hit.nanmean(), hit, points),
        "brier": _mean(brier(score, hit).total, (score - hit).square(), points),
        "ece": {
            "value": _number(gap.value),
            "by_chance": _number(gap.by_chance),
            # A negative square is that of a gap of which nothing has been seen.
            "rms": _figure(gap.squared.clamp_min(0).sqrt(), ends.clamp_min(0).sqrt()),
        },
        "aurc": _figure(aurc(score, relative), areas[:, 0]),
        "e_aurc": _figure(excess_aurc(score, relative), areas[:, 1]),
        "correlation": {name: _correlations(points, value) for name, value in kinds.items()},
    }


def _correlations(points: _Points, error: Tensor) -> dict[str, Any]:
    given = points.score, error
    ranked = rank_correlation_interval(*given, points.image_ids, **points.resampling)
    straight = linear_correlation_interval(*given, points.image_ids, **points.resampling)
    return {
        "spearman": _figure(rank_correlation(*given), ranked),
        "pearson": _figure(linear_correlation(*given), straight),
    }


# --- what there is of all points alone -----------------------------------------------------------------------------


def _curves(points: _Points) -> dict[str, Any]:
    score, relative = points.score, points.relative
    curve = reliability(score, points.hit, points.image_ids, bins=points.bins, **points.resampling)
    found: dict[str, Any] = {
        "reliability": {
            "score": _numbers(curve.score),
            "hits": _numbers(curve.hits),
            "interval_95": [_numbers(end) for end in curve.interval],
            "n": curve.points.tolist(),
        },
        "risk_coverage": {
            "kept": list(KEPT),
            "risk": _numbers(risk_coverage(score, relative, KEPT)),
            "oracle": _numbers(risk_coverage(-relative, relative, KEPT)),
        },
    }
    if (level := points.given.get("level")) is not None:
        bars = pit_histogram(level, points.image_ids, **points.resampling)
        found["pit_histogram"] = {
            "density": _numbers(bars.density),
            "interval_95": [_numbers(end) for end in bars.interval],
            "edges": _numbers(bars.edges),
        }
    return found


def _flag(points: _Points, flag: Tensor) -> dict[str, Any]:
    """How many points have it, and what it says of their errors."""
    marked = flag.bool() & points.counts
    means = {
        name: _number(torch.where(some, points.relative, torch.nan).nanmean())
        for name, some in (("mean_error", marked), ("mean_error_of_others", points.counts & ~marked))
    }
    return {"n": int(marked.sum()), **means}


# --- numbers -------------------------------------------------------------------------------------------------------


def _mean(value: Tensor, values: Tensor, points: _Points) -> dict[str, Any]:
    return _figure(value, mean_interval([values], points.image_ids, **points.resampling)[:, 0])


def _figure(value: Tensor, interval: Tensor) -> dict[str, Any]:
    """A figure and its interval (2,), None where there is no number, or where all resamples agree."""
    low, high = interval.tolist()
    told = math.isfinite(low) and math.isfinite(high) and high - low > 1e-12 * abs(high)
    return {"value": _number(value), "interval_95": [low, high] if told else None}


def _number(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _numbers(values: Tensor) -> list[float | None]:
    return [_number(value) for value in values]
