"""Gradients that can be taken once."""

from typing import Any

import torch
from torch import Tensor

ONCE = "kernels have no second derivatives: compute within `with punctum.ops.kernels.use('plain'):` to take them"


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *by: Tensor | None) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *ups: Tensor) -> Any:
        raise RuntimeError(ONCE)


def once(gradient: Tensor, *by: Tensor | None) -> Tensor:
    """A gradient that can not be differentiated again, and says so when that is tried."""
    return _Once.apply(gradient, *by) if torch.is_grad_enabled() else gradient
