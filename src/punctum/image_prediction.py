"""What is said of one instance of a picture: the form in which predictions reach users, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.points import Points, Trust


@dataclass(frozen=True, eq=False)
class ImagePrediction:
    """The points of one instance, in original-image pixels or voxels; 0 is the centre of the first one.

    Args:
        image: the picture's path as it was given, or `array N`.
        instance: what tells several instances of a picture apart; empty for whole pictures.
        names: K keypoint names.
        keypoints: (K, D) float64 as (x, y[, z]).
        score: (K,) in [0, 1].
        covariance: (K, D, D) in pixels squared, or None where the head knows no spread.
        present: (K,) the probability that the point is in the picture, or None where the head does not say.
        trust: what the model's calibration promises, or None where there is none.
        places: the n likeliest places (K, n, D) of each point, NaN where there are fewer, and the probability of
            each (K, n); None where nobody asked.
        frame: of a video, its number from 0; None for pictures.
        time: of a video's frame, seconds, as the file says; None where it does not.
    """

    image: str
    instance: str
    names: tuple[str, ...]
    keypoints: NDArray[np.float64]
    score: NDArray[np.float64]
    covariance: NDArray[np.float64] | None
    present: NDArray[np.float64] | None = None
    trust: Trust | None = None
    places: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    frame: int | None = None
    time: float | None = None

    def to_dataframe(self) -> Any:
        """A pandas table with a row per point; see `punctum.hand_on.to_dataframe`, which takes many at once."""
        from punctum.hand_on import to_dataframe

        return to_dataframe([self])

    def to_coco(self, image_id: int = 1, category_id: int = 1) -> dict[str, Any]:
        """One COCO keypoint result; see `punctum.hand_on.to_coco`, which takes many at once."""
        from punctum.hand_on import to_coco

        return to_coco([self], image_ids={self.image: image_id}, category_id=category_id)[0]

    def to_supervision(self) -> Any:
        """supervision's KeyPoints; see `punctum.hand_on.to_supervision`, which takes all instances of a picture."""
        from punctum.hand_on import to_supervision

        return to_supervision([self])


def as_predictions(
    points: Points, images: Sequence[str], instances: Sequence[str], names: tuple[str, ...]
) -> list[ImagePrediction]:
    """N instances one by one: `images` and `instances` are N names, `names` those of the keypoints."""
    return [
        ImagePrediction(
            image=images[i],
            instance=instances[i],
            names=names,
            keypoints=points.keypoints[i],
            score=points.score[i],
            covariance=None if points.covariance is None else points.covariance[i],
            present=None if points.present is None else points.present[i],
            trust=None if points.trust is None else points.trust.rows(i),
            places=None if points.places is None or points.mass is None else (points.places[i], points.mass[i]),
        )
        for i in range(len(points.keypoints))
    ]
