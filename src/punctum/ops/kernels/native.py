"""C++ for the CPU: each map is read once, and nothing but a few numbers per map waits for the backward pass."""

import ctypes
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from punctum.ops.kernels import library
from punctum.ops.kernels.closed_sampling import refuses_draws
from punctum.ops.kernels.native_sampling import sample_coords as sample_coords
from punctum.ops.kernels.once import ONCE

# A further thread is worth this many cells.
GRAIN = 16384
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
REGULARIZERS = {"none": 0, "variance": 1, "kl": 2, "js": 3, "kl_from_gaussian": 4}
OPS = ("moments", "soft_argmax", "dsnt_terms", "sample_coords")


def unavailable() -> str | None:
    """Why no call can be served on this machine; None: it can serve."""
    return library.unavailable()


def refuses(op: str, logits: Tensor, **options: Any) -> str | None:
    """Why it does not serve this call; None: it does."""
    if op not in OPS:
        return f"it has no {op}"
    if logits.device.type != "cpu":
        return f"it runs on the CPU, and the logits are on {logits.device.type}"
    if not 1 <= logits.ndim - 2 <= 3:
        return f"the logits have {logits.ndim - 2} spatial axes, not 1, 2 or 3"
    if not options.get("beta", 1.0) > 0:
        return "beta is not positive"
    return refuses_draws(**options) or unavailable()


def moments(logits: Tensor, beta: float = 1.0) -> tuple[Tensor, Tensor]:
    """As `ops.moments`."""
    mean, covariance, _ = _moments(logits, beta, True)
    return mean, covariance


def soft_argmax(logits: Tensor, beta: float = 1.0) -> Tensor:
    """As `ops.soft_argmax`."""
    return _moments(logits, beta, False)[0]


def dsnt_terms(
    logits: Tensor, target: Tensor, *, distance: str, regularizer: str, sigma: float, beta: float, units: str
) -> tuple[Tensor, Tensor]:
    """As `ops.dsnt_terms`."""
    target = target.detach().to(torch.float32)
    apart, shape, _ = _dsnt_terms(logits, target, distance, regularizer, sigma, beta, units)
    return apart, shape


class _Moments(ctypes.Structure):
    """`Arguments` of moments.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("logits", "gradient", "mean", "covariance", "saved")),
        *((name, ctypes.c_void_p) for name in ("up_mean", "up_covariance")),
        *((name, ctypes.c_int64) for name in ("maps", "dims", "x", "y", "z")),
        ("beta", ctypes.c_float),
        ("dtype", ctypes.c_int32),
    )


class _Dsnt(ctypes.Structure):
    """`Arguments` of dsnt.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("logits", "gradient", "target", "distance", "shape", "saved")),
        *((name, ctypes.c_void_p) for name in ("up_distance", "up_shape")),
        *((name, ctypes.c_int64) for name in ("maps", "dims", "x", "y", "z")),
        *((name, ctypes.c_float) for name in ("beta", "sigma")),
        *((name, ctypes.c_int32) for name in ("dtype", "regularizer", "euclidean", "pixels")),
    )


def _sizes(logits: Tensor) -> dict[str, int]:
    x, y, z = (*reversed(logits.shape[2:]), 1, 1)[:3]
    return {"maps": logits.shape[0] * logits.shape[1], "dims": logits.ndim - 2, "x": x, "y": y, "z": z}


def _run(name: str, args: ctypes.Structure, logits: Tensor) -> None:
    cells = logits.shape[2:].numel()
    library.call(name, args, logits.shape[0] * logits.shape[1], -(-GRAIN // cells))


def _floats(logits: Tensor, *shape: int) -> Tensor:
    """Room for results of each map: (B, K, *shape)."""
    return logits.new_empty((*logits.shape[:2], *shape), dtype=torch.float32)


def _point(
    structure: type[ctypes.Structure], tensors: Mapping[str, Tensor | None], **values: Any
) -> ctypes.Structure:
    return structure(**{name: library.pointer(tensor) for name, tensor in tensors.items()}, **values)


def _only_once(ctx: Any, *ups: Tensor) -> Any:
    raise RuntimeError(ONCE)


@library.operator("moments")
def _moments(logits: Tensor, beta: float, spread: bool) -> tuple[Tensor, Tensor, Tensor]:
    logits, dims = logits.contiguous(), logits.ndim - 2
    mean, saved = _floats(logits, dims), _floats(logits, 2)
    covariance = _floats(logits, dims, dims) if spread else _floats(logits, 0)
    tensors = {"logits": logits, "mean": mean, "covariance": covariance if spread else None, "saved": saved}
    args = _point(_Moments, tensors, **_sizes(logits), beta=beta, dtype=DTYPES[logits.dtype])
    _run("moments_forward", args, logits)
    return mean, covariance, saved


@_moments.register_fake
def _(logits: Tensor, beta: float, spread: bool) -> tuple[Tensor, Tensor, Tensor]:
    dims = logits.ndim - 2
    return _floats(logits, dims), _floats(logits, *((dims, dims) if spread else (0,))), _floats(logits, 2)


@library.operator("moments_backward")
def _moments_backward(
    logits: Tensor,
    mean: Tensor,
    covariance: Tensor,
    saved: Tensor,
    up_mean: Tensor,
    up_covariance: Tensor,
    beta: float,
    spread: bool,
) -> Tensor:
    logits = logits.contiguous()
    gradient = torch.empty_like(logits)
    tensors = {"logits": logits, "gradient": gradient, "mean": mean, "saved": saved, "up_mean": up_mean.contiguous()}
    if spread:
        tensors |= {"covariance": covariance, "up_covariance": up_covariance.contiguous()}
    args = _point(_Moments, tensors, **_sizes(logits), beta=beta, dtype=DTYPES[logits.dtype])
    _run("moments_backward", args, logits)
    return gradient


@_moments_backward.register_fake
def _(logits: Tensor, *rest: Any) -> Tensor:
    return logits.new_empty(logits.shape)


_moments_backward.register_autograd(_only_once)


def _keep_moments(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, ctx.beta, ctx.spread = inputs
    ctx.save_for_backward(logits, *output)


def _differentiate_moments(ctx: Any, up_mean: Tensor, up_covariance: Tensor, _: Tensor) -> tuple[Any, ...]:
    gradient = _moments_backward(*ctx.saved_tensors, up_mean, up_covariance, ctx.beta, ctx.spread)
    return gradient, None, None


_moments.register_autograd(_differentiate_moments, setup_context=_keep_moments)


@library.operator("dsnt_terms")
def _dsnt_terms(
    logits: Tensor, target: Tensor, distance: str, regularizer: str, sigma: float, beta: float, units: str
) -> tuple[Tensor, Tensor, Tensor]:
    apart, shape, saved = _floats(logits), _floats(logits), _floats(logits, 9)
    tensors = {"distance": apart, "shape": shape, "saved": saved}
    _run_dsnt("dsnt_forward", logits.contiguous(), target, tensors, distance, regularizer, sigma, beta, units)
    return apart, shape, saved


@_dsnt_terms.register_fake
def _(logits: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _floats(logits), _floats(logits), _floats(logits, 9)


def _run_dsnt(
    name: str,
    logits: Tensor,
    target: Tensor,
    tensors: Mapping[str, Tensor | None],
    distance: str,
    regularizer: str,
    sigma: float,
    beta: float,
    units: str,
) -> None:
    target = target.contiguous()
    choices = {
        "regularizer": REGULARIZERS[regularizer],
        "euclidean": distance == "euclidean",
        "pixels": units == "pixels",
    }
    numbers = {"beta": beta, "sigma": sigma, "dtype": DTYPES[logits.dtype]}
    _run(
        name,
        _point(_Dsnt, {"logits": logits, "target": target, **tensors}, **_sizes(logits), **numbers, **choices),
        logits,
    )


@library.operator("dsnt_terms_backward")
def _dsnt_terms_backward(
    logits: Tensor,
    target: Tensor,
    apart: Tensor,
    saved: Tensor,
    up_distance: Tensor,
    up_shape: Tensor,
    distance: str,
    regularizer: str,
    sigma: float,
    beta: float,
    units: str,
) -> Tensor:
    logits = logits.contiguous()
    gradient = torch.empty_like(logits)
    up_distance, up_shape = up_distance.contiguous(), up_shape.contiguous()
    tensors = {"distance": apart, "saved": saved, "gradient": gradient}
    tensors |= {"up_distance": up_distance, "up_shape": up_shape}
    _run_dsnt("dsnt_backward", logits, target, tensors, distance, regularizer, sigma, beta, units)
    return gradient


@_dsnt_terms_backward.register_fake
def _(logits: Tensor, *rest: Any) -> Tensor:
    return logits.new_empty(logits.shape)


_dsnt_terms_backward.register_autograd(_only_once)


def _keep_dsnt(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, target, *ctx.options = inputs
    apart, _, saved = output
    ctx.save_for_backward(logits, target, apart, saved)


def _differentiate_dsnt(ctx: Any, up_distance: Tensor, up_shape: Tensor, _: Tensor) -> tuple[Any, ...]:
    gradient = _dsnt_terms_backward(*ctx.saved_tensors, up_distance, up_shape, *ctx.options)
    return gradient, None, None, None, None, None, None


_dsnt_terms.register_autograd(_differentiate_dsnt, setup_context=_keep_dsnt)
