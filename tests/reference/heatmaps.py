"""One heatmap at a time, one cell at a time: normalization, mean, covariance, Gaussians, divergences.

A heatmap is an array of shape S; coordinates are (x, y[, z]), so they count the axes of S backwards.
"""

import itertools
import math

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.special import logsumexp
from scipy.stats import entropy, norm


def cell_centre(i, n):
    """Half-way through cell i of n equal cells that fill [-1, 1]."""
    left, right = -1 + i * (2 / n), -1 + (i + 1) * (2 / n)
    return (left + right) / 2


def to_pixels(coord, n):
    """The pixel count at a fraction of the way from the left edge (-0.5) to the right edge (n - 0.5)."""
    fraction = (coord - (-1)) / 2
    return -0.5 + fraction * n


def cells(shape):
    """Every cell's index, with its centre as (x, y[, z])."""
    for index in itertools.product(*(range(n) for n in shape)):
        yield index, [cell_centre(i, n) for i, n in reversed(list(zip(index, shape, strict=True)))]


def normalized(logits, activation, beta=1.0):
    rectify = {
        "softmax": lambda z: math.exp(beta * (z - logits.max())),
        "abs": abs,
        "relu": lambda z: max(z, 0.0),
        "sigmoid": lambda z: 1 / (1 + math.exp(-z)),
    }[activation]
    values = [rectify(float(z)) for z in logits.ravel()]
    return np.array([v / math.fsum(values) for v in values]).reshape(logits.shape)


def mean(heatmap):
    return np.array(
        [
            math.fsum(float(heatmap[index]) * centre[axis] for index, centre in cells(heatmap.shape))
            for axis in range(heatmap.ndim)
        ]
    )


def covariance(heatmap, about):
    result = np.zeros((heatmap.ndim, heatmap.ndim))
    for index, centre in cells(heatmap.shape):
        offset = np.array(centre) - about
        result += float(heatmap[index]) * np.outer(offset, offset)
    return result


def log_gaussian(mean, sigma, shape, normalize=True):
    """log of an isotropic Gaussian with `sigma` in pixels: SciPy's density in each cell, then one sum over all."""
    centre = [to_pixels(m, n) for m, n in zip(mean, reversed(shape), strict=True)]
    logs = np.zeros(shape)
    for index in itertools.product(*(range(n) for n in shape)):
        position = index[::-1]
        logs[index] = sum(norm.logpdf(p, c, sigma) for p, c in zip(position, centre, strict=True))
    peak = len(shape) * norm.logpdf(0, 0, sigma)
    return logs - (logsumexp(logs) if normalize else peak)


def gaussian(mean, sigma, shape, normalize=True):
    return np.exp(log_gaussian(mean, sigma, shape, normalize))


def kl(heatmap, mean, sigma):
    return entropy(heatmap.ravel(), gaussian(mean, sigma, heatmap.shape).ravel())


def js(heatmap, mean, sigma):
    return jensenshannon(heatmap.ravel(), gaussian(mean, sigma, heatmap.shape).ravel()) ** 2


def variance_loss(heatmap, sigma, units):
    """Each axis measured from its marginal with NumPy's weighted average, in pixels or in normalized units."""
    total = 0.0
    for axis, n in enumerate(heatmap.shape):
        marginal = heatmap.sum(axis=tuple(a for a in range(heatmap.ndim) if a != axis))
        pixel = 2 / n if units == "normalized" else 1.0
        positions = np.arange(n) * pixel
        centre = np.average(positions, weights=marginal)
        variance = np.average((positions - centre) ** 2, weights=marginal)
        total += (variance - (sigma * pixel) ** 2) ** 2
    return total
