"""Peak decoders on one heatmap, with NumPy and SciPy; answers are pixels, (x, y[, z])."""

import numpy as np
from scipy import ndimage


def argmax(heatmap):
    return np.array(np.unravel_index(heatmap.argmax(), heatmap.shape), dtype=float)[::-1]


def quarter_shift(heatmap):
    index = np.unravel_index(heatmap.argmax(), heatmap.shape)
    moved = list(map(float, index))
    for axis, i in enumerate(index):
        if i in (0, heatmap.shape[axis] - 1):
            continue
        before = heatmap[(*index[:axis], i - 1, *index[axis + 1 :])]
        after = heatmap[(*index[:axis], i + 1, *index[axis + 1 :])]
        if after > before:
            moved[axis] += 0.25
        if after < before:
            moved[axis] -= 0.25
    return np.array(moved)[::-1]


def dark(heatmap, sigma):
    """For a peak inside the map: SciPy's blur, NumPy's finite differences and NumPy's solver.

    The blur's kernel is as wide as fits around the peak and its neighbours, and the same for all three.
    """
    index = np.unravel_index(heatmap.argmax(), heatmap.shape)
    blurred = np.maximum(heatmap, 0) / heatmap.max()
    for axis, i in enumerate(index):
        radius = min(i - 1, heatmap.shape[axis] - 2 - i, int(np.ceil(3 * sigma)))
        blurred = ndimage.gaussian_filter1d(blurred, sigma, axis=axis, mode="constant", radius=radius)
    logs = np.log(blurred)
    window = logs[tuple(slice(i - 1, i + 2) for i in index)]
    middle = (1,) * heatmap.ndim
    dims = range(heatmap.ndim)
    gradient = np.array([np.gradient(window, axis=a)[middle] for a in dims])
    hessian = np.array([[_second_difference(window, a, b) for b in dims] for a in dims])
    concave = np.linalg.eigvalsh(hessian).max() < 0
    step = -np.linalg.solve(hessian, gradient) if concave else np.zeros(heatmap.ndim)
    return (np.array(index) + np.clip(step, -1, 1))[::-1]


def _second_difference(window, a, b):
    middle = (1,) * window.ndim
    if a == b:
        line = window[tuple(slice(None) if axis == a else 1 for axis in range(window.ndim))]
        return np.diff(line, n=2)[0]
    return np.gradient(np.gradient(window, axis=a), axis=b)[middle]
