"""Points followed through a video, each frame weighed by its covariance."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from punctum.downstream.inference import distances, hold_against
from punctum.downstream.kalman import Tracks, backward
from punctum.downstream.measurements import Floats, measured

# How much broader the prior of the velocity is than the velocities seen.
_BROAD = 10.0


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Points in T frames as all frames together know them; NaN where nothing is known.

    Args:
        keypoints: (T, K, D), pixels.
        covariance: (T, K, D, D), pixels squared.
        velocity: (T, K, D), pixels per second.
        velocity_covariance: (T, K, D, D), pixels squared per second squared.
        acceleration: (K,), the power spectral density used, pixels squared per second cubed.
        used: (T, K) bool, the measurements that the tracks rest on.
        chi2: (T, K), squared Mahalanobis distance of each measurement from what all *other* frames say of it; NaN
            where nothing was measured. D on average if the covariances are right and the errors of different
            frames independent.
    """

    keypoints: Floats
    covariance: Floats
    velocity: Floats
    velocity_covariance: Floats
    acceleration: Floats
    used: NDArray[np.bool_]
    chi2: Floats

    @property
    def dropped(self) -> NDArray[np.bool_]:
        """(T, K) bool, the measurements that the gate took out."""
        return ~self.used & ~np.isnan(self.chi2)


def smooth(
    keypoints: ArrayLike,
    covariances: ArrayLike,
    *,
    times: ArrayLike | None = None,
    fps: float | None = None,
    acceleration: ArrayLike | None = None,
    speed: ArrayLike | None = None,
    gate: float | None = None,
) -> Smoothed:
    """Follow each point through a video: the likeliest path of all frames together, and its covariance.

        y_t = x_t + e_t,  e_t ~ N(0, S_t);     d velocity / dt = white noise of power `acceleration`

    A Kalman filter and a Rauch-Tung-Striebel smoother; the points move independently of each other.

    Args:
        keypoints: (T, K, D), pixels (or any length, as of triangulated points); NaN where there is none.
        covariances: (T, K, D, D), of each measurement; one that is NaN or infinite takes its point out.
        times: (T,) seconds, increasing; or
        fps: frames per second, evenly.
        acceleration: power spectral density of the acceleration along each axis, pixels squared per second cubed, one
            for all or (K,): in a second, a velocity changes by about its square root. 0: straight lines. None: for
            each point the most likely one, by the likelihood of each measurement given those before.
        speed: standard deviation of each component of the velocity before anything is seen, pixels per second, one or
            (K,). None: ten times what the differences between frames show, noise included.
        gate: take out measurements so far from what the other frames say that chance does that with less than this
            probability; 0.0001 is usual. None: believe all of them.
    Returns:
        `Smoothed`; frames without a measurement are filled in, with a covariance that says how well. Points
        with fewer than two measurements have no velocity: they are NaN but in the frame that they were measured in.
    Raises:
        ValueError: shapes do not fit, times do not increase, a covariance is singular or not symmetric (the message
            says where), an option is out of its range.
    Source:
        Rauch, Tung and Striebel 1965; Bar-Shalom, Li and Kirubarajan 2001, Sections 5.2, 6.2 and 8.6.
    Example:
        >>> x = np.array([0.0, 1.1, 1.9, np.nan, 4.0])
        >>> path = smooth(x[:, None, None], np.full((5, 1, 1, 1), 0.01), fps=10, acceleration=0)
        >>> path.keypoints[:, 0, 0].round(2)
        array([0.02, 1.01, 2.  , 2.99, 3.97])
        >>> path.velocity[0].round(2), np.sqrt(path.covariance[:, 0, 0, 0]).round(2)
        (array([[9.89]]), array([0.08, 0.06, 0.05, 0.07, 0.09]))
    """
    places, noise = np.asarray(keypoints, dtype=np.float64), np.asarray(covariances, dtype=np.float64)
    if places.ndim != 3 or 0 in places.shape[::2]:
        raise ValueError(f"keypoints must be (T, K, D) of at least one frame, got {places.shape}")
    if gate is not None and not 0 < gate < 1:
        raise ValueError(f"gate must be a probability in (0, 1), such as 0.0001, got {gate}")
    seen = measured(places, noise, ["frame", "keypoint"])
    # The typical step is the unit of time inside, so that positions and velocities are of one size.
    steps, unit = _steps(len(places), times, fps)
    dims, typical = places.shape[-1], _typical_speed(places, noise, seen, steps)
    prior = _BROAD * typical if speed is None else _each("speed", speed, typical.shape) * unit
    power = None if acceleration is None else _each("acceleration", acceleration, typical.shape) * unit**3
    known = seen.any(0) & ~np.isnan(prior)
    # Masked by selection: what was not measured, or not often enough, is replaced before anything is computed of it.
    tracks = Tracks(
        np.where(seen[..., None], places, 0.0),
        np.where(seen[..., None, None], noise, np.eye(dims)),
        seen,
        steps,
        np.where(known, prior, 1.0),
    )
    kept, power = hold_against(tracks, power, gate)
    mean, covariance = backward(kept, power)
    chi2 = distances(tracks, kept.used, mean, covariance)
    point, matrix = known[:, None], known[:, None, None]
    return Smoothed(
        keypoints=np.where(point, mean[..., :dims], np.where(seen[..., None], places, np.nan)),
        covariance=np.where(matrix, covariance[..., :dims, :dims], np.where(seen[..., None, None], noise, np.nan)),
        velocity=np.where(point, mean[..., dims:], np.nan) / unit,
        velocity_covariance=np.where(matrix, covariance[..., dims:, dims:], np.nan) / unit**2,
        acceleration=np.where(known, power, np.nan) / unit**3,
        used=kept.used,
        chi2=np.where(seen, np.where(known, chi2, 0.0), np.nan),
    )


def _steps(count: int, times: ArrayLike | None, fps: float | None) -> tuple[Floats, float]:
    """(T,) times between frames in units of the typical one, and that one in seconds."""
    if (times is None) == (fps is None):
        raise ValueError("smooth needs either times, the second of each frame, or fps, frames per second")
    if fps is not None:
        if not 0 < fps < math.inf:
            raise ValueError(f"fps must be a positive number, got {fps}")
        return np.ones(count), 1 / fps
    seconds = np.asarray(times, dtype=np.float64)
    if seconds.shape != (count,) or not np.isfinite(seconds).all():
        raise ValueError(f"times must be {count} finite numbers, one for each frame, got {seconds.shape}")
    steps = np.diff(seconds)
    if (steps <= 0).any():
        late = int((steps <= 0).argmax()) + 1
        raise ValueError(
            f"times must increase, but frame {late} is at {seconds[late]:g} s and the one before at "
            f"{seconds[late - 1]:g} s: sort the frames, and keep one of each time"
        )
    unit = float(np.median(steps)) if count > 1 else 1.0
    return np.concatenate([[0.0], steps / unit]), unit


def _each(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """An option as (K,): one number for all, or one for each point. An acceleration may be zero, a speed not."""
    numbers = np.asarray(value, dtype=np.float64)
    if numbers.shape not in ((), shape):
        raise ValueError(f"{name} must be one number or {shape[0]}, one for each keypoint, got {numbers.shape}")
    sign, wrong = ("positive", numbers <= 0) if name == "speed" else ("not negative", numbers < 0)
    if (wrong | ~np.isfinite(numbers)).any():
        raise ValueError(f"{name} must be finite and {sign}, got {numbers.tolist()}")
    return np.broadcast_to(numbers, shape)


def _typical_speed(places: Floats, noise: Floats, seen: NDArray[np.bool_], steps: Floats) -> Floats:
    """(K,) root mean square velocity along an axis between measurements, noise included; NaN of fewer than two."""
    clock, typical = np.cumsum(steps), np.full(places.shape[1], np.nan)
    for k in np.flatnonzero(seen.sum(0) >= 2):
        at = np.flatnonzero(seen[:, k])
        moved = np.square(np.diff(places[at, k], axis=0)).sum(-1)
        spread = np.trace(noise[at, k], axis1=-2, axis2=-1)
        per_axis = (moved + spread[1:] + spread[:-1]) / places.shape[-1]
        typical[k] = np.sqrt((per_axis / np.diff(clock[at]) ** 2).mean())
    return typical
