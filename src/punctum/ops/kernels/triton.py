"""Kernels: triton."""

from typing import Any

from torch import Tensor


def unavailable() -> str | None:
    """Why no call can be served on this machine; None: it can serve."""
    return "it is being written"


def refuses(op: str, logits: Tensor, **options: Any) -> str | None:
    """Why it does not serve this call; None: it does."""
    return "it is being written"
