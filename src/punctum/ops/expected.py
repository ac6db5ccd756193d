"""What sampling estimates, in closed form: expected errors of the heatmap's continuous mixture, and its CRPS.

With the L1 distance every axis is on its own, so only the marginals count: O(W + H) after they are summed.
The bases are those of `punctum.ops.sampling`.
"""

import math

import torch
from torch import Tensor

from punctum.ops.coords import as_float, axis_centres
from punctum.ops.moments import marginals
from punctum.ops.sampling import Basis, check_basis

# d_k = E|k + e - e'| - k of two offsets, for k = 0, 1, ... cells apart, as far as it is not zero.
_OVERLAPS: dict[str, tuple[float, ...]] = {
    "uniform": (1 / 3,),
    "triangular": (7 / 15, 1 / 60),
    "gaussian": tuple(2 / math.sqrt(math.pi) * math.exp(-k * k / 4) - k * math.erfc(k / 2) for k in range(13)),
}


def grid_l1_losses(heatmaps: Tensor, target: Tensor) -> Tensor:
    """Expected L1 distance of a cell's centre, drawn from the heatmap, to the target.

        L = sum_i p_i |x_i - t|_1

    Linear in p: its optimum is all mass on the cell nearest to the target, half a cell off at worst.

    Args:
        heatmaps: (B, K, *S), summing to one over S.
        target: (B, K, D), normalized.
    Returns:
        (B, K), summed over axes as in `l1_losses`; at least float32.
    Raises:
        ValueError: target is not (B, K, D).
    Source:
        Li et al. 2021, arXiv:2110.08825, Eq. 4.
    Example:
        >>> grid_l1_losses(torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[0.2]]]))
        tensor([[0.5000]])
    """
    axes = _axes(heatmaps, target)
    return torch.stack([(m * (x - t).abs()).sum(-1) for m, x, t, _ in axes], dim=-1).sum(-1)


def expected_l1_losses(heatmaps: Tensor, target: Tensor, basis: Basis = "triangular") -> Tensor:
    """Expected L1 distance of a draw from the heatmap's continuous mixture to the target, exactly.

        L = E|Y - t|_1 = sum_axes sum_j m_j c a((x_j - t) / c),     m the axis' marginal, c = 2 / n one cell

        uniform:     a(r) = r^2 + 1/4            within |r| < 1/2, else |r|
        triangular:  a(r) = r^2 - |r|^3/3 + 1/3  within |r| < 1,   else |r|
        gaussian:    a(r) = r erf(r / sqrt 2) + sqrt(2/pi) exp(-r^2/2)

    This is what the average error of `sample_coords` tends to as tau -> 0 and N grows, without its noise. It is
    linear in p: its optimum is all mass on one cell, the nearest to the target.

    Args:
        heatmaps: (B, K, *S), summing to one over S.
        target: (B, K, D), normalized.
        basis: density within a cell.
    Returns:
        (B, K), summed over axes as in `l1_losses`; at least float32.
    Raises:
        ValueError: target is not (B, K, D), or an unknown basis.
    Source:
        Li et al. 2021, arXiv:2110.08825, Eq. 3 under Eqs. 6 to 9; the integrals are ours.
    Example:
        >>> expected_l1_losses(torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[0.0]]]), "uniform")
        tensor([[0.5000]])
    """
    check_basis(basis)
    axes = _axes(heatmaps, target)
    return torch.stack([(m * c * _distance((x - t) / c, basis)).sum(-1) for m, x, t, c in axes], dim=-1).sum(-1)


def crps_losses(heatmaps: Tensor, target: Tensor, basis: Basis = "triangular") -> Tensor:
    """Continuous ranked probability score of the mixture's marginals, summed over axes.

        CRPS = sum_axes E|Y - t| - E|Y - Y'| / 2  =  sum_axes integral (F(y) - [y >= t])^2 dy

        E|Y - Y'| = c (2 sum_j F_j (1 - F_j) + sum_k d_k sum_|i - j| = k  m_i m_j)

    F is the cumulated marginal, Y' a second draw. Between cells that are k apart draws differ by k cells on
    average, plus d_k where their bases overlap: d_0 = 1/3 (uniform); d_0 = 7/15, d_1 = 1/60 (triangular);
    d_k = 2 exp(-k^2/4) / sqrt(pi) - k erfc(k/2) (gaussian, which vanishes within a dozen cells).

    A proper score: its expectation is least when the mixture's marginals are those of the truth, wherever the
    truth is such a mixture, so the spread is learnt and not only the place.

    Args:
        heatmaps: (B, K, *S), summing to one over S.
        target: (B, K, D), normalized.
        basis: density within a cell.
    Returns:
        (B, K), non-negative, in normalized units; at least float32.
    Raises:
        ValueError: target is not (B, K, D), or an unknown basis.
    Source:
        Gneiting and Raftery 2007, Strictly proper scoring rules, Eq. 21; the bases of Li et al. 2021.
    Example:
        >>> crps_losses(torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[0.0]]]), "uniform")
        tensor([[0.1667]])
    """
    error = expected_l1_losses(heatmaps, target, basis)
    spread = torch.stack([2 / m.shape[-1] * _spread(m, basis) for m in marginals(heatmaps)], dim=-1).sum(-1)
    return error - spread / 2


def _axes(heatmaps: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor, Tensor, float]]:
    """Per axis: the marginal (B, K, n), its cells' centres (n,), the target (B, K, 1), and the width of a cell."""
    sums = marginals(heatmaps)
    if target.shape != (*heatmaps.shape[:2], len(sums)):
        raise ValueError(
            f"heatmaps {tuple(heatmaps.shape)} need a target (B, K, D) of shape "
            f"{(*heatmaps.shape[:2], len(sums))}, got {tuple(target.shape)}"
        )
    places = as_float(target).unbind(-1)
    return [
        (m, axis_centres(m.shape[-1], dtype=m.dtype, device=m.device), t.unsqueeze(-1), 2 / m.shape[-1])
        for m, t in zip(sums, places, strict=True)
    ]


def _distance(r: Tensor, basis: Basis) -> Tensor:
    """E|r + e| of a basis' offset e, in cells."""
    if basis == "gaussian":
        return r * torch.erf(r / math.sqrt(2)) + math.sqrt(2 / math.pi) * torch.exp(-r.square() / 2)
    far = r.abs()
    # Clamped before the powers: far out they would overflow, and zero times infinity is NaN in the gradient.
    if basis == "uniform":
        near = far.clamp(max=0.5)
        return torch.where(far < 0.5, near.square() + 0.25, far)
    near = far.clamp(max=1.0)
    return torch.where(far < 1, near.square() - near**3 / 3 + 1 / 3, far)


def _spread(marginal: Tensor, basis: Basis) -> Tensor:
    """E|Y - Y'| of two draws from the marginal's mixture, in cells, (B, K)."""
    n = marginal.shape[-1]
    below = marginal.cumsum(-1)
    # The mass above, summed from its own end: 1 - below would leave rounding errors where nothing is.
    above = marginal.flip(-1).cumsum(-1).flip(-1)
    total = 2 * (below[..., :-1] * above[..., 1:]).sum(-1)
    for k, overlap in enumerate(_OVERLAPS[basis][:n]):
        pairs = (marginal[..., : n - k] * marginal[..., k:]).sum(-1)
        total = total + (overlap if k == 0 else 2 * overlap) * pairs
    return total
