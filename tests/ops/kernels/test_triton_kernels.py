"""Triton's kernels against the plain operations in float64: on a GPU where there is one, else in the interpreter.

The interpreter is chosen by an environment variable that Triton reads when it is imported, and that other users of
Triton in the process would see: `test_triton.py` runs these tests in a process of their own.
"""

import pytest
import torch

from ops.kernels.triton_comparison import DEVICE, compare, noise_of_seed, outcome, philox
from punctum import ops
from punctum.ops import kernels
from punctum.ops.kernels import triton, triton_plan

REFUSAL = triton.unavailable()
pytestmark = [
    pytest.mark.skipif(REFUSAL is not None, reason=f"no Triton kernels in this process: {REFUSAL}"),
    pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION"),
]

SIZES = [(1,), (7,), (63,), (64,), (65,), (1, 1), (9, 7), (31, 33), (64, 48), (3, 4, 5), (1, 9, 2)]
FEW_SIZES = [(1,), (7,), (63,), (9, 7), (64, 48), (3, 4, 5)]
REGULARIZERS = ["none", "variance", "kl", "js", "kl_from_gaussian"]


def maps(size, batch=1, keypoints=2, dtype=torch.float32):
    return (3 * torch.randn(batch, keypoints, *size)).to(dtype)


def targets(size, batch=1, keypoints=2):
    return 1.8 * torch.rand(batch, keypoints, len(size)) - 0.9


def terms(regularizer, distance="euclidean", units="normalized", sigma=1.3):
    options = {"regularizer": regularizer, "distance": distance, "units": units, "sigma": sigma, "beta": 0.9}
    return lambda z, t: ops.dsnt_terms(z, t, **options)


@pytest.fixture(params=["blocks", "splits"])
def small_blocks(request, monkeypatch):
    """Maps are read in blocks of 32 cells; or their blocks are also spread over three programs."""
    monkeypatch.setattr(triton_plan, "LARGEST_MAP", 0)
    monkeypatch.setattr(triton_plan, "LARGEST_BLOCK", 32)
    monkeypatch.setattr(triton_plan, "WANTED_PROGRAMS", 1 if request.param == "blocks" else 6)
    monkeypatch.setattr(triton_plan, "processors", lambda device: 1)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_moments(size):
    compare(lambda z: ops.moments(z, beta=1.3), maps(size))
    compare(lambda z: ops.soft_argmax(z, beta=1.3), maps(size))


@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("size", FEW_SIZES, ids=str)
def test_terms(size, regularizer):
    compare(terms(regularizer), maps(size), targets(size))


@pytest.mark.parametrize("size", [(5,), (9, 7), (3, 4, 5)], ids=str)
def test_distance_and_units(size):
    compare(terms("variance", "l1", "pixels"), maps(size), targets(size))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("size", [(96,), (97,), (9, 7), (17, 11), (5, 7, 6)], ids=str)
def test_moments_in_blocks(size):
    compare(lambda z: ops.moments(z, beta=1.3), maps(size))
    compare(ops.soft_argmax, maps(size))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("size", [(9, 11), (5, 4, 6)], ids=str)
def test_terms_in_blocks(size, regularizer):
    logits = maps(size)
    # A block without mass, and a map without any.
    logits.view(1, 2, -1)[0, 0, 32:70] = -torch.inf
    logits[0, 1] = -torch.inf
    if regularizer == "kl_from_gaussian":  # infinite, or worse, in the plain version
        logits = logits.clamp_min(-20)
    compare(terms(regularizer), logits, targets(size))


def test_blocks_and_splits_are_what_they_are_meant_to_be(monkeypatch):
    cpu = torch.device("cpu")
    assert triton_plan.plan(64 * 48, 136, cpu) == (4096, 8, 1, 1)
    assert triton_plan.plan(256 * 192, 544, cpu) == (4096, 8, 12, 1)
    monkeypatch.setattr(triton_plan, "processors", lambda device: 132)
    assert triton_plan.plan(64**3, 17, cpu) == (4096, 8, 2, 32)
    assert triton_plan.plan(1, 1, cpu) == (32, 1, 1, 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype):
    logits, target = maps((9, 7), dtype=dtype), targets((9, 7))
    compare(ops.moments, logits)
    for regularizer in REGULARIZERS:
        compare(terms(regularizer), logits, target)


def test_autocast_keeps_float32():
    logits, target = maps((9, 7)).to(DEVICE), targets((9, 7)).to(DEVICE)
    with kernels.use("triton"):
        without = outcome(terms("js"), logits, target)
        with torch.autocast(DEVICE, torch.bfloat16):
            within = outcome(terms("js"), logits, target)
    assert all(map(torch.equal, without, within))


LAYOUTS = {
    "channels_last": lambda z: z.to(memory_format=torch.channels_last),
    "transposed": lambda z: z.transpose(-1, -2).contiguous().transpose(-1, -2),
    "batch_last": lambda z: z.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "cropped": lambda z: torch.nn.functional.pad(z, (1, 2, 3, 1))[..., 3:-1, 1:-2],
    "expanded": lambda z: z[:1].expand(2, -1, -1, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides(layout):
    logits = LAYOUTS[layout](maps((9, 7), 2, 3))
    assert not logits.is_contiguous()
    compare(ops.moments, logits)
    compare(terms("js"), logits, targets((9, 7), 2, 3))


def test_gradients_that_are_expanded_or_absent():
    logits = maps((9, 7)).to(DEVICE).requires_grad_()
    with kernels.use("triton"):
        mean, covariance = ops.moments(logits)
        (of_mean,) = torch.autograd.grad(mean.sum(), logits, retain_graph=True)
        (of_covariance,) = torch.autograd.grad(covariance[..., 0, 1].sum(), logits)
    with kernels.use("plain"):
        mean, covariance = ops.moments(logits)
        (wanted_mean,) = torch.autograd.grad(mean.sum(), logits, retain_graph=True)
        (wanted_covariance,) = torch.autograd.grad(covariance[..., 0, 1].sum(), logits)
    torch.testing.assert_close(of_mean, wanted_mean, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(of_covariance, wanted_covariance, atol=1e-6, rtol=1e-4)


def test_masses_at_the_extremes():
    logits = maps((9, 7), 2, 5)
    logits[0, 0] = -torch.inf
    logits[0, 1, 2:5] = -torch.inf
    logits[0, 2] *= 1e4
    logits[0, 3] += 1e4
    logits[0, 4, 3, 3] = torch.nan
    logits[1, 0] = -torch.inf
    logits[1, 0, 4, 4] = torch.nan
    target = targets((9, 7), 2, 5)
    *_, grad = compare(ops.moments, logits, tolerance=1e-4)
    assert (grad[0, 0] == 0).all()
    assert grad[0, 4].isnan().all()
    assert grad[1, 0].isnan().all()
    for regularizer in ("none", "variance", "js", "kl"):
        *_, grad = compare(terms(regularizer), logits, target, tolerance=1e-4)
        assert (grad[0, 0] == 0).all()


def test_kl_from_gaussian_at_the_extremes():
    logits = maps((9, 7), 2, 3)
    logits[0, 0] = -torch.inf
    logits[0, 1, 2:5] = -torch.inf
    logits[0, 2] += 1e4
    logits[1, 0, 3, 3] = torch.nan
    target = targets((9, 7), 2, 3)
    with kernels.use("triton"):
        _, found, grad = outcome(terms("kl_from_gaussian"), logits.to(DEVICE), target.to(DEVICE))
    flat = logits.clone()
    flat[0, 0] = 0
    with kernels.use("plain"):
        _, wanted, _ = outcome(terms("kl_from_gaussian"), flat.double(), target.double())
    assert torch.equal(found.isnan(), wanted.isnan())
    assert found[0, 1] == torch.inf
    kept = wanted.isfinite()
    torch.testing.assert_close(found[kept], wanted[kept], rtol=1e-4, atol=1e-4)
    assert (grad[0, 0] == 0).all()
    assert grad[0, 1].isfinite().all()


@pytest.mark.parametrize("regularizer", ["js", "kl", "kl_from_gaussian"])
def test_targets_far_outside(regularizer):
    """Distances of 1e6 maps and more: what remains of the Gaussian is at the border, and stays exact there."""
    target = torch.tensor([[[3.0, -5.0], [1e6, 0.2], [-1e9, 1e9]]])
    logits = maps((9, 7), 1, 3)
    function = terms(regularizer, sigma=0.7)
    with kernels.use("triton"):
        found = outcome(function, logits.to(DEVICE), target.to(DEVICE))
    with kernels.use("plain"):
        wanted = outcome(function, logits.double(), target.double())
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * b.abs().max().item())


@pytest.mark.parametrize("sigma", [0.05, 0.3, 40.0])
def test_narrow_and_wide_gaussians(sigma):
    for regularizer in ("js", "kl", "kl_from_gaussian", "variance"):
        compare(terms(regularizer, sigma=sigma), maps((9, 7)), targets((9, 7)), tolerance=1e-4)


def test_at_the_target_the_distance_has_no_gradient():
    logits = torch.zeros(1, 1, 4, 6, device=DEVICE, requires_grad=True)
    for distance in ("euclidean", "l1"):
        with kernels.use("triton"):
            apart, _ = ops.dsnt_terms(
                logits, torch.zeros(1, 1, 2, device=DEVICE), distance=distance, regularizer="none"
            )
        (grad,) = torch.autograd.grad(apart.sum(), logits)
        assert apart.item() == 0
        assert (grad == 0).all()


def test_variance_of_a_narrow_peak_on_a_large_map():
    """Raw second moments would cancel: this variance is a millionth of the squared coordinate."""
    size = (1, 20000)
    x = torch.arange(size[1]) - 19000.3
    logits = (-0.5 * x**2)[None, None, None]
    _, covariance, _ = compare(ops.moments, logits, tolerance=1e-4)
    torch.testing.assert_close(covariance[0, 0, 0, 0].item() * (size[1] / 2) ** 2, 1.0, rtol=1e-3, atol=0)


@pytest.mark.parametrize("size", [(96, 72), pytest.param((64, 64, 64), marks=pytest.mark.slow)], ids=str)
def test_larger_maps(size):
    logits, target = maps(size, 1, 1), targets(size, 1, 1)
    compare(ops.moments, logits)
    compare(terms("js"), logits, target)
    compare(terms("kl"), logits, target)


def drawn(samples, tau, basis, categorical, beta, seed):
    """The kernel's draws where Triton is in use, else the plain version's of the same noise."""

    def function(logits):
        if kernels.chosen() == "triton":
            number = torch.tensor(seed, device=logits.device)
            return triton.sample_coords(logits, number, samples, tau, basis, categorical, beta)
        noise = noise_of_seed(logits, samples, basis, seed)
        noise = ops.Noise(noise.gumbel.to(logits.device), tuple(o.to(logits.device) for o in noise.offsets))
        return ops.relaxed_samples(logits, noise, tau, categorical=categorical, beta=beta)

    return function


def test_the_noise_is_the_published_generators():
    words = [hex(word) for word in philox((0, 0, 0, 0), (0, 0)).tolist()]
    assert words == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]


@pytest.mark.parametrize("basis", ["uniform", "triangular", "gaussian"])
@pytest.mark.parametrize("size", [(1,), (9, 7), (3, 4, 5)], ids=str)
def test_samples(size, basis):
    compare(drawn(6, 0.7, basis, "paper", 1.3, seed=(123 << 32) + 77), maps(size), tolerance=5e-5)


def test_samples_of_the_reference():
    compare(drawn(5, 0.4, "triangular", "reference", 0.8, seed=5), maps((5, 70), 1, 1), tolerance=5e-5)


@pytest.mark.parametrize("samples", [1, 4, 9])
def test_numbers_of_samples(samples):
    compare(drawn(samples, 0.7, "triangular", "paper", 1.0, seed=0), maps((9, 7)), tolerance=5e-5)


def test_samples_of_any_layout_and_type():
    function = drawn(3, 0.7, "triangular", "paper", 1.0, seed=9)
    for layout in ("channels_last", "expanded"):
        compare(function, LAYOUTS[layout](maps((5, 7), 2, 2)), tolerance=5e-5)
    compare(function, maps((9, 7), dtype=torch.bfloat16), tolerance=5e-5)


def test_samples_at_the_extremes():
    logits = maps((9, 7), 1, 4)
    logits[0, 0] = -torch.inf
    logits[0, 1, 2:5] = -torch.inf
    logits[0, 2] += 1e4
    logits[0, 3, 3, 3] = torch.nan
    *_, grad = compare(drawn(4, 0.5, "triangular", "paper", 1.0, seed=3), logits, tolerance=2e-4)
    assert (grad[0, 0] == 0).all()
    assert grad[0, 3].isnan().all()


def test_samples_of_several_tiles(monkeypatch):
    monkeypatch.setattr(triton_plan, "SAMPLING_TILES", (32,))
    for size in ((7, 13), (2, 5, 6)):
        compare(drawn(5, 0.6, "triangular", "paper", 1.0, seed=11), maps(size, 1, 1), tolerance=5e-5)


@pytest.mark.skipif(DEVICE == "cuda", reason="the interpreter is not in use")
def test_auto_does_not_interpret():
    assert kernels.chosen() == "auto"
    assert kernels.explain("moments", maps((3,)))["triton"] == (
        "Triton's interpreter is slow, and serves only where it is asked for by name"
    )


def test_the_graph_of_a_compiled_model_holds_the_operator():
    """Dynamo's part: inductor would compile for the GPU, which the interpreter cannot."""
    seen = []

    def record(graph, _):
        seen.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    logits, target = maps((9, 7)).to(DEVICE), targets((9, 7)).to(DEVICE)
    with kernels.use("triton"):
        compiled = torch.compile(lambda z, t: ops.dsnt_terms(z, t)[1], backend=record, fullgraph=True)
        found = compiled(logits, target)
        wanted = ops.dsnt_terms(logits, target)[1]
    assert any("heatmap_terms" in target for target in seen)
    assert torch.equal(found, wanted)


@pytest.mark.skipif(DEVICE != "cuda", reason="inductor compiles Triton's kernels for a GPU")
@pytest.mark.slow
def test_compiled_with_inductor():
    function = torch.compile(lambda z, t: terms("js")(z, t))
    compare(function, maps((9, 7)), targets((9, 7)))
