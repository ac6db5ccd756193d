"""Batches whose pictures are finished once for the whole batch, on the device: the warp, [0, 1], colour."""

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from punctum.data.annotations import Batch
from punctum.ops import normalized_grid, transform_points


@dataclass(frozen=True)
class Draft(Batch):
    """A batch whose pictures still need `develop`.

    Args:
        images: (B, 3, h, w), uint8 from 0 to 255 or float32 in [0, 1]: crops, or windows around them.
        colour: (B, 3), a factor per channel.
        to_window: (B, 3, 3) float32, normalized crop coordinates to normalized coordinates in `images`;
            (0, 3, 3) where those are the crops already.
        side: window pixels along a crop's pixel, of the sample that shrinks most.
    """

    colour: Tensor
    to_window: Tensor
    side: float


def develop(batch: Batch, size: tuple[int, ...]) -> Batch:
    """The batch with its pictures as the network takes them; a batch that has them is returned as it is.

    Args:
        batch: from `KeypointDataset`, on any device.
        size: (H, W) of the network's input.
    Returns:
        A `Batch` of (B, 3, H, W) float32 in [0, 1].
    """
    if not isinstance(batch, Draft):
        return batch
    images, colour = batch.images, batch.colour[:, :, None, None]
    if not images.is_floating_point():
        colour = colour / 255
    if len(batch.to_window):
        images = warp_windows(images.float(), batch.to_window, size, batch.side)
    images = (images * colour).clamp_(0, 1)
    rest = {f.name: getattr(batch, f.name) for f in fields(Batch) if f.name != "images"}
    return Batch(images=images, **rest)


def warp_windows(windows: Tensor, to_window: Tensor, size: tuple[int, ...], side: float) -> Tensor:
    """Crops out of windows, all in one `grid_sample`: what `data.warp` does picture by picture.

    Where a crop's pixel covers `side` > 1 window pixels, `warp` averages over squares of `side` pixels and
    interpolates between those, a kernel of variance side^2 / 4 - 1 / 12 along each axis. Here n^2 interpolated
    samples, evenly spread and as wide, are averaged: the same blur to second order. Where nothing shrinks all n^2
    samples are one, and the result is the interpolation itself.

    Args:
        windows: (B, C, h, w), floating.
        to_window: (B, 3, 3), normalized crop coordinates to normalized window coordinates.
        size: (H, W) of the crops.
        side: window pixels along a crop's pixel, of the sample that shrinks most: a number that the host knows, so
            that a GPU need not be waited for.
    Returns:
        (B, C, H, W); beyond the windows is 0.
    """
    (height, width), (rows, columns) = windows.shape[-2:], size
    scale = torch.tensor([width, height], dtype=to_window.dtype, device=to_window.device)
    (a, b), (c, d) = to_window[:, :2, :2].permute(1, 2, 0)
    area = (a * d - b * c).abs() * (width * height) / (rows * columns)
    spread = (area - 1).clamp(min=0)  # side^2 - 1
    grid = normalized_grid(size, dtype=to_window.dtype, device=to_window.device)
    places = transform_points(grid.expand(len(windows), *grid.shape), to_window)
    # Samples at most 1.5 px apart: closer than the 2 px that each of them interpolates over.
    count = math.ceil(math.sqrt(1 + max(0.0, side**2 - 1) * 4 / 3))
    if count == 1:
        return F.grid_sample(windows, places, align_corners=False)
    # Evenly spaced samples have the variance step^2 (n^2 - 1) / 12; what is wanted is (side^2 - 1) / 4.
    step = (3 * spread / (count**2 - 1)).sqrt()[:, None] * 2 / scale
    total = torch.zeros(len(windows), windows.shape[1], *size, dtype=windows.dtype, device=windows.device)
    for offset in torch.cartesian_prod(*[torch.arange(count, device=step.device) - (count - 1) / 2] * 2):
        total += F.grid_sample(windows, places + (offset * step)[:, None, None], align_corners=False)
    return total / count**2
