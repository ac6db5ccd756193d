"""How maps are laid out, and how they are shared among programs."""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

# A block of cells is held in registers at once.
LARGEST_BLOCK = 4096
# Whole maps up to this size are, too: more registers, but one read and no merging.
LARGEST_MAP = 8192
# Programs for each processor of the device below which maps are split.
WANTED_PROGRAMS = 4
# Cells of a tile of sampling: four of its samples are in registers at once.
SAMPLING_TILES = (128, 256, 512, 1024)


class Plan(NamedTuple):
    """Cells of a block, its warps, blocks that a program works through, and programs for each map."""

    block: int
    warps: int
    blocks: int
    splits: int


def padded(n: int) -> int:
    """The next power of two, not below two."""
    return 1 << max(1, (int(n) - 1).bit_length())


def plan(cells: int, maps: int, device: torch.device) -> Plan:
    """How the forward pass shares its maps."""
    whole = padded(cells)
    block = max(32, whole if whole <= LARGEST_MAP else LARGEST_BLOCK)
    needed = -(-cells // block)
    splits = min(needed, -(-WANTED_PROGRAMS * processors(device) // maps))
    blocks = -(-needed // splits)
    return Plan(block, warps(block), blocks, -(-needed // blocks))


def share(cells: int) -> dict[str, int]:
    """How the backward pass does: one program for each block."""
    block = min(LARGEST_BLOCK, max(32, padded(cells)))
    return {"BLOCK": block, "PARTS": -(-cells // block), "num_warps": warps(block)}


def warps(block: int) -> int:
    """Sixteen cells for each thread, in 1 to 8 warps."""
    return min(8, max(1, block // 512))


def processors(device: torch.device) -> int:
    """Multiprocessors of a device; one, of what is interpreted."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device: make it the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda and torch.cuda.device_count() > 1 else nullcontext()


def sizes(logits: Tensor) -> tuple[int, int, int]:
    """(width, height, depth); axes that there are not have size one."""
    n0, n1, n2 = [*(int(n) for n in reversed(logits.shape[2:])), 1, 1][:3]
    return n0, n1, n2


def strides(maps: Tensor) -> tuple[int, int, int, int, int]:
    """Of the batch, the keypoints, x, y and z."""
    over_batch, over_keypoints, *spatial = maps.stride()
    s0, s1, s2 = [*reversed(spatial), 0, 0][:3]
    return over_batch, over_keypoints, s0, s1, s2


def is_dense(maps: Tensor) -> bool:
    """Do the cells of a map lie one after the other, row-major?"""
    expected = 1
    for n, stride in zip(reversed(maps.shape[2:]), reversed(maps.stride()[2:]), strict=True):
        if n != 1 and stride != expected:
            return False
        expected *= n
    return True


def tiles(logits: Tensor) -> tuple[int, int, int]:
    """Rows and columns of the tiles that sampling takes, and how many cover a map: the cheapest cover.

    Random words are what it costs: one call of the generator for each cell, used or not, two for each index of an
    axis, and the sums of a tile, which cost as much as some of its cells.
    """
    width, height, depth = sizes(logits)
    rows = height * depth
    dims = logits.ndim - 2
    candidates = [(t // c, c) for t in SAMPLING_TILES for c in (4, 8, 16, 32, 64, 128, 256) if t // c >= 2]

    def cover(tile: tuple[int, int]) -> int:
        return -(-rows // tile[0]) * -(-width // tile[1])

    def cost(tile: tuple[int, int]) -> int:
        return cover(tile) * (tile[0] * tile[1] + 2 * ((dims - 1) * tile[0] + tile[1]) + 128)

    best = min(candidates, key=cost)
    return *best, cover(best)
