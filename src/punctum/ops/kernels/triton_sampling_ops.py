"""The Triton kernels of sampling-argmax as operators of torch."""

from typing import Any

import torch
from torch import Tensor
from torch.library import triton_op, wrap_triton

from punctum.ops.kernels import triton_plan as planning
from punctum.ops.kernels.triton_sampling import draw, draw_gradient

BASES = {"uniform": 0, "triangular": 1, "gaussian": 2}


def _scales(tau: float, categorical: str) -> tuple[float, float]:
    """What the temperature makes of log p and of the noise."""
    return (1 / tau if categorical == "paper" else 1.0), 1 / tau


def _constants(logits: Tensor, basis: str) -> dict[str, int]:
    n0, n1, n2 = planning.sizes(logits)
    rows, columns, count = planning.tiles(logits)
    shape = {"N0": n0, "N1": n1, "N2": n2, "DIMS": logits.ndim - 2, "BASIS": BASES[basis]}
    warps = max(1, rows * columns // 128)
    return {**shape, "ROWS": rows, "COLUMNS": columns, "TILES": count, "num_warps": warps}


@triton_op("punctum::heatmap_draws", mutates_args=())
def heatmap_draws(
    logits: Tensor, seed: Tensor, num_samples: int, tau: float, basis: str, categorical: str, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Places (B, K, N, D), maximum and log-sum of each sample's softmax (B, K, N, 2), the logits' peaks (B, K)."""
    places, softmax, peaks = _fake_draws(logits, seed, num_samples, tau, basis, categorical, beta)
    constants = _constants(logits, basis)
    with planning.on_device(logits):
        wrap_triton(draw)[(logits.shape[0] * logits.shape[1] * -(-num_samples // 4),)](
            logits, seed, places, softmax, peaks, logits.shape[1], *planning.strides(logits), beta,
            *_scales(tau, categorical), num_samples, **constants,
        )  # fmt: skip
    return places, softmax, peaks


def _fake_draws(
    logits: Tensor, seed: Tensor, num_samples: int, tau: float, basis: str, categorical: str, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (*logits.shape[:2], num_samples)
    return (
        logits.new_empty((*shape, logits.ndim - 2), dtype=torch.float32),
        logits.new_empty((*shape, 2), dtype=torch.float32),
        logits.new_empty(shape[:2], dtype=torch.float32),
    )


@triton_op("punctum::heatmap_draws_backward", mutates_args=())
def heatmap_draws_backward(
    logits: Tensor,
    seed: Tensor,
    places: Tensor,
    softmax: Tensor,
    peaks: Tensor,
    grad_places: Tensor,
    tau: float,
    basis: str,
    categorical: str,
    beta: float,
) -> Tensor:
    """The gradient of the logits."""
    grad = torch.empty_like(logits)
    constants = _constants(logits, basis)
    with planning.on_device(logits):
        wrap_triton(draw_gradient)[(logits.shape[0] * logits.shape[1] * constants["TILES"],)](
            logits, seed, places, softmax, peaks, grad_places.contiguous(), grad, logits.shape[1],
            *planning.strides(logits), *planning.strides(grad), beta, *_scales(tau, categorical), places.shape[2],
            **constants,
        )  # fmt: skip
    return grad


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:2], *output)
    ctx.options = inputs[3:]


def _backward(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> Any:
    back = None if grad is None else heatmap_draws_backward(*ctx.saved_tensors, grad, *ctx.options)
    return back, *([None] * 6)


heatmap_draws.register_fake(_fake_draws)
heatmap_draws.register_autograd(_backward, setup_context=_keep)


def sample_coords(
    logits: Tensor, seed: Tensor, num_samples: int, tau: float, basis: str, categorical: str, beta: float
) -> Tensor:
    """As `ops.sample_coords`, of the noise that belongs to a seed."""
    return heatmap_draws(logits, seed, num_samples, float(tau), basis, categorical, float(beta))[0]
