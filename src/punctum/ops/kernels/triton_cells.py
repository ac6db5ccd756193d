# mypy: disallow-untyped-defs=False
"""What all Triton kernels share: a map's cells, the Gaussian at its target, and sums that can be merged.

Cells are counted from the middle of the map, in cells: half-integers, which float32 holds exactly. A coordinate of an
axis with n cells is 2 / n times that. Sizes are compile-time constants, so that finding a cell's row and column is a
multiplication; axes are (n0, n1, n2) = (width, height, depth), those that there are not have size one.

Maxima here drop NaN, as the hardware does; sums keep it, and every result passes through a sum.
"""

import triton
import triton.language as tl


@triton.jit
def map_start(pointer, index, keypoints, stride_batch, stride_keypoint):
    """Where the map of this number begins. Offsets of maps are 64-bit: a batch of volumes has over 2^31 cells."""
    batch = (index // keypoints).to(tl.int64)
    keypoint = (index % keypoints).to(tl.int64)
    return pointer + batch * stride_batch + keypoint * stride_keypoint


@triton.jit
def cell_offsets(i, s0, s1, s2, N0: tl.constexpr, N1: tl.constexpr, DENSE: tl.constexpr):
    """Where in memory the cells lie; DENSE: one after the other."""
    if DENSE:
        offsets = i
    else:
        rows = i // N0
        x = (i % N0).to(tl.int64)
        offsets = x * s0 + (rows % N1).to(tl.int64) * s1 + (rows // N1).to(tl.int64) * s2
    return offsets


@triton.jit
def cell_places(i, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr):
    """(x, y, z) of cells, in cells from the middle of the map."""
    rows = i // N0
    x = (i % N0).to(tl.float32) - (N0 - 1) * 0.5
    y = (rows % N1).to(tl.float32) - (N1 - 1) * 0.5
    z = (rows // N1).to(tl.float32) - (N2 - 1) * 0.5
    return x, y, z


@triton.jit
def load_cells(
    start, i, s0, s1, s2, beta, CELLS: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, DENSE: tl.constexpr
):
    """beta z of these cells; -inf beyond the end."""
    inside = i < CELLS
    z = tl.load(start + cell_offsets(i, s0, s1, s2, N0, N1, DENSE), mask=inside, other=0.0).to(tl.float32)
    return tl.where(inside, z * beta, float("-inf"))


@triton.jit
def reference(peak):
    """What logits are measured from: their maximum, or zero where all are -inf."""
    return tl.where(peak == float("-inf"), 0.0, peak)


@triton.jit
def axis_gaussian(target, inv_sigma, N: tl.constexpr, PADDED: tl.constexpr):
    """The Gaussian at a normalized coordinate, along one axis, normalized on its cells.

        log g(x) = -d (d + 2 away) / (2 sigma^2) - log_sum,    d = x - nearest,   away = nearest - target

    It is measured from the cell nearest to the target: exactly zero there, however far out the target is and however
    the compiler rounds. A target beyond 1e12 counts as that far, as in `log_gaussian`; NaN stays NaN.

    Returns:
        nearest, 2 away, log_sum and sum_x g log g.
    """
    t = tl.where(target > 1e12, 1e12, tl.where(target < -1e12, -1e12, target)) * (N * 0.5)
    cell = tl.floor(t + N * 0.5)
    cell = tl.where(cell > N - 1.0, N - 1.0, tl.where(cell < 0.0, 0.0, cell))
    nearest = cell - (N - 1) * 0.5
    twice = 2.0 * (nearest - t)
    j = tl.arange(0, PADDED)
    d = j.to(tl.float32) - cell
    log_g = -0.5 * (d * inv_sigma) * ((d + twice) * inv_sigma)
    e = tl.where(j < N, tl.exp(log_g), 0.0)
    total = tl.sum(e, 0)
    log_sum = tl.log(total)
    return nearest, twice, log_sum, tl.sum(tl.where(e == 0.0, 0.0, e * log_g), 0) / total - log_sum


@triton.jit
def log_gaussian(x, y, z, gaussian, inv_sigma, DIMS: tl.constexpr):
    """log g of cells, but for the sum `log_norm`: at most zero, give or take a rounding."""
    jx, ax, jy, ay, jz, az, _log_norm, _entropy = gaussian
    log_g = ((x - jx) * inv_sigma) * ((x - jx + ax) * inv_sigma)
    if DIMS > 1:
        log_g += ((y - jy) * inv_sigma) * ((y - jy + ay) * inv_sigma)
    if DIMS > 2:
        log_g += ((z - jz) * inv_sigma) * ((z - jz + az) * inv_sigma)
    return -0.5 * log_g


@triton.jit
def target_gaussian(
    target_ptr,
    index,
    inv_sigma,
    N0: tl.constexpr,
    N1: tl.constexpr,
    N2: tl.constexpr,
    P0: tl.constexpr,
    P1: tl.constexpr,
    P2: tl.constexpr,
    DIMS: tl.constexpr,
):
    """The Gaussian at a map's target: nearest cell and 2 away per axis, the log of its sum, and sum g log g."""
    tx = tl.load(target_ptr + index * DIMS)
    jx, ax, log_norm, entropy = axis_gaussian(tx, inv_sigma, N0, P0)
    jy = 0.0 * jx
    ay = 0.0 * jx
    jz = 0.0 * jx
    az = 0.0 * jx
    if DIMS > 1:
        ty = tl.load(target_ptr + index * DIMS + 1)
        jy, ay, sum_y, entropy_y = axis_gaussian(ty, inv_sigma, N1, P1)
        log_norm += sum_y
        entropy += entropy_y
    if DIMS > 2:
        tz = tl.load(target_ptr + index * DIMS + 2)
        jz, az, sum_z, entropy_z = axis_gaussian(tz, inv_sigma, N2, P2)
        log_norm += sum_z
        entropy += entropy_z
    return jx, ax, jy, ay, jz, az, log_norm, entropy


@triton.jit
def no_state():
    """The sums of no cells."""
    zero = tl.full((), 0.0, tl.float32)
    least = tl.full((), float("-inf"), tl.float32)
    return least, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero


@triton.jit
def block_state(
    logits, i, gaussian, inv_sigma, CELLS: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    DIMS: tl.constexpr, ORDER: tl.constexpr, REG: tl.constexpr,
):  # fmt: skip
    """What is to be known of some cells of a map, and can be merged with that of others.

        peak, mass, mean (3), second moments about it (xx, xy, yy, xz, yz, zz), term, share

    The mass is sum exp(beta z - peak); term is the regularizer's sum: mean of beta z - peak - log g for KL(p || g),
    sum of g (beta z - peak) for KL(g || p), whose share of the Gaussian is sum g.
    """
    zero = tl.full((), 0.0, tl.float32)
    peak = tl.max(logits, 0)
    shifted = logits - reference(peak)
    e = tl.exp(shifted)
    mass = tl.sum(e, 0)
    inverse = tl.where(mass == 0.0, 0.0, 1.0 / mass)
    x, y, z = cell_places(i, N0, N1, N2)
    mx = tl.sum(e * x, 0) * inverse
    my, mz, xx, xy, yy, xz, yz, zz, term, share = zero, zero, zero, zero, zero, zero, zero, zero, zero, zero
    if DIMS > 1:
        my = tl.sum(e * y, 0) * inverse
    if DIMS > 2:
        mz = tl.sum(e * z, 0) * inverse
    if ORDER > 1:
        dx = x - mx
        xx = tl.sum(e * dx * dx, 0) * inverse
        if DIMS > 1:
            dy = y - my
            yy = tl.sum(e * dy * dy, 0) * inverse
            if ORDER > 2:
                xy = tl.sum(e * dx * dy, 0) * inverse
        if DIMS > 2:
            dz = z - mz
            zz = tl.sum(e * dz * dz, 0) * inverse
            if ORDER > 2:
                xz = tl.sum(e * dx * dz, 0) * inverse
                yz = tl.sum(e * dy * dz, 0) * inverse
    if REG == 2:
        log_g = log_gaussian(x, y, z, gaussian, inv_sigma, DIMS)
        term = tl.sum(tl.where(e == 0.0, 0.0, e * (shifted - log_g)), 0) * inverse
    if REG == 4:
        log_g = log_gaussian(x, y, z, gaussian, inv_sigma, DIMS) - gaussian[6]
        g = tl.where(i < CELLS, tl.exp(log_g), 0.0)
        share = tl.sum(g, 0)
        term = tl.sum(tl.where(g == 0.0, 0.0, g * shifted), 0)
    return peak, mass, mx, my, mz, xx, xy, yy, xz, yz, zz, term, share


@triton.jit
def merge(a, b, DIMS: tl.constexpr, ORDER: tl.constexpr, REG: tl.constexpr):
    """The state of two sets of cells together. Second moments stay about the mean (Chan et al. 1979): raw ones would
    cancel on large maps."""
    peak_a, mass_a, mx, my, mz, xx, xy, yy, xz, yz, zz, term, share = a
    peak_b, mass_b, mx_b, my_b, mz_b, xx_b, xy_b, yy_b, xz_b, yz_b, zz_b, term_b, share_b = b
    peak = tl.maximum(peak_a, peak_b)
    base = reference(peak)
    mass_b = mass_b * tl.exp(peak_b - base)
    mass = mass_a * tl.exp(peak_a - base) + mass_b
    r = tl.where(mass == 0.0, 0.0, mass_b / mass)
    dx, dy, dz = mx_b - mx, my_b - my, mz_b - mz
    if ORDER > 1:
        xx += r * (xx_b - xx + (1.0 - r) * dx * dx)
        if DIMS > 1:
            yy += r * (yy_b - yy + (1.0 - r) * dy * dy)
        if DIMS > 2:
            zz += r * (zz_b - zz + (1.0 - r) * dz * dz)
    if ORDER > 2:
        if DIMS > 1:
            xy += r * (xy_b - xy + (1.0 - r) * dx * dy)
        if DIMS > 2:
            xz += r * (xz_b - xz + (1.0 - r) * dx * dz)
            yz += r * (yz_b - yz + (1.0 - r) * dy * dz)
    mx += r * dx
    my += r * dy
    mz += r * dz
    if REG == 2:
        term = (1.0 - r) * (term + reference(peak_a) - base) + r * (term_b + reference(peak_b) - base)
    if REG == 4:
        term += share * (reference(peak_a) - base) + term_b + share_b * (reference(peak_b) - base)
        share += share_b
    return peak, mass, mx, my, mz, xx, xy, yy, xz, yz, zz, term, share
