"""Normalizing flows over residuals: densities of a few numbers that can be skewed and heavy-tailed."""

import math
from typing import Literal, Protocol, cast, get_args

import torch
from torch import Tensor, nn

from punctum.registry import check_choice

Base = Literal["laplace", "gaussian"]


def base_log_prob(x: Tensor, base: Base) -> Tensor:
    """Log-density of independent Laplace variables of scale one, or Gaussian ones of variance one.

    Args:
        x: (..., D).
        base: which.
    Returns:
        (...), summed over D.
    Example:
        >>> base_log_prob(torch.zeros(1, 1), "laplace").exp()
        tensor([0.5000])
    """
    check_choice("base", base, get_args(Base))
    if base == "laplace":
        return (-x.abs() - math.log(2)).sum(-1)
    return (-0.5 * x**2 - 0.5 * math.log(2 * math.pi)).sum(-1)


def base_nodes(count: int, dims: int, base: Base) -> Tensor:
    """Points spread evenly as the base is, (count, D): Sobol's, scrambled, through the inverse distribution.

    Means over them stand for expectations, always with the same result.

    Example:
        >>> base_nodes(1024, 2, "gaussian").var(0).round(decimals=1)
        tensor([1., 1.])
    """
    check_choice("base", base, get_args(Base))
    uniform = torch.quasirandom.SobolEngine(dims, scramble=True, seed=0).draw(count, dtype=torch.float64)
    uniform = uniform.clamp(1e-9, 1 - 1e-9)
    if base == "gaussian":
        return torch.special.ndtri(uniform).float()
    # Both halves by their own tail: 1 - 2 |u - 1/2| would lose its digits there.
    return torch.where(uniform < 0.5, (2 * uniform).log(), -(2 * (1 - uniform)).log()).float()


class RealNVP(nn.Module):
    """An invertible map of D numbers with a cheap Jacobian: f, such that f(x) follows the base.

        log p(x) = log base(f(x)) + log |det df/dx|

    Each layer leaves every other number as it is, and moves and stretches the rest by what a small network says of
    these. The last one takes each number by itself, and skews it (e) and makes its tails heavier or lighter (d):

        z = a sinh(d arsinh(x) + e) + b

    For D = 1 there is nothing else to depend on, and all layers are of the last kind. It starts as the identity.

    Args:
        dims: D.
        layers: how many of the first kind.
        width: of the networks' two hidden layers.
    Source:
        Dinh et al. 2017, arXiv:1605.08803; for the last layer Jones and Pewsey 2009, Biometrika 96.
    Example:
        >>> flow = RealNVP(2)
        >>> z, log_det = flow(torch.tensor([[0.5, -1.0]]))
        >>> flow.inverse(z).detach()
        tensor([[ 0.5000, -1.0000]])
    """

    def __init__(self, dims: int, *, layers: int = 6, width: int = 64) -> None:
        super().__init__()
        couplings = [Coupling(dims, i % 2, width) for i in range(layers)] if dims > 1 else [SinhArcsinh(dims)]
        self.steps = nn.ModuleList([*couplings, SinhArcsinh(dims)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f(x), of the shape (..., D) of x, and log |det df/dx|, (...)."""
        log_det = torch.zeros_like(x[..., 0])
        for step in self.steps:
            x, more = step(x)
            log_det = log_det + more
        return x, log_det

    def inverse(self, z: Tensor) -> Tensor:
        """The x of which f(x) = z."""
        for step in reversed(self.steps):
            z = cast(_Invertible, step).inverse(z)
        return z

    def log_prob(self, x: Tensor, base: Base = "gaussian") -> Tensor:
        """Log-density at x, (...), of what becomes the base under f."""
        z, log_det = self(x)
        return base_log_prob(z, base) + log_det


class _Invertible(Protocol):
    def inverse(self, z: Tensor) -> Tensor: ...


class Coupling(nn.Module):
    """y = x where kept; y = x exp(s(kept)) + t(kept) elsewhere."""

    def __init__(self, dims: int, parity: int, width: int) -> None:
        super().__init__()
        # The sum over hidden units is made a mean: at a learning rate that suits a backbone, a density that all
        # points share would otherwise be thrown about.
        self.width = width
        self.keep: Tensor
        self.register_buffer("keep", (torch.arange(dims) % 2 == parity).float(), persistent=False)
        last = nn.Linear(width, 2 * dims)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Linear(dims, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), last)

    def _scale_and_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept = x * self.keep
        # However far out x is, the network sees no more than 10: far tails are moved alike, and stay finite.
        scale, shift = (self.network(kept / (1 + kept.abs() / 10)) / self.width).chunk(2, dim=-1)
        return 0.5 * scale.tanh() * (1 - self.keep), shift.tanh() * (1 - self.keep)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self._scale_and_shift(x)
        return x * scale.exp() + shift, scale.sum(-1)

    def inverse(self, y: Tensor) -> Tensor:
        scale, shift = self._scale_and_shift(y)
        return (y - shift) * (-scale).exp()


class SinhArcsinh(nn.Module):
    """y = a sinh(d arsinh(x) + e) + b, each number by itself; log a, log2 d in (-1/2, 1/2), e and b in (-1, 1)."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.numbers = nn.Parameter(torch.zeros(4, dims))

    def _shape(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        log_a, log_d, skew, shift = (self.numbers / 8).unbind()
        return 0.5 * log_a.tanh(), 2 ** (0.5 * log_d.tanh()), skew.tanh(), shift.tanh()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_a, d, skew, shift = self._shape()
        inner = d * x.asinh() + skew
        # log cosh(u) = |u| + log(1 + exp(-2 |u|)) - log 2; sqrt(1 + x^2) by what neither overflows nor rounds away.
        large, small = x.abs().clamp_min(1.0), x.abs().clamp_max(1.0)
        log_root = large.log() + torch.log1p((small / large).square()) / 2
        log_cosh = inner.abs() + torch.log1p(torch.exp(-2 * inner.abs())) - math.log(2)
        log_det = log_a + d.log() + log_cosh - log_root
        return log_a.exp() * inner.sinh() + shift, log_det.sum(-1)

    def inverse(self, y: Tensor) -> Tensor:
        log_a, d, skew, shift = self._shape()
        return ((((y - shift) / log_a.exp()).asinh() - skew) / d).sinh()
