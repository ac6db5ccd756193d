"""What was found on images that a model has not seen: all that is needed to state a promise, and to keep it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from punctum.calibration.calibrated import Calibrated, Flag
from punctum.calibration.conformal import needed, p_values, quantile
from punctum.calibration.density import Density
from punctum.calibration.isotonic import IsotonicMap
from punctum.calibration.maps import MapSet, cells_of, cells_to_image, errors_in_cells, in_cells
from punctum.calibration.regions import KINDS, Regions
from punctum.calibration.spread import Spread
from punctum.diagnostics.peaks import FLAT, effective_cells, find_peaks
from punctum.heads import Prediction
from punctum.ops import transform_covariance, transform_points
from punctum.ops.decisions import expected_pck_at

FITTED = 0.4
"""Share of the calibration images by which densities and covariances are fitted; the others make the promises."""

WIDE = 0.99
"""A point is wide that is less certain than this share of the calibration points of its keypoint."""

Decide = Callable[[MapSet, Density], MapSet]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Densities, covariances, bounds and a score for K keypoints.

    Args:
        names: of the keypoints.
        levels: L probabilities that regions promise.
        within: the distance that the score is about, in lengths.
        normalizer: what a length is: bbox, image or pixels.
        decision: which place of the density is said.
        flip_test: whether predictions were those of the flip test.
        images: on which everything rests, and how many of them made the promises.
        density, spread: what was fitted.
        bounds, joint: for each kind (L, K) scores that a truth keeps with each probability: each point's own, and
            all of an instance's at once.
        curve: from the density's probability of a hit to the measured one.
        wide: (K,) the spread, in heatmap pixels, beyond which a point is wide.
        usual: (n,) mean log spreads of the calibration instances.
    """

    names: tuple[str, ...]
    levels: tuple[float, ...]
    within: float
    normalizer: str
    decision: str
    flip_test: bool
    images: tuple[int, int]
    density: Density
    spread: Spread
    bounds: dict[str, Tensor]
    joint: dict[str, Tensor]
    curve: IsotonicMap
    wide: Tensor
    usual: Tensor

    @classmethod
    def fit(
        cls,
        maps: MapSet,
        *,
        names: Sequence[str],
        levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
        within: float = 0.05,
        normalizer: str = "bbox",
        decision: str = "head",
        decide: Decide | None = None,
        flip_test: bool = False,
        seed: int = 0,
    ) -> "Calibration":
        """Fit densities and covariances to some of the images, and find the bounds by the others.

        Args:
            maps: predictions and truth of N instances that the model has not learned from.
            names: of the keypoints.
            levels: ascending, in (0, 1).
            within: of the score, in lengths.
            normalizer: what `maps.lengths` are.
            decision: what `decide` does, in a word.
            decide: puts coordinates where a rule puts them, given the densities; None leaves the head's.
            flip_test: whether `maps` come from the flip test.
            seed: of the split of the images, and of the order among equal densities.
        Raises:
            ValueError: too few images with a visible point of some keypoint for a level, and how many it takes.
        """
        levels = check_levels(levels)
        n = len(maps.images.unique())
        check_images(n, levels)
        fitted, rest = maps.split(max(1, min(n - needed(levels[-1]), round(FITTED * n))), seed)
        _, covariance = in_cells(fitted.prediction)
        density = Density.fit(fitted, Spread.fit(errors_in_cells(fitted), covariance).floor)
        if decide is not None:
            fitted, rest = decide(fitted, density), decide(rest, density)
        spread = Spread.fit(errors_in_cells(fitted), covariance)
        parts = [regions_of(part.prediction, part.to_image, density, spread) for part in (fitted, rest)]
        noise = torch.Generator().manual_seed(seed)
        scores = [scores_of(part, regions, noise) for part, regions in zip((fitted, rest), parts, strict=True)]
        sides = torch.cat([spreads(part.prediction, spread) for part in (fitted, rest)])
        return cls(
            names=tuple(names),
            levels=levels,
            within=within,
            normalizer=normalizer,
            decision=decision,
            flip_test=flip_test,
            images=(n, len(rest.images.unique())),
            density=density,
            spread=spread,
            bounds={kind: own_bounds(scores[1][kind], rest.images, levels, names) for kind in KINDS},
            joint={kind: joint_bounds(scores[0][kind], scores[1][kind], rest.images, levels, kind) for kind in KINDS},
            curve=_curve(rest, parts[1], within),
            wide=sides.quantile(WIDE, dim=0),
            usual=spreads(rest.prediction, spread).log().mean(1).sort().values,
        )

    def apply(self, prediction: Prediction, to_image: Tensor, lengths: Tensor) -> Calibrated:
        """What a prediction promises; the same for an instance whatever its batch.

        Args:
            prediction: of B instances, with its heatmap where the head has one.
            to_image: (B, D + 1, D + 1).
            lengths: (B,) of the instances, in original pixels.
        """
        regions = regions_of(prediction, to_image, self.density, self.spread)
        radius = self.within * lengths.to(regions.keypoints)[:, None]
        side = spreads(prediction, self.spread)
        return Calibrated(
            regions=regions,
            score=self.curve(expected_pck_at(regions.mixture, regions.keypoints, radius)),
            bounds=self.bounds,
            joint=self.joint,
            levels=self.levels,
            flags={"wide": side > self.wide, **flags_of(prediction.heatmap, side)},
            typical=p_values(side.log().mean(1), self.usual),
            present=prediction.present,
        )


def check_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Ascending and distinct.

    Raises:
        ValueError: there is none, or one is not in (0, 1).
    """
    if not levels:
        raise ValueError("levels: there is none; 0.95 promises that 95 % of regions hold their points")
    for level in levels:
        needed(level)
    return tuple(sorted(set(levels)))


def check_images(n: int, levels: Sequence[float]) -> None:
    """Refuse fewer images than the highest level takes, before any prediction.

    Raises:
        ValueError: there are too few, and how many it takes.
    """
    least = needed(levels[-1]) + 1
    if n < least:
        raise ValueError(
            f"{n} images are too few for a promise of {100 * levels[-1]:g} %: it takes {needed(levels[-1])} to find "
            f"its bound, and at least one more to fit densities, so {least}; calibrate on more images, or ask "
            "for less (--levels)"
        )


def regions_of(prediction: Prediction, to_image: Tensor, density: Density, spread: Spread) -> Regions:
    """The regions of B predictions, in original pixels."""
    matrix = to_image.to(torch.float64)
    _, own = in_cells(prediction)
    return Regions(
        keypoints=transform_points(prediction.coords.to(torch.float64), matrix),
        covariance=transform_covariance(spread(own), cells_to_image(matrix, cells_of(prediction))),
        mixture=density.mixture(prediction).transform(matrix),
    )


def scores_of(maps: MapSet, regions: Regions, generator: torch.Generator) -> dict[str, Tensor]:
    """By kind (N, K): how far out the truth lies; NaN where it is not visible."""
    noise = torch.rand(maps.visible.shape, generator=generator)
    truth = torch.where(maps.visible[..., None], maps.keypoints.to(torch.float64), torch.nan)
    return {kind: regions.score(kind, truth, noise).to(torch.float64) for kind in KINDS}


def own_bounds(scores: Tensor, images: Tensor, levels: Sequence[float], names: Sequence[str]) -> Tensor:
    """(L, K) conformal quantiles of each keypoint's own scores (N, K)."""
    rows = [
        [quantile(s, level, images, what=f"keypoint {name}") for s, name in zip(scores.T, names, strict=True)]
        for level in levels
    ]
    return torch.tensor(rows, dtype=torch.float64)


def joint_bounds(fitted: Tensor, scores: Tensor, images: Tensor, levels: Sequence[float], kind: str) -> Tensor:
    """(L, K) bounds that all of an instance's points keep at once.

    The largest of an instance's scores, each in units of its keypoint's own quantile, keeps a conformal bound c; so
    every point keeps c times its quantile. The quantiles come from the other part of the images.
    """
    rows = []
    for level in levels:
        unit = torch.nanquantile(_additive(fitted, kind), level, dim=0).clamp_min(1e-6)
        unit = torch.where(unit.isnan(), unit.nanmean(), unit)
        largest = torch.where(scores.isnan(), -torch.inf, _additive(scores, kind) / unit).amax(1)
        largest = torch.where(largest == -torch.inf, torch.nan, largest)
        bound = quantile(largest, level, images, what="whole instances")
        rows.append(_additive(bound * unit, kind, back=True))
    return torch.stack(rows)


def _additive(scores: Tensor, kind: str, *, back: bool = False) -> Tensor:
    """Scores on a scale on which a multiple makes sense: a level as -log(1 - level), as exponential tails have it;
    from `TOP` on as far again as it was."""
    if kind != "hdr":
        return scores
    if back:
        inner = -torch.expm1(-scores)
        return torch.where(scores > _TOP, 1 - math.exp(-_TOP) + (scores - _TOP), inner)
    inner = -torch.log1p(-scores.clamp(max=1 - math.exp(-_TOP)))
    return torch.where(scores > 1 - math.exp(-_TOP), _TOP + (scores - (1 - math.exp(-_TOP))), inner)


_TOP = 6.0


def _curve(maps: MapSet, regions: Regions, within: float) -> IsotonicMap:
    """From the density's probability of a hit to the share of hits."""
    radius = within * maps.lengths.to(torch.float64)
    counts = maps.visible & radius.isfinite()[:, None]
    if not counts.any():
        raise ValueError("no visible point lies in an instance with a length: the score has nothing to rest on")
    safe = torch.where(radius.isfinite(), radius, 1.0)[:, None]
    expected = expected_pck_at(regions.mixture, regions.keypoints, safe)
    error = (maps.keypoints.to(torch.float64) - regions.keypoints).norm(dim=-1)
    return IsotonicMap.fit(expected[counts].double(), (error <= safe)[counts].double())


def spreads(prediction: Prediction, spread: Spread) -> Tensor:
    """(B, K) calibrated standard deviation per axis, in heatmap pixels."""
    _, own = in_cells(prediction)
    return spread(own).diagonal(dim1=-2, dim2=-1).mean(-1).sqrt()


def flags_of(heatmap: Tensor | None, like: Tensor) -> Flag:
    """Whether a map has two candidates, or none at all; a head without maps says neither."""
    if heatmap is None:
        return {name: torch.zeros_like(like, dtype=torch.bool) for name in ("two_places", "flat")}
    positive = heatmap.clamp_min(0).flatten(2)
    total = positive.sum(-1, keepdim=True)
    maps = torch.where(total > 0, positive / total.clamp_min(torch.finfo(positive.dtype).tiny), 0.0)
    shaped = maps.reshape(heatmap.shape)
    return {"two_places": find_peaks(shaped).two, "flat": effective_cells(shaped) >= FLAT * maps.shape[-1]}
