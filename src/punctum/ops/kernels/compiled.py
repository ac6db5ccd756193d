"""The closed forms through torch.compile: on any device with a compiler, and compiled at first use."""

import functools
import shutil
import sys
from typing import Any

import torch
from torch import Tensor

from punctum.ops.kernels import closed
from punctum.ops.kernels.closed import FUNCTIONS, Functions
from punctum.ops.kernels.library import constant


@constant
def unavailable() -> str | None:
    """Why no call can be served on this machine; None: it can serve."""
    if sys.platform == "win32":
        return "torch.compile is not set up on Windows"
    if not torch.cuda.is_available() and not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        return "torch.compile needs a C++ compiler, and there is none"
    return None


def refuses(op: str, logits: Tensor, **options: Any) -> str | None:
    """Why it does not serve this call; None: it does."""
    if op == "sample_coords":
        return f"it has no {op}"
    if torch.compiler.is_compiling():
        return "it is being compiled as it is: 'closed' is the same here"
    return closed.refuses(op, logits, **options) or unavailable()


@functools.cache
def _functions() -> Functions:
    whole: list[Any] = [torch.compile(function) for function in FUNCTIONS]
    return Functions(*whole)


def moments(logits: Tensor, beta: float = 1.0) -> tuple[Tensor, Tensor]:
    """As `ops.moments`."""
    return closed.run_moments(_functions(), logits, beta)


def soft_argmax(logits: Tensor, beta: float = 1.0) -> Tensor:
    """As `ops.soft_argmax`."""
    return closed.run_soft_argmax(_functions(), logits, beta)


def dsnt_terms(logits: Tensor, target: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """As `ops.dsnt_terms`."""
    return closed.run_dsnt_terms(_functions(), logits, target, **options)
