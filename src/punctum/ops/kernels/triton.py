"""Kernels for GPUs, in Triton: one read of a map forward, one read and one write backward, nothing else of its size.

Limits: second derivatives and `vmap` are refused by torch, with an error. Maps whose cells do not lie side by side in
memory (channels_last) are read correctly, but not at full speed.
"""

import functools
import importlib.util
import os
from typing import Any

import torch
from torch import Tensor

_HAS_TRITON = importlib.util.find_spec("triton") is not None
# Below, Triton does not compile for NVIDIA's GPUs.
_CAPABILITY = (7, 5)


def unavailable() -> str | None:
    """Why there are no Triton kernels in this installation; None: there are."""
    if not _HAS_TRITON:
        return "triton is not installed (pip install triton)"
    if _interpreted() or torch.cuda.is_available():
        return None
    return "there is no GPU, and TRITON_INTERPRET is not set"


def refuses(op: str, logits: Tensor, **options: Any) -> str | None:
    """Why it does not serve this call; None: it does.

    Where the environment variable TRITON_INTERPRET is 1, Triton's interpreter serves any device, very slowly: only
    where these kernels are asked for by name.
    """
    if not _HAS_TRITON:
        return "triton is not installed (pip install triton)"
    if _interpreted():
        refusal = _refuses_to_interpret()
    elif logits.device.type == "cpu":
        refusal = "the logits are on the CPU, and TRITON_INTERPRET is not set"
    elif logits.device.type != "cuda":
        refusal = f"the logits are on {logits.device.type}, and it serves GPUs"
    elif torch.compiler.is_compiling():
        refusal = None  # Inductor compiles with Triton too, and has asked.
    else:
        refusal = _too_old(logits.device)
    if refusal is None and options.get("gradient") == "sign":
        refusal = "it has the exact gradient of samples, not the one by sign"
    if refusal is None and not options.get("beta", 1.0) > 0:
        refusal = "beta is not positive"
    if refusal is None and logits.shape[2:].numel() >= 2**30:
        refusal = "a map has 2^30 cells or more"
    return refusal


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _refuses_to_interpret() -> str | None:
    from punctum.ops import kernels

    if kernels.chosen() != "triton":
        return "Triton's interpreter is slow, and serves only where it is asked for by name"
    return None


@functools.cache
def _too_old(device: torch.device) -> str | None:
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < _CAPABILITY:
        return f"triton needs compute capability {_CAPABILITY[0]}.{_CAPABILITY[1]} or above"
    return None


def moments(logits: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """As `ops.moments`."""
    from punctum.ops.kernels import triton_ops

    return triton_ops.moments(logits, beta)


def soft_argmax(logits: Tensor, beta: float) -> Tensor:
    """As `ops.soft_argmax`."""
    from punctum.ops.kernels import triton_ops

    return triton_ops.soft_argmax(logits, beta)


def dsnt_terms(
    logits: Tensor, target: Tensor, *, distance: str, regularizer: str, sigma: float, beta: float, units: str
) -> tuple[Tensor, Tensor]:
    """As `ops.dsnt_terms`."""
    from punctum.ops.kernels import triton_ops

    return triton_ops.dsnt_terms(
        logits, target, distance=distance, regularizer=regularizer, sigma=sigma, beta=beta, units=units
    )


def sample_coords(
    logits: Tensor, seed: Tensor, num_samples: int, tau: float, basis: str, categorical: str, beta: float
) -> Tensor:
    """As `ops.sample_coords`, of the noise that belongs to a seed: (B, K, N, D)."""
    from punctum.ops.kernels import triton_sampling_ops

    return triton_sampling_ops.sample_coords(logits, seed, num_samples, tau, basis, categorical, beta)
