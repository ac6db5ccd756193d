"""What tracks say of themselves: how much their points accelerate, and which measurements contradict the rest."""

import math

import numpy as np
from numpy.typing import NDArray

from punctum.downstream.kalman import Tracks, backward, log_likelihood
from punctum.downstream.measurements import Floats, tail

# Powers of ten, of the squared speed of the prior in a unit of time, among which accelerations are looked for.
_LOWEST, _HIGHEST = -17, 1
# Degrees of freedom of the likelihood that finds an acceleration among outliers.
_ROBUST = 1.0
_ROUNDS = 5
# A direction that the other frames know this much worse than the measurement does tells nothing about it.
_UNKNOWN = 1e-6


def hold_against(tracks: Tracks, power: Floats | None, gate: float | None) -> tuple[Tracks, Floats]:
    """The tracks that stand up to the gate, and their accelerations (K,), found where they are not given."""
    if gate is None:
        return tracks, likeliest(tracks) if power is None else power
    if power is not None:
        return tracks.without(_outliers(tracks, power, gate)), power
    # Outliers look like accelerations: a likelihood that hardly sees them first, then the right one without them. As
    # the worst go, the acceleration falls, and others stand out.
    kept = tracks.without(_outliers(tracks, likeliest(tracks, _ROBUST), gate))
    power = likeliest(kept)
    for _ in range(_ROUNDS):
        anew = tracks.without(_outliers(tracks, power, gate))
        if (anew.used == kept.used).all():
            break
        kept, power = anew, likeliest(anew)
    return kept, power


def likeliest(tracks: Tracks, freedom: float = math.inf) -> Floats:
    """(K,) accelerations of the highest likelihood, on a grid of powers of ten that is made finer thrice."""
    powers = np.arange(_LOWEST, _HIGHEST + 1.0)[:, None] + np.zeros(len(tracks.speed))
    scale = tracks.speed**2
    for width in (1.0, 0.25, 0.0625, None):
        likelihood = log_likelihood(tracks, 10**powers * scale, freedom)
        best = np.take_along_axis(powers, likelihood.argmax(0)[None], axis=0)
        if width is not None:
            powers = best + np.linspace(-width, width, 9)[:, None]
    return (10**best * scale)[0]


def _outliers(tracks: Tracks, power: Floats, gate: float) -> NDArray[np.bool_]:
    """(T, K) bool, measurements that the others contradict.

    The worst go first, and what is left is smoothed anew: their neighbours are often wrong only because of them.
    """
    dropped = np.zeros_like(tracks.used)
    while True:
        left = tracks.without(dropped)
        chi2 = distances(tracks, left.used, *backward(left, power))
        beyond = tracks.used & (tail(chi2, tracks.places.shape[-1]) < gate)
        count = left.used.sum(0)
        wrong = beyond & left.used & (count > 2)
        worst = np.where(wrong, chi2, 0.0)
        now = wrong & (chi2 >= worst.max(0) / 2)
        alone = np.arange(len(chi2))[:, None] == worst.argmax(0)
        now &= alone | (2 * now.sum(0) <= count)
        if not now.any():
            # Some may have gone on account of others that went later.
            return dropped & beyond
        dropped |= now


def distances(tracks: Tracks, used: NDArray[np.bool_], mean: Floats, covariance: Floats) -> Floats:
    """(T, K): squared Mahalanobis distance of each measurement from what the others say; 0 if they say nothing.

        d = e^T (S - P)^-1 e,  e = y - m,      where the smoother, with mean m and covariance P, has seen y
        d = e^T (S + P)^-1 e                   where it has not

    The first is the distance from the smoother without y: its mean and covariance follow from those with y.
    """
    dims = tracks.places.shape[-1]
    whiten = np.linalg.inv(np.linalg.cholesky(tracks.noise))
    error = whiten @ (tracks.places - mean[..., :dims])[..., None]
    known = whiten @ covariance[..., :dims, :dims] @ whiten.swapaxes(-1, -2)
    values, axes = np.linalg.eigh(np.eye(dims) + np.where(used[..., None, None], -known, known))
    along = (axes.swapaxes(-1, -2) @ error)[..., 0] ** 2
    told = values > _UNKNOWN
    return np.where(told, along / np.where(told, values, 1.0), 0.0).sum(-1)
