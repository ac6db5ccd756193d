"""How far each prediction lies from the truth, in pixels or millimetres."""

from collections.abc import Sequence

import torch
from torch import Tensor


def distances(
    preds: Tensor,
    target: Tensor,
    visible: Tensor,
    spacing: Tensor | Sequence[float] | None = None,
    *,
    names: Sequence[str] | None = None,
) -> Tensor:
    """Euclidean distance of each prediction from its target, at the points that count.

        d[n, k] = | spacing[n] * (preds[n, k] - target[n, k]) |

    Args:
        preds: (N, K, D) in original-image pixels; any type, computed in float64.
        target: (N, K, D) in original-image pixels; anything, NaN included, where not visible.
        visible: (N, K) bool, the points that count.
        spacing: millimetres per pixel, (D,) for all or (N, D) for each, in the order (x, y[, z]); None: pixels.
        names: of the K keypoints, for messages.
    Returns:
        (N, K) float64 in pixels, or in millimetres with a spacing; NaN where not visible. No gradient.
    Raises:
        ValueError: shapes do not fit; visible is not bool; a visible prediction or target is not a finite
            number (the message names the sample and the keypoint); a spacing is not positive.
    Example:
        >>> preds, target = torch.tensor([[[3.0, 4.0], [9.0, 9.0]]]), torch.zeros(1, 2, 2)
        >>> distances(preds, target, torch.tensor([[True, False]]))
        tensor([[5., nan]], dtype=torch.float64)
        >>> distances(preds, target, torch.tensor([[True, False]]), spacing=[0.1, 0.1])
        tensor([[0.5000,    nan]], dtype=torch.float64)
    """
    _check_shapes(preds, target, visible, names)
    preds, target = preds.detach().to(torch.float64), target.detach().to(torch.float64)
    for word, points in (("preds", preds), ("target", target)):
        _check_finite(word, points, visible, names)
    difference = torch.where(visible[..., None], preds - target, 0.0)
    if spacing is not None:
        difference = difference * _spacing(spacing, preds)[:, None]
    return torch.where(visible, torch.linalg.vector_norm(difference, dim=-1), torch.nan)


def _check_shapes(preds: Tensor, target: Tensor, visible: Tensor, names: Sequence[str] | None) -> None:
    if preds.ndim != 3 or preds.shape != target.shape:
        raise ValueError(
            f"preds and target must both be (N, K, D), got {tuple(preds.shape)} and {tuple(target.shape)}"
        )
    if visible.dtype != torch.bool or visible.shape != preds.shape[:2]:
        raise ValueError(
            f"visible must be bool of shape {tuple(preds.shape[:2])}, got {visible.dtype} {tuple(visible.shape)}"
        )
    if names is not None and len(names) != preds.shape[1]:
        raise ValueError(f"{len(names)} names for {preds.shape[1]} keypoints")


def _check_finite(word: str, points: Tensor, visible: Tensor, names: Sequence[str] | None) -> None:
    bad = visible & ~points.isfinite().all(-1)
    if bad.any():
        sample, keypoint = bad.nonzero()[0].tolist()
        place = f"sample {sample}, keypoint {keypoint}" + (f" ({names[keypoint]})" if names else "")
        others = f", and {int(bad.sum()) - 1} more" if bad.sum() > 1 else ""
        raise ValueError(
            f"{word} at {place} is {points[sample, keypoint].tolist()}, but the point is visible{others}: "
            "a point that counts needs finite coordinates"
        )


def _spacing(spacing: Tensor | Sequence[float], preds: Tensor) -> Tensor:
    """(N, D) or (1, D), in millimetres per pixel."""
    values = torch.as_tensor(spacing, dtype=torch.float64, device=preds.device)
    n, _, dims = preds.shape
    if values.shape not in ((dims,), (n, dims)):
        raise ValueError(f"spacing must be ({dims},) or ({n}, {dims}), got {tuple(values.shape)}")
    if not ((values > 0) & values.isfinite()).all():
        raise ValueError(f"spacing must be positive, in millimetres per pixel, got {values.tolist()}")
    return values if values.ndim == 2 else values[None]
