# mypy: disallow-untyped-defs=False
"""The forward pass: a map's softmax moments, distance and regularizer from one read of it.

A map of up to a block's cells stays in registers. A longer one is read block by block, and the states of its blocks
merged. JS alone needs the sum of the softmax before it can begin: it reads a longer map a second time, which is meant
to come out of the L2 cache. Where there are fewer maps than the device could work on at once, a map is split between
programs; `combine` then merges what they found.
"""

import triton
import triton.language as tl

from punctum.ops.kernels.triton_cells import (
    block_state,
    cell_places,
    load_cells,
    log_gaussian,
    map_start,
    merge,
    no_state,
    reference,
    target_gaussian,
)
from punctum.ops.kernels.triton_results import finish, is_unmapped


@triton.jit
def _js_sums(
    logits, i, peak, mass, log_mass, gaussian, inv_sigma,
    CELLS: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    """p (log p - log m) and g (log g - log m) of each cell, m = (p + g) / 2."""
    inside = i < CELLS
    log_p = tl.where(is_unmapped(peak, mass), 0.0, logits - reference(peak)) - log_mass
    p = tl.where(inside, tl.exp(log_p), 0.0)
    x, y, z = cell_places(i, N0, N1, N2)
    log_g = log_gaussian(x, y, z, gaussian, inv_sigma, DIMS) - gaussian[6]
    g = tl.where(inside, tl.exp(log_g), 0.0)
    log_m = tl.log(tl.maximum(p + g, 1.1754943508222875e-38)) - 0.6931471805599453
    return tl.where(p == 0.0, 0.0, p * (log_p - log_m)), tl.where(g == 0.0, 0.0, g * (log_g - log_m))


@triton.jit
def _no_gaussian():
    zero = tl.full((), 0.0, tl.float32)
    return zero, zero, zero, zero, zero, zero, zero, zero


@triton.jit
def reduce_maps(
    logits_ptr, target_ptr, mean_ptr, second_ptr, stats_ptr, partial_ptr,
    keypoints, stride_b, stride_k, s0, s1, s2, beta, sigma, inv_sigma,
    CELLS: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    P0: tl.constexpr, P1: tl.constexpr, P2: tl.constexpr, DIMS: tl.constexpr, DENSE: tl.constexpr,
    ORDER: tl.constexpr, TARGET: tl.constexpr, DISTANCE: tl.constexpr, REG: tl.constexpr, PIXELS: tl.constexpr,
    BLOCK: tl.constexpr, BLOCKS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Program (map, split): the state of that part of the map. With one split, all the rest too."""
    index = tl.program_id(0) // SPLITS
    split = tl.program_id(0) % SPLITS
    start = map_start(logits_ptr, index, keypoints, stride_b, stride_k)
    gaussian = _no_gaussian()
    if REG > 1:
        gaussian = target_gaussian(target_ptr, index, inv_sigma, N0, N1, N2, P0, P1, P2, DIMS)
    first = split * (BLOCKS * BLOCK) + tl.arange(0, BLOCK)
    logits = load_cells(start, first, s0, s1, s2, beta, CELLS, N0, N1, DENSE)
    if BLOCKS == 1:
        state = block_state(logits, first, gaussian, inv_sigma, CELLS, N0, N1, N2, DIMS, ORDER, REG)
    else:
        state = no_state()
        for block in range(BLOCKS):
            i = first + block * BLOCK
            # The next block is under way while this one is summed.
            following = load_cells(start, i + BLOCK, s0, s1, s2, beta, CELLS, N0, N1, DENSE)
            found = block_state(logits, i, gaussian, inv_sigma, CELLS, N0, N1, N2, DIMS, ORDER, REG)
            state = merge(state, found, DIMS, ORDER, REG)
            logits = following
    if SPLITS > 1:
        row = partial_ptr + (index * SPLITS + split) * 16
        for n in tl.static_range(13):
            tl.store(row + n, state[n])
    else:
        log_mass = finish(
            state, gaussian, index, target_ptr, mean_ptr, second_ptr, stats_ptr, sigma, inv_sigma,
            CELLS, N0, N1, N2, DIMS, ORDER, TARGET, DISTANCE, REG, PIXELS,
        )  # fmt: skip
        if REG == 3:
            if BLOCKS == 1:
                of_p, of_g = _js_sums(
                    logits, first, state[0], state[1], log_mass, gaussian, inv_sigma, CELLS, N0, N1, N2, DIMS
                )
            else:
                of_p, of_g = _js_blocks(
                    start, first, s0, s1, s2, beta, state[0], state[1], log_mass, gaussian, inv_sigma,
                    CELLS, N0, N1, N2, DIMS, DENSE, BLOCK, BLOCKS,
                )  # fmt: skip
            sum_p = tl.sum(of_p, 0)
            tl.store(second_ptr + index, 0.5 * (sum_p + tl.sum(of_g, 0)))
            tl.store(stats_ptr + index * 16 + 11, 0.5 * sum_p)


@triton.jit
def _js_blocks(
    start, first, s0, s1, s2, beta, peak, mass, log_mass, gaussian, inv_sigma,
    CELLS: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr, DIMS: tl.constexpr,
    DENSE: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """`_js_sums` over several blocks, which are read again."""
    of_p = tl.zeros((BLOCK,), tl.float32)
    of_g = tl.zeros((BLOCK,), tl.float32)
    for block in range(BLOCKS):
        i = first + block * BLOCK
        logits = load_cells(start, i, s0, s1, s2, beta, CELLS, N0, N1, DENSE)
        more_p, more_g = _js_sums(logits, i, peak, mass, log_mass, gaussian, inv_sigma, CELLS, N0, N1, N2, DIMS)
        of_p += more_p
        of_g += more_g
    return of_p, of_g


@triton.jit
def combine(
    partial_ptr, target_ptr, mean_ptr, second_ptr, stats_ptr, sigma, inv_sigma,
    CELLS: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    P0: tl.constexpr, P1: tl.constexpr, P2: tl.constexpr, DIMS: tl.constexpr,
    ORDER: tl.constexpr, TARGET: tl.constexpr, DISTANCE: tl.constexpr, REG: tl.constexpr, PIXELS: tl.constexpr,
    SPLITS: tl.constexpr,
):  # fmt: skip
    """Program (map): what its splits found, merged; then as `reduce_maps`."""
    index = tl.program_id(0)
    gaussian = _no_gaussian()
    if REG > 1:
        gaussian = target_gaussian(target_ptr, index, inv_sigma, N0, N1, N2, P0, P1, P2, DIMS)
    state = no_state()
    for split in range(SPLITS):
        row = partial_ptr + (index * SPLITS + split) * 16
        found = (
            tl.load(row), tl.load(row + 1), tl.load(row + 2), tl.load(row + 3), tl.load(row + 4), tl.load(row + 5),
            tl.load(row + 6), tl.load(row + 7), tl.load(row + 8), tl.load(row + 9), tl.load(row + 10),
            tl.load(row + 11), tl.load(row + 12),
        )  # fmt: skip
        state = merge(state, found, DIMS, ORDER, REG)
    finish(
        state, gaussian, index, target_ptr, mean_ptr, second_ptr, stats_ptr, sigma, inv_sigma,
        CELLS, N0, N1, N2, DIMS, ORDER, TARGET, DISTANCE, REG, PIXELS,
    )  # fmt: skip
    if REG == 3:
        tl.store(stats_ptr + index * 16 + 13, state[1])


@triton.jit
def js_splits(
    logits_ptr, target_ptr, stats_ptr, partial_ptr, keypoints, stride_b, stride_k, s0, s1, s2, beta, inv_sigma,
    CELLS: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    P0: tl.constexpr, P1: tl.constexpr, P2: tl.constexpr, DIMS: tl.constexpr, DENSE: tl.constexpr,
    BLOCK: tl.constexpr, BLOCKS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Program (map, split): the two sums of JS over that part, after `combine`."""
    index = tl.program_id(0) // SPLITS
    split = tl.program_id(0) % SPLITS
    start = map_start(logits_ptr, index, keypoints, stride_b, stride_k)
    gaussian = target_gaussian(target_ptr, index, inv_sigma, N0, N1, N2, P0, P1, P2, DIMS)
    peak = tl.load(stats_ptr + index * 16)
    log_mass = tl.load(stats_ptr + index * 16 + 1)
    mass = tl.load(stats_ptr + index * 16 + 13)
    first = split * (BLOCKS * BLOCK) + tl.arange(0, BLOCK)
    of_p, of_g = _js_blocks(
        start, first, s0, s1, s2, beta, peak, mass, log_mass, gaussian, inv_sigma,
        CELLS, N0, N1, N2, DIMS, DENSE, BLOCK, BLOCKS,
    )  # fmt: skip
    row = partial_ptr + (index * SPLITS + split) * 16
    tl.store(row, tl.sum(of_p, 0))
    tl.store(row + 1, tl.sum(of_g, 0))


@triton.jit
def js_combine(partial_ptr, second_ptr, stats_ptr, SPLITS: tl.constexpr, PADDED: tl.constexpr):
    """Program (map): JS from the sums of its splits."""
    index = tl.program_id(0)
    split = tl.arange(0, PADDED)
    row = partial_ptr + (index * SPLITS + split) * 16
    sum_p = tl.sum(tl.load(row, mask=split < SPLITS, other=0.0), 0)
    sum_g = tl.sum(tl.load(row + 1, mask=split < SPLITS, other=0.0), 0)
    tl.store(second_ptr + index, 0.5 * (sum_p + sum_g))
    tl.store(stats_ptr + index * 16 + 11, 0.5 * sum_p)
