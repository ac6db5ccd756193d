"""How Triton's kernels are held against the plain operations, and the noise of a seed, from its definition."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from punctum import ops
from punctum.ops import kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def outcome(function: Callable[..., Any], logits: Tensor, *others: Tensor) -> list[Tensor]:
    """Outputs, and the gradient of a weighted sum of them: of float64 on the CPU."""
    logits = logits.detach().requires_grad_()
    outputs = function(logits, *others)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    total = sum(
        (o.double() * torch.linspace(0.5, 1.5, o.numel(), device=o.device).reshape(o.shape)).sum() for o in outputs
    )
    (grad,) = torch.autograd.grad(total, logits)
    assert all(o.dtype == (torch.float64 if logits.dtype == torch.float64 else torch.float32) for o in outputs)
    assert grad.dtype == logits.dtype
    return [o.detach().double().cpu() for o in (*outputs, grad)]


def compare(function: Callable[..., Any], logits: Tensor, *others: Tensor, tolerance: float = 2e-5) -> list[Tensor]:
    """Triton's outcome, which must be the plain version's in float64, relative to each result's largest value."""
    logits = logits.to(DEVICE)
    others = tuple(other.to(DEVICE) for other in others)
    with kernels.use("triton"):
        found = outcome(function, logits, *others)
    with kernels.use("plain"):
        wanted = outcome(function, logits.double(), *(other.double() for other in others))
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        # A gradient comes back in the type of the logits.
        allowed = tolerance if number + 1 < len(found) else max(tolerance, torch.finfo(logits.dtype).eps)
        scale = b[b.isfinite()].abs().max().item() if b.isfinite().any() else 1.0
        torch.testing.assert_close(a, b, rtol=0, atol=allowed * max(scale, 1e-3), equal_nan=True, msg=_named(number))
    return found


def _named(number: int) -> Callable[[str], str]:
    return lambda message: f"output {number}: {message}"


def philox(counter: tuple[Any, ...], key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10 as published: four words on the last axis."""
    low = np.uint64(0xFFFFFFFF)
    c0, c1, c2, c3 = (part.astype(np.uint64) for part in np.broadcast_arrays(*counter))
    k0, k1 = key
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (b >> np.uint64(32)) ^ c1 ^ np.uint64(k0),
            b & low,
            (a >> np.uint64(32)) ^ c3 ^ np.uint64(k1),
            a & low,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], -1)


def uniform(index: np.ndarray, sample: np.ndarray, number: np.ndarray, stream: int, seed: int) -> np.ndarray:
    """The uniform number of a cell (or an axis' index), sample, map and stream."""
    words = philox((index, sample // 4, number, np.asarray(stream)), (seed & 0xFFFFFFFF, seed >> 32))
    chosen = np.take_along_axis(words, np.broadcast_to(sample % 4, words.shape[:-1])[..., None], -1)[..., 0]
    return ((chosen >> np.uint64(9)).astype(np.float64) + 0.5) * 2.0**-23


def noise_of_seed(logits: Tensor, samples: int, basis: str, seed: int) -> ops.Noise:
    """All the noise of a draw, in float64."""
    batch, keypoints, *size = logits.shape
    number, sample = np.arange(batch * keypoints)[:, None, None], np.arange(samples)[None, :, None]
    u = uniform(np.arange(int(np.prod(size))), sample, number, 0, seed)
    gumbel = torch.from_numpy(-np.log(-np.log(u))).reshape(batch, keypoints, samples, *size)
    offsets = []
    for axis, n in enumerate(reversed(size)):
        first = uniform(np.arange(n), sample, number, 1 + axis, seed)
        second = uniform(np.arange(n), sample, number, 4 + axis, seed)
        place = {
            "uniform": first - 0.5,
            "triangular": first + second - 1,
            "gaussian": np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second),
        }[basis]
        offsets.append(torch.from_numpy(place * (2 / n)).reshape(batch, keypoints, samples, n))
    return ops.Noise(gumbel, tuple(offsets))
