"""From held-out predictions to promises: one part of the images is fitted to, the promises rest on the other."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from punctum.calibration.calibration import Calibration
from punctum.calibration.conformal import needed, quantile
from punctum.calibration.density import Density
from punctum.calibration.fitted import Distance, Fitted, crop_side, expected_within
from punctum.calibration.isotonic import IsotonicMap
from punctum.calibration.maps import MapSet, errors_in_cells, in_cells
from punctum.calibration.regions import KINDS, Kind, Regions, depth, score_at
from punctum.calibration.spread import Spread
from punctum.metrics.pooling import pooled_quantile

LEVELS = (0.5, 0.8, 0.9, 0.95)

FIT_SHARE, FIT_LEAST = 0.4, 5
"""Of the images, to fit to; where they are few, fewer, down to five, so that the promises keep what they need."""

Decide = Callable[[MapSet, Density], MapSet]

_WIDE = 0.99  # of the calibration points are not flagged as wide
_SCALE = 0.8  # the quantile that depths of different keypoints are made comparable by


def calibrate(
    maps: MapSet,
    names: Sequence[str],
    *,
    levels: Sequence[float] = LEVELS,
    within: float = 0.05,
    normalizer: str = "bbox",
    decision: str = "head",
    decide: Decide | None = None,
    flip_test: bool = False,
    seed: int = 0,
    pooled: bool = False,
) -> Calibration:
    """Make promises from held-out predictions.

    The images are split once. On the first part covariances and densities are fitted; on the second, whose images
    neither the network nor the fit has seen, conformal quantiles are taken. So a new image that is drawn as
    these were keeps each keypoint's region with the stated probability, however wrong the densities may be.

    Args:
        maps: predictions of images that the network did not learn from.
        names: K, of the keypoints.
        levels: probabilities to promise.
        within: the distance that a score is the probability of, in units of the lengths.
        normalizer: what the lengths are, in words.
        decision: which place of the density the coordinates are, in a word.
        decide: puts coordinates where that rule puts them, given the densities; None leaves the head's.
        flip_test: whether the predictions are those of the flip test.
        seed: of the split.
        pooled: let a keypoint with too few points have the bounds of all keypoints, which promise it nothing.
    Raises:
        ValueError: there are too few images, or points of a keypoint, which is named with the number needed; no
            instance has a length; a level is not in (0, 1).
    Example:
        >>> from punctum.heads import Prediction
        >>> generator = torch.Generator().manual_seed(0)
        >>> coords, error = torch.zeros(100, 1, 2), torch.randn(100, 1, 2, generator=generator) / 20
        >>> maps = MapSet(Prediction(coords, torch.ones(100, 1)), torch.diag(torch.tensor([32.0, 32.0, 1.0])).expand(
        ...     100, 3, 3), 32 * error, torch.ones(100, 1).bool(), torch.arange(100), torch.full((100,), 64.0))
        >>> calibration = calibrate(maps, ["nose"])
        >>> calibrated = calibration.apply(maps.prediction, maps.to_image, maps.lengths)
        >>> calibrated.radius(0.95)[0] / (32 / 20)  # of this Gaussian, with more data: 2.45
        tensor([2.3...], dtype=torch.float64)
    """
    levels = tuple(sorted(float(level) for level in levels))
    _check(maps, names, levels, within)
    total = len(maps.images.unique())
    for_fit = images_to_fit(total, levels)
    fit_part, kept = maps.split(for_fit, seed)
    fitted = fit(fit_part)
    if decide is not None:
        # Densities know nothing of the rule; covariances and regions are about the places that it takes.
        fit_part, kept = decide(fit_part, fitted.density), decide(kept, fitted.density)
        fitted = Fitted(_spread(fit_part), fitted.density)
    own = fitted.regions(fit_part.prediction, fit_part.to_image)
    regions = fitted.regions(kept.prediction, kept.to_image)
    bounds, joint = {}, {}
    for kind in KINDS:
        scores = _scores(regions, kind, kept)
        bounds[kind] = _bounds(scores, kept.images, levels, names, pooled)
        joint[kind] = _joint_bounds(kind, _scores(own, kind, fit_part), scores, kept.images, levels)
    distance = Distance(within, normalizer, _usual_share(maps))
    log_spread = fitted.log_spread(kept.prediction)
    return Calibration(
        names=tuple(names),
        levels=levels,
        images=(for_fit, total - for_fit),
        points=torch.tensor([len(kept.images[seen].unique()) for seen in kept.visible.unbind(1)]),
        seed=seed,
        decision=decision,
        flip_test=flip_test,
        fitted=fitted,
        bounds=bounds,
        joint=joint,
        distance=distance,
        probability=_probability(regions, kept, distance),
        wide=_wide(log_spread),
        log_spreads=log_spread.mean(-1),
    )


def images_to_fit(total: int, levels: Sequence[float]) -> int:
    """How many of the images are fitted to; the others make the promises.

    Raises:
        ValueError: there are too few for the highest level, and how many it takes; a level is not in (0, 1).
    Example:
        >>> images_to_fit(100, (0.5, 0.95)), images_to_fit(30, (0.5, 0.95))
        (40, 11)
    """
    if not levels:
        raise ValueError("levels: there is none; 0.95 promises that 95 % of regions hold their points")
    highest = max(levels)
    for_fit = min(round(FIT_SHARE * total), total - max(needed(level) for level in levels))
    if for_fit < FIT_LEAST:
        raise ValueError(
            f"{total} images are too few for a promise of {100 * highest:g} %: it rests on {needed(highest)}, and "
            f"{FIT_LEAST} are fitted to: calibrate on {needed(highest) + FIT_LEAST} or more, or ask for less"
        )
    return for_fit


def fit(maps: MapSet) -> Fitted:
    """The likeliest covariances and densities, without any promise.

    Raises:
        ValueError: no point is visible.
    """
    spread = _spread(maps)
    return Fitted(spread, Density.fit(maps, spread.floor))


def _spread(maps: MapSet) -> Spread:
    return Spread.fit(errors_in_cells(maps), in_cells(maps.prediction)[1])


def _check(maps: MapSet, names: Sequence[str], levels: tuple[float, ...], within: float) -> None:
    if len(names) != maps.visible.shape[1]:
        raise ValueError(f"{len(names)} names for {maps.visible.shape[1]} keypoints")
    if not levels or len(set(levels)) < len(levels):
        raise ValueError(f"levels must be one or more different probabilities, got {list(levels)}")
    for level in levels:
        needed(level)
    if not 0 < within < math.inf:
        raise ValueError(f"within must be a positive distance in units of the normalizer, got {within}")
    if not bool((maps.lengths > 0).any()):
        raise ValueError("no instance has a usable length, so no distance can be stated: choose another normalizer")


def _scores(regions: Regions, kind: Kind, maps: MapSet) -> Tensor:
    """(N, K) float64, NaN where there is no true place."""
    return torch.where(maps.visible, regions.score(kind, maps.keypoints).to(torch.float64), torch.nan)


def _bounds(scores: Tensor, images: Tensor, levels: Sequence[float], names: Sequence[str], pooled: bool) -> Tensor:
    """(K, L) conformal quantiles of each keypoint."""
    rows, _ = (~scores.isnan()).nonzero(as_tuple=True)
    bounds = scores.new_zeros(len(names), len(levels))
    for k, name in enumerate(names):
        n = len(images[~scores[:, k].isnan()].unique())
        for i, level in enumerate(levels):
            if pooled and n < needed(level):
                bounds[k, i] = quantile(scores[~scores.isnan()], level, images[rows], what="all keypoints")
            else:
                bounds[k, i] = quantile(scores[:, k], level, images, what=f"keypoint {name!r}")
    return bounds


def _joint_bounds(kind: Kind, own: Tensor, scores: Tensor, images: Tensor, levels: Sequence[float]) -> Tensor:
    """(K, L) bounds that all visible points of an instance keep together.

        the conformal quantile of max_k depth(s_k) / scale_k, times scale_k

    with scale_k a quantile of the fit part's depths of the keypoint, or of all where it has none.
    """
    of_all, scale = pooled_quantile(depth(kind, own), _SCALE)
    scale = torch.where(scale > 0, scale, of_all.clamp_min(1e-6))
    deepest = torch.where(scores.isnan(), -torch.inf, depth(kind, scores) / scale).amax(-1)
    deepest = torch.where(deepest == -torch.inf, torch.nan, deepest)
    factors = [quantile(deepest, level, images, what="whole instances") for level in levels]
    return score_at(kind, torch.tensor(factors, dtype=torch.float64) * scale[:, None])


def _probability(regions: Regions, maps: MapSet, distance: Distance) -> IsotonicMap:
    """From the densities' probability of a small error to how often errors were small, over all points."""
    radius = distance.radius(maps.to_image, maps.lengths)
    errors = torch.linalg.vector_norm(maps.keypoints.to(regions.keypoints) - regions.keypoints, dim=-1)
    hits = (errors <= radius[:, None]).to(torch.float64)
    return IsotonicMap.fit(expected_within(regions, radius)[maps.visible], hits[maps.visible])


def _usual_share(maps: MapSet) -> float:
    known = maps.lengths > 0
    return float((maps.lengths[known].to(torch.float64) / crop_side(maps.to_image[known])).median())


def _wide(log_spread: Tensor) -> Tensor:
    """(K,) log spreads that one in a hundred exceeds: a keypoint's median, plus how all scatter about theirs."""
    middle = log_spread.median(0).values
    return middle + (log_spread - middle).flatten().sort().values[math.ceil(_WIDE * log_spread.numel()) - 1]
