"""Draws from a heatmap's mixture without keeping their noise: a few samples at a time, and again for the gradient.

With w the weights of a sample, v_i the place of cell i in it and Y = sum_i w_i v_i, the gradient of its inputs is
known in closed form, and needs the weights once more:

    dL/dz_i = beta s sum_n w_ni (a_ni - A_n),     a_ni = dL/dY_n . v_ni,     A_n = dL/dY_n . Y_n

with s = 1 / tau (categorical "paper") or 1 ("reference"). The derivative of log p within the weights' softmax adds
nothing, as these terms sum to zero over the cells.
"""

from typing import Any

import torch
from torch import Tensor

from punctum.ops import philox
from punctum.ops.coords import as_float, axis_centres
from punctum.ops.kernels.once import once


def refuses_draws(gradient: str = "exact", **options: Any) -> str | None:
    """Why no kernel serves these draws; None: kernels do."""
    return None if gradient == "exact" else f"it has no gradient={gradient!r}, which is no gradient of the draws"


def sample_coords(
    logits: Tensor, seed: Tensor, num_samples: int, tau: float, basis: str, categorical: str, beta: float
) -> Tensor:
    """Draws (B, K, N, D) of the noise of this seed, as `ops.sample_coords`."""
    draws: Tensor = _Draws.apply(logits, seed, num_samples, tau, basis, categorical, beta)
    return draws


class _Draws(torch.autograd.Function):
    @staticmethod
    def forward(
        logits: Tensor, seed: Tensor, num_samples: int, tau: float, basis: str, categorical: str, beta: float
    ) -> Tensor:
        log_p, size = _log_p(logits, beta), logits.shape[2:]
        draws = log_p.new_empty(len(log_p), num_samples, len(size))
        for block in philox.blocks(len(log_p), num_samples, log_p.shape[1], logits.device):
            weights, places = _draw(log_p, seed, size, *block, tau, basis, categorical)
            coords = [(m * p).sum(-1) for m, p in zip(_marginals(weights), places, strict=True)]
            draws[block] = torch.stack(coords, dim=-1)
        return draws.unflatten(0, logits.shape[:2])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        logits, seed, _, *ctx.options = inputs
        ctx.save_for_backward(logits, seed, output)

    @staticmethod
    def backward(ctx: Any, up: Tensor) -> tuple[Tensor | None, ...]:
        logits, seed, draws = ctx.saved_tensors
        with torch.no_grad():
            gradient = _gradient(logits, seed, draws, up, *ctx.options)
        return once(gradient, logits, up), None, None, None, None, None, None


def _gradient(
    logits: Tensor, seed: Tensor, draws: Tensor, up: Tensor, tau: float, basis: str, categorical: str, beta: float
) -> Tensor:
    log_p, size = _log_p(logits, beta), logits.shape[2:]
    up, draws = up.flatten(0, 1), draws.flatten(0, 1)
    total = torch.zeros_like(log_p)
    for maps, samples in philox.blocks(len(log_p), draws.shape[1], log_p.shape[1], logits.device):
        weights, places = _draw(log_p, seed, size, maps, samples, tau, basis, categorical)
        pulls = [
            up[maps, samples, axis, None] * (place - draws[maps, samples, axis, None])
            for axis, place in enumerate(places)
        ]
        total[maps] += (weights * _spread(pulls)).flatten(2).sum(1)
    empty = (as_float(logits).flatten(2).flatten(0, 1) == -torch.inf).all(-1, keepdim=True)
    total = torch.where(empty, 0.0, total * (beta / tau if categorical == "paper" else beta))
    return total.reshape(logits.shape).to(logits.dtype)


def _log_p(logits: Tensor, beta: float) -> Tensor:
    """(maps, cells)."""
    flat = as_float(logits).flatten(2).flatten(0, 1)
    empty = (flat == -torch.inf).all(-1, keepdim=True)
    return torch.log_softmax(beta * torch.where(empty, 0.0, flat), dim=-1)


def _draw(
    log_p: Tensor,
    seed: Tensor,
    size: torch.Size,
    maps: slice,
    samples: slice,
    tau: float,
    basis: str,
    categorical: str,
) -> tuple[Tensor, list[Tensor]]:
    """Weights (maps, samples, *S), and the places (maps, samples, cells of the axis) of each axis, x first."""
    log_p = log_p[maps].unsqueeze(1)
    gumbel = philox.gumbel(seed, maps, samples, log_p.shape[-1], log_p.dtype)
    mixed = gumbel.add_(log_p).div_(tau) if categorical == "paper" else gumbel.div_(tau).add_(log_p)
    places = [
        axis_centres(n, dtype=log_p.dtype, device=log_p.device)
        + philox.offsets(seed, maps, samples, n, axis, basis, log_p.dtype)
        for axis, n in enumerate(reversed(size))
    ]
    return torch.softmax(mixed, dim=-1).unflatten(-1, size), places


def _marginals(weights: Tensor) -> list[Tensor]:
    axes = range(2, weights.ndim)
    others = ([a for a in axes if a != kept] for kept in reversed(axes))
    return [weights.sum(dim=other) if other else weights for other in others]


def _spread(terms: list[Tensor]) -> Tensor:
    """The sum over axes of (maps, n, cells of the axis), x first, on the whole grid (maps, n, *S)."""
    total = terms[0]
    for term in terms[1:]:
        # What is there so far varies along the later axes of the tensor, the new term along the one before them.
        total = total.unsqueeze(2) + term.reshape(*term.shape, *([1] * (total.ndim - 2)))
    return total
