"""What every operation promises: exact gradients, float32 arithmetic, any memory layout, compile, export."""

import shutil

import pytest
import torch
from torch import Tensor

from ops.cases import CASES, Case, flat
from punctum import ops

each_case = pytest.mark.parametrize("case", CASES, ids=str)
DIFFERENTIABLE = [case for case in CASES if case.differentiable]


def same(result, expected, tolerance: float = 1e-6) -> None:
    for a, b in zip(flat(result), flat(expected), strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_no_public_function_is_left_out():
    tested_elsewhere = {
        *("as_float", "spatial_size", "axis_centres", "normalized_grid", "pixels_matrix"),
        *("check_heatmaps", "peak_index"),
        *("Noise", "draw_noise", "sample_coords"),
        # Of densities, after the network and outside of any graph.
        *("GaussianMixture", "single_gaussian", "MixtureFamily", "cell_places", "heatmap_mixture", "HighestDensity"),
        *("decode", "expected_oks_at", "expected_pck_at", "geometric_median", "heaviest_disk"),
        *("ascend", "mode", "modes"),
    }
    left_out = [name for name in ops.__all__ if not any(case.name.startswith(name) for case in CASES)]
    assert set(left_out) == tested_elsewhere


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_gradient_matches_finite_differences(case: Case):
    inputs = [x.requires_grad_() for x in case.inputs()]
    assert torch.autograd.gradcheck(case.function, inputs)


@each_case
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision_input_is_computed_in_float32(case: Case, dtype: torch.dtype):
    inputs = case.inputs(dtype=dtype)
    expected = flat(case.function(*[x.float() for x in inputs]))
    for a, b in zip(flat(case.function(*inputs)), expected, strict=True):
        kept = case.name.startswith("normalize_")  # heatmaps come back in the logits' type
        assert a.dtype == (dtype if kept else torch.float32)
        torch.testing.assert_close(a, b.to(a.dtype), rtol=0, atol=0)


@each_case
def test_float64_stays_float64_and_float32_agrees(case: Case):
    inputs = case.inputs()
    double, single = flat(case.function(*inputs)), flat(case.function(*[x.float() for x in inputs]))
    for a, b in zip(single, double, strict=True):
        assert (a.dtype, b.dtype) == (torch.float32, torch.float64)
        torch.testing.assert_close(a.double(), b, rtol=2e-5, atol=2e-6)


@each_case
def test_autocast_changes_nothing(case: Case):
    inputs = case.inputs(dtype=torch.float32)
    expected = case.function(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        same(case.function(*inputs), expected, tolerance=0)


def permuted(x: Tensor) -> Tensor:
    return x.movedim(-1, 0).contiguous().movedim(0, -1)


def strided(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=-1)[..., ::2]


def expanded(x: Tensor) -> Tensor:
    return x[:1].expand(x.shape)


@each_case
@pytest.mark.parametrize("layout", [permuted, strided, expanded])
def test_memory_layout_does_not_matter(case: Case, layout):
    inputs = [layout(x) for x in case.inputs()]
    same(case.function(*inputs), case.function(*[x.clone().contiguous() for x in inputs]), tolerance=1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if not case.name.startswith("average_loss")], ids=str)
def test_samples_do_not_mix(case: Case):
    whole = flat(case.function(*case.inputs()))
    alone = flat(case.function(*[x[1:] for x in case.inputs()]))
    for a, b in zip(alone, whole, strict=True):
        torch.testing.assert_close(a, b[1:], rtol=1e-12, atol=1e-12)


@each_case
def test_compiles_as_one_graph(case: Case):
    torch.compiler.reset()
    inputs = case.inputs(dtype=torch.float32)
    compiled = torch.compile(case.function, fullgraph=True, backend="aot_eager")
    same(compiled(*inputs), case.function(*inputs))


@each_case
def test_exports_with_a_dynamic_batch(case: Case):
    class Module(torch.nn.Module):
        def forward(self, *inputs: Tensor):
            return case.function(*inputs)

    inputs = tuple(case.inputs(batch=3, dtype=torch.float32))
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(Module(), inputs, dynamic_shapes=(tuple(batch for _ in inputs),))
    larger = case.inputs(batch=5, dtype=torch.float32)
    same(program.module()(*larger), case.function(*larger))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # torch's own, on import
def test_inductor_agrees_forward_and_backward():
    def loss(logits: Tensor, mean: Tensor) -> Tensor:
        heatmaps = ops.normalize(logits)
        return (ops.euclidean_losses(ops.dsnt(heatmaps), mean) + ops.js_losses(heatmaps, mean, 1.0)).mean()

    def run(function) -> tuple[Tensor, Tensor]:
        logits = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(1)).requires_grad_()
        value = function(logits, torch.full((2, 3, 2), 0.3))
        value.backward()
        return value.detach(), logits.grad

    torch.compiler.reset()
    same(run(torch.compile(loss, fullgraph=True)), run(loss), tolerance=1e-5)
