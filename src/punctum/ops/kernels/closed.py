"""Closed forms in torch, on any device: few passes over each map, and gradients written out (`forms`)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from punctum.ops.kernels import forms
from punctum.ops.kernels.closed_sampling import refuses_draws
from punctum.ops.kernels.closed_sampling import sample_coords as sample_coords
from punctum.ops.kernels.forms import Options
from punctum.ops.kernels.once import once

OPS = ("moments", "soft_argmax", "dsnt_terms", "sample_coords")


def unavailable() -> str | None:
    """Why no call can be served on this machine; None: it can serve."""
    return None


def refuses(op: str, logits: Tensor, **options: Any) -> str | None:
    """Why it does not serve this call; None: it does."""
    if op not in OPS:
        return f"it has no {op}"
    if not 1 <= logits.ndim - 2 <= 3:
        return f"the logits have {logits.ndim - 2} spatial axes, not 1, 2 or 3"
    if not options.get("beta", 1.0) > 0:
        return "beta is not positive"
    return refuses_draws(**options)


class Functions(NamedTuple):
    """The functions behind the operations: those of this file, or compiled ones."""

    moments: Callable[..., tuple[Tensor, ...]]
    moments_backward: Callable[..., Tensor]
    terms: Callable[..., tuple[Tensor, ...]]
    terms_backward: Callable[..., Tensor]


def moments(logits: Tensor, beta: float = 1.0) -> tuple[Tensor, Tensor]:
    """As `ops.moments`."""
    return run_moments(FUNCTIONS, logits, beta)


def soft_argmax(logits: Tensor, beta: float = 1.0) -> Tensor:
    """As `ops.soft_argmax`."""
    return run_soft_argmax(FUNCTIONS, logits, beta)


def dsnt_terms(logits: Tensor, target: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """As `ops.dsnt_terms`."""
    return run_dsnt_terms(FUNCTIONS, logits, target, **options)


def run_moments(functions: Functions, logits: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """`moments` with these functions."""
    options = Options(tuple(logits.shape[2:]), beta)
    mean, covariance, *_ = _Moments.apply(logits.flatten(2).flatten(0, 1), options, True, functions)
    shape, dims = logits.shape[:2], logits.ndim - 2
    return mean.reshape(*shape, dims), covariance.reshape(*shape, dims, dims)


def run_soft_argmax(functions: Functions, logits: Tensor, beta: float) -> Tensor:
    """`soft_argmax` with these functions."""
    options = Options(tuple(logits.shape[2:]), beta)
    mean, *_ = _Moments.apply(logits.flatten(2).flatten(0, 1), options, False, functions)
    return mean.reshape(*logits.shape[:2], -1)


def run_dsnt_terms(functions: Functions, logits: Tensor, target: Tensor, **given: Any) -> tuple[Tensor, Tensor]:
    """`dsnt_terms` with these functions."""
    options = Options(tuple(logits.shape[2:]), **given)
    target = target.detach().to(torch.float32).flatten(0, 1)
    distance, shape, *_ = _Terms.apply(logits.flatten(2).flatten(0, 1), target, options, functions)
    return distance.reshape(logits.shape[:2]), shape.reshape(logits.shape[:2])


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(flat: Tensor, options: Options, spread: bool, functions: Functions) -> tuple[Tensor, ...]:
        return functions.moments(flat.detach(), options, spread)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        mean, covariance, p, counted = output
        flat, ctx.options, ctx.spread, ctx.functions = inputs
        ctx.dtype = flat.dtype
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(p, counted, *([] if ctx.spread else [covariance]))
        ctx.save_for_backward(flat, p, mean, covariance, counted)

    @staticmethod
    def backward(ctx: Any, *ups: Tensor | None) -> tuple[Tensor | None, ...]:
        flat, p, mean, covariance, counted = ctx.saved_tensors
        up_mean = torch.zeros_like(mean) if ups[0] is None else ups[0]
        up_covariance = ups[1] if ctx.spread else None
        given = (p, mean.detach(), covariance.detach(), counted, up_mean, up_covariance)
        with torch.no_grad():
            gradient = ctx.functions.moments_backward(*given, ctx.options).to(ctx.dtype)
        return once(gradient, flat, *ups[:2]), None, None, None


class _Terms(torch.autograd.Function):
    @staticmethod
    def forward(flat: Tensor, target: Tensor, options: Options, functions: Functions) -> tuple[Tensor, ...]:
        return functions.terms(flat.detach(), target, options)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        flat, target, ctx.options, ctx.functions = inputs
        ctx.dtype = flat.dtype
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(flat, target, *output[2:])

    @staticmethod
    def backward(ctx: Any, *ups: Tensor | None) -> tuple[Tensor | None, ...]:
        flat, target, p, slopes, expected, mean, variances, counted = ctx.saved_tensors
        zero = torch.zeros_like(mean[:, 0])
        up_distance, up_shape = (zero if up is None else up for up in ups[:2])
        given = (p, slopes, expected, target, mean, variances, counted, up_distance, up_shape)
        with torch.no_grad():
            gradient = ctx.functions.terms_backward(*given, ctx.options).to(ctx.dtype)
        return once(gradient, flat, *ups[:2]), None, None, None


FUNCTIONS = Functions(forms.moments_forward, forms.moments_backward, forms.terms_forward, forms.terms_backward)
