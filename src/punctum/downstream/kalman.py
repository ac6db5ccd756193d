"""Kalman filter and Rauch-Tung-Striebel smoother of points that move with nearly constant velocity.

A state is (position, velocity), 2 D numbers. Everything works on K tracks at once, or on (G, K): K tracks, each
under G assumptions.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from punctum.downstream.measurements import Floats


@dataclass(frozen=True, eq=False)
class Tracks:
    """What was measured of K points in T frames, and what is assumed of them before.

    Args:
        places: (T, K, D), finite everywhere; anything where not used.
        noise: (T, K, D, D), positive definite everywhere.
        used: (T, K) bool, the measurements that count; of a track without any, nothing that comes out means anything.
        steps: (T,) time since the frame before; the first is not used.
        speed: (K,) standard deviation of each component of the velocity in the first frame used.
    """

    places: Floats
    noise: Floats
    used: NDArray[np.bool_]
    steps: Floats
    speed: Floats

    @property
    def starts(self) -> NDArray[np.intp]:
        """(K,), the first frame used of each track."""
        return self.used.argmax(0)

    def without(self, dropped: NDArray[np.bool_]) -> "Tracks":
        """The same with fewer measurements."""
        return replace(self, used=self.used & ~dropped)


@dataclass(frozen=True, eq=False)
class Step:
    """Means (..., K, 2 D) and covariances (..., K, 2 D, 2 D) after a frame, and how likely its measurement was."""

    mean: Floats
    covariance: Floats
    log_likelihood: Floats


def transition(step: float, dims: int) -> tuple[Floats, Floats]:
    """How a state moves in a time: its matrix F, and the covariance Q of what unit white acceleration adds.

        F = [1  t]      Q = [t^3 / 3  t^2 / 2]      each entry times the D x D identity
            [0  1]          [t^2 / 2  t      ]

    Source:
        Bar-Shalom, Li and Kirubarajan 2001, Estimation with Applications to Tracking and Navigation, Eq. 6.2.2-4.
    Example:
        >>> transition(2.0, 1)[0]
        array([[1., 2.],
               [0., 1.]])
    """
    move = np.array([[1.0, step], [0.0, 1.0]])
    spread = np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]])
    return np.kron(move, np.eye(dims)), np.kron(spread, np.eye(dims))


def forward(tracks: Tracks, acceleration: Floats, freedom: float = math.inf) -> Iterator[Step]:
    """The filter, frame by frame: what each frame and those before it say.

    A track starts at its first measurement, with a flat prior on its position and `speed` on its velocity. Until
    then its mean is zero and its covariance the identity.

    Args:
        tracks: the measurements.
        acceleration: (K,) or (G, K), power spectral density of the acceleration.
        freedom: likelihoods are those of a Student's t of so many degrees, which outliers move little.
    Yields:
        T steps; `log_likelihood` (..., K) is of this frame's measurement given those before, 0 without one.
    """
    dims = tracks.places.shape[-1]
    size, starts = (*acceleration.shape, 2 * dims), tracks.starts
    first = np.zeros((*tracks.speed.shape, 2 * dims, 2 * dims))
    first[:, dims:, dims:] = (tracks.speed**2)[:, None, None] * np.eye(dims)
    mean, covariance = np.zeros(size), np.broadcast_to(np.eye(2 * dims), (*size, 2 * dims))
    for t, (place, noise, used) in enumerate(zip(tracks.places, tracks.noise, tracks.used, strict=True)):
        if t > 0:
            move, spread = transition(tracks.steps[t], dims)
            moving = (starts < t)[:, None]
            mean = np.where(moving, mean @ move.T, mean)
            moved = move @ covariance @ move.T + acceleration[..., None, None] * spread
            covariance = np.where(moving[..., None], moved, covariance)
        step = _update(mean, covariance, place, noise, used & (starts < t), freedom)
        start = (starts == t)[:, None]
        first[:, :dims, :dims] = noise
        mean = np.where(start, np.concatenate([place, np.zeros_like(place)], axis=-1), step.mean)
        covariance = np.where(start[..., None], first, step.covariance)
        yield Step(mean, covariance, step.log_likelihood)


def _update(
    mean: Floats, covariance: Floats, place: Floats, noise: Floats, used: NDArray[np.bool_], freedom: float
) -> Step:
    """What a measurement makes of a state, in Joseph's form, which stays positive whatever is rounded."""
    dims = place.shape[-1]
    innovation = place - mean[..., :dims]
    spread = covariance[..., :dims, :dims] + noise
    gain = np.linalg.solve(spread, covariance[..., :dims, :]).swapaxes(-1, -2)
    kept = np.eye(2 * dims) - np.concatenate([gain, np.zeros_like(gain)], axis=-1)
    updated = kept @ covariance @ kept.swapaxes(-1, -2) + gain @ noise @ gain.swapaxes(-1, -2)
    squared = (innovation * np.linalg.solve(spread, innovation[..., None])[..., 0]).sum(-1)
    if math.isfinite(freedom):
        squared = (freedom + dims) * np.log1p(squared / freedom)
    likelihood = -0.5 * (squared + np.linalg.slogdet(spread)[1] + dims * math.log(2 * math.pi))
    return Step(
        np.where(used[:, None], mean + (gain @ innovation[..., None])[..., 0], mean),
        np.where(used[:, None, None], updated, covariance),
        np.where(used, likelihood, 0.0),
    )


def log_likelihood(tracks: Tracks, acceleration: Floats, freedom: float = math.inf) -> Floats:
    """(K,) or (G, K): log-likelihood of each track's measurements, the first of which is free."""
    total = np.zeros(acceleration.shape)
    for step in forward(tracks, acceleration, freedom):
        total += step.log_likelihood
    return total


def backward(tracks: Tracks, acceleration: Floats) -> tuple[Floats, Floats]:
    """The smoother: what all frames say of each, those after it too.

        G = P F^T (F P F^T + Q)^-1,     m_s = m + G (m_s' - F m),
        P_s = (1 - G F) P (1 - G F)^T + G (P_s' + Q) G^T

    with m, P of the filter and ' for the frame after. Before its first measurement a track is followed backwards in
    time: G = F^-1.

    Returns:
        Means (T, K, 2 D) and covariances (T, K, 2 D, 2 D).
    Source:
        Rauch, Tung and Striebel 1965 (AIAA Journal 3); the covariance in a form that stays positive.
    """
    steps = list(forward(tracks, acceleration))
    means, covariances = [steps[-1].mean], [steps[-1].covariance]
    dims, starts = tracks.places.shape[-1], tracks.starts
    for t in range(len(steps) - 2, -1, -1):
        move, spread = transition(tracks.steps[t + 1], dims)
        mean, covariance = steps[t].mean, steps[t].covariance
        added = acceleration[:, None, None] * spread
        gain = np.linalg.solve(move @ covariance @ move.T + added, move @ covariance).swapaxes(-1, -2)
        gain = np.where((starts > t)[:, None, None], np.linalg.inv(move), gain)
        rest = np.eye(2 * dims) - gain @ move
        means.append(mean + (gain @ (means[-1] - mean @ move.T)[..., None])[..., 0])
        smoothed = rest @ covariance @ rest.swapaxes(-1, -2)
        smoothed = smoothed + gain @ (covariances[-1] + added) @ gain.swapaxes(-1, -2)
        covariances.append((smoothed + smoothed.swapaxes(-1, -2)) / 2)
    return np.stack(means[::-1]), np.stack(covariances[::-1])
