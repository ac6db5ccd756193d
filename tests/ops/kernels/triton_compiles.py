"""Run as a script, without a GPU: compile every kernel for one, or trace them as torch.compile would; their names."""

import sys
from typing import Any

import torch
import triton
from torch._functorch.aot_autograd import aot_export_module
from torch._subclasses import FakeTensorMode
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime import driver

from punctum.ops.kernels import triton_gradient, triton_ops, triton_plan, triton_reduce, triton_sampling
from punctum.ops.kernels import triton_sampling_ops as sampling_ops

TARGET = GPUTarget("cuda", 90, 32)
WHOLE = {"keypoints", "stride_b", "stride_k", "s0", "s1", "s2", "grad_b", "grad_k", "g0", "g1", "g2", "samples"}


class Driver:
    """Stands for the GPU that is not there, where Triton asks what to compile for."""

    def get_current_target(self) -> GPUTarget:
        return TARGET


def compile_kernel(kernel: Any, dtype: str, constants: dict[str, Any]) -> None:
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}

    def kind(name: str) -> str:
        if name in constants:
            return "constexpr"
        if name.endswith("_ptr"):
            return {"seed_ptr": "*i64", "logits_ptr": f"*{dtype}", "grad_ptr": f"*{dtype}"}.get(name, "*fp32")
        return "i32" if name in WHOLE else "fp32"

    signature = {name: kind(name) for name in kernel.arg_names}
    triton.compile(ASTSource(kernel, signature, constants), target=TARGET)
    print(kernel.__name__, flush=True)


def shape(*size: int) -> dict[str, Any]:
    maps = torch.empty(1, 1, *size)
    rows, columns, tiles = triton_plan.tiles(maps)
    n0, n1, n2 = triton_plan.sizes(maps)
    padded = {f"P{axis}": triton_plan.padded(n) for axis, n in enumerate((n0, n1, n2))}
    sampling = {"ROWS": rows, "COLUMNS": columns, "TILES": tiles, "BASIS": 1}
    return {"N0": n0, "N1": n1, "N2": n2, "CELLS": n0 * n1 * n2, "DIMS": len(size), **padded, **sampling}


def compile_all() -> None:
    moments = {"ORDER": 3, "TARGET": False, "DISTANCE": 0, "REG": 0, "PIXELS": False}
    whole = {"BLOCK": 1024, "BLOCKS": 1, "SPLITS": 1, "PARTS": 1, "DENSE": True, "DENSE_GRAD": True}
    parts = {"BLOCK": 256, "BLOCKS": 3, "SPLITS": 4, "PADDED": 4, "PARTS": 12, "DENSE": False, "DENSE_GRAD": False}
    outputs = {"OF_MEAN": True, "OF_COVARIANCE": True, "OF_DISTANCE": True, "OF_REGULARIZER": True}
    for size, layout, dtype in (((28, 28), whole, "bf16"), ((7, 16, 20), parts, "fp32")):
        constants = {**shape(*size), **layout, **outputs}
        compile_kernel(triton_reduce.reduce_maps, dtype, {**constants, **moments})
        compile_kernel(triton_gradient.moments_gradient, dtype, constants)
        for reg in range(5):
            what = {**moments, "ORDER": 2 if reg == 1 else 1, "TARGET": True, "REG": reg, "DISTANCE": reg % 2}
            compile_kernel(triton_reduce.reduce_maps, dtype, {**constants, **what})
            compile_kernel(triton_gradient.terms_gradient, dtype, {**constants, **what})
        if layout is parts:
            for kernel in (triton_reduce.combine, triton_reduce.js_splits, triton_reduce.js_combine):
                compile_kernel(kernel, dtype, {**constants, **what, "REG": 3})
        compile_kernel(triton_sampling.draw, dtype, constants)
        compile_kernel(triton_sampling.draw_gradient, dtype, {**constants, "BASIS": 2})


class Losses(torch.nn.Module):
    def forward(self, logits: torch.Tensor, target: torch.Tensor, seed: torch.Tensor) -> tuple[torch.Tensor]:
        options = {"distance": "euclidean", "regularizer": "js", "sigma": 1.0, "beta": 1.0, "units": "normalized"}
        apart, js = triton_ops.dsnt_terms(logits, target, **options)  # type: ignore[arg-type]
        mean, covariance = triton_ops.moments(logits, 1.0)
        draws = sampling_ops.sample_coords(logits, seed, 6, 0.5, "triangular", "paper", 1.0)
        return (apart.sum() + js.sum() + mean.sum() + covariance.sum() + draws.sum(),)


def trace() -> None:
    """Forward and backward as one graph. It is traced for the CPU, which Triton's part does not look at."""
    driver.set_active(Driver())
    with FakeTensorMode():
        inputs = (
            torch.empty(2, 3, 16, 12, requires_grad=True),
            torch.empty(2, 3, 2),
            torch.zeros((), dtype=torch.int64),
        )
        graph, _ = aot_export_module(Losses(), inputs, trace_joint=True, output_loss_index=0)
    from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table

    for node in graph.graph.nodes:
        if "triton_kernel_wrapper_functional" in str(node.target):
            kernel = kernel_side_table.get_kernel(node.kwargs["kernel_idx"])
            # The number of warps makes it an autotuner of one choice.
            print(getattr(kernel, "fn", kernel).__name__)


if __name__ == "__main__":
    {"kernels": compile_all, "graph": trace}[sys.argv[1]]()
