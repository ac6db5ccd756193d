"""Triton's kernels where there is no GPU: interpreted, compiled for one, and traced as torch.compile does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from processes import environment
from punctum.ops import kernels
from punctum.ops.kernels import triton

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
installed = pytest.mark.skipif(triton._HAS_TRITON is False, reason="triton is not installed")


def run(words: list[str], **variables: str) -> str:
    """What a process of its own says, which must end well: Triton reads its settings when it is imported."""
    kept = {
        name: value for name, value in environment().items() if name not in ("TRITON_INTERPRET", "PYTEST_ADDOPTS")
    }
    result = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=ROOT, env={**kept, **variables}, timeout=500
    )
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-4000:]
    return result.stdout


@installed
@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU these tests run as they are")
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="they run in this process")
def test_the_kernels_agree_in_the_interpreter():
    run(["-m", "pytest", str(HERE / "test_triton_kernels.py"), "-p", "no:cacheprovider"], TRITON_INTERPRET="1")


@installed
def test_a_few_kernels_agree_in_the_interpreter():
    tests = str(HERE / "test_triton_kernels.py")
    few = "test_auto or test_the_noise or (3 and 4 and 5) and (terms or moments or samples and triangular)"
    run(["-m", "pytest", tests, "-p", "no:cacheprovider", "-k", few], TRITON_INTERPRET="1")


@installed
@pytest.mark.slow
@pytest.mark.thorough
def test_the_kernels_compile_for_gpus():
    """The compiler is stricter than the interpreter: about types, and what a branch may leave undefined."""
    said = run([str(HERE / "triton_compiles.py"), "kernels"], TRITON_DEFAULT_FP_FUSION="1").split()
    assert "reduce_maps" in said
    assert "draw_gradient" in said


@installed
@pytest.mark.slow
def test_forward_and_backward_are_traced_into_one_graph_without_mutation():
    said = run([str(HERE / "triton_compiles.py"), "graph"], TRITON_DEFAULT_FP_FUSION="1")
    assert said.split() == [*["reduce_maps"] * 2, "draw", "draw_gradient", "moments_gradient", "terms_gradient"]


def test_importing_punctum_imports_neither_triton_nor_the_compiler():
    run(["-c", "import sys, punctum, punctum.ops; assert not {'triton', 'torch._dynamo'} & sys.modules.keys()"])


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter serves the CPU")
def test_it_says_what_it_cannot_serve(monkeypatch):
    logits = torch.zeros(1, 1, 4)
    monkeypatch.setattr(triton, "_HAS_TRITON", True)
    assert triton.refuses("moments", logits) == "the logits are on the CPU, and TRITON_INTERPRET is not set"
    assert triton.refuses("moments", logits.to("meta")) == "the logits are on meta, and it serves GPUs"
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with kernels.use("triton"):
        assert triton.refuses("moments", logits) is None
        assert triton.refuses("sample_coords", logits, gradient="exact") is None
        assert "sign" in str(triton.refuses("sample_coords", logits, gradient="sign"))
        assert triton.refuses("moments", logits, beta=-1.0) == "beta is not positive"
        assert "2^30" in str(triton.refuses("moments", torch.zeros(1).expand(1, 1, 2**10, 2**10, 2**10)))
    monkeypatch.setattr(triton, "_HAS_TRITON", False)
    assert triton.refuses("moments", logits) == triton.unavailable() == "triton is not installed (pip install triton)"
