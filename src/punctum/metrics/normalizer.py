"""What a distance is divided by: the length that makes people, faces and images of different size comparable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from punctum.schema import Schema

Kind = Literal["bbox", "image", "pixels", "keypoints", "head"]

_MEANING = {
    "bbox": "longer side of the bounding box",
    "image": "longer side of the image",
    "pixels": "no normalization: 1 px",
    "head": "0.6 x the diagonal of the annotated head box",
}


@dataclass(frozen=True)
class Normalizer:
    """One length per instance, in original-image pixels.

        bbox        max(width, height) of the instance's box        (PCK of Yang and Ramanan)
        image       max(width, height) of the image
        pixels      1: thresholds and errors stay in pixels
        keypoints   distance of two labelled keypoints, a, b        (NME by eye corners, PCK by neck and head top)
        head        what the file gives: 0.6 x head box's diagonal  (PCKh of MPII)

    An instance without a usable length has NaN: no box, one of the two keypoints not labelled, a length of
    zero or below `minimum`. It is left out of every normalized metric, and `summarize` counts it.

    Args:
        kind: one of the above.
        pair: names of the two keypoints, for `keypoints`.
        indices: their positions.
        minimum: shortest usable length, in pixels.
    Source:
        Yang and Ramanan 2013, TPAMI 35(12) (bbox); Andriluka et al. 2014, CVPR (head).
    Example:
        >>> normalizer = Normalizer.parse("keypoints:neck,head_top", Schema(("neck", "head_top", "hip")))
        >>> str(normalizer)
        'keypoints:neck,head_top (distance of neck and head_top)'
        >>> target = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [9.0, 9.0]]])
        >>> normalizer.lengths(target, torch.tensor([[True, True, False]]))
        tensor([5.], dtype=torch.float64)
    """

    kind: Kind
    pair: tuple[str, str] | None = None
    indices: tuple[int, int] | None = None
    minimum: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(
                f"unknown normalizer {self.kind!r}: choose bbox, image, pixels, head or keypoints:NAME,NAME"
            )
        if (self.kind == "keypoints") != (self.pair is not None and self.indices is not None):
            raise ValueError("the normalizer keypoints, and no other, needs two keypoints: use Normalizer.parse")
        if not 0 <= self.minimum < float("inf"):
            raise ValueError(f"minimum must be a length in pixels, got {self.minimum}")

    @classmethod
    def parse(cls, text: str, schema: Schema, minimum: float = 0.0) -> "Normalizer":
        """From what a user writes: `bbox`, `image`, `pixels`, or `keypoints:neck,head_top`.

        Raises:
            ValueError: unknown word; not two different keypoints; a name that the schema lacks (it lists them).
        """
        kind, colon, rest = text.strip().partition(":")
        if kind != "keypoints":
            if colon:
                raise ValueError(f"normalizer {text!r}: only keypoints takes names, as in keypoints:NAME,NAME")
            return cls(kind, minimum=minimum)  # type: ignore[arg-type]  # __post_init__ checks the word
        names = [name.strip() for name in rest.split(",")]
        if len(names) != 2 or names[0] == names[1]:
            raise ValueError(
                f"normalizer {text!r} needs two different keypoints, as in keypoints:NAME,NAME; "
                f"there are: {', '.join(schema.names)}"
            )
        first, second = names
        return cls("keypoints", (first, second), (schema.index(first), schema.index(second)), minimum)

    def __str__(self) -> str:
        floor = f", at least {self.minimum:g} px" if self.minimum else ""
        if self.pair is None:
            return f"{self.kind} ({_MEANING[self.kind]}{floor})"
        return f"keypoints:{','.join(self.pair)} (distance of {self.pair[0]} and {self.pair[1]}{floor})"

    @property
    def why_unusable(self) -> str:
        """What is wrong with an instance whose length is NaN."""
        if self.pair is None:
            causes = {"bbox": "it has no box", "image": "its image's size is unknown", "head": "it has no head box"}
            cause = causes.get(self.kind, "")
        else:
            cause = f"{self.pair[0]} or {self.pair[1]} is not labelled"
        short = f"the length is under {self.minimum:g} px" if self.minimum else "the length is zero"
        return f"{cause}, or {short}" if cause else short

    def lengths(
        self,
        target: Tensor,
        visible: Tensor,
        boxes: Tensor | None = None,
        image_sizes: Tensor | None = None,
        heads: Tensor | None = None,
    ) -> Tensor:
        """The length of each instance.

        Args:
            target: (N, K, D) in original-image pixels.
            visible: (N, K) bool: the point has a true place.
            boxes: (N, 2 D) as (x, y[, z], width, height[, depth]) in original-image pixels, NaN where there is none;
                for `bbox`.
            image_sizes: (N, D) as (H, W) or (D, H, W) of the original images; for `image`.
            heads: (N,) in original-image pixels, NaN where there is none; for `head`.
        Returns:
            (N,) float64 in pixels, NaN where there is no usable length.
        Raises:
            ValueError: boxes, image_sizes or heads are needed and missing, or a shape does not fit.
        """
        if visible.shape != target.shape[:2]:
            raise ValueError(f"visible {tuple(visible.shape)} does not fit target {tuple(target.shape)}")
        n, dims = len(target), target.shape[-1]
        if self.kind == "bbox":
            lengths = _table("boxes", boxes, n, 2 * dims)[:, dims:].amax(-1)
        elif self.kind == "image":
            lengths = _table("image_sizes", image_sizes, n, dims).amax(-1)
        elif self.kind == "head":
            if heads is None:
                raise ValueError(
                    "the normalizer head needs head sizes, which these annotations do not have (MPII does)"
                )
            lengths = _table("heads", heads[:, None], n, 1)[:, 0]
        elif self.indices is not None:
            if max(self.indices) >= target.shape[1]:
                raise ValueError(f"target has {target.shape[1]} keypoints: too few for the normalizer {self}")
            first, second = self.indices
            ends = target.detach().to(torch.float64)
            lengths = torch.linalg.vector_norm(ends[:, first] - ends[:, second], dim=-1)
            lengths = torch.where(visible[:, first] & visible[:, second], lengths, torch.nan)
        else:
            lengths = torch.ones(n, dtype=torch.float64)
        usable = (lengths > 0) & (lengths >= self.minimum) & lengths.isfinite()
        return torch.where(usable, lengths, torch.nan).to(target.device)


def _table(word: str, values: Tensor | Sequence[Sequence[float]] | None, n: int, columns: int) -> Tensor:
    if values is None:
        raise ValueError(f"this normalizer needs {word}, ({n}, {columns})")
    table = torch.as_tensor(values, dtype=torch.float64)
    if table.shape != (n, columns):
        raise ValueError(f"{word} must be ({n}, {columns}), got {tuple(table.shape)}")
    return table


def normalized_distances(distances: Tensor, lengths: Tensor) -> Tensor:
    """Each distance over its instance's length.

    Args:
        distances: (N, K), NaN where a point does not count.
        lengths: (N,) in the unit of the distances, positive; NaN leaves the instance out.
    Returns:
        (N, K), NaN where the point or its instance does not count.
    Raises:
        ValueError: shapes do not fit, or a length is zero, negative or infinite.
    Example:
        >>> normalized_distances(torch.tensor([[1.0, torch.nan], [1.0, 2.0]]), torch.tensor([4.0, torch.nan]))
        tensor([[0.2500,    nan],
                [   nan,    nan]])
    """
    if distances.ndim != 2 or lengths.shape != distances.shape[:1]:
        raise ValueError(f"lengths must be ({len(distances)},), one per instance, got {tuple(lengths.shape)}")
    bad = (lengths <= 0) | lengths.isinf()
    if bad.any():
        index = int(bad.nonzero()[0])
        raise ValueError(
            f"lengths[{index}] is {lengths[index].item():g}: a length must be positive, or NaN to leave it out"
        )
    return distances / lengths.to(distances)[:, None]
