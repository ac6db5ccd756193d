"""Kernels: compiled."""

from typing import Any

from torch import Tensor


def refuses(op: str, logits: Tensor, **options: Any) -> str | None:
    """Why it does not serve this call; None: it does."""
    return "it is being written"
