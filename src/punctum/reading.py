"""From what a network says of a batch to points in pixels: as the head reads them, by another rule, calibrated."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from punctum.calibration import FILE, KINDS, Calibrated, Calibration, Density, Kind, MapSet
from punctum.calibration.maps import cells_of, cells_to_image
from punctum.decision import HEAD, Decision, decide
from punctum.heads import Prediction
from punctum.metrics import sigmas_of
from punctum.metrics.calibration import crps, energy_score
from punctum.model import KeypointModel
from punctum.ops import transform_covariance, transform_points
from punctum.ops.modes import modes
from punctum.points import FLAGS, Array, Judged, Points, Trust
from punctum.promise import Promise
from punctum.scales import Scales

# The energy score compares each draw with each.
ENERGY_DRAWS = 128


@dataclass(frozen=True, eq=False)
class Reading:
    """How predictions are read.

    Args:
        decision: which place of the density is said.
        calibration: what `punctum calibrate` found, where it holds; None: scores and covariances are the head's own.
        density: what a map is taken for; None: the calibration's, or the map as it is.
        sigmas: of the keypoints, for the rule "oks"; None where they are not known.
        places: how many likely places of each point to tell; 0 for none.
    Example:
        >>> Reading().needs_heatmaps, Reading(Decision("mode")).needs_heatmaps
        (False, True)
    """

    decision: Decision = HEAD
    calibration: Calibration | None = None
    density: Density | None = None
    sigmas: tuple[float, ...] | None = None
    places: int = 0

    @property
    def needs_heatmaps(self) -> bool:
        """Whether the density behind the head's own word is asked for."""
        return self.calibration is not None or self.decision.kind != "head" or self.places > 0

    @property
    def promise(self) -> Promise | None:
        """What the calibration promises, in numbers."""
        if self.calibration is None:
            return None
        distance = self.calibration.distance
        levels, images = self.calibration.levels, sum(self.calibration.images)
        return Promise(levels, distance.within, distance.normalizer, images)

    def points(
        self, prediction: Prediction, to_image: Tensor, sizes: NDArray[np.int64], scales: Scales, truth: Tensor | None
    ) -> Points:
        """A batch in the pixels of its pictures.

        Args:
            prediction: of B instances, with its heatmap if `needs_heatmaps`.
            to_image: (B, D + 1, D + 1).
            sizes: (B, D) of the pictures.
            scales: of the instances.
            truth: (B, K, D) labelled points in pixels, NaN where there is none, if promises shall be judged by them.
        """
        prediction = self.decided_by(self._density(prediction), prediction, to_image, scales)
        keypoints = transform_points(prediction.coords, to_image)
        spread, score, trust = prediction.covariance, prediction.score, None
        covariance = None if spread is None else transform_covariance(spread, to_image)
        if self.calibration is not None:
            found = self.calibration.apply(
                prediction, to_image, torch.from_numpy(scales.lengths(self.calibration.distance.normalizer))
            )
            score, covariance, trust = found.score, found.covariance, trust_of(found, truth)
        places, mass = self._places(prediction, to_image)
        return Points(
            keypoints=_array(keypoints),
            score=_array(score),
            covariance=None if covariance is None else _array(covariance),
            to_image=to_image.numpy(),
            image_sizes=sizes,
            present=None if prediction.present is None else _array(prediction.present),
            trust=trust,
            places=places,
            mass=mass,
        )

    def _density(self, prediction: Prediction) -> Density:
        if self.density is not None:
            return self.density
        if self.calibration is not None:
            return self.calibration.fitted.density
        return Density.default(*prediction.coords.shape[1:])

    def _places(self, prediction: Prediction, to_image: Tensor) -> tuple[Array | None, Array | None]:
        """The likeliest places of each point, at least a heatmap's cell apart, and their probabilities."""
        if not self.places:
            return None, None
        mixture = self._density(prediction).mixture(prediction).transform(to_image.double())
        cell = cells_to_image(to_image, cells_of(prediction))[:, :-1, :-1]
        places, mass = modes(mixture, self.places, torch.linalg.det(cell).abs()[:, None] ** (1 / cell.shape[-1]))
        return _array(places), _array(mass)

    def decided_by(self, density: Density, prediction: Prediction, to_image: Tensor, scales: Scales) -> Prediction:
        """The same by a density of one's own."""
        if self.decision.kind == "head":
            return prediction
        sigmas = self.sigmas
        if self.decision.kind == "oks" and self.decision.value is not None:
            sigmas = (self.decision.value,) * prediction.coords.shape[1]
        to_image = to_image.to(torch.float64)
        places = decide(
            density.mixture(prediction).transform(to_image),
            self.decision,
            torch.from_numpy(scales.lengths("bbox")),
            None if sigmas is None else torch.from_numpy(scales.oks_lengths(sigmas)),
        )
        return replace(prediction, coords=transform_points(places.double(), torch.linalg.inv(to_image)))

    def decide_maps(self, maps: MapSet, density: Density) -> MapSet:
        """Maps whose coordinates are where the rule puts them.

        Raises:
            ValueError: the maps do not say how large the instances are.
        """
        if maps.sides is None:
            raise ValueError("the maps need the sides of their instances' boxes")
        sides = maps.sides.numpy()
        return replace(
            maps, prediction=self.decided_by(density, maps.prediction, maps.to_image, Scales(sides, sides))
        )


def reading_of(
    model: KeypointModel, folder: Path, decision: Decision | None, *, flip_test: bool = False, places: int = 0
) -> tuple[Reading, str | None]:
    """How a model's predictions are to be read, and a note where its calibration does not hold.

    Args:
        model: the network.
        folder: of the model, where `punctum calibrate` left its calibration.
        decision: the rule; None: that of the calibration, else the head's own.
        flip_test: whether predictions are those of the flip test.
        places: how many likely places of each point to tell.
    Raises:
        ValueError: calibration.json is broken, or of other keypoints.
    """
    sigmas = sigmas_of(model.config.schema)
    calibration = load_calibration(folder, model.config.schema.names)
    if calibration is None:
        return Reading(decision or HEAD, sigmas=sigmas, places=places), None
    try:
        own = Decision.parse(calibration.decision)
    except ValueError as error:
        raise ValueError(f"{folder / FILE}: {error!s:.200}") from None
    if decision not in (None, own):
        why = f"rule {own}, and these are of {decision}"
    elif flip_test != calibration.flip_test:
        why = "the flip test" if calibration.flip_test else "predictions without the flip test"
    else:
        return Reading(own, calibration, sigmas=sigmas, places=places), None
    note = f"the model's calibration is of {why}: scores are the head's own, and there are no regions"
    return Reading(decision or own, density=calibration.fitted.density, sigmas=sigmas, places=places), note


def load_calibration(folder: Path, names: tuple[str, ...]) -> Calibration | None:
    """The calibration beside a model of these keypoints; None where there is none.

    Raises:
        ValueError: it is broken, or of other keypoints.
    """
    if not (folder / FILE).is_file():
        return None
    calibration = Calibration.load(folder)
    if calibration.names != names:
        raise ValueError(
            f"{folder / FILE} is of other keypoints than the model beside it: `punctum calibrate` writes it again"
        )
    return calibration


def trust_of(found: Calibrated, truth: Tensor | None) -> Trust:
    """What a calibration promises, as arrays."""
    levels, shape = found.levels, found.score.shape
    return Trust(
        levels=levels,
        radius=_stacked([found.radius(level) for level in levels]),
        factor=_stacked([found.factor(level).expand(shape) for level in levels]),
        area=_sizes(found, "hdr"),
        flags={name: getattr(found.flags, name).numpy() for name in FLAGS},
        typical=_array(found.flags.typical),
        judged=None if truth is None else _judged(found, truth),
    )


def _judged(found: Calibrated, truth: Tensor) -> Judged:
    """How promises fare."""
    known = truth.isfinite().all(-1)
    mixture, safe = found.mixture, torch.where(known[..., None], truth, 0.0).to(found.mixture.means)
    scores = {
        "level": found.regions.score("hdr", truth),
        "log_prob": mixture.log_prob(safe),
        "crps": crps(mixture, safe),
        "energy": energy_score(mixture.draw(ENERGY_DRAWS), safe, fair=False),
    }
    return Judged(
        inside={kind: _inside(found, kind, truth) for kind in KINDS},
        size={kind: _sizes(found, kind) for kind in KINDS},
        joint={kind: _all_inside(found, kind, truth) for kind in KINDS},
        joint_size={kind: _sizes(found, kind, joint=True) for kind in KINDS},
        **{name: np.where(known.numpy(), _array(value), np.nan) for name, value in scores.items()},
    )


def _inside(found: Calibrated, kind: Kind, truth: Tensor, *, joint: bool = False) -> Array:
    """(B, K, L), 1 where the region holds the truth and 0 where not, NaN where there is none."""
    held = _stacked([found.holds(kind, level, truth, joint=joint) for level in found.levels])
    return np.where(truth.isfinite().all(-1).numpy()[..., None], held, np.nan)


def _all_inside(found: Calibrated, kind: Kind, truth: Tensor) -> Array:
    """(B, 1, L): whether the joint regions hold all points that have a truth."""
    held = _inside(found, kind, truth, joint=True)
    all_held = np.where(np.isnan(held), 1.0, held).min(1, keepdims=True)
    return np.where(np.isnan(held).all(1, keepdims=True), np.nan, all_held)


def _sizes(found: Calibrated, kind: Kind, *, joint: bool = False) -> Array:
    return _stacked([found.volume(kind, level, joint=joint) for level in found.levels])


def _stacked(values: list[Tensor]) -> Array:
    return _array(torch.stack(values, -1))


def _array(tensor: Tensor) -> Array:
    return tensor.double().numpy()
