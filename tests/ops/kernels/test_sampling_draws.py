"""Draws whose noise is made where it is used, against the plain version: noise of the same seed, and autograd."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats

from processes import environment
from punctum import ops
from punctum.ops import kernels

SIZES = [(1,), (7,), (63,), (64, 48), (5, 17), (1, 3), (5, 6, 7), (3, 2, 33)]
BACKENDS = [
    "closed",
    pytest.param(
        "native",
        marks=pytest.mark.skipif(
            kernels.native.unavailable() is not None, reason=f"native: {kernels.native.unavailable()}"
        ),
    ),
]
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def random_logits(size, batch=2, keypoints=3, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(batch, keypoints, *size, generator=generator)).to(dtype)


def drawn(backend, logits, num_samples=6, tau=0.5, basis="triangular", seed=3, **options):
    """Draws, and the gradient of a nonlinear function of them."""
    logits = logits.clone().requires_grad_()
    with kernels.use(backend):
        generator = torch.Generator().manual_seed(seed)
        draws = ops.sample_coords(logits, num_samples, tau, basis, generator=generator, **options)
    (gradient,) = torch.autograd.grad((draws * draws.detach().roll(1, -1).cos()).sum(), logits)
    return draws.detach(), gradient


def agree(backend, logits, tolerance=2e-6, **options):
    """The kernel and the plain version in float64; in the colder draws, rounded exponents are multiplied."""
    draws, gradient = drawn(backend, logits, **options)
    expected, slope = drawn("plain", logits.double(), **options)
    assert draws.dtype == torch.float32
    assert gradient.dtype == logits.dtype
    assert gradient.shape == logits.shape
    torch.testing.assert_close(draws.double(), expected, rtol=0, atol=tolerance)
    relative = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}[logits.dtype]
    torch.testing.assert_close(gradient.double(), slope, rtol=relative, atol=10 * tolerance)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("tau", [2.0, 1.0, 0.5, 0.25, 0.1])
@each_backend
def test_draws_and_gradients_are_the_plain_versions(backend, tau, size):
    agree(backend, random_logits(size), tau=tau, tolerance=2e-6 / min(tau, 1))


@pytest.mark.parametrize("basis", ["uniform", "triangular", "gaussian"])
@pytest.mark.parametrize("categorical", ["paper", "reference"])
@pytest.mark.parametrize("tau", [2.0, 0.5, 0.1])
@each_backend
def test_every_basis_and_categorical(backend, tau, categorical, basis):
    options = {"categorical": categorical, "basis": basis, "beta": 0.7}
    agree(backend, random_logits((9, 20)), tau=tau, tolerance=3e-6 / min(tau, 1), **options)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 11])
@each_backend
def test_every_number_of_samples(backend, count):
    for tau in (0.5, 0.1):
        agree(backend, random_logits((4, 19)), num_samples=count, tau=tau, tolerance=2e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@each_backend
def test_half_precision_and_any_stride(backend, dtype):
    logits = random_logits((20, 3, 2), dtype=dtype).movedim(-1, 0).movedim(-1, 1)  # (2, 3, 2, 3, 20)
    assert not logits.is_contiguous()
    for tau in (0.5, 0.1):
        agree(backend, logits, tau=tau, tolerance=2e-5)


@pytest.mark.parametrize("tau", [2.0, 0.5, 0.05])
@pytest.mark.parametrize("categorical", ["paper", "reference"])
@each_backend
def test_extremes_are_the_plain_versions(backend, categorical, tau):
    logits = torch.zeros(6, 1, 5, 19)
    logits[0] = -torch.inf  # counts as flat, without a gradient
    logits[1, 0, 1:] = -torch.inf
    logits[1, 0, 0, :17] = -torch.inf
    logits[2, 0, 0, 0] = 1e30
    logits[3] = -3e38
    logits[4, 0, 2, 2] = 1e4
    logits[5, 0, 4, 18] = 60.0
    draws, gradient = drawn(backend, logits, tau=tau, categorical=categorical)
    expected, slope = drawn("plain", logits, tau=tau, categorical=categorical)
    torch.testing.assert_close(draws, expected, rtol=0, atol=5e-5)
    torch.testing.assert_close(gradient, slope, rtol=0, atol=5e-4)
    assert gradient[0].abs().max() == 0
    assert (gradient[1, 0, 1:] == 0).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("tau", [0.5, 0.1])
@each_backend
def test_nan_stays_in_its_map(backend, tau, bad):
    logits = random_logits((3, 18))
    logits[1, 1, 2, 17] = bad
    draws, gradient = drawn(backend, logits, tau=tau)
    assert draws[1, 1].isnan().all()
    assert gradient[1, 1].isnan().all()
    draws[1, 1], gradient[1, 1] = 0, 0
    assert draws.isfinite().all()
    assert gradient.isfinite().all()


@each_backend
def test_a_large_volume_loses_nothing(backend):
    agree(backend, random_logits((64, 64, 64), 1, 1), num_samples=2, tau=0.5, tolerance=1e-5)


@each_backend
def test_the_same_seed_gives_the_same_draws_and_another_one_others(backend):
    logits = random_logits((8, 8))
    first, again, other = (drawn(backend, logits, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert (first - other).abs().min() > 0


@each_backend
def test_draws_of_samples_and_maps_are_independent(backend):
    draws, _ = drawn(backend, torch.zeros(1, 4000, 6, 6), num_samples=6, tau=0.1)
    flat = draws[0].flatten(1).T.numpy()  # 12 variables, 4000 maps
    correlations = np.corrcoef(np.concatenate([flat, np.roll(flat, 1, axis=1)]))[np.triu_indices(24, 1)]
    assert np.abs(correlations).max() < 4.5 / 4000**0.5


@pytest.mark.parametrize("basis", ["uniform", "triangular", "gaussian"])
@each_backend
def test_cold_draws_have_the_mixtures_moments(backend, basis):
    logits, count = random_logits((5, 6), 1, 1, seed=5), 20_000
    mean, covariance = (m[0, 0].double().numpy() for m in ops.mixture_moments(logits, basis))
    draws = drawn(backend, logits, num_samples=count, tau=1e-3, basis=basis)[0][0, 0].double().numpy()
    assert (np.abs(draws.mean(0) - mean) < 4.5 * draws.std(0) / count**0.5).all()
    products = (draws - mean)[:, :, None] * (draws - mean)[:, None, :]
    assert (np.abs(products.mean(0) - covariance) < 4.5 * products.std(0) / count**0.5).all()


@each_backend
def test_one_cell_shows_the_offsets_themselves(backend):
    draws, _ = drawn(backend, torch.zeros(1, 50, 1), num_samples=200, basis="uniform")
    assert stats.kstest(draws.flatten().numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3


@each_backend
def test_what_waits_for_the_backward_pass_is_the_logits_and_the_draws(backend):
    logits = random_logits((32, 32)).requires_grad_()
    for count in (1, 40):
        kept = {}
        keep = torch.autograd.graph.saved_tensors_hooks(
            lambda t, kept=kept: kept.setdefault(t.data_ptr(), t), lambda t: t
        )
        with keep, kernels.use(backend):
            draws = ops.sample_coords(logits, count, 0.5)
        kept.pop(logits.data_ptr(), None)
        assert sum(t.numel() for t in kept.values()) <= draws.numel() + draws.numel() // 2 + 1


PEAK = """
import pathlib, re, sys, torch
from punctum import ops
from punctum.ops import kernels
torch.set_num_threads(1)
logits = torch.zeros(4, 8, 64, 64, requires_grad=True)
def peak(backend, count):
    with kernels.use(backend):
        ops.sample_coords(logits, count, 0.5).sum().backward()
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024
for backend in sys.argv[1:]:
    few = peak(backend, 1)
    print(peak(backend, 60) - few)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_number_of_samples():
    """60 samples of these maps are 30 MiB of noise, and as much of weights."""
    backends = [name for name in ("native", "closed") if getattr(kernels, name).unavailable() is None]
    command = [sys.executable, "-c", PEAK, *backends, "plain"]
    # glibc keeps or returns freed blocks as it sees fit, 10 MiB now and none then: here it returns them all.
    returned = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=environment() | returned, check=True, capture_output=True, text=True)
    *grown, plain = map(float, done.stdout.split())
    assert max(grown) < 8
    assert plain > 60


def test_without_a_library_little_noise_is_kept(monkeypatch):
    monkeypatch.setattr(kernels.library, "_loaded", lambda: (None, "not built"))
    options = {"tau": 0.5, "basis": "uniform", "categorical": "paper", "beta": 1.0}
    logits = torch.zeros(1).expand(8, 16, 64, 64)
    assert kernels.best("sample_coords", logits, num_samples=4, **options) == "plain"
    assert kernels.best("sample_coords", logits, num_samples=40, **options) == "closed"
    assert kernels.refusal("closed", "sample_coords", logits, num_samples=4, **options) is None


@each_backend
def test_the_gradient_by_sign_and_double_precision_are_refused(backend):
    with kernels.use(backend):
        with pytest.raises(ValueError, match="it has no gradient='sign'"):
            ops.sample_coords(torch.zeros(1, 1, 4), 2, 0.5, gradient="sign")
        with pytest.raises(ValueError, match="float32, and the logits are float64"):
            ops.sample_coords(torch.zeros(1, 1, 4).double(), 2, 0.5)
    assert ops.sample_coords(torch.zeros(1, 1, 4), 2, 0.5, gradient="sign").shape == (1, 1, 2, 1)


def test_the_native_operator_is_well_formed():
    if kernels.native.unavailable() is not None:
        pytest.skip(str(kernels.native.unavailable()))
    logits = random_logits((4, 5)).requires_grad_()
    arguments = (logits, torch.tensor(5), 3, 0.5, "triangular", "paper", 1.0)
    torch.library.opcheck(torch.ops.punctum.sample_coords.default, arguments)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_instruction_set_draws_the_same(level):
    loaded, reason = kernels.library._loaded()
    if loaded is None:
        pytest.skip(str(reason))
    try:
        if loaded.punctum_use_level(ctypes.c_int64(level)) != level:
            pytest.skip("this machine lacks the instruction set")
        for tau, basis in ((2.0, "gaussian"), (1.0, "triangular"), (0.5, "uniform"), (0.1, "gaussian")):
            agree("native", random_logits((3, 5, 21)), tau=tau, basis=basis, tolerance=2e-5)
    finally:
        loaded.punctum_use_level(ctypes.c_int64(2))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_the_maps(threads):
    if kernels.native.unavailable() is not None:
        pytest.skip(str(kernels.native.unavailable()))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        agree("native", random_logits((64, 64), 1, 5), num_samples=7)
    finally:
        torch.set_num_threads(before)


@each_backend
def test_there_is_no_second_derivative_and_it_says_so(backend):
    logits = random_logits((4, 5)).requires_grad_()
    with kernels.use(backend):
        draws = ops.sample_coords(logits, 3, 0.5)
    (gradient,) = torch.autograd.grad(draws.square().sum(), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="kernels have no second derivatives"):
        torch.autograd.grad(gradient.sum(), logits)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile's own
@each_backend
def test_it_is_one_graph_for_torch_compile(backend):
    logits = random_logits((7,))
    compiled = torch.compile(lambda z: ops.sample_coords(z, 6, 0.5, "uniform"), backend="eager", fullgraph=True)
    found = []
    for function in (compiled, lambda z: ops.sample_coords(z, 6, 0.5, "uniform")):
        z = logits.clone().requires_grad_()
        torch.manual_seed(4)
        with kernels.use(backend):
            draws = function(z)
            draws.square().sum().backward()
        found.append((draws.detach(), z.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
