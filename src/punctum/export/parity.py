"""Whether a file says what the model says: on sample pictures, in pixels of the network's input."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.export.samples import Samples
from punctum.points import Array, Points
from punctum.predict_network import Network
from punctum.reading import Reading
from punctum.scales import Scales

BATCH = 16
RELATIVE = ("covariance", "radius", "factor")

# Crops, maps to pixels and lengths to outputs by name.
Run = Callable[[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]], Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class Parity:
    """How far a file's points are from the model's own.

    Args:
        images: sample pictures.
        max_px, median_px: distances, in pixels of the network's input.
        worst: picture and keypoint of the largest.
        others: of the file's other outputs: largest difference of scores, probabilities and `typical`; largest
            difference of covariances and radii as a share of the model's; share of flags that are not the model's.
        bound_px: what `max_px` was held against; None: it is only stated.
        median_error_px: where labels are known, the median error in original pixels of "model" and "file", else None.
        source: what pictures they were.
    """

    images: int
    max_px: float
    median_px: float
    worst: str
    others: dict[str, float]
    bound_px: float | None
    median_error_px: dict[str, float] | None
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def check(self) -> None:
        """Raise a ValueError where the bound is broken, or where there is no number to hold against it."""
        if not np.isfinite(self.max_px):
            raise ValueError(f"the exported file gives no number at {self.worst}: nothing was written")
        if self.bound_px is not None and not self.max_px <= self.bound_px:
            raise ValueError(
                f"the exported file differs from the model by {self.max_px:.4g} px, more than {self.bound_px:g} px, "
                f"at {self.worst}: nothing was written; --bound allows more"
            )


def compare(
    points: Points,
    outputs: Mapping[str, NDArray[Any]],
    samples: Samples,
    names: tuple[str, ...],
    input_size: tuple[int, ...],
    bound: float | None,
) -> Parity:
    """Hold outputs against the model's own points.

    Args:
        points: of the model.
        outputs: of the file, by name, over all samples.
        samples: what both saw.
        names: of the keypoints.
        input_size: (H, W), whose pixels are counted.
        bound: see `Parity`.
    """
    moved = outputs["keypoints"] - points.keypoints
    back = np.linalg.inv(samples.to_image.numpy()[:, :2, :2])
    in_crop = np.einsum("nij,nkj->nki", back, moved) * np.array(input_size[::-1]) / 2
    distance = np.linalg.norm(in_crop, axis=-1)
    # argmax takes NaN for the largest, and so it is.
    i, k = np.unravel_index(int(np.argmax(distance)), distance.shape)
    errors = None
    if (labels := samples.labels) is not None:
        errors = {"model": _median(points.keypoints, labels), "file": _median(outputs["keypoints"], labels)}
    return Parity(
        images=len(samples),
        max_px=float(distance[i, k]),
        median_px=float(np.median(distance)),
        worst=f"{samples.names[i]}, {names[k]}",
        others=_other_differences(points, outputs),
        bound_px=bound,
        median_error_px=errors,
        source=samples.source,
    )


def _other_differences(points: Points, outputs: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """By output, as `Parity` has them."""
    own: dict[str, NDArray[Any] | None] = {
        "score": points.score,
        "present": points.present,
        "covariance": points.covariance,
    }
    if (trust := points.trust) is not None:
        own |= {"radius": trust.radius, "factor": trust.factor, **trust.flags, "typical": trust.typical}
    found = {}
    for name, value in own.items():
        if value is None or name not in outputs:
            continue
        difference = np.abs(outputs[name].astype(np.float64) - value.astype(np.float64))
        if value.dtype == np.bool_:
            found[name] = float(difference.mean())
        elif name in RELATIVE:
            # Covariances as a whole: an entry beside the diagonal may be next to nothing.
            size = np.abs(value).max(axis=(-2, -1), keepdims=True) if value.ndim == 4 else np.abs(value)
            found[name] = float((difference / np.maximum(size, 1e-12)).max())
        else:
            found[name] = float(difference.max())
    return found


def own_points(network: Network, reading: Reading, samples: Samples) -> Points:
    """What `punctum predict` says of the samples."""
    parts = []
    for rows in samples.batches(BATCH):
        prediction = network(samples.crops[rows], heatmaps=reading.needs_heatmaps)
        scales = Scales(samples.scales.boxes[rows], samples.scales.images[rows])
        parts.append(reading.points(prediction, samples.to_image[rows], samples.sizes[rows], scales, None))
    return Points.join(parts)


def outputs_of(run: Run, samples: Samples, lengths: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """What a file says of the samples, in batches whose last one may be shorter."""
    parts = [
        run(samples.crops[rows].numpy(), samples.to_image[rows].numpy(), lengths[rows])
        for rows in samples.batches(BATCH)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _median(found: Array, labels: Array) -> float:
    return float(np.nanmedian(np.linalg.norm(found - labels, axis=-1)))
