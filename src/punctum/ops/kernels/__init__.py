"""Faster versions of the operations, behind their own signatures; the plain ones stay the reference.

    closed      closed forms with analytic gradients, in torch: any device
    compiled    the same through torch.compile
    native      C++ for the CPU, built at install where there is a compiler
    triton      for NVIDIA and AMD GPUs

`auto` takes the fastest that can serve an input, the plain version where none can, and `explain` says why. A kernel
that was asked for by name and cannot serve raises; an error within a kernel is never hidden. The environment variable
PUNCTUM_KERNELS, or `use`, chooses: `PUNCTUM_KERNELS=plain` turns all of them off.

They read float32, bfloat16 or float16 of any stride with 1, 2 or 3 spatial axes, and compute in float32.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd import forward_ad

from punctum.ops.kernels import closed, compiled, native, triton
from punctum.ops.recording import is_exporting

Op = Literal["moments", "soft_argmax", "dsnt_terms", "sample_coords"]
Backend = Literal["plain", "closed", "compiled", "native", "triton"]
Choice = Literal["auto", "plain", "closed", "compiled", "native", "triton"]

MODULES: dict[str, ModuleType] = {"triton": triton, "native": native, "compiled": compiled, "closed": closed}
# What `auto` tries, fastest first. Compiling takes its time, so it is for those who ask.
AUTO = ("triton", "native", "closed")
# In torch, noise that memory holds with ease is kept: drawing it again takes as long as all else.
LITTLE_NOISE = 1 << 24
SERVED = (torch.float32, torch.bfloat16, torch.float16)


def _checked(choice: str, where: str = "") -> str:
    if choice not in get_args(Choice):
        raise ValueError(f"{where}unknown kernels {choice!r}: choose one of {', '.join(get_args(Choice))}")
    return choice


_chosen = _checked(os.environ.get("PUNCTUM_KERNELS") or "auto", "environment variable PUNCTUM_KERNELS: ")


def chosen() -> str:
    """What is in use: `auto`, or one by name."""
    return _chosen


@contextmanager
def use(choice: Choice) -> Iterator[None]:
    """Within the block, these kernels in the whole process; `plain` is none.

    Raises:
        ValueError: there are no kernels of this name.
    Example:
        >>> with use("plain"):
        ...     chosen()
        'plain'
    """
    global _chosen
    before, _chosen = _chosen, _checked(choice)
    try:
        yield
    finally:
        _chosen = before


def choose(op: Op, logits: Tensor, *others: Tensor, **options: Any) -> ModuleType | None:
    """The module that serves this call, or None: the plain version.

    Args:
        op: the operation.
        logits: its maps (B, K, *S).
        others: its other tensors, for which kernels have no gradient.
        options: its other arguments.
    Raises:
        ValueError: kernels were asked for by name and cannot serve it; the message says why.
    """
    if _chosen == "plain":
        return None
    if _chosen == "auto":
        return MODULES.get(best(op, logits, *others, **options))
    reason = refusal(_chosen, op, logits, *others, **options)
    if reason is not None:
        raise ValueError(f"kernels {_chosen!r} cannot serve {op}: {reason}; 'auto' takes those that can")
    return MODULES[_chosen]


def best(op: Op, logits: Tensor, *others: Tensor, **options: Any) -> str:
    """The name of what `auto` takes for this call.

    Example:
        >>> best("moments", torch.zeros(1, 1, 4, dtype=torch.float64))
        'plain'
    """
    name = next((name for name in AUTO if refusal(name, op, logits, *others, **options) is None), "plain")
    if name == "closed" and op == "sample_coords" and logits.numel() * options["num_samples"] <= LITTLE_NOISE:
        return "plain"
    return name


def refusal(backend: str, op: Op, logits: Tensor, *others: Tensor, **options: Any) -> str | None:
    """Why a backend does not serve this call; None: it does.

    Example:
        >>> refusal("closed", "moments", torch.zeros(1, 1, 4, dtype=torch.float64))
        'it computes in float32, and the logits are float64'
    """
    if logits.dtype not in SERVED:
        return f"it computes in float32, and the logits are {str(logits.dtype).removeprefix('torch.')}"
    if not logits.numel():
        return "there is nothing to compute"
    if torch.is_grad_enabled() and any(other.requires_grad for other in others):
        return "it has no gradient for other tensors than the logits"
    if any(isinstance(option, Tensor) for option in options.values()):
        return "an option is a tensor, and it takes numbers"
    return _needs_plain(logits) or MODULES[backend].refuses(op, logits, **options)


def _needs_plain(logits: Tensor) -> str | None:
    """Why this call is to be one of plain operations; None: it need not be."""
    if is_exporting():
        return "the model is being exported, which takes plain operations"
    if torch.compiler.is_compiling():
        return None
    if torch.jit.is_tracing():
        return "the model is being traced, which takes plain operations"
    # A custom operator's tangent would be left out without a word.
    if torch._C._are_functorch_transforms_active() or forward_ad.unpack_dual(logits).tangent is not None:
        return "torch.func and derivatives taken forwards go through plain operations"
    return None


def explain(op: Op, logits: Tensor, *others: Tensor, **options: Any) -> dict[str, str]:
    """For each backend, "serves", or why it does not serve this call.

    Example:
        >>> explain("moments", torch.zeros(1, 1, 4, dtype=torch.float64))["native"]
        'it computes in float32, and the logits are float64'
    """
    return {name: refusal(name, op, logits, *others, **options) or "serves" for name in MODULES}
