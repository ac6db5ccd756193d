"""What every reader returns, and what a training step is given."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from punctum.schema import Schema

if TYPE_CHECKING:
    # Annotations are read where there is no torch too: pictures' boxes for an exported model.
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Annotations:
    """N labelled instances (several may share an image), in original-image pixels.

    Args:
        schema: names, skeleton, flip pairs, sigmas of the K keypoints.
        images: N paths, one per instance.
        image_names: N names as the annotation file writes them; outputs repeat them.
        keypoints: (N, K, D) float64 as (x, y[, z]), 0 the centre of the first pixel; NaN where unlabelled. D is 2 for
            images and 3 for volumes.
        visibility: (N, K) int8: 0 not labelled, 1 labelled but hidden, 2 labelled and visible.
        boxes: (N, 2 D) float64 as (x, y[, z], width, height[, depth]); NaN where the file gives none: the whole image
            counts.
        ids: N strings that name the instance in messages and outputs.
        source: the file that was read.
        notes: what was skipped or changed while reading, counted, one sentence each.
        spacing: (N, D) float64, millimetres per pixel as (x, y[, z]); None where nothing is known of it.
        lengths: (N,) float64, the reference length that the file itself gives for each instance, in pixels (MPII: 0.6
            times the diagonal of the head box); NaN where it gives none for this one; None: for no one.
        areas: (N,) float64, the file's own area of each instance in pixels squared, NaN where it gives none; None
            where it gives none at all.
    """

    schema: Schema
    images: tuple[Path, ...]
    image_names: tuple[str, ...]
    keypoints: NDArray[np.float64]
    visibility: NDArray[np.int8]
    boxes: NDArray[np.float64]
    ids: tuple[str, ...]
    source: Path
    notes: tuple[str, ...] = ()
    spacing: NDArray[np.float64] | None = None
    lengths: NDArray[np.float64] | None = None
    areas: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def dims(self) -> int:
        """D, the numbers of a point: 2 in images, 3 in volumes, 1 in the columns of scans."""
        return self.keypoints.shape[-1]

    @property
    def picture_axes(self) -> int:
        """Axes of the pictures that the points lie in: 2 of images and scans, 3 of volumes."""
        return self.boxes.shape[-1] // 2

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(N, K): the point has a place, hidden or not."""
        return self.visibility > 0

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "Annotations":
        """The instances at these positions, in this order."""
        order = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            images=tuple(self.images[i] for i in order),
            image_names=tuple(self.image_names[i] for i in order),
            keypoints=self.keypoints[order],
            visibility=self.visibility[order],
            boxes=self.boxes[order],
            ids=tuple(self.ids[i] for i in order),
            spacing=None if self.spacing is None else self.spacing[order],
            lengths=None if self.lengths is None else self.lengths[order],
            areas=None if self.areas is None else self.areas[order],
        )


@dataclass(frozen=True)
class Batch:
    """B crops and their truth.

    Args:
        images: (B, 3, H, W) float32 in [0, 1], RGB; (B, 1, D, H, W) of volumes.
        coords: (B, K, D), normalized in the crop; anything where not visible.
        visible: (B, K) bool: labelled, and inside both image and crop.
        absent: (B, K) bool: labelled, and outside image or crop: known not to be in the picture.
        to_image: (B, D + 1, D + 1) homogeneous: normalized crop coordinates to original-image pixels.
        ids: (B,) int64, positions in the `Annotations` that the batch was drawn from.
    """

    images: "Tensor"
    coords: "Tensor"
    visible: "Tensor"
    absent: "Tensor"
    to_image: "Tensor"
    ids: "Tensor"

    def to(self, device: "torch.device | str", *, non_blocking: bool = False) -> "Batch":
        """The same on another device. Lightning and `DataLoader` ask for this method and `pin_memory`."""
        import torch

        device = torch.device(device)

        def move(tensor: Any) -> Any:
            if not isinstance(tensor, torch.Tensor):
                return tensor
            # Apple's GPUs have no float64.
            single = device.type == "mps" and tensor.dtype == torch.float64
            return (tensor.float() if single else tensor).to(device, non_blocking=non_blocking)

        return type(self)(**{f.name: move(getattr(self, f.name)) for f in fields(self)})

    def pin_memory(self) -> "Batch":
        """The same in page-locked memory, from which a GPU copies faster."""
        from torch import Tensor

        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return type(self)(**{name: v.pin_memory() if isinstance(v, Tensor) else v for name, v in values.items()})
