# mypy: disallow-untyped-defs=False
"""The backward pass: one read of the logits, one write of their gradient, nothing else the size of a map.

    dz_i = beta p_i (c_i - sum_j p_j c_j)

p comes again from the logits and a map's row of `stats` (see triton_results); c is a quadratic form about the mean,
plus the slope of the regularizer:

    mean and covariance    gm . (x - mu) + (x - mu)^T Gc (x - mu)
    distance               u . (x - mu), u the unit vector from the target to the mean (zero at the target), or signs
    variance               sum_axis 2 (Var - sigma^2) (x - mu)^2
    KL(p || g)             log p - log g
    JS                     (log p - log m) / 2,    m = (p + g) / 2
    KL(g || p)             none: dz = beta (p - g)
"""

import triton
import triton.language as tl

from punctum.ops.kernels.triton_cells import (
    cell_offsets,
    cell_places,
    load_cells,
    log_gaussian,
    map_start,
    reference,
    target_gaussian,
)


@triton.jit
def _softmax(logits, row, i, CELLS: tl.constexpr):
    """p and log p of some cells, and whether the map has no mass: it then has no gradient."""
    peak = tl.load(row)
    log_mass = tl.load(row + 1)
    log_p = logits - reference(peak) - log_mass
    # Without mass the peak is -inf; so it is beside NaN, which the log of the mass tells apart.
    return tl.where(i < CELLS, tl.exp(log_p), 0.0), log_p, (peak == float("-inf")) & (log_mass == log_mass)


@triton.jit
def moments_gradient(
    logits_ptr, stats_ptr, grad_mean_ptr, grad_covariance_ptr, grad_ptr,
    keypoints, stride_b, stride_k, s0, s1, s2, grad_b, grad_k, g0, g1, g2, beta,
    CELLS: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr, DIMS: tl.constexpr,
    DENSE: tl.constexpr, DENSE_GRAD: tl.constexpr, OF_MEAN: tl.constexpr, OF_COVARIANCE: tl.constexpr,
    BLOCK: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Program (map, block): the gradient of these cells, from that of the mean and the covariance."""
    a: tl.constexpr = 2.0 / N0
    b: tl.constexpr = 2.0 / N1
    c: tl.constexpr = 2.0 / N2
    index = tl.program_id(0) // PARTS
    i = (tl.program_id(0) % PARTS) * BLOCK + tl.arange(0, BLOCK)
    row = stats_ptr + index * 16
    start = map_start(logits_ptr, index, keypoints, stride_b, stride_k)
    logits = load_cells(start, i, s0, s1, s2, beta, CELLS, N0, N1, DENSE)
    p, _log_p, unmapped = _softmax(logits, row, i, CELLS)
    x, y, z = cell_places(i, N0, N1, N2)
    dx = (x - tl.load(row + 2)) * a
    dy = (y - tl.load(row + 3)) * b
    dz = (z - tl.load(row + 4)) * c
    slope = 0.0 * dx
    if OF_MEAN:
        grad_mean = grad_mean_ptr + index * DIMS
        slope += tl.load(grad_mean) * dx
        if DIMS > 1:
            slope += tl.load(grad_mean + 1) * dy
        if DIMS > 2:
            slope += tl.load(grad_mean + 2) * dz
    if OF_COVARIANCE:
        grad = grad_covariance_ptr + index * (DIMS * DIMS)
        slope += tl.load(grad) * (dx * dx - tl.load(row + 5) * (a * a))
        if DIMS > 1:
            mixed = tl.load(grad + 1) + tl.load(grad + DIMS)
            slope += mixed * (dx * dy - tl.load(row + 6) * (a * b))
            slope += tl.load(grad + DIMS + 1) * (dy * dy - tl.load(row + 7) * (b * b))
        if DIMS > 2:
            mixed_x = tl.load(grad + 2) + tl.load(grad + 6)
            mixed_y = tl.load(grad + 5) + tl.load(grad + 7)
            slope += mixed_x * (dx * dz - tl.load(row + 8) * (a * c))
            slope += mixed_y * (dy * dz - tl.load(row + 9) * (b * c))
            slope += tl.load(grad + 8) * (dz * dz - tl.load(row + 10) * (c * c))
    result = tl.where(unmapped, 0.0, beta * p * slope)
    out = map_start(grad_ptr, index, keypoints, grad_b, grad_k) + cell_offsets(i, g0, g1, g2, N0, N1, DENSE_GRAD)
    tl.store(out, result.to(grad_ptr.dtype.element_ty), mask=i < CELLS)


@triton.jit
def _pulls(target_ptr, row, index, DIMS: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
           DISTANCE: tl.constexpr):  # fmt: skip
    """d distance / d mean, per axis and cell."""
    dx = tl.load(row + 2) * (2.0 / N0) - tl.load(target_ptr + index * DIMS)
    dy = 0.0 * dx
    dz = 0.0 * dx
    if DIMS > 1:
        dy = tl.load(row + 3) * (2.0 / N1) - tl.load(target_ptr + index * DIMS + 1)
    if DIMS > 2:
        dz = tl.load(row + 4) * (2.0 / N2) - tl.load(target_ptr + index * DIMS + 2)
    if DISTANCE == 0:
        length = tl.sqrt(dx * dx + dy * dy + dz * dz)
        inverse = tl.where(length == 0.0, 0.0, 1.0 / length)
        ux, uy, uz = dx * inverse, dy * inverse, dz * inverse
    else:
        ux, uy, uz = _sign(dx), _sign(dy), _sign(dz)
    return ux * (2.0 / N0), uy * (2.0 / N1), uz * (2.0 / N2)


@triton.jit
def _sign(x):
    return tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, x))


@triton.jit
def _stretch(d, variance, sigma, N: tl.constexpr, PIXELS: tl.constexpr):
    """2 (Var - sigma^2) ((x - mu)^2 - Var) of an axis; `d` and `variance` are in cells."""
    area = 1.0 if PIXELS else 4.0 / (N * N)
    return 2.0 * (variance - sigma * sigma) * (area * area) * (d * d - variance)


@triton.jit
def terms_gradient(
    logits_ptr, target_ptr, stats_ptr, grad_distance_ptr, grad_regularizer_ptr, grad_ptr,
    keypoints, stride_b, stride_k, s0, s1, s2, grad_b, grad_k, g0, g1, g2, beta, sigma, inv_sigma,
    CELLS: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    P0: tl.constexpr, P1: tl.constexpr, P2: tl.constexpr, DIMS: tl.constexpr,
    DENSE: tl.constexpr, DENSE_GRAD: tl.constexpr, OF_DISTANCE: tl.constexpr, OF_REGULARIZER: tl.constexpr,
    DISTANCE: tl.constexpr, REG: tl.constexpr, PIXELS: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Program (map, block): the gradient of these cells, from that of the distance and the regularizer."""
    index = tl.program_id(0) // PARTS
    i = (tl.program_id(0) % PARTS) * BLOCK + tl.arange(0, BLOCK)
    row = stats_ptr + index * 16
    start = map_start(logits_ptr, index, keypoints, stride_b, stride_k)
    logits = load_cells(start, i, s0, s1, s2, beta, CELLS, N0, N1, DENSE)
    p, log_p, unmapped = _softmax(logits, row, i, CELLS)
    x, y, z = cell_places(i, N0, N1, N2)
    dx = x - tl.load(row + 2)
    dy = y - tl.load(row + 3)
    dz = z - tl.load(row + 4)
    result = 0.0 * dx
    if OF_DISTANCE:
        ux, uy, uz = _pulls(target_ptr, row, index, DIMS, N0, N1, N2, DISTANCE)
        result += tl.load(grad_distance_ptr + index) * p * (ux * dx + uy * dy + uz * dz)
    if OF_REGULARIZER:
        weight = tl.load(grad_regularizer_ptr + index)
        if REG == 1:
            slope = _stretch(dx, tl.load(row + 5), sigma, N0, PIXELS)
            if DIMS > 1:
                slope += _stretch(dy, tl.load(row + 7), sigma, N1, PIXELS)
            if DIMS > 2:
                slope += _stretch(dz, tl.load(row + 10), sigma, N2, PIXELS)
            result += weight * p * slope
        if REG > 1:
            gaussian = target_gaussian(target_ptr, index, inv_sigma, N0, N1, N2, P0, P1, P2, DIMS)
            log_g = log_gaussian(x, y, z, gaussian, inv_sigma, DIMS) - tl.load(row + 12)
            if REG == 2:
                slope = log_p - log_g - tl.load(row + 11)
                result += weight * tl.where(p == 0.0, 0.0, p * slope)
            if REG == 3:
                log_m = tl.log(tl.maximum(p + tl.exp(log_g), 1.1754943508222875e-38)) - 0.6931471805599453
                slope = 0.5 * (log_p - log_m) - tl.load(row + 11)
                result += weight * tl.where(p == 0.0, 0.0, p * slope)
            if REG == 4:
                result += weight * (p - tl.exp(log_g))
    result = tl.where(unmapped, 0.0, beta * result)
    out = map_start(grad_ptr, index, keypoints, grad_b, grad_k) + cell_offsets(i, g0, g1, g2, N0, N1, DENSE_GRAD)
    tl.store(out, result.to(grad_ptr.dtype.element_ty), mask=i < CELLS)
