"""How far off a point is, as a covariance: what the head says, to scale, and what it cannot know.

    A = a S + B

a and the covariance B of each keypoint are those under which the errors of held-out points are likeliest. B is what
is left at the surest prediction: the labels' own scatter, wider along an edge than across it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from punctum.calibration.fitting import pooled_then_own
from punctum.ops.cholesky import cholesky, log_determinant, solve_lower

_LEAST, _LARGEST = -7.0, 12.0  # of logarithms: a thousandth of a cell is no error, nor are a hundred thousand


@dataclass(frozen=True, eq=False)
class Spread:
    """Calibrated covariances of K keypoints, A = a S + B, in heatmap pixels squared.

    Args:
        scale: (K,) a, not negative.
        floor: (K, D, D) B, positive definite.
    Example:
        >>> Spread(torch.tensor([2.0]), torch.eye(2)[None])(3 * torch.eye(2)[None, None])
        tensor([[[[7., 0.],
                  [0., 7.]]]])
    """

    scale: Tensor
    floor: Tensor

    def __call__(self, covariance: Tensor) -> Tensor:
        """A (B, K, D, D), of the head's own S (B, K, D, D)."""
        return self.scale[:, None, None] * covariance + self.floor

    @classmethod
    def fit(cls, errors: Tensor, covariance: Tensor) -> "Spread":
        """The likeliest a and B of each keypoint, drawn towards those of all.

            -log p = (d^T A^-1 d + log |A| + D log 2 pi) / 2

        Args:
            errors: (N, K, D) in heatmap pixels; NaN where a point does not count.
            covariance: (N, K, D, D) S, in heatmap pixels squared; zero where nothing is known.
        Raises:
            ValueError: no point counts.
        Example:
            >>> errors = torch.randn(500, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
            >>> spread = Spread.fit(2 * errors, torch.zeros(500, 1, 2, 2, dtype=torch.float64))
            >>> (spread.floor - 4 * torch.eye(2)).abs().max() < 0.5
            tensor(True)
        """
        counts = errors.isfinite().all(-1)
        if not counts.any():
            raise ValueError("no point is visible in the images that the spread is fitted to")
        point, keypoint = errors[counts].to(torch.float64), counts.nonzero()[:, 1]
        own = covariance[counts].to(torch.float64)
        dims = errors.shape[-1]

        def losses(t: Tensor) -> Tensor:
            a, floor = _unpack(t, dims)
            return gaussian_surprise(point, a[keypoint, None, None] * own + floor[keypoint])

        scale = 0.5 * math.log(max(float(point.square().mean()) / 2, 1e-8))
        start = point.new_tensor([0.0, *[scale] * dims, *[0.0] * (dims * (dims - 1) // 2)])
        a, floor = _unpack(pooled_then_own(losses, start, errors.shape[1]), dims)
        return cls(a, floor)


def gaussian_surprise(errors: Tensor, covariance: Tensor) -> Tensor:
    """-log N(d; 0, A) in nats per unit^D: errors (..., D), covariances (..., D, D)."""
    factor = cholesky(covariance)
    distance2 = torch.stack(solve_lower(factor, list(errors.unbind(-1)))).square().sum(0)
    return 0.5 * (distance2 + log_determinant(factor) + errors.shape[-1] * math.log(2 * math.pi))


def mahalanobis(errors: Tensor, covariance: Tensor) -> Tensor:
    """sqrt(d^T A^-1 d): errors (..., D), covariances (..., D, D)."""
    return torch.stack(solve_lower(cholesky(covariance), list(errors.unbind(-1)))).square().sum(0).sqrt()


def _unpack(t: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """(K, P) unbounded numbers as a (K,) and B (K, D, D) = L L^T, L = diag(s) (1 + r), r below the diagonal."""
    logs = t[:, : 1 + dims].clamp(_LEAST, _LARGEST)
    rows, columns = torch.tril_indices(dims, dims, -1)
    unit = torch.eye(dims, dtype=t.dtype).expand(len(t), dims, dims)
    below = torch.zeros_like(unit).index_put((torch.arange(len(t))[:, None], rows, columns), t[:, 1 + dims :])
    lower = logs[:, 1:].exp()[..., None] * (unit + below)
    return logs[:, 0].exp(), (lower[..., :, None, :] * lower[..., None, :, :]).sum(-1)
