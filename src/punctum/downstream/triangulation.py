"""Points in space from several calibrated views, each weighed by its covariance."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from punctum.downstream.measurements import Floats, measured, tail

# Steps are done when they move a point by no more than a millionth of its standard deviation.
_DONE = 1e-12
_ROUNDS = 60
# Rays that are parallel to rounding: the least and greatest information differ by more than this.
_PARALLEL = 1e-12
_HELD = 1e-13


@dataclass(frozen=True, eq=False)
class Triangulation:
    """Points in space, in the cameras' unit of length; NaN where the views say too little.

    Args:
        points: (..., 3).
        covariance: (..., 3, 3), unit of length squared.
        residuals: (V, ..., 2), measured minus reprojected, in pixels; NaN where nothing was measured or found.
        used: (V, ...) bool, the views that the point rests on.
        chi2: (...), sum of the squared Mahalanobis lengths of the residuals of the views used.
        behind: (...) bool, points that were given up because the rays meet behind a camera.
    """

    points: Floats
    covariance: Floats
    residuals: Floats
    used: NDArray[np.bool_]
    chi2: Floats
    behind: NDArray[np.bool_]

    @property
    def views(self) -> NDArray[np.int64]:
        """(...), how many views each point rests on."""
        return self.used.sum(0)

    @property
    def p_value(self) -> Floats:
        """(...), how often views that agree would differ by more than these: P(chi-square of 2 V - 3 > chi2).

        Uniform on [0, 1] if the covariances and cameras are right; near 0 where a view errs by more than it admits.
        """
        return tail(self.chi2, np.maximum(2 * self.views - 3, 1))


def triangulate(
    points: ArrayLike, cameras: ArrayLike, covariances: ArrayLike | None = None, *, gate: float | None = None
) -> Triangulation:
    """The most likely point in space for what several cameras saw, and its covariance.

        X = argmin sum_v r_v^T S_v^-1 r_v,     r_v = x_v - (P_v (X, 1))_{12} / (P_v (X, 1))_3
        covariance = (sum_v J_v^T S_v^-1 J_v)^-1,     J_v = - dr_v / dX

    A linear solution (the direct linear transform, each equation divided by its error and depth) is refined by
    damped Gauss-Newton steps. The covariance is the inverse Fisher information: exact as far as the projection
    is straight over the spread of the point.

    Args:
        points: (V, ..., 2) pixels, without lens distortion; views where a point is NaN are left out for it.
        cameras: (V, 3, 4), from homogeneous space to homogeneous pixels, K [R | t]; (0, 0) is the centre of the
            first pixel, as with OpenCV. Scaled so that the third coordinate is positive in front of the camera.
        covariances: (V, ..., 2, 2) pixels squared; a view whose covariance is NaN or infinite is left out. None:
            all views alike, with a standard deviation of one pixel.
        gate: take views away from points whose `p_value` is below this, one by one, as long as more than two are
            left, always the one without which the others agree best; 0.001 is usual. None: keep all.
    Returns:
        `Triangulation`. A point is NaN with fewer than two views (`views` counts them), with rays that meet behind
            a camera (`behind`), or that are so nearly parallel that its distance from a camera is uncertain by half
            of itself or more.
    Raises:
        ValueError: shapes do not fit, there is one camera alone, a camera is no projection, a covariance is
            singular or not symmetric (the message says where), or `gate` is not in (0, 1).
    Source:
        Hartley and Zisserman 2004, Multiple View Geometry, Sections 12.2, 12.3 and 5.2.
    Example:
        >>> left = np.array([[800.0, 0, 320, 0], [0, 800, 240, 0], [0, 0, 1, 0]])
        >>> right = left - [[0, 0, 0, 80.0], [0, 0, 0, 0], [0, 0, 0, 0]]  # 0.1 to the right
        >>> found = triangulate([[[400.0, 240.0]], [[360.0, 240.0]]], [left, right], [[np.eye(2)]] * 2)
        >>> found.points.round(6)
        array([[0.2, 0. , 2. ]])
        >>> np.sqrt(np.diagonal(found.covariance[0])).round(4)  # depth is the least certain
        array([0.0056, 0.0018, 0.0707])
    """
    points, cameras = np.asarray(points, dtype=np.float64), np.asarray(cameras, dtype=np.float64)
    _check(points, cameras, gate)
    identity = np.broadcast_to(np.eye(2), (*points.shape, 2))
    noise = identity if covariances is None else np.asarray(covariances, dtype=np.float64)
    used = measured(points, noise, ["view", *["index"] * (points.ndim - 2)])
    shape = points.shape[1:-1]
    flat = len(cameras), math.prod(shape)
    # Masked by selection: what is left out is replaced before anything is computed of it.
    pixels = np.where(used[..., None], points, 0.0).reshape(*flat, 2)
    noise = np.where(used[..., None, None], noise, np.eye(2)).reshape(*flat, 2, 2)
    views = _Views(cameras, pixels, np.linalg.inv(np.linalg.cholesky(noise)), used.reshape(flat))
    found = _solve(views)
    if gate is not None:
        views, found = _without_outliers(views, found, gate)
    residuals = np.where(used.reshape(*flat, 1), views.pixels - views.project(found.points)[0], np.nan)
    return Triangulation(
        points=found.points.reshape(*shape, 3),
        covariance=found.covariance.reshape(*shape, 3, 3),
        residuals=residuals.reshape(points.shape),
        used=views.used.reshape(used.shape),
        chi2=found.chi2.reshape(shape),
        behind=found.behind.reshape(shape),
    )


def _check(points: Floats, cameras: Floats, gate: float | None) -> None:
    if cameras.ndim != 3 or cameras.shape[1:] != (3, 4) or len(cameras) < 2:
        raise ValueError(f"cameras must be (V, 3, 4) of two or more views, got {cameras.shape}")
    if points.ndim < 2 or points.shape[-1] != 2 or len(points) != len(cameras):
        raise ValueError(f"points must be (V, ..., 2) with V = {len(cameras)} as the cameras, got {points.shape}")
    for view, camera in enumerate(cameras):
        if not np.isfinite(camera).all() or np.linalg.matrix_rank(camera) < 3 or not camera[2].any():
            raise ValueError(f"camera {view} is no projection (3, 4) of rank three: {camera.tolist()}")
    if gate is not None and not 0 < gate < 1:
        raise ValueError(f"gate must be a probability in (0, 1), such as 0.001, got {gate}")


@dataclass(frozen=True, eq=False)
class _Views:
    """Cameras (V, 3, 4), what they saw of N points (V, N, 2), what whitens its errors, and which of it counts."""

    cameras: Floats
    pixels: Floats
    whitening: Floats
    used: NDArray[np.bool_]

    def of(self, points: NDArray[np.intp], used: NDArray[np.bool_] | None = None) -> "_Views":
        """The same for some of the points; perhaps with other views."""
        used = self.used[:, points] if used is None else used
        return _Views(self.cameras, self.pixels[:, points], self.whitening[:, points], used)

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Pixels (V, N, 2) and depths (V, N) of points (N, 3); NaN in the plane of the camera."""
        seen = points @ self.cameras[..., :3].swapaxes(-1, -2) + self.cameras[:, None, :, 3]
        depth = np.where(seen[..., 2] == 0, np.nan, seen[..., 2])
        return seen[..., :2] / depth[..., None], depth

    def whitened(self, points: Floats) -> tuple[Floats, Floats]:
        """Residuals (N, 2 V) with unit covariance, and the Jacobians (N, 2 V, 3) of the projections."""
        pixels, depth = self.project(points)
        rays = self.cameras[:, None, :2, :3] - pixels[..., None] * self.cameras[:, None, 2:, :3]
        residuals = self.whitening @ (self.pixels - pixels)[..., None]
        jacobian = self.whitening @ (rays / depth[..., None, None])
        return self._stack(residuals)[..., 0], self._stack(jacobian)

    def equations(self, depth: Floats) -> Floats:
        """(N, 2 V, 4) rows a with a (X, 1) = 0: x w - u and y w - v, whitened and divided by depths (V, N)."""
        rows = self.cameras[:, None, :2] - self.pixels[..., None] * self.cameras[:, None, 2:]
        return self._stack(self.whitening @ rows / depth[..., None, None])

    def _stack(self, rows: Floats) -> Floats:
        """(V, N, 2, M) as (N, 2 V, M), zero where a view does not count."""
        kept = np.where(self.used[..., None, None], rows, 0.0)
        return kept.transpose(1, 0, 2, 3).reshape(kept.shape[1], 2 * len(kept), rows.shape[-1])


@dataclass(frozen=True, eq=False)
class _Found:
    points: Floats
    covariance: Floats
    chi2: Floats
    behind: NDArray[np.bool_]


def _solve(views: _Views) -> _Found:
    """Most likely points (N, 3), and what is known of them; NaN where that is too little."""
    points, converged = _refine(views, _linear(views))
    residuals, jacobian = views.whitened(points)
    spread = _inverse(jacobian.swapaxes(-1, -2) @ jacobian)
    depth = views.project(points)[1]
    axis = views.cameras[:, 2, :3]
    variance = np.einsum("vi,nij,vj->vn", axis, spread, axis)  # of the depths
    certain = converged & (~views.used | (variance < 0.25 * depth**2)).all(0)
    hidden = (views.used & (depth <= 0)).any(0)
    kept = certain & ~hidden
    return _Found(
        points=np.where(kept[:, None], points, np.nan),
        covariance=np.where(kept[:, None, None], spread, np.nan),
        chi2=np.where(kept, (residuals**2).sum(-1), np.nan),
        behind=certain & hidden,
    )


def _linear(views: _Views) -> Floats:
    """Least squares of the projections' equations, (N, 3), their errors nearly pixels once depths are known."""
    scale = np.linalg.norm(views.cameras[:, 2, :3], axis=-1)
    scale = np.where(scale > 0, scale, np.abs(views.cameras[:, 2, 3]))  # a camera at infinity has one depth for all
    depth = np.broadcast_to(scale[:, None], views.used.shape)
    for _ in range(2):
        rows = views.equations(depth)
        points = _step(rows[..., :3], -rows[..., 3], np.zeros(len(rows)))
        found = views.project(points)[1]
        depth = np.where(found > 0, found, depth)
    return points


def _refine(views: _Views, points: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Damped Gauss-Newton steps to the most likely points (N, 3); which of them arrived."""
    points = points.copy()
    arrived, damping = np.zeros(len(points), dtype=bool), np.zeros(len(points))
    active = np.flatnonzero(views.used.sum(0) >= 2)
    for _ in range(_ROUNDS):
        if len(active) == 0:
            break
        some = views.of(active)
        residuals, jacobian = some.whitened(points[active])
        step = _step(jacobian, residuals, damping[active])
        cost = (residuals**2).sum(-1)
        # What the chi-square would fall by, were the projection straight.
        gain = np.einsum("nm,nmi,ni->n", residuals, jacobian, step)
        better = (some.whitened(points[active] + step)[0] ** 2).sum(-1) <= cost
        done = (gain < _DONE * (1 + cost)) & (damping[active] < 1e-2)
        points[active] += np.where((better | done)[:, None], step, 0.0)
        arrived[active] = done
        damping[active] = np.where(better, damping[active] / 10, np.maximum(10 * damping[active], 1e-3))
        active = active[~done]
    return points, arrived


def _step(jacobian: Floats, residuals: Floats, damping: Floats) -> Floats:
    """(N, 3): least squares, each axis held back by a share (N,) of its information."""
    information = jacobian.swapaxes(-1, -2) @ jacobian
    diagonal = np.diagonal(information, axis1=-2, axis2=-1)
    # Never quite zero, and one where nothing at all is known of an axis: the matrix stays regular.
    held = np.where(diagonal > 0, np.maximum(damping, _HELD)[:, None] * diagonal, 1.0)
    right = jacobian.swapaxes(-1, -2) @ residuals[..., None]
    return np.linalg.solve(information + held[:, None] * np.eye(3), right)[..., 0]


def _inverse(information: Floats) -> Floats:
    """Inverses (N, 3, 3) of information; NaN where a direction is unknown to rounding."""
    diagonal = np.diagonal(information, axis1=-2, axis2=-1)
    finite = np.all(np.isfinite(information), axis=(-1, -2)) & np.all(diagonal > 0, axis=-1)
    # Scaled to ones on the diagonal, so that the unit of length does not matter.
    scale = np.sqrt(np.where(finite[:, None], diagonal, 1.0))
    scale = scale[:, :, None] * scale[:, None]
    values, axes = np.linalg.eigh(np.where(finite[:, None, None], information / scale, np.eye(3)))
    known = finite & (values[:, 0] > _PARALLEL * values[:, -1])
    inverse = (axes / np.where(known[:, None], values, 1.0)[:, None]) @ axes.swapaxes(-1, -2) / scale
    return np.where(known[:, None, None], inverse, np.nan)


def _without_outliers(views: _Views, found: _Found, gate: float) -> tuple[_Views, _Found]:
    """Views taken from points that they disagree on, one a round, and the points without them."""
    hopeless = np.zeros(views.used.shape[1], dtype=bool)
    while True:
        count = views.used.sum(0)
        agree = tail(found.chi2, np.maximum(2 * count - 3, 1)) >= gate
        wrong = np.flatnonzero(~agree & (count > 2) & ~hopeless)
        if len(wrong) == 0:
            return views, found
        left = np.full((len(views.used), len(wrong)), np.inf)
        for view in range(len(left)):
            others = views.used[:, wrong].copy()
            others[view] = False
            chi2 = _solve(views.of(wrong, others)).chi2
            left[view] = np.where(views.used[view, wrong] & ~np.isnan(chi2), chi2, np.inf)
        helps = np.isfinite(left).any(0)
        hopeless[wrong[~helps]] = True
        used = views.used.copy()
        used[left.argmin(0)[helps], wrong[helps]] = False
        views = replace(views, used=used)
        found = _solve(views)
