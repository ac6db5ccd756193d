"""C++ for the CPU: each map is read once, and nothing but a few numbers per map waits for the backward pass."""

from typing import Any

from torch import Tensor

from punctum.ops.kernels import library


def unavailable() -> str | None:
    """Why no call can be served on this machine; None: it can serve."""
    return library.unavailable()


def refuses(op: str, logits: Tensor, **options: Any) -> str | None:
    """Why it does not serve this call; None: it does."""
    if logits.device.type != "cpu":
        return f"it runs on the CPU, and the logits are on {logits.device.type}"
    return unavailable() or "it is being written"
