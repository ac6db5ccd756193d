# mypy: disallow-untyped-defs=False
"""What a map's state (see `triton_cells.block_state`) comes to: moments, distance, regularizer, and its row of stats.

A row of `stats` is what the backward pass needs of a map (16 numbers, of which it uses 13):

    peak, log mass, mean (3), second moments (xx, xy, yy, xz, yz, zz), mean of the regularizer's slope, log norm of g

The log of a softmax is (beta z - peak) - log mass: two numbers, since their sum would round for large logits.
"""

import triton
import triton.language as tl


@triton.jit
def is_unmapped(peak, mass):
    """Is this a map of nothing but -inf? It counts as uniform."""
    return (peak == float("-inf")) & (mass == 0.0)


@triton.jit
def _distance(dx, dy, dz, DISTANCE: tl.constexpr):
    return tl.sqrt(dx * dx + dy * dy + dz * dz) if DISTANCE == 0 else tl.abs(dx) + tl.abs(dy) + tl.abs(dz)


@triton.jit
def _excess(variance, sigma, N: tl.constexpr, PIXELS: tl.constexpr):
    """Var - sigma^2 of an axis, in squared pixels or normalized units; `variance` is in pixels."""
    cell = 1.0 if PIXELS else 2.0 / N
    return (variance - sigma * sigma) * (cell * cell)


@triton.jit
def _write_moments(
    mean_ptr, covariance_ptr, index, mx, my, mz, xx, xy, yy, xz, yz, zz,
    N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr, DIMS: tl.constexpr, ORDER: tl.constexpr,
):  # fmt: skip
    a: tl.constexpr = 2.0 / N0
    b: tl.constexpr = 2.0 / N1
    c: tl.constexpr = 2.0 / N2
    mean = mean_ptr + index * DIMS
    tl.store(mean, mx * a)
    if DIMS > 1:
        tl.store(mean + 1, my * b)
    if DIMS > 2:
        tl.store(mean + 2, mz * c)
    if ORDER > 2:
        row = covariance_ptr + index * (DIMS * DIMS)
        tl.store(row, xx * (a * a))
        if DIMS > 1:
            tl.store(row + 1, xy * (a * b))
            tl.store(row + DIMS, xy * (a * b))
            tl.store(row + DIMS + 1, yy * (b * b))
        if DIMS > 2:
            tl.store(row + 2, xz * (a * c))
            tl.store(row + 6, xz * (a * c))
            tl.store(row + 5, yz * (b * c))
            tl.store(row + 7, yz * (b * c))
            tl.store(row + 8, zz * (c * c))


@triton.jit
def _write_distance(
    distance_ptr, target_ptr, index, mx, my, mz,
    N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr, DIMS: tl.constexpr, DISTANCE: tl.constexpr,
):  # fmt: skip
    dx = mx * (2.0 / N0) - tl.load(target_ptr + index * DIMS)
    dy = 0.0 * dx
    dz = 0.0 * dx
    if DIMS > 1:
        dy = my * (2.0 / N1) - tl.load(target_ptr + index * DIMS + 1)
    if DIMS > 2:
        dz = mz * (2.0 / N2) - tl.load(target_ptr + index * DIMS + 2)
    tl.store(distance_ptr + index, _distance(dx, dy, dz, DISTANCE))


@triton.jit
def _regularizer(
    unmapped, log_mass, mx, my, mz, xx, yy, zz, term, gaussian, sigma, inv_sigma,
    CELLS: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    DIMS: tl.constexpr, REG: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """The loss and the mean of its slope, for every regularizer but JS."""
    jx, ax, jy, ay, jz, az, log_norm, entropy = gaussian
    value = tl.full((), 0.0, tl.float32)
    slope = tl.full((), 0.0, tl.float32)
    if REG == 1:
        ex = _excess(xx, sigma, N0, PIXELS)
        value = ex * ex
        slope = 2.0 * ex * xx * (1.0 if PIXELS else 4.0 / (N0 * N0))
        if DIMS > 1:
            ey = _excess(yy, sigma, N1, PIXELS)
            value += ey * ey
            slope += 2.0 * ey * yy * (1.0 if PIXELS else 4.0 / (N1 * N1))
        if DIMS > 2:
            ez = _excess(zz, sigma, N2, PIXELS)
            value += ez * ez
            slope += 2.0 * ez * zz * (1.0 if PIXELS else 4.0 / (N2 * N2))
    if REG == 2:
        # Of a uniform map the mean of -log g is that of its quadratic form.
        spread = ((N0 * N0 - 1) / 12.0) + jx * jx - jx * ax
        if DIMS > 1:
            spread += ((N1 * N1 - 1) / 12.0) + jy * jy - jy * ay
        if DIMS > 2:
            spread += ((N2 * N2 - 1) / 12.0) + jz * jz - jz * az
        value = tl.where(unmapped, 0.5 * spread * inv_sigma * inv_sigma, term) - log_mass + log_norm
        slope = value
    if REG == 4:
        value = entropy - tl.where(unmapped, 0.0, term) + log_mass
    return value, slope


@triton.jit
def finish(
    state, gaussian, index, target_ptr, mean_ptr, second_ptr, stats_ptr, sigma, inv_sigma,
    CELLS: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    DIMS: tl.constexpr, ORDER: tl.constexpr, TARGET: tl.constexpr, DISTANCE: tl.constexpr, REG: tl.constexpr,
    PIXELS: tl.constexpr,
):  # fmt: skip
    """Outputs and stats from a whole map's state; the log of its mass."""
    peak, mass, mx, my, mz, xx, xy, yy, xz, yz, zz, term, _share = state
    unmapped = is_unmapped(peak, mass)
    log_mass = tl.log(tl.where(unmapped, CELLS * 1.0, mass))
    # Means and mixed moments of a map without mass are zero already, those of a uniform one.
    xx = tl.where(unmapped, (N0 * N0 - 1) / 12.0, xx)
    yy = tl.where(unmapped, (N1 * N1 - 1) / 12.0, yy)
    zz = tl.where(unmapped, (N2 * N2 - 1) / 12.0, zz)
    slope = tl.full((), 0.0, tl.float32)
    if TARGET:
        _write_distance(mean_ptr, target_ptr, index, mx, my, mz, N0, N1, N2, DIMS, DISTANCE)
        if REG != 3:
            value, slope = _regularizer(
                unmapped, log_mass, mx, my, mz, xx, yy, zz, term, gaussian, sigma, inv_sigma,
                CELLS, N0, N1, N2, DIMS, REG, PIXELS,
            )  # fmt: skip
            tl.store(second_ptr + index, value)
    else:
        _write_moments(mean_ptr, second_ptr, index, mx, my, mz, xx, xy, yy, xz, yz, zz, N0, N1, N2, DIMS, ORDER)
    row = stats_ptr + index * 16
    tl.store(row, peak)
    tl.store(row + 1, log_mass)
    tl.store(row + 2, mx)
    tl.store(row + 3, my)
    tl.store(row + 4, mz)
    tl.store(row + 5, xx)
    tl.store(row + 6, xy)
    tl.store(row + 7, yy)
    tl.store(row + 8, xz)
    tl.store(row + 9, yz)
    tl.store(row + 10, zz)
    tl.store(row + 11, slope)
    tl.store(row + 12, gaussian[6])
    return log_mass
