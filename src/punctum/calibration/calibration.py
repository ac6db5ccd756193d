"""All that was learned from held-out images: what makes a prediction a promise, and travels in the model's folder."""

import itertools
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import punctum
from punctum.calibration.calibrated import Calibrated, Flags
from punctum.calibration.conformal import p_values
from punctum.calibration.density import RANGES, Density
from punctum.calibration.fitted import Distance, Fitted, expected_within
from punctum.calibration.isotonic import IsotonicMap
from punctum.calibration.regions import KINDS, Kind
from punctum.calibration.saved import Entries
from punctum.calibration.spread import Spread
from punctum.diagnostics.peaks import FLAT, effective_cells, find_peaks
from punctum.files import write_text
from punctum.heads import Prediction
from punctum.json_file import parse_json

FILE = "calibration.json"
FORMAT_VERSION = 1

# Log spreads that differ by less are the same: which batch a picture was in may change the last digits.
_SAME = 1e-4


@dataclass(frozen=True, eq=False)
class Calibration:
    """The fitted numbers of K keypoints, with what they rest on.

    Args:
        names: of the keypoints.
        levels: L probabilities, increasing.
        images: how many there were: those that densities were fitted to, and those that the promises rest on.
        points: (K,) images behind each keypoint's promise.
        seed: of the split in two.
        decision: which place of the density is said.
        flip_test: whether predictions are those of the flip test.
        fitted: what densities are.
        bounds, joint: by kind, (K, L), as in `Calibrated`.
        distance: what a score is the probability of.
        probability: from expected to observed share within that distance.
        wide: (K,) log spread, in heatmap pixels, that one calibration point in a hundred exceeds.
        log_spreads: (n,) mean log spreads of the instances that the promises rest on.
        pictures: fingerprints of the images, to notice them when promises are judged.
    """

    names: tuple[str, ...]
    levels: tuple[float, ...]
    images: tuple[int, int]
    points: Tensor
    seed: int
    decision: str
    flip_test: bool
    fitted: Fitted
    bounds: dict[Kind, Tensor]
    joint: dict[Kind, Tensor]
    distance: Distance
    probability: IsotonicMap
    wide: Tensor
    log_spreads: Tensor
    pictures: tuple[str, ...] = ()

    def apply(self, prediction: Prediction, to_image: Tensor, lengths: Tensor | None = None) -> Calibrated:
        """A prediction with its regions, its probability, and what is odd about it.

        Regions are worked out when they are asked for. Nothing depends on the other instances of the batch.

        Args:
            prediction: B instances of the model that was calibrated, with the heatmap if it has one.
            to_image: (B, D + 1, D + 1), normalized crop coordinates to original pixels.
            lengths: (B,) of the normalizer, in pixels; NaN, or None for all, where it is not known: the crop's longer
                side times the calibration images' median share of it, then.
        Raises:
            ValueError: it has another number of keypoints or axes than what was calibrated.
        """
        k, d = self.fitted.density.offset.shape
        if prediction.coords.shape[1:] != (k, d):
            raise ValueError(
                f"the calibration is of {k} keypoints with {d} coordinates, the prediction has "
                f"{tuple(prediction.coords.shape)}: calibrate this model"
            )
        regions = self.fitted.regions(prediction, to_image)
        expected = expected_within(regions, self.distance.radius(to_image, lengths))
        return Calibrated(
            regions,
            self.levels,
            self.bounds,
            self.joint,
            self.probability(expected),
            self._flags(prediction),
            prediction.present,
        )

    def _flags(self, prediction: Prediction) -> Flags:
        log_spread = self.fitted.log_spread(prediction)
        typical = p_values(log_spread.mean(-1) - _SAME, self.log_spreads)
        two = flat = torch.zeros_like(log_spread, dtype=torch.bool)
        if prediction.heatmap is not None:
            mass = prediction.heatmap.nan_to_num(0, 0, 0).clamp_min(0)
            total = mass.flatten(2).sum(-1).reshape(*mass.shape[:2], *[1] * (mass.ndim - 2))
            even = torch.full_like(mass, 1 / mass[0, 0].numel())
            mass = torch.where(total > 0, mass / torch.where(total > 0, total, 1.0), even)
            two, flat = find_peaks(mass).two, effective_cells(mass) >= FLAT * mass[0, 0].numel()
        return Flags(log_spread > self.wide + _SAME, two, flat, typical)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        density, spread, n = self.fitted.density, self.fitted.spread, self.images
        return {
            "format_version": FORMAT_VERSION,
            "punctum": punctum.__version__,
            "names": list(self.names),
            "dims": density.offset.shape[-1],
            "levels": list(self.levels),
            "images": {"fitted": n[0], "promised": n[1], "points": self.points.tolist(), "seed": self.seed},
            "decision": self.decision,
            "flip_test": self.flip_test,
            "spread": {"scale": spread.scale.tolist(), "floor": spread.floor.tolist()},
            "density": {f.name: getattr(density, f.name).tolist() for f in fields(density)},
            "regions": {
                kind: {"bounds": self.bounds[kind].tolist(), "joint": self.joint[kind].tolist()} for kind in KINDS
            },
            "score": {
                **asdict(self.distance),
                "expected": self.probability.x.tolist(),
                "probability": self.probability.y.tolist(),
            },
            "flags": {"wide": self.wide.tolist(), "log_spreads": self.log_spreads.tolist()},
            "pictures": list(self.pictures),
        }

    @classmethod
    def from_dict(cls, content: Any) -> "Calibration":
        """The inverse of `to_dict`, also after a trip through JSON.

        Raises:
            ValueError: an entry, which is named, is missing, of another shape, not finite, or out of range.
        """
        read = Entries(content)
        version = read.entry("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(
                f"format_version is {version!r}, and punctum {punctum.__version__} reads {FORMAT_VERSION}: use the "
                "punctum that wrote it, or calibrate again"
            )
        names, levels = read.words("names"), tuple(read.numbers("levels", (None,), 0, 1).tolist())
        k, d, n = len(names), read.whole("dims", 1, 3), len(levels)
        if not levels or any(b <= a for a, b in itertools.pairwise((0.0, *levels, 1.0))):
            raise ValueError(f"levels must increase between 0 and 1, got {list(levels)}")
        expected = read.numbers("score.expected", (None,))
        return cls(
            names=names,
            levels=levels,
            images=(read.whole("images.fitted"), read.whole("images.promised")),
            points=read.numbers("images.points", (k,), 0),
            seed=read.whole("images.seed"),
            decision=read.word("decision"),
            flip_test=read.entry("flip_test") is True,
            fitted=Fitted(_read_spread(read, k, d), _read_density(read, k, d)),
            bounds={kind: read.numbers(f"regions.{kind}.bounds", (k, n), 0) for kind in KINDS},
            joint={kind: read.numbers(f"regions.{kind}.joint", (k, n), 0) for kind in KINDS},
            distance=Distance(
                float(read.numbers("score.within", (), 0)),
                read.word("score.normalizer"),
                float(read.numbers("score.share", (), 0)),
            ),
            probability=IsotonicMap(expected, read.numbers("score.probability", tuple(expected.shape), 0, 1)),
            wide=read.numbers("flags.wide", (k,)),
            log_spreads=read.numbers("flags.log_spreads", (None,)),
            # Nobody knows them where a calibration was made from arrays.
            pictures=read.words("pictures") if read.entry("pictures") else (),
        )

    def save(self, folder: str | Path) -> Path:
        """Write `folder`/calibration.json, whole or not at all."""
        return write_text(Path(folder) / FILE, json.dumps(self.to_dict(), allow_nan=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "Calibration":
        """What `save` wrote.

        Raises:
            FileNotFoundError: the folder has none.
            ValueError: the file is none of ours; file and entry are named.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: `punctum calibrate` writes it")
        try:
            return cls.from_dict(parse_json(path.read_bytes()))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _read_spread(read: Entries, k: int, d: int) -> Spread:
    return Spread(read.numbers("spread.scale", (k,), 0), read.covariances("spread.floor", (k, d, d)))


def _read_density(read: Entries, k: int, d: int) -> Density:
    ranges = {**RANGES, "centre_weight": (0.0, 1.0)}
    # A little more: what is at the end of its range may have been rounded beyond it.
    values = {
        name: read.numbers(f"density.{name}", (k,), 0.999 * low, 1.001 * high) for name, (low, high) in ranges.items()
    }
    if bool((values["centre_weight"] + values["background"] > 1 + 1e-9).any()):
        raise ValueError("density.centre_weight and density.background are more than 1 together")
    return Density(
        **values, shape=read.covariances("density.shape", (k, d, d)), offset=read.numbers("density.offset", (k, d))
    )
