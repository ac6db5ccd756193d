"""The log density of a mixture of Gaussians in C++, where no gradient is wanted: regions ask for a thousand a map."""

import ctypes

import torch
from torch import Tensor
from torch.autograd import forward_ad

from punctum.ops import kernels
from punctum.ops.kernels import library

# A further thread is worth this many terms of the sums.
GRAIN = 16384


def serves(*tensors: Tensor) -> bool:
    """Whether it computes what these tensors ask for; where it does not, the plain version does."""
    if kernels.chosen() not in ("auto", "native") or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        return False
    if any(x.device.type != "cpu" or x.dtype != torch.float32 or not x.numel() for x in tensors):
        return False
    if tensors[-1].shape[-1] > 3 or library.unavailable() is not None:
        return False
    # A derivative taken forwards would be left out without a word.
    forwards = any(forward_ad.unpack_dual(x).tangent is not None for x in tensors)
    return not forwards and not torch._C._are_functorch_transforms_active()


class _Arguments(ctypes.Structure):
    """`Arguments` of mixture.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("heights", "means", "forms", "counts", "points", "logs")),
        *((name, ctypes.c_int64) for name in ("components", "groups", "points_of_map", "dims")),
    )


def log_density(heights: Tensor, means: Tensor, forms: Tensor, counts: list[int], points: Tensor) -> Tensor:
    """log sum_m exp(h_m + sum_ij f_ij (y - mu_m)_i (y - mu_m)_j), i >= j.

    Args:
        heights: (B, K, M).
        means: (B, K, M, D).
        forms: (B, K, G, D (D + 1) / 2), the lower triangle of each group.
        counts: components of each group.
        points: (B, K, N, D).
    Returns:
        (B, K, N).
    """
    maps, terms = heights.shape[0] * heights.shape[1], points.shape[2] * heights.shape[-1]
    logs = points.new_empty(points.shape[:-1])
    # They must outlive the call.
    tensors = {
        "heights": heights.contiguous(),
        "means": means.contiguous(),
        "forms": forms.contiguous(),
        "counts": torch.tensor(counts, dtype=torch.int64),
        "points": points.contiguous(),
        "logs": logs,
    }
    args = _Arguments(
        **{name: library.pointer(tensor) for name, tensor in tensors.items()},
        components=heights.shape[-1],
        groups=len(counts),
        points_of_map=points.shape[2],
        dims=points.shape[-1],
    )
    library.call("mixture", args, maps, -(-GRAIN // terms))
    return logs
