# mypy: disallow-untyped-defs=False
"""Sampling-argmax with noise that is drawn in the kernel, and drawn again for the backward pass.

Random words are Philox4x32-10's of (cell, sample // 4, map, stream): one call serves four samples of a cell. Weights
and noise are never written: of each sample remain its place Y, and the maximum and log-sum of its softmax.

    u = (g + log p) / tau   or   log p + g / tau,     w = softmax(u),     Y = sum_i w_i v_i
    dz_i = beta s sum_n w_ni gY_n . (v_ni - Y_n),     s = 1 / tau   or   1

Cells are taken in tiles of rows (all axes but x) and columns, so that the offsets within cells, which belong to an
axis' index, are drawn once for each row and each column of a tile.
"""

import triton
import triton.language as tl

from punctum.ops.kernels.triton_cells import map_start, reference


@triton.jit
def uniform(word):
    """(0, 1) from the upper 23 bits of a word; never an end."""
    return ((word >> 9).to(tl.int32).to(tl.float32) + 0.5) * 1.1920928955078125e-07


@triton.jit
def gumbel(word):
    return -tl.log(-tl.log(uniform(word)))


@triton.jit
def _offset(first, second, width, BASIS: tl.constexpr):
    """Where in its basis a sample lies: 0 uniform, 1 triangular, 2 gaussian; in units of the coordinate."""
    u = uniform(first)
    if BASIS == 0:
        offset = u - 0.5
    elif BASIS == 1:
        offset = u + uniform(second) - 1.0
    else:
        offset = tl.sqrt(-2.0 * tl.log(u)) * tl.cos(6.283185307179586 * uniform(second))
    return offset * width


@triton.jit
def axis_places(seed, j, group, index, N: tl.constexpr, AXIS: tl.constexpr, BASIS: tl.constexpr):
    """Centre plus offset of four samples at these indices of an axis."""
    a0, a1, a2, a3 = tl.philox(seed, j, group, index, 1 + AXIS)
    b0, b1, b2, b3 = a0, a1, a2, a3
    if BASIS > 0:
        b0, b1, b2, b3 = tl.philox(seed, j, group, index, 4 + AXIS)
    width: tl.constexpr = 2.0 / N
    centre = (2.0 * j.to(tl.float32) + 1.0) / N - 1.0
    return (
        centre + _offset(a0, b0, width, BASIS),
        centre + _offset(a1, b1, width, BASIS),
        centre + _offset(a2, b2, width, BASIS),
        centre + _offset(a3, b3, width, BASIS),
    )


@triton.jit
def tile_cells(tile, N0: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Row and column indices of a tile; tiles of a row lie one after the other."""
    across: tl.constexpr = (N0 + COLUMNS - 1) // COLUMNS
    rows = (tile // across) * ROWS + tl.arange(0, ROWS)
    columns = (tile % across) * COLUMNS + tl.arange(0, COLUMNS)
    return rows, columns


@triton.jit
def tile_offsets(rows, columns, s0, s1, s2, N1: tl.constexpr):
    along = (rows % N1).to(tl.int64) * s1 + (rows // N1).to(tl.int64) * s2
    return along[:, None] + (columns.to(tl.int64) * s0)[None, :]


@triton.jit
def tile_logits(start, rows, columns, s0, s1, s2, beta, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr):
    """beta z of a tile; -inf outside of the map."""
    inside = (rows < N1 * N2)[:, None] & (columns < N0)[None, :]
    z = tl.load(start + tile_offsets(rows, columns, s0, s1, s2, N1), mask=inside, other=0.0).to(tl.float32)
    return tl.where(inside, z * beta, float("-inf"))


@triton.jit
def tile_log_p(z, peak, rows, columns, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr):
    """log p but for a constant; of a map of nothing but -inf, zero. -inf outside of the map."""
    inside = (rows < N1 * N2)[:, None] & (columns < N0)[None, :]
    return tl.where(inside, tl.where(peak == float("-inf"), tl.where(z == z, 0.0, z), z - peak), float("-inf"))


@triton.jit
def _add_sample(log_p, word, x, y, z, peak, mass, sx, sy, sz, log_scale, noise_scale, DIMS: tl.constexpr):
    """One sample's running maximum, mass and weighted places, after this tile."""
    u = log_p * log_scale + gumbel(word) * noise_scale
    highest = tl.maximum(peak, tl.max(tl.max(u, 1), 0))
    base = reference(highest)
    e = tl.exp(u - base)
    shrink = tl.exp(peak - base)
    columns = tl.sum(e, 0)
    mass = mass * shrink + tl.sum(columns, 0)
    sx = sx * shrink + tl.sum(columns * x, 0)
    if DIMS > 1:
        rows = tl.sum(e, 1)
        sy = sy * shrink + tl.sum(rows * y, 0)
        if DIMS > 2:
            sz = sz * shrink + tl.sum(rows * z, 0)
    return highest, mass, sx, sy, sz


@triton.jit
def _write_sample(places_ptr, softmax_ptr, index, sample, samples, peak, mass, sx, sy, sz, DIMS: tl.constexpr):
    here = index.to(tl.int64) * samples + sample
    wanted = sample < samples
    tl.store(softmax_ptr + here * 2, peak, mask=wanted)
    tl.store(softmax_ptr + here * 2 + 1, tl.log(mass), mask=wanted)
    tl.store(places_ptr + here * DIMS, sx / mass, mask=wanted)
    if DIMS > 1:
        tl.store(places_ptr + here * DIMS + 1, sy / mass, mask=wanted)
    if DIMS > 2:
        tl.store(places_ptr + here * DIMS + 2, sz / mass, mask=wanted)


@triton.jit
def _no_sample():
    zero = tl.full((), 0.0, tl.float32)
    return tl.full((), float("-inf"), tl.float32), zero, zero, zero, zero


@triton.jit
def draw(
    logits_ptr, seed_ptr, places_ptr, softmax_ptr, peaks_ptr,
    keypoints, stride_b, stride_k, s0, s1, s2, beta, log_scale, noise_scale, samples,
    N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr, DIMS: tl.constexpr, BASIS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Program (map, four samples): their places, and what the backward pass needs of their softmax."""
    groups = (samples + 3) // 4
    index = tl.program_id(0) // groups
    group = tl.program_id(0) % groups
    seed = tl.load(seed_ptr)
    start = map_start(logits_ptr, index, keypoints, stride_b, stride_k)
    peak = tl.full((), float("-inf"), tl.float32)
    for tile in range(TILES):
        rows, columns = tile_cells(tile, N0, ROWS, COLUMNS)
        logits = tile_logits(start, rows, columns, s0, s1, s2, beta, N0, N1, N2)
        peak = tl.maximum(peak, tl.max(tl.max(logits, 1), 0))
    m0, l0, x0, y0, z0 = _no_sample()
    m1, l1, x1, y1, z1 = _no_sample()
    m2, l2, x2, y2, z2 = _no_sample()
    m3, l3, x3, y3, z3 = _no_sample()
    for tile in range(TILES):
        rows, columns = tile_cells(tile, N0, ROWS, COLUMNS)
        logits = tile_logits(start, rows, columns, s0, s1, s2, beta, N0, N1, N2)
        log_p = tile_log_p(logits, peak, rows, columns, N0, N1, N2)
        cells = rows[:, None] * N0 + columns[None, :]
        w0, w1, w2, w3 = tl.philox(seed, cells, group, index, 0)
        a0, a1, a2, a3 = axis_places(seed, columns, group, index, N0, 0, BASIS)
        b0, b1, b2, b3 = rows, rows, rows, rows
        c0, c1, c2, c3 = rows, rows, rows, rows
        if DIMS > 1:
            b0, b1, b2, b3 = axis_places(seed, rows % N1, group, index, N1, 1, BASIS)
        if DIMS > 2:
            c0, c1, c2, c3 = axis_places(seed, rows // N1, group, index, N2, 2, BASIS)
        m0, l0, x0, y0, z0 = _add_sample(log_p, w0, a0, b0, c0, m0, l0, x0, y0, z0, log_scale, noise_scale, DIMS)
        m1, l1, x1, y1, z1 = _add_sample(log_p, w1, a1, b1, c1, m1, l1, x1, y1, z1, log_scale, noise_scale, DIMS)
        m2, l2, x2, y2, z2 = _add_sample(log_p, w2, a2, b2, c2, m2, l2, x2, y2, z2, log_scale, noise_scale, DIMS)
        m3, l3, x3, y3, z3 = _add_sample(log_p, w3, a3, b3, c3, m3, l3, x3, y3, z3, log_scale, noise_scale, DIMS)
    tl.store(peaks_ptr + index, peak, mask=group == 0)
    _write_sample(places_ptr, softmax_ptr, index, group * 4, samples, m0, l0, x0, y0, z0, DIMS)
    _write_sample(places_ptr, softmax_ptr, index, group * 4 + 1, samples, m1, l1, x1, y1, z1, DIMS)
    _write_sample(places_ptr, softmax_ptr, index, group * 4 + 2, samples, m2, l2, x2, y2, z2, DIMS)
    _write_sample(places_ptr, softmax_ptr, index, group * 4 + 3, samples, m3, l3, x3, y3, z3, DIMS)


@triton.jit
def _pull_of_sample(
    log_p, word, x, y, z, places_ptr, softmax_ptr, grad_places_ptr, index, sample, samples, log_scale, noise_scale,
    DIMS: tl.constexpr,
):  # fmt: skip
    """w_i gY . (v_i - Y) of one sample: zero of a sample that there is not."""
    wanted = sample < samples
    here = index.to(tl.int64) * samples + sample
    peak = tl.load(softmax_ptr + here * 2, mask=wanted, other=0.0)
    log_mass = tl.load(softmax_ptr + here * 2 + 1, mask=wanted, other=float("inf"))
    u = log_p * log_scale + gumbel(word) * noise_scale
    w = tl.exp(u - reference(peak) - log_mass)
    grad = tl.load(grad_places_ptr + here * DIMS, mask=wanted, other=0.0)
    across = grad * (x - tl.load(places_ptr + here * DIMS, mask=wanted, other=0.0))
    pull = across[None, :]
    if DIMS > 1:
        grad = tl.load(grad_places_ptr + here * DIMS + 1, mask=wanted, other=0.0)
        along = grad * (y - tl.load(places_ptr + here * DIMS + 1, mask=wanted, other=0.0))
        if DIMS > 2:
            grad = tl.load(grad_places_ptr + here * DIMS + 2, mask=wanted, other=0.0)
            along += grad * (z - tl.load(places_ptr + here * DIMS + 2, mask=wanted, other=0.0))
        pull = along[:, None] + across[None, :]
    return w * pull


@triton.jit
def draw_gradient(
    logits_ptr, seed_ptr, places_ptr, softmax_ptr, peaks_ptr, grad_places_ptr, grad_ptr,
    keypoints, stride_b, stride_k, s0, s1, s2, grad_b, grad_k, g0, g1, g2, beta, log_scale, noise_scale, samples,
    N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr, DIMS: tl.constexpr, BASIS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Program (map, tile): the gradient of these cells over all samples."""
    index = tl.program_id(0) // TILES
    tile = tl.program_id(0) % TILES
    seed = tl.load(seed_ptr)
    start = map_start(logits_ptr, index, keypoints, stride_b, stride_k)
    peak = tl.load(peaks_ptr + index)
    rows, columns = tile_cells(tile, N0, ROWS, COLUMNS)
    logits = tile_logits(start, rows, columns, s0, s1, s2, beta, N0, N1, N2)
    log_p = tile_log_p(logits, peak, rows, columns, N0, N1, N2)
    cells = rows[:, None] * N0 + columns[None, :]
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for group in range((samples + 3) // 4):
        w0, w1, w2, w3 = tl.philox(seed, cells, group, index, 0)
        a0, a1, a2, a3 = axis_places(seed, columns, group, index, N0, 0, BASIS)
        b0, b1, b2, b3 = rows, rows, rows, rows
        c0, c1, c2, c3 = rows, rows, rows, rows
        if DIMS > 1:
            b0, b1, b2, b3 = axis_places(seed, rows % N1, group, index, N1, 1, BASIS)
        if DIMS > 2:
            c0, c1, c2, c3 = axis_places(seed, rows // N1, group, index, N2, 2, BASIS)
        total += _pull_of_sample(
            log_p, w0, a0, b0, c0, places_ptr, softmax_ptr, grad_places_ptr, index, group * 4, samples,
            log_scale, noise_scale, DIMS,
        )  # fmt: skip
        total += _pull_of_sample(
            log_p, w1, a1, b1, c1, places_ptr, softmax_ptr, grad_places_ptr, index, group * 4 + 1, samples,
            log_scale, noise_scale, DIMS,
        )  # fmt: skip
        total += _pull_of_sample(
            log_p, w2, a2, b2, c2, places_ptr, softmax_ptr, grad_places_ptr, index, group * 4 + 2, samples,
            log_scale, noise_scale, DIMS,
        )  # fmt: skip
        total += _pull_of_sample(
            log_p, w3, a3, b3, c3, places_ptr, softmax_ptr, grad_places_ptr, index, group * 4 + 3, samples,
            log_scale, noise_scale, DIMS,
        )  # fmt: skip
    # A map of nothing but -inf has no gradient; NaN in it has one, of NaN.
    total *= beta * log_scale
    total = tl.where(total == total, tl.where(peak == float("-inf"), 0.0, total), total)
    inside = (rows < N1 * N2)[:, None] & (columns < N0)[None, :]
    out = map_start(grad_ptr, index, keypoints, grad_b, grad_k) + tile_offsets(rows, columns, g0, g1, g2, N1)
    tl.store(out, total.to(grad_ptr.dtype.element_ty), mask=inside)
