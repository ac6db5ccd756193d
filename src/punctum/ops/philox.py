"""Noise that is a function of a seed and of where it is wanted, so that nothing of it needs to be kept.

Philox4x32-10 turns a counter of four words and a key of two into four random words. The noise of sampling-argmax is
defined by it for every backend alike: number of sample n, of map m = b K + k, at cell i (row-major) is

    key = (seed mod 2^32, seed div 2^32),     counter = (i, n div 4, m, stream),     word n mod 4
    U = (word div 2^9 + 1/2) 2^-23                                 uniform, never 0 or 1, exact in float32

    Gumbel number of a cell: stream 0, g = -log(-log U)
    offset along axis a (0 is x) in cell j of that axis: U1 of counter (j, n div 4, m, 1 + a), U2 of stream 4 + a
        uniform      U1 - 1/2
        triangular   U1 + U2 - 1
        gaussian     sqrt(-2 log U1) cos(2 pi U2)
    times the width of a cell, 2 / n_a

Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (Philox).
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

GROUP = 4  # samples of one counter

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_STEPS = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
_ROUNDS = 10
# Cells at a time: fewer are many calls for little, more are memory for nothing.
_BLOCK = 1 << 17
_BLOCK_ELSEWHERE = 1 << 22

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox(counter: Words, key: tuple[Tensor, Tensor]) -> Words:
    """Four random words of 32 bits for each counter: Philox4x32-10.

    Args:
        counter: four int64 tensors that broadcast, of values below 2^32.
        key: two such tensors.
    Returns:
        Four int64 tensors of values below 2^32.
    Source:
        Salmon et al. 2011, Section 5.3.
    Example:
        >>> zero = torch.zeros((), dtype=torch.int64)
        >>> [f"{word.item():08x}" for word in philox((zero,) * 4, (zero,) * 2)]
        ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    even, low, odd, high = counter
    keys = list(key)
    for _ in range(_ROUNDS):
        first, second = even * _MULTIPLIERS[0], odd * _MULTIPLIERS[1]
        # The words that only enter an exclusive or carry garbage above their 32 bits until they are masked with it.
        even = ((second >> 32) ^ low ^ keys[0]) & _LOW
        odd = ((first >> 32) ^ high ^ keys[1]) & _LOW
        low, high = second, first
        keys = [word + step for word, step in zip(keys, _STEPS, strict=True)]
    return even, low & _LOW, odd, high & _LOW


def gumbel(seed: Tensor, maps: slice, samples: slice, cells: int, dtype: torch.dtype) -> Tensor:
    """Standard Gumbel numbers.

    Args:
        seed: 0-dim int64, not negative.
        maps: numbers m of M maps.
        samples: numbers n of N samples, the first of them a multiple of four.
        cells: of a map.
        dtype: float32 or float64.
    Returns:
        (M, N, cells).
    Example:
        >>> gumbel(torch.tensor(0), slice(0, 2), slice(0, 4), 3, torch.float32)[0, 0]
        tensor([ 0.0848,  3.5702, -1.3712])
    """
    return _uniform(seed, maps, samples, cells, 0, dtype).log_().neg_().log_().neg_()


def offsets(seed: Tensor, maps: slice, samples: slice, n: int, axis: int, basis: str, dtype: torch.dtype) -> Tensor:
    """Where in a cell of axis `axis` (0 is x) samples lie, in normalized units from its centre.

    Args:
        seed, maps, samples, dtype: as for `gumbel`.
        n: cells of the axis.
        axis: number of the coordinate.
        basis: uniform, triangular or gaussian.
    Returns:
        (M, N, n).
    Example:
        >>> offsets(torch.tensor(0), slice(0, 2), slice(0, 4), 3, 0, "uniform", torch.float32)[0, 0]
        tensor([-0.2140,  0.2743, -0.2700])
    """
    first = _uniform(seed, maps, samples, n, 1 + axis, dtype)
    if basis == "uniform":
        return (first - 0.5) * (2 / n)
    second = _uniform(seed, maps, samples, n, 4 + axis, dtype)
    if basis == "triangular":
        return (first + second - 1) * (2 / n)
    return (-2 * first.log()).sqrt() * (2 * math.pi * second).cos() * (2 / n)


def blocks(maps: int, num_samples: int, cells: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Maps and samples to work on at a time: a bounded number of cells; samples start at the first of a group."""
    size = _BLOCK if device.type == "cpu" and not torch.compiler.is_compiling() else _BLOCK_ELSEWHERE
    groups = -(-num_samples // GROUP)
    some_groups = min(groups, max(1, size // cells))
    some_maps = max(1, size // (some_groups * cells))
    for start in range(0, maps, some_maps):
        for first in range(0, num_samples, GROUP * some_groups):
            last = min(first + GROUP * some_groups, num_samples)
            yield slice(start, min(start + some_maps, maps)), slice(first, last)


def _uniform(seed: Tensor, maps: slice, samples: slice, cells: int, stream: int, dtype: torch.dtype) -> Tensor:
    def integers(start: int, stop: int) -> Tensor:
        return torch.arange(start, stop, device=seed.device)

    groups = integers(samples.start // GROUP, -(-samples.stop // GROUP))[:, None]
    counter = (
        integers(0, cells),
        groups,
        integers(maps.start, maps.stop)[:, None, None],
        integers(stream, stream + 1),
    )
    words = philox(counter, (seed & _LOW, seed >> 32))
    numbers = torch.stack([(word >> 9).to(dtype) for word in words], dim=2).flatten(1, 2)
    return numbers[:, : samples.stop - samples.start].add_(0.5).mul_(2.0**-23)
