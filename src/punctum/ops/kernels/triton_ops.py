"""The Triton kernels of maps' moments and DSNT's terms as operators of torch: for autograd, compile and autocast."""

from typing import Any

import torch
from torch import Tensor
from torch.library import triton_op, wrap_triton

from punctum.ops.kernels import triton_plan as planning
from punctum.ops.kernels.triton_gradient import moments_gradient, terms_gradient
from punctum.ops.kernels.triton_reduce import combine, js_combine, js_splits, reduce_maps

DISTANCES = {"euclidean": 0, "l1": 1}
REGULARIZERS = {"none": 0, "variance": 1, "kl": 2, "js": 3, "kl_from_gaussian": 4}
_ROW = 16
_JS = REGULARIZERS["js"]


def _sizes(logits: Tensor) -> dict[str, int]:
    n0, n1, n2 = planning.sizes(logits)
    return {"CELLS": n0 * n1 * n2, "N0": n0, "N1": n1, "N2": n2, "DIMS": logits.ndim - 2}


def _padded(logits: Tensor) -> dict[str, int]:
    n0, n1, n2 = map(planning.padded, planning.sizes(logits))
    return {"P0": n0, "P1": n1, "P2": n2}


def _reduce(
    logits: Tensor, target: Tensor, mean: Tensor, second: Tensor, stats: Tensor, beta: float, sigma: float,
    **what: Any,
) -> None:  # fmt: skip
    """Launch the forward pass: once, or in parts and their combination. `mean` and `second` receive the results."""
    size, padded = _sizes(logits), _padded(logits)
    maps, keypoints = logits.shape[0] * logits.shape[1], logits.shape[1]
    block, warps, blocks, splits = planning.plan(size["CELLS"], int(maps), logits.device)
    layout = (keypoints, *planning.strides(logits))
    share = {"BLOCK": block, "BLOCKS": blocks, "SPLITS": splits, "num_warps": warps}
    dense = planning.is_dense(logits)
    # Where there are no parts, a pointer that is not followed.
    partial = logits if splits == 1 else stats.new_empty(maps * splits * _ROW)
    inverse = 1.0 / sigma
    with planning.on_device(logits):
        wrap_triton(reduce_maps)[(maps * splits,)](
            logits, target, mean, second, stats, partial, *layout, beta, sigma, inverse,
            **size, **padded, DENSE=dense, **what, **share,
        )  # fmt: skip
        if splits == 1:
            return
        wrap_triton(combine)[(maps,)](
            partial, target, mean, second, stats, sigma, inverse, **size, **padded, **what, SPLITS=splits,
            num_warps=1,
        )  # fmt: skip
        if what["REG"] != _JS:
            return
        wrap_triton(js_splits)[(maps * splits,)](
            logits, target, stats, partial, *layout, beta, inverse, **size, **padded, DENSE=dense, **share,
        )  # fmt: skip
        wrap_triton(js_combine)[(maps,)](
            partial, second, stats, SPLITS=splits, PADDED=planning.padded(splits), num_warps=1
        )


@triton_op("punctum::heatmap_moments", mutates_args=())
def heatmap_moments(logits: Tensor, beta: float, covariance: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (B, K, D), covariance (B, K, D, D; of no axes where it is not asked for) and stats of softmax(beta z)."""
    mean, second, stats = _fake_moments(logits, beta, covariance)
    order = 3 if covariance else 1
    what = {"ORDER": order, "TARGET": False, "DISTANCE": 0, "REG": 0, "PIXELS": False}
    _reduce(logits, logits, mean, second, stats, beta, 1.0, **what)
    return mean, second, stats


def _fake_moments(logits: Tensor, beta: float, covariance: bool) -> tuple[Tensor, Tensor, Tensor]:
    batch, keypoints, dims = *logits.shape[:2], logits.ndim - 2
    axes = dims if covariance else 0
    return (
        logits.new_empty((batch, keypoints, dims), dtype=torch.float32),
        logits.new_empty((batch, keypoints, axes, axes), dtype=torch.float32),
        logits.new_empty((batch * keypoints, _ROW), dtype=torch.float32),
    )


@triton_op("punctum::heatmap_moments_backward", mutates_args=())
def heatmap_moments_backward(
    logits: Tensor, stats: Tensor, grad_mean: Tensor | None, grad_covariance: Tensor | None, beta: float
) -> Tensor:
    """The gradient of the logits."""
    grad = torch.empty_like(logits)
    of_mean, of_covariance = grad_mean is not None, grad_covariance is not None
    first = grad_mean.contiguous() if grad_mean is not None else logits
    second = grad_covariance.contiguous() if grad_covariance is not None else logits
    size = _sizes(logits)
    share = planning.share(size["CELLS"])
    with planning.on_device(logits):
        wrap_triton(moments_gradient)[(logits.shape[0] * logits.shape[1] * share["PARTS"],)](
            logits, stats, first, second, grad, logits.shape[1], *planning.strides(logits), *planning.strides(grad),
            beta, **size, DENSE=planning.is_dense(logits), DENSE_GRAD=planning.is_dense(grad), OF_MEAN=of_mean,
            OF_COVARIANCE=of_covariance, **share,
        )  # fmt: skip
    return grad


@triton_op("punctum::heatmap_terms", mutates_args=())
def heatmap_terms(
    logits: Tensor, target: Tensor, distance: str, regularizer: str, sigma: float, beta: float, pixels: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Distance (B, K), regularizer (B, K) and stats of maps and their targets (float32, contiguous)."""
    apart, shape, stats = _fake_terms(logits, target, distance, regularizer, sigma, beta, pixels)
    kind = REGULARIZERS[regularizer]
    order = 2 if regularizer == "variance" else 1
    what = {"ORDER": order, "TARGET": True, "DISTANCE": DISTANCES[distance], "REG": kind, "PIXELS": pixels}
    _reduce(logits, target, apart, shape, stats, beta, sigma, **what)
    return apart, shape, stats


def _fake_terms(
    logits: Tensor, target: Tensor, distance: str, regularizer: str, sigma: float, beta: float, pixels: bool
) -> tuple[Tensor, Tensor, Tensor]:
    apart = logits.new_empty(logits.shape[:2], dtype=torch.float32)
    return apart, torch.empty_like(apart), apart.new_empty((apart.shape[0] * apart.shape[1], _ROW))


@triton_op("punctum::heatmap_terms_backward", mutates_args=())
def heatmap_terms_backward(
    logits: Tensor,
    target: Tensor,
    stats: Tensor,
    grad_distance: Tensor | None,
    grad_regularizer: Tensor | None,
    distance: str,
    regularizer: str,
    sigma: float,
    beta: float,
    pixels: bool,
) -> Tensor:
    """The gradient of the logits."""
    grad = torch.empty_like(logits)
    of_distance, of_regularizer = grad_distance is not None, grad_regularizer is not None
    first = grad_distance.contiguous() if grad_distance is not None else logits
    second = grad_regularizer.contiguous() if grad_regularizer is not None else logits
    size = _sizes(logits)
    share = planning.share(size["CELLS"])
    with planning.on_device(logits):
        wrap_triton(terms_gradient)[(logits.shape[0] * logits.shape[1] * share["PARTS"],)](
            logits, target, stats, first, second, grad, logits.shape[1], *planning.strides(logits),
            *planning.strides(grad), beta, sigma, 1.0 / sigma, **size, **_padded(logits),
            DENSE=planning.is_dense(logits), DENSE_GRAD=planning.is_dense(grad), OF_DISTANCE=of_distance,
            OF_REGULARIZER=of_regularizer, DISTANCE=DISTANCES[distance], REG=REGULARIZERS[regularizer], PIXELS=pixels,
            **share,
        )  # fmt: skip
    return grad


def _keep_moments(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(inputs[0], output[2])
    ctx.beta, ctx.covariance = inputs[1:]


def _back_through_moments(ctx: Any, mean: Tensor | None, covariance: Tensor | None, _: Tensor | None) -> Any:
    logits, stats = ctx.saved_tensors
    covariance = covariance if ctx.covariance else None
    if mean is None and covariance is None:
        return None, None, None
    return heatmap_moments_backward(logits, stats, mean, covariance, ctx.beta), None, None


def _keep_terms(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:2], output[2])
    ctx.options = inputs[2:]


def _back_through_terms(ctx: Any, apart: Tensor | None, shape: Tensor | None, _: Tensor | None) -> Any:
    logits, target, stats = ctx.saved_tensors
    grad = None
    if apart is not None or shape is not None:
        grad = heatmap_terms_backward(logits, target, stats, apart, shape, *ctx.options)
    return grad, *([None] * 6)


heatmap_moments.register_fake(_fake_moments)
heatmap_moments.register_autograd(_back_through_moments, setup_context=_keep_moments)
heatmap_terms.register_fake(_fake_terms)
heatmap_terms.register_autograd(_back_through_terms, setup_context=_keep_terms)


def moments(logits: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """As `ops.moments`."""
    mean, covariance, _ = heatmap_moments(logits, float(beta), True)
    return mean, covariance


def soft_argmax(logits: Tensor, beta: float) -> Tensor:
    """As `ops.soft_argmax`."""
    return heatmap_moments(logits, float(beta), False)[0]


def dsnt_terms(
    logits: Tensor, target: Tensor, *, distance: str, regularizer: str, sigma: float, beta: float, units: str
) -> tuple[Tensor, Tensor]:
    """As `ops.dsnt_terms`."""
    target = target.detach().to(torch.float32).contiguous()
    apart, shape, _ = heatmap_terms(
        logits, target, distance, regularizer, float(sigma), float(beta), units == "pixels"
    )
    return apart, shape
