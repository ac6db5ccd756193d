"""The heatmap as a continuous mixture over places, and differentiable draws from it (sampling-argmax).

Each cell carries a basis density of its own around its centre, the same on every axis and independent between
axes; c is the width of one cell, 2 / n in normalized units, so it may differ between axes.

    p(y) = sum_i p_i f(y - x_i),     p = softmax(beta z)

- uniform: f is constant on [-c/2, c/2]; p(y) is a histogram.
- triangular: f falls linearly to zero at +-c; p(y) interpolates the heatmap linearly.
- gaussian: f is a normal density of standard deviation c.

The mixture reaches beyond the image at its border: by half a cell (triangular), or in tails (gaussian).
"""

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from punctum.ops import kernels, philox
from punctum.ops.coords import Size, as_float, axis_centres, spatial_size
from punctum.ops.moments import marginals, moments

Basis = Literal["uniform", "triangular", "gaussian"]
Categorical = Literal["paper", "reference"]
Gradient = Literal["exact", "sign"]

# Variance of a basis in squared cells.
_VARIANCE: dict[str, float] = {"uniform": 1 / 12, "triangular": 1 / 6, "gaussian": 1.0}
# What the authors' code puts in the place of a distance, in cells.
_AMPLITUDE = 2.0


class Noise(NamedTuple):
    """What is random in a draw, so that the draw itself is a function of it.

    Args:
        gumbel: (B, K, N, *S), one standard Gumbel number for each cell and sample.
        offsets: one (B, K, N, n) per axis, x first: where in its basis each sample of each cell of that axis
            lies, relative to the cell's centre, in normalized units.
    """

    gumbel: Tensor
    offsets: tuple[Tensor, ...]


def draw_noise(
    shape: Size,
    num_samples: int,
    basis: Basis = "triangular",
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
    seed: Tensor | int | None = None,
) -> Noise:
    """The random numbers behind `sample_coords`: those of one seed, by the definition in `ops.philox`.

    The same seed gives the same numbers on every device, to the rounding of a logarithm, and to every kernel.

    Args:
        shape: (B, K, *S) of the logits.
        num_samples: N.
        basis: density within a cell.
        dtype, device: of the numbers.
        generator: where the seed is drawn from, on that device; None is torch's global one.
        seed: not negative, a number or a 0-dim int64 tensor on that device; None draws one.
    Returns:
        Gumbel numbers and offsets: N (cells + W + H + ...) numbers for each heatmap.
    Raises:
        ValueError: unknown basis, no samples, or a negative seed.
    Source:
        Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (Philox4x32-10).
    Example:
        >>> noise = draw_noise((2, 5, 8, 16), num_samples=3)
        >>> noise.gumbel.shape, [tuple(offset.shape) for offset in noise.offsets]
        (torch.Size([2, 5, 3, 8, 16]), [(2, 5, 3, 16), (2, 5, 3, 8)])
    """
    _check_draw(num_samples, basis)
    batch, keypoints, *size = shape
    maps, cells, sizes = batch * keypoints, math.prod(size), size[::-1]
    words = torch.promote_types(dtype, torch.float32)
    at = draw_seed(device, generator) if seed is None else _as_seed(seed, device)
    gumbel = torch.empty((maps, num_samples, cells), dtype=dtype, device=at.device)
    offsets = tuple(torch.empty((maps, num_samples, n), dtype=dtype, device=at.device) for n in sizes)
    for block in philox.blocks(maps, num_samples, cells, at.device):
        gumbel[block] = philox.gumbel(at, *block, cells, words).to(dtype)
        for axis, (n, offset) in enumerate(zip(sizes, offsets, strict=True)):
            offset[block] = philox.offsets(at, *block, n, axis, basis, words).to(dtype)
    return Noise(
        gumbel.reshape(batch, keypoints, num_samples, *size),
        tuple(offset.unflatten(0, (batch, keypoints)) for offset in offsets),
    )


def draw_seed(device: torch.device | str | None = None, generator: torch.Generator | None = None) -> Tensor:
    """A seed for `draw_noise`: a 0-dim int64 tensor that stays on its device.

    Example:
        >>> draw_seed(generator=torch.Generator().manual_seed(0)).shape
        torch.Size([])
    """
    return torch.randint(2**63 - 1, (), dtype=torch.int64, device=device, generator=generator)


def sample_coords(
    logits: Tensor,
    num_samples: int,
    tau: float,
    basis: Basis = "triangular",
    *,
    categorical: Categorical = "paper",
    gradient: Gradient = "exact",
    beta: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Differentiable draws from the heatmap's continuous mixture: `relaxed_samples` of fresh noise.

    Kernels (`ops.kernels`) make the noise of each sample where it is used, and again in the backward pass: memory
    is that of the logits and of the draws, whatever N. The plain version, which `gradient="sign"` and float64 take,
    and few draws where there is neither C++ nor Triton, holds the noise and the weights: O(N cells) for each heatmap.

    Args:
        logits: (B, K, *S); -inf is a cell of no probability.
        num_samples: N.
        tau: temperature of the weights; the draws follow the mixture as tau -> 0.
        basis: density within a cell.
        categorical, gradient, beta: as in `relaxed_samples`.
        generator: where the noise' seed is drawn from, on the logits' device; None is torch's global one.
    Returns:
        (B, K, N, D) normalized coordinates; at least float32.
    Raises:
        ValueError: there is no spatial axis, an unknown choice, no samples, or a tau that is not positive.
    Source:
        Li et al. 2021, arXiv:2110.08825, Eqs. 10 to 14.
    Example:
        >>> logits = torch.tensor([[[0.0, 0.0, 9.0, 0.0]]])
        >>> draws = sample_coords(logits, 10000, tau=0.1, generator=torch.Generator().manual_seed(0))
        >>> draws.shape, round(draws.mean().item(), 2)
        (torch.Size([1, 1, 10000, 1]), 0.25)
    """
    shape = (*logits.shape[:2], *spatial_size(logits))
    _check(tau, categorical, gradient)
    _check_draw(num_samples, basis)
    seed = draw_seed(logits.device, generator)
    options = {"num_samples": num_samples, "tau": tau, "basis": basis, "categorical": categorical, "beta": beta}
    kernel = kernels.choose("sample_coords", logits, **options, gradient=gradient)
    if kernel is not None:
        return kernel.sample_coords(logits, seed, **options)
    values = as_float(logits)
    noise = draw_noise(shape, num_samples, basis, dtype=values.dtype, device=values.device, seed=seed)
    return relaxed_samples(values, noise, tau, categorical=categorical, gradient=gradient, beta=beta)


def relaxed_samples(
    logits: Tensor,
    noise: Noise,
    tau: float,
    *,
    categorical: Categorical = "paper",
    gradient: Gradient = "exact",
    beta: float = 1.0,
) -> Tensor:
    """One coordinate for each sample of noise: Gumbel-softmax weights, times places drawn within the cells.

        w = softmax((g + log p) / tau),     p = softmax(beta z)      "paper"
        w = softmax(beta z + g / tau)                                "reference": p to the power tau, renormalized
        Y = sum_j m_j (x_j + e_j)     per axis, m the marginal of w, x_j the centres of its cells, e_j the offsets

    The weights of a sample are joint over all cells, so its axes belong together; the offsets are drawn for each
    axis' cells. As tau -> 0 the weights choose one cell, and Y follows the mixture. At a finite tau Y is an average
    over places: its spread is smaller.

    `gradient="sign"` changes the backward pass only. The derivative dY/dm_j = x_j + e_j, of which the softmax
    before it sees just the difference from Y, its mean, is replaced by 2 c sign(x_j + e_j - Y), two cells of width
    c: every cell on one side of the draw pulls alike, however far away. What lies before the marginals keeps its
    own derivative. It is what the authors' code does and their text does not say, and no loss' gradient.

    Args:
        logits: (B, K, *S); -inf is a cell of no probability, and a map of nothing else counts as uniform.
        noise: from `draw_noise`; its first axis may be one, to give each sample of the batch the same.
        tau: temperature.
        categorical: where the temperature acts. "reference" follows the authors' code; as tau -> 0 it draws from
            an ever flatter map and, at last, forgets the logits.
        gradient: exact, or by the sign of the distance.
        beta: inverse temperature of the softmax.
    Returns:
        (B, K, N, D) normalized coordinates; at least float32.
    Raises:
        ValueError: there is no spatial axis, an unknown choice, or a tau that is not positive.
    Source:
        Li et al. 2021, arXiv:2110.08825, Eqs. 11 and 12.
    Example:
        >>> noise = Noise(torch.tensor([[[[0.0, 1.0]]]]), (torch.tensor([[[[0.2, 0.2]]]]),))
        >>> relaxed_samples(torch.tensor([[[1.0, 0.0]]]), noise, tau=0.5)  # equal weights: (-0.3 + 0.7) / 2
        tensor([[[[0.2000]]]])
    """
    size = spatial_size(logits)
    _check(tau, categorical, gradient)
    flat, gumbel = as_float(logits).flatten(2), as_float(noise.gumbel).flatten(3)
    empty = (flat == -torch.inf).all(-1, keepdim=True)
    log_p = torch.log_softmax(beta * torch.where(empty, 0.0, flat), dim=-1).unsqueeze(2)
    mixed = (gumbel + log_p) / tau if categorical == "paper" else log_p + gumbel / tau
    weights = torch.softmax(mixed, dim=-1)
    batch, keypoints, samples = weights.shape[:3]
    sums = marginals(weights.reshape(batch * keypoints, samples, *size))
    coords = []
    for marginal, offset in zip(sums, noise.offsets, strict=True):
        marginal = marginal.unflatten(0, (batch, keypoints))
        places = axis_centres(marginal.shape[-1], dtype=marginal.dtype, device=marginal.device) + as_float(offset)
        coords.append(_weighted_sum(marginal, places, gradient))
    return torch.stack(coords, dim=-1)


def _weighted_sum(marginal: Tensor, places: Tensor, gradient: str) -> Tensor:
    exact = (marginal * places).sum(-1)
    if gradient == "exact":
        return exact
    value = exact.detach()
    cell = 2 / marginal.shape[-1]
    pull = _AMPLITUDE * cell * (places.detach() - value.unsqueeze(-1)).sign()
    surrogate = (marginal * pull).sum(-1)
    return value + (surrogate - surrogate.detach())


def mixture_moments(logits: Tensor, basis: Basis = "triangular", beta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the heatmap's continuous mixture, which draws follow as tau -> 0.

        mu = sum_i p_i x_i,     Sigma = sum_i p_i (x_i - mu) (x_i - mu)^T + diag(v c^2),     c = 2 / n per axis

    v is the basis' variance in squared cells: 1/12 uniform, 1/6 triangular, 1 gaussian.

    Args:
        logits: (B, K, *S).
        basis: density within a cell.
        beta: inverse temperature of the softmax.
    Returns:
        mean (B, K, D) and covariance (B, K, D, D), in normalized units; at least float32.
    Raises:
        ValueError: there is no spatial axis, or an unknown basis.
    Source:
        Li et al. 2021, arXiv:2110.08825, Eqs. 6 to 9.
    Example:
        >>> mean, covariance = mixture_moments(torch.zeros(1, 1, 4), "uniform")
        >>> mean, covariance * 12 / 2**2  # a flat map of histogram bars is uniform on [-1, 1]
        (tensor([[[0.]]]), tensor([[[[1.]]]]))
    """
    mean, covariance = moments(logits, beta)
    return mean, covariance + basis_covariance(spatial_size(logits), basis).to(covariance)


def basis_covariance(size: Size, basis: Basis) -> Tensor:
    """(D, D) covariance of a basis on a grid of this size, in normalized units squared: diagonal.

    Example:
        >>> basis_covariance((2, 4), "gaussian")
        tensor([[0.2500, 0.0000],
                [0.0000, 1.0000]], dtype=torch.float64)
    """
    check_basis(basis)
    return torch.diag(torch.tensor([_VARIANCE[basis] * (2 / n) ** 2 for n in reversed(size)], dtype=torch.float64))


def check_basis(basis: str) -> None:
    """Raise a ValueError for a basis that there is not."""
    if basis not in get_args(Basis):
        raise ValueError(f"unknown basis {basis!r}: choose one of {', '.join(get_args(Basis))}")


def _as_seed(seed: Tensor | int, device: torch.device | str | None) -> Tensor:
    if isinstance(seed, Tensor):
        return seed.to(torch.int64)
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    return torch.tensor(seed, dtype=torch.int64, device=device)


def _check_draw(num_samples: int, basis: str) -> None:
    check_basis(basis)
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")


def _check(tau: float, categorical: str, gradient: str) -> None:
    if not tau > 0:
        raise ValueError(f"tau must be positive, got {tau}")
    for what, value, choices in (
        ("categorical", categorical, get_args(Categorical)),
        ("gradient", gradient, get_args(Gradient)),
    ):
        if value not in choices:
            raise ValueError(f"unknown {what} {value!r}: choose one of {', '.join(choices)}")
