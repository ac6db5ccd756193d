"""The mixture over places along one axis, from SciPy's distributions: density, distribution function, integrals."""

import itertools

import numpy as np
from scipy import stats
from scipy.integrate import quad

from reference.heatmaps import cell_centre


def parts(n, basis):
    """SciPy's distribution of each of the n cells of [-1, 1]."""
    width = 2 / n
    centres = [cell_centre(i, n) for i in range(n)]
    if basis == "uniform":
        return [stats.uniform(c - width / 2, width) for c in centres]
    if basis == "triangular":
        return [stats.triang(0.5, c - width, 2 * width) for c in centres]
    return [stats.norm(c, width) for c in centres]


def cdf(marginal, basis):
    """The mixture's distribution function."""
    cells = parts(len(marginal), basis)
    return lambda y: sum(m * cell.cdf(y) for m, cell in zip(marginal, cells, strict=True))


def pdf(marginal, basis):
    """The mixture's density."""
    cells = parts(len(marginal), basis)
    return lambda y: sum(m * cell.pdf(y) for m, cell in zip(marginal, cells, strict=True))


def integral(function, n, breaks=()):
    """Over all places that matter, piece by piece between the places where a basis or the integrand may break."""
    far = 1 + 12 * 2 / n
    # Every half cell is a border or a centre of some cell.
    edges = np.unique(
        [-far, *np.linspace(-1 - 2 / n, 1 + 2 / n, 2 * n + 5), *(b for b in breaks if abs(b) < far), far]
    )
    return sum(quad(function, a, b, epsabs=1e-11)[0] for a, b in itertools.pairwise(edges))


def axis_marginals(heatmap):
    """Of one heatmap of shape S, x first."""
    axes = range(heatmap.ndim)
    return [heatmap.sum(axis=tuple(a for a in axes if a != kept)) for kept in reversed(axes)]
