"""Draws from a heatmap's mixture in C++: the noise is made within the loop over cells, and made again backwards."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from punctum.ops.kernels import library
from punctum.ops.kernels.once import ONCE

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
# A further thread is worth this many cells, of all samples together.
GRAIN = 16384
BASES = {"uniform": 0, "triangular": 1, "gaussian": 2}


def sample_coords(
    logits: Tensor, seed: Tensor, num_samples: int, tau: float, basis: str, categorical: str, beta: float
) -> Tensor:
    """Draws (B, K, N, D) of the noise of this seed, as `ops.sample_coords`."""
    return _draws(logits, seed, num_samples, tau, basis, categorical, beta)[0]


class _Arguments(ctypes.Structure):
    """`Arguments` of sampling.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("logits", "gradient", "coords", "saved", "up", "seed")),
        *((name, ctypes.c_int64) for name in ("maps", "dims", "x", "y", "z", "samples")),
        *((name, ctypes.c_float) for name in ("beta", "sharpness", "power")),
        *((name, ctypes.c_int32) for name in ("dtype", "basis")),
    )


def _run(tensors: dict[str, Tensor], tau: float, basis: str, categorical: str, beta: float) -> None:
    logits, samples = tensors["logits"], tensors["saved"].shape[2]
    x, y, z = (*reversed(logits.shape[2:]), 1, 1)[:3]
    maps = logits.shape[0] * logits.shape[1]
    args = _Arguments(
        **{name: library.pointer(tensor) for name, tensor in tensors.items()},
        maps=maps,
        dims=logits.ndim - 2,
        x=x,
        y=y,
        z=z,
        samples=samples,
        beta=beta,
        sharpness=1 / tau,
        power=1 / tau if categorical == "paper" else 1.0,
        dtype=DTYPES[logits.dtype],
        basis=BASES[basis],
    )
    library.call("sampling", args, maps, -(-GRAIN // (samples * x * y * z)))


def _empty(logits: Tensor, num_samples: int) -> tuple[Tensor, Tensor]:
    """Room for the draws, and for one number of each that waits for the backward pass."""
    shape = (*logits.shape[:2], num_samples)
    coords = logits.new_empty((*shape, logits.ndim - 2), dtype=torch.float32)
    return coords, logits.new_empty(shape, dtype=torch.float32)


@library.operator("sample_coords")
def _draws(
    logits: Tensor, seed: Tensor, num_samples: int, tau: float, basis: str, categorical: str, beta: float
) -> tuple[Tensor, Tensor]:
    coords, saved = _empty(logits, num_samples)
    tensors = {"logits": logits.contiguous(), "coords": coords, "saved": saved, "seed": seed}
    _run(tensors, tau, basis, categorical, beta)
    return coords, saved


@_draws.register_fake
def _(logits: Tensor, seed: Tensor, num_samples: int, *rest: Any) -> tuple[Tensor, Tensor]:
    return _empty(logits, num_samples)


@library.operator("sample_coords_backward")
def _backward(
    logits: Tensor,
    seed: Tensor,
    coords: Tensor,
    saved: Tensor,
    up: Tensor,
    tau: float,
    basis: str,
    categorical: str,
    beta: float,
) -> Tensor:
    logits = logits.contiguous()
    gradient = torch.empty_like(logits)
    tensors = {"logits": logits, "gradient": gradient, "seed": seed, "up": up.contiguous()}
    _run({**tensors, "coords": coords, "saved": saved}, tau, basis, categorical, beta)
    return gradient


@_backward.register_fake
def _(logits: Tensor, *rest: Any) -> Tensor:
    return logits.new_empty(logits.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    logits, seed, _, *ctx.options = inputs
    ctx.save_for_backward(logits, seed, *output)


def _differentiate(ctx: Any, up: Tensor, _: Tensor) -> tuple[Any, ...]:
    gradient = _backward(*ctx.saved_tensors, up, *ctx.options)
    return gradient, None, None, None, None, None, None


_draws.register_autograd(_differentiate, setup_context=_keep)


def _only_once(ctx: Any, *ups: Tensor) -> Any:
    raise RuntimeError(ONCE)


_backward.register_autograd(_only_once)
