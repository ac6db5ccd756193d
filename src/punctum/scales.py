"""How large things are in a picture that nobody has labelled: what its box, or the picture itself, tells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Word = Literal["bbox", "image", "pixels"]


@dataclass(frozen=True, eq=False)
class Scales:
    """The sizes of N instances, in original pixels.

    Args:
        boxes: (N, D) as (width, height[, depth]); that of the picture where an instance has no box.
        images: (N, D) likewise, of the pictures.
    Example:
        >>> scales = Scales.of([[0, 0, 30, 40], [np.nan] * 4], [[100, 200], [100, 200]])
        >>> scales.lengths("bbox").tolist(), scales.lengths("image").tolist(), scales.areas().tolist()
        ([40.0, 200.0], [200.0, 200.0], [636.0, 10600.0])
    """

    boxes: NDArray[np.float64]
    images: NDArray[np.float64]

    @classmethod
    def of(cls, boxes: ArrayLike, sizes: ArrayLike) -> "Scales":
        """From boxes (N, 2 D), NaN where there is none, and the pictures' sizes (N, D) as (H, W) or (D, H, W)."""
        pictures = np.asarray(sizes, dtype=np.float64)[:, ::-1]
        given = np.asarray(boxes, dtype=np.float64)[:, pictures.shape[1] :]
        return cls(np.where(np.isfinite(given).all(1, keepdims=True), given, pictures), pictures)

    def lengths(self, word: str) -> NDArray[np.float64]:
        """(N,) what distances are divided by: the longer side of the box or of the picture, or 1.

        Raises:
            ValueError: another normalizer, which is not known of a picture without labels.
        """
        if word == "pixels":
            return np.ones(len(self.boxes))
        if word not in get_args(Word):
            raise ValueError(
                f"normalizer {word!r} is not known of a picture without labels: choose {', '.join(get_args(Word))}"
            )
        return (self.boxes if word == "bbox" else self.images).max(1)

    def areas(self) -> NDArray[np.float64]:
        """(N,) areas as OKS counts them where a file gives none: 0.53 of the box."""
        # Metrics bring torch along, and lengths are asked for without it.
        from punctum.metrics.oks import BOX_SHARE

        return BOX_SHARE * self.boxes.prod(1)

    def oks_lengths(self, sigmas: Sequence[float]) -> NDArray[np.float64]:
        """(N, K) the distance at which the OKS of each keypoint has fallen to 0.61: 2 sigma_k sqrt(area)."""
        return 2 * np.sqrt(self.areas())[:, None] * np.asarray(sigmas)
