"""Every instrument read at every point: a table that is small where the heatmaps are not."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from punctum.diagnostics.activation import activation_curve
from punctum.diagnostics.expected_errors import expected_errors
from punctum.diagnostics.gradient import gradient_shares
from punctum.diagnostics.peaks import effective_cells, find_peaks
from punctum.diagnostics.sigma import best_sigma
from punctum.ops import argmax, as_float, covariance, dsnt, local_soft_argmax, normalize, pixels_matrix, to_pixels
from punctum.ops.coords import transform_covariance

REACH = 16
"""The largest s of the activation curves; the paper's figures end at 9."""

LOCAL = 2
"""Cells on either side of the peak that the `local` decoder, and the centre of the fitted Gaussian, are a mean of."""

ON_SPOT = 1.5
"""Cells from a true place within which a hill's top stands on it: its cell, or one of those around it."""

_BLOCK = 4_000_000  # cells that are worked on at a time, to bound memory

# Added to each variance, in cells squared: the covariance of a single cell is zero, and has no inverse.
_LEAST_VARIANCE = 1e-3

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Measured:
    """What the instruments say of N instances with K points, in cells; NaN where the truth is not in the crop.

    Args:
        size: S of the heatmaps.
        truth: (N, K, D) true places, in cells.
        predicted: (N, K, D) what the head says.
        error: (N, K) its distance from the truth.
        argmax, mean, local: (N, K) the errors of three ways of reading the map: its highest cell, its mean, and the
            mean of the 5 cells per axis around the highest.
        expected: (N, K) Eq. 7, the expected error of a cell drawn from the map; Eq. 8 is `mean`.
        activation: (N, K, R + 1): A(0) to A(R) around the truth.
        sigma, statistic: (N, K) of the best-matching Gaussian, and its chi-square.
        effective: (N, K) cells that the map is spread over.
        two: (N, K) one where the map has two candidates.
        partner: (N, K) of points that have a flip partner away from them: one where a hill stands on the partner.
        chance: (N, K) the same of the place as far from the point on the other side, where nobody is at home.
        near_truth, near_peak, elsewhere, gradient: (N, K) shares of the gradient of an L1 loss on the mean; its size.
        spread: (N, K) standard deviation of the map, the root of its mean variance over axes.
        surprise: (N, K) d^T S^-1 d / D of the head's own covariance S and its error d; NaN where it has none.
    """

    size: tuple[int, ...]
    truth: Array
    predicted: Array
    error: Array
    argmax: Array
    mean: Array
    local: Array
    expected: Array
    activation: Array
    sigma: Array
    statistic: Array
    effective: Array
    two: Array
    partner: Array
    chance: Array
    near_truth: Array
    near_peak: Array
    elsewhere: Array
    gradient: Array
    spread: Array
    surprise: Array

    def __len__(self) -> int:
        return len(self.error)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """(N, K): the points with a true place in the crop."""
        return np.isfinite(self.error)

    @classmethod
    def joined(cls, parts: Sequence["Measured"]) -> "Measured":
        """Several batches as one."""
        names = [f.name for f in fields(cls) if f.name != "size"]
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(size=parts[0].size, **columns)


def measure_heatmaps(
    heatmaps: Tensor,
    coords: Tensor,
    truth: Tensor,
    visible: Tensor,
    *,
    covariances: Tensor | None = None,
    flip_order: Sequence[int] | None = None,
    beta: float = 1.0,
) -> Measured:
    """Read every instrument at every point of a batch.

    Args:
        heatmaps: (B, K, *S), summing to one.
        coords: (B, K, D), normalized: what the head says.
        truth: (B, K, D), normalized; anything where not visible.
        visible: (B, K) bool: the truth is known, and in the crop.
        covariances: (B, K, D, D), the head's own, in normalized units squared.
        flip_order: which point is whose mirror partner; None: nobody has one.
        beta: inverse temperature of the softmax that made the maps.
    Example:
        >>> from punctum.ops import render_gaussian
        >>> places, seen = torch.zeros(1, 2, 2), torch.tensor([[True, False]])
        >>> measure_heatmaps(render_gaussian(places, 2.0, (16, 16)), places, places, seen).sigma.round(1)
        array([[ 2., nan]])
    """
    cells = heatmaps[0, 0].numel() * heatmaps.shape[1] if len(heatmaps) else 1
    step = max(1, _BLOCK // cells)
    parts = []
    for start in range(0, max(1, len(heatmaps)), step):
        part = slice(start, start + step)
        spread = None if covariances is None else covariances[part]
        columns = _columns(
            as_float(heatmaps[part]), coords[part], truth[part], visible[part], spread, flip_order, beta
        )
        parts.append(Measured(size=tuple(heatmaps.shape[2:]), **columns))
    return Measured.joined(parts)


def _columns(
    heatmaps: Tensor,
    coords: Tensor,
    truth: Tensor,
    visible: Tensor,
    covariances: Tensor | None,
    flip_order: Sequence[int] | None,
    beta: float,
) -> dict[str, Array]:
    size = tuple(heatmaps.shape[2:])
    truth = torch.where(visible[..., None], truth.to(heatmaps.dtype), torch.nan)
    coords = coords.to(heatmaps.dtype)
    local = local_soft_argmax(heatmaps.clamp_min(torch.finfo(heatmaps.dtype).tiny).log(), LOCAL)
    peaks, mean = find_peaks(heatmaps), dsnt(heatmaps)
    shares = gradient_shares(heatmaps, truth, beta)
    fit = best_sigma(heatmaps, local)
    to_cells = pixels_matrix(size, dtype=heatmaps.dtype, device=heatmaps.device)
    variance = transform_covariance(covariance(heatmaps, mean), to_cells).diagonal(dim1=-2, dim2=-1).mean(-1)
    true = to_pixels(truth, size)

    def away(places: Tensor) -> Tensor:
        return (to_pixels(places, size) - true).norm(dim=-1)

    columns = {
        "truth": true,
        "predicted": torch.where(visible[..., None], to_pixels(coords, size), torch.nan),
        "error": away(coords),
        "argmax": away(argmax(heatmaps)),
        "mean": away(mean),
        "local": away(local),
        "expected": expected_errors(heatmaps, truth).argmax,
        "activation": activation_curve(heatmaps, truth, REACH),
        "sigma": fit.sigma,
        "statistic": fit.statistic,
        "effective": effective_cells(heatmaps),
        "two": peaks.two.to(heatmaps.dtype),
        "partner": _on_partner(to_pixels(peaks.coords, size), peaks.two, true, flip_order),
        "chance": _on_partner(to_pixels(peaks.coords, size), peaks.two, true, flip_order, opposite=True),
        "near_truth": shares.truth,
        "near_peak": shares.peak,
        "elsewhere": shares.elsewhere,
        "gradient": shares.total,
        "spread": variance.clamp_min(0).sqrt(),
        "surprise": _surprise(to_pixels(coords, size) - true, covariances, to_cells),
    }
    masked = {}
    for name, values in columns.items():
        known = visible.reshape(*visible.shape, *([1] * (values.ndim - 2)))
        masked[name] = torch.where(known, values.double(), torch.nan).numpy()
    return masked


def _on_partner(
    tops: Tensor, two: Tensor, true: Tensor, flip_order: Sequence[int] | None, *, opposite: bool = False
) -> Tensor:
    """(B, K): one where the highest hill, or the second candidate, stands on the mirror partner's true place.

    NaN where there is no partner, where its place is not known, or where it is so near that standing on one is
    standing on the other. The place opposite to the partner says how often that happens by chance.
    """
    if flip_order is None:
        return torch.full_like(two, torch.nan, dtype=true.dtype)
    partner = true[:, list(flip_order)]
    apart = (partner - true).norm(dim=-1)
    partner = 2 * true - partner if opposite else partner
    on = (tops - partner.unsqueeze(2)).norm(dim=-1) <= ON_SPOT
    found = on[..., 0] | (on[..., 1] & two)
    return torch.where(apart > 2 * ON_SPOT, found.to(true.dtype), torch.nan)


def _surprise(offset: Tensor, covariances: Tensor | None, to_cells: Tensor) -> Tensor:
    """Squared Mahalanobis distance by dimension, (B, K): one on average where the covariance is honest."""
    if covariances is None:
        return torch.full_like(offset[..., 0], torch.nan)
    spread = transform_covariance(covariances.to(offset.dtype), to_cells)
    spread = spread + _LEAST_VARIANCE * torch.eye(offset.shape[-1], dtype=offset.dtype)
    solved = torch.linalg.solve(spread.double(), offset.double()[..., None])[..., 0]
    return (solved * offset).sum(-1) / offset.shape[-1]


def as_distribution(maps: Tensor) -> tuple[Tensor, bool]:
    """Heatmaps that sum to one, and whether they did so already.

    A head that matches heatmaps draws hills of height one and never normalizes them. There, what is negative becomes
    zero, and each map is divided by its sum; a map without anything positive becomes even.

    Example:
        >>> as_distribution(torch.tensor([[[-0.2, 0.5, 1.0, 0.5]]]))
        (tensor([[[0.0000, 0.2500, 0.5000, 0.2500]]]), False)
    """
    maps = as_float(maps)
    totals = maps.flatten(2).sum(-1)
    if bool((maps >= 0).all()) and bool(((totals - 1).abs() < 1e-3).all()):
        return maps, True
    return normalize(maps, "relu"), False
