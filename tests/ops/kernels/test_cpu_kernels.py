"""Each kernel against the plain version in float64: values, and gradients of all inputs that have one."""

import ctypes
import itertools
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import forward_ad

from punctum import ops
from punctum.ops import kernels
from punctum.ops.kernels import compiled, library, native

needs_library = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))
BACKENDS = [
    "closed",
    pytest.param("native", marks=needs_library),
]
REGULARIZERS = ("none", "variance", "kl", "js", "kl_from_gaussian")
SIZES = [(1,), (7,), (63,), (1, 1), (7, 7), (48, 64), (72, 96), (64, 48), (5, 6, 7), (3, 1, 20)]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

Found = tuple[Tensor, ...]


def inputs(size: tuple[int, ...], maps: tuple[int, int] = (2, 3), scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(len(size) + sum(size))
    logits = scale * torch.randn(*maps, *size, generator=generator)
    return logits, 1.8 * torch.rand(*maps, len(size), generator=generator) - 0.9


def ups(*shape: int) -> Tensor:
    """Upstream gradients, different ones for each map."""
    return torch.linspace(-1, 2, math.prod(shape)).reshape(shape)


def terms(choice: str, logits: Tensor, target: Tensor, **options: object) -> Found:
    """Both terms, and the gradient of a weighted sum of them."""
    logits = logits.detach().requires_grad_()
    with kernels.use(choice):
        distance, shape = ops.dsnt_terms(logits, target.to(logits.dtype), **options)
    weights = ups(*distance.shape)
    ((weights * distance) + (1 - weights) * shape).sum().backward()
    return distance.detach(), shape.detach(), logits.grad


def moments(choice: str, logits: Tensor, beta: float) -> Found:
    logits = logits.detach().requires_grad_()
    with kernels.use(choice):
        mean, covariance = ops.moments(logits, beta)
        place = ops.soft_argmax(logits, beta)
    ((ups(*mean.shape) * mean).sum() + (ups(*covariance.shape) * covariance).sum()).backward()
    return mean.detach(), covariance.detach(), place.detach(), logits.grad


def agree(found: Found, true: Found, dtype: torch.dtype = torch.float32, share: float = 1.0) -> None:
    """Within rounding of the largest number in sight: what cancels against it can not be more exact."""
    largest = max(
        (wanted[wanted.isfinite()].abs().max().item() for wanted in true if wanted.isfinite().any()), default=0.0
    )
    atol = share * (2e-6 + 1e-5 * largest)
    for got, wanted in zip(found, true, strict=True):
        assert got.dtype in (torch.float32, dtype)
        rtol = 8 * torch.finfo(got.dtype).eps
        torch.testing.assert_close(got.double(), wanted.double(), rtol=rtol, atol=atol, equal_nan=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", SIZES)
def test_terms(backend, size):
    logits, target = inputs(size)
    for number, (regularizer, distance) in enumerate(itertools.product(REGULARIZERS, ("euclidean", "l1"))):
        options = {"regularizer": regularizer, "distance": distance, "sigma": 0.8 + 0.1 * number, "beta": 1.7}
        options["units"] = "pixels" if distance == "l1" else "normalized"
        found = terms(backend, logits, target, **options)
        agree(found, terms("plain", logits.double(), target.double(), **options))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", SIZES)
def test_moments(backend, size):
    logits, _ = inputs(size)
    agree(moments(backend, logits, 0.7), moments("plain", logits.double(), 0.7))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_types(backend, dtype):
    logits, target = inputs((9, 21))
    logits = logits.to(dtype)
    for regularizer in REGULARIZERS:
        found = terms(backend, logits, target.to(dtype).float(), regularizer=regularizer)
        assert found[2].dtype == dtype
        wide = terms("plain", logits.double(), target.to(dtype).double(), regularizer=regularizer)
        agree(found, wide, dtype)
    agree(moments(backend, logits, 1.0), moments("plain", logits.double(), 1.0), dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_bfloat16_and_half_is_read_and_written_as_torch_does(backend):
    words = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.bfloat16, torch.float16):
        values = words.view(dtype)
        values = values[values.isfinite()].reshape(-1, 1, 1, 2)[:, :, :, :1].contiguous()
        pairs = torch.cat([values, torch.zeros_like(values)], -1)
        found = moments(backend, pairs, 1e-3 if dtype == torch.float16 else 1e-37)
        agree(found, moments("plain", pairs.double(), 1e-3 if dtype == torch.float16 else 1e-37), dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layout", ["channels_last", "transposed", "expanded", "sliced"])
def test_strides(backend, layout):
    logits, target = inputs((12, 18))
    if layout == "channels_last":
        strided = logits.to(memory_format=torch.channels_last)
    elif layout == "transposed":
        strided = logits.transpose(2, 3).contiguous().transpose(2, 3)
    elif layout == "expanded":
        strided = logits[:1].expand(2, -1, -1, -1)
    else:
        strided = torch.cat([logits, logits], -1)[..., 5:23]
    leaf = strided.detach().requires_grad_()
    with kernels.use(backend):
        distance, shape = ops.dsnt_terms(leaf, target)
    (distance + shape).sum().backward()
    dense = strided.contiguous().double().requires_grad_()
    with kernels.use("plain"):
        true = ops.dsnt_terms(dense, target.double())
    (true[0] + true[1]).sum().backward()
    agree((distance.detach(), shape.detach(), leaf.grad), (true[0].detach(), true[1].detach(), dense.grad))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_logits_farther_apart_than_float32_reaches(backend, regularizer):
    logits, target = torch.tensor([[[3e38, -torch.inf, 0.0, -3e38]]]), torch.tensor([[[-0.5]]])
    found, true = (terms(choice, logits, target, regularizer=regularizer) for choice in (backend, "plain"))
    torch.testing.assert_close(found, true)


def extremes() -> dict[str, Tensor]:
    """Maps (1, 1, 5, 19) that arithmetic may trip over."""
    plain, _ = inputs((5, 19), (1, 1))
    holes, spike = plain.clone(), torch.full_like(plain, -torch.inf)
    holes[..., 1:4, 3:17] = -torch.inf
    spike[..., 2, 11] = 3.0
    return {
        "empty": torch.full_like(plain, -torch.inf),
        "holes": holes,
        "spike": spike,
        "huge": 1e4 * plain,
        "huge offset": plain + 1e4,
        "beyond differences": plain + 1e30,
        "tiny": 1e-40 * plain,
        "flat": torch.zeros_like(plain),
    }


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", extremes())
@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_extremes(backend, name, regularizer):
    logits = extremes()[name]
    for place in (0.1, 5.0, 1e4):
        target = torch.full((1, 1, 2), place)
        found = terms(backend, logits, target, regularizer=regularizer)
        # In float32, both times: what a far truth asks for is as much as float32 can say.
        agree(found, terms("plain", logits, target, regularizer=regularizer), share=10.0)
    if name == "empty":
        assert (found[2] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", extremes())
def test_extreme_moments(backend, name):
    logits = extremes()[name]
    agree(moments(backend, logits, 1.0), moments("plain", logits.double(), 1.0), share=4.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_stays_in_its_map(backend, value):
    logits, target = inputs((6, 21))
    logits[0, 1, 3, 20] = value
    for regularizer in REGULARIZERS[1:]:
        distance, shape, gradient = terms(backend, logits, target, regularizer=regularizer)
        for result in (distance, shape, gradient.sum((-1, -2))):
            assert result[0, 1].isnan()
            assert result.isnan().sum() == 1
    mean, covariance, _, gradient = moments(backend, logits, 1.0)
    assert mean.isnan().all(-1).sum() == covariance.isnan().all(-1).all(-1).sum() == 1
    assert gradient.isnan().all(-1).all(-1).sum() == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_beside_nothing_is_no_empty_map(backend):
    logits = torch.full((1, 1, 3, 5), -torch.inf)
    logits[..., 1, 1] = torch.nan
    with kernels.use(backend):
        assert ops.soft_argmax(logits).isnan().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_distance_zero_has_no_gradient(backend):
    logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
    for distance in ("euclidean", "l1"):
        with kernels.use(backend):
            ops.dsnt_terms(logits, torch.zeros(1, 1, 2), distance=distance)[0].sum().backward()
        assert (logits.grad == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_masked_maps_have_no_gradient(backend):
    logits, target = inputs((8, 20))
    logits.requires_grad_()
    mask = torch.tensor([[True, False, True], [False, False, True]])
    with kernels.use(backend):
        losses = ops.dsnt_losses(logits, target)
    ops.average_loss(losses, mask).backward()
    touched = (logits.grad != 0).flatten(2).any(-1)
    assert (touched == mask).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_what_is_used_needs_a_gradient(backend):
    logits, target = inputs((8, 20))
    for which in (0, 1):
        grads = []
        for choice, maps in ((backend, logits), ("plain", logits.double())):
            leaf = maps.detach().requires_grad_()
            with kernels.use(choice):
                ops.dsnt_terms(leaf, target.to(maps.dtype))[which].sum().backward()
                ops.moments(leaf)[which].sum().backward()
            grads.append(leaf.grad)
        agree((grads[0],), (grads[1],))


@pytest.mark.parametrize("backend", BACKENDS)
def test_narrow_peaks_keep_their_spread(backend):
    """A spread of half a cell in a large map's corner: its second moment about the middle is 10^5 times as much."""
    mean = torch.full((1, 1, 2), 0.9, dtype=torch.float64)
    logits = ops.log_gaussian(mean, 0.5, (256, 200))
    with kernels.use(backend):
        _, covariance = ops.moments(logits.float())
    with kernels.use("plain"):
        _, true = ops.moments(logits)
    torch.testing.assert_close(
        covariance.double().diagonal(dim1=-2, dim2=-1), true.diagonal(dim1=-2, dim2=-1), rtol=2e-5, atol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_volumes(backend):
    logits, target = inputs((64, 64, 64), (1, 1))
    wide, towards = logits.double(), target.double()
    # 262,144 numbers summed in float32: a processor with vectors of eight was seen to be off by 2.6 of these bounds.
    agree(moments(backend, logits, 1.0), moments("plain", wide, 1.0), share=3.0)
    for regularizer in REGULARIZERS:
        options = {"regularizer": regularizer, "sigma": 2.0}
        agree(terms(backend, logits, target, **options), terms("plain", wide, towards, **options), share=3.0)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=25, deadline=None)
@given(size=st.lists(st.integers(1, 34), min_size=1, max_size=3), regularizer=st.sampled_from(REGULARIZERS))
def test_any_shape(backend, size, regularizer):
    logits, target = inputs(tuple(size), (1, 2))
    options = {"regularizer": regularizer, "sigma": 1.5}
    agree(terms(backend, logits, target, **options), terms("plain", logits.double(), target.double(), **options))
    agree(moments(backend, logits, 1.0), moments("plain", logits.double(), 1.0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast_changes_nothing(backend):
    logits, target = inputs((9, 17))
    with kernels.use(backend), torch.autocast("cpu", dtype=torch.bfloat16):
        found = ops.dsnt_terms(logits, target)
    with kernels.use(backend):
        wanted = ops.dsnt_terms(logits, target)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("backend", BACKENDS)
def test_second_derivatives_say_what_to_do(backend):
    logits, target = inputs((4, 5))
    logits.requires_grad_()
    for function in (lambda: ops.dsnt_losses(logits, target), lambda: ops.moments(logits)[1]):
        with kernels.use(backend):
            (gradient,) = torch.autograd.grad(function().sum(), logits, create_graph=True)
        with pytest.raises(RuntimeError, match="plain"):
            gradient.square().sum().backward()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_it_cannot_serve_is_refused(backend):
    logits = torch.zeros(1, 1, 4, 4)
    with kernels.use(backend):
        with pytest.raises(ValueError, match="float64"):
            ops.soft_argmax(logits.double())
        with pytest.raises(ValueError, match="beta is not positive"):
            ops.soft_argmax(logits, beta=-1.0)
        with pytest.raises(ValueError, match="other tensors"):
            ops.dsnt_terms(logits, torch.zeros(1, 1, 2, requires_grad=True))
        with pytest.raises(ValueError, match="nothing to compute"):
            ops.soft_argmax(torch.zeros(0, 1, 4, 4))
    with kernels.use("auto"):
        assert ops.soft_argmax(logits.double()).dtype == torch.float64
        assert ops.soft_argmax(logits, beta=-1.0).dtype == torch.float32


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own, while it traces an autograd.Function
def test_compiles_without_a_break(backend):
    logits, target = inputs((6, 10))

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return (
            ops.dsnt_losses(logits, target) + ops.moments(logits)[1].sum((-1, -2)) + ops.soft_argmax(logits).sum(-1)
        )

    torch._dynamo.reset()
    with kernels.use(backend):
        whole = torch.compile(loss, fullgraph=True, backend="aot_eager")
        leaves = [logits.clone().requires_grad_() for _ in range(2)]
        for function, leaf in zip((loss, whole), leaves, strict=True):
            function(leaf, target).sum().backward()
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # of torch's own
def test_torch_func_and_forward_derivatives_take_plain_operations():
    logits, target = inputs((4, 5))
    along = torch.ones_like(logits).cumsum(-1)

    def all_of_them() -> list[Tensor]:
        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(ops.soft_argmax(forward_ad.make_dual(logits, along))).tangent
        return [
            dual,
            torch.func.jvp(lambda z: ops.moments(z)[1], (logits,), (along,))[1],
            torch.func.grad(lambda z: ops.dsnt_losses(z, target).sum())(logits),
            torch.func.vmap(ops.dsnt_losses)(logits[None], target[None]),
        ]

    found = all_of_them()
    with kernels.use("plain"):
        true = all_of_them()
    torch.testing.assert_close(found, true)


def test_an_option_with_a_gradient_keeps_it():
    logits, _ = inputs((4, 5))
    beta = torch.tensor(0.7, requires_grad=True)
    (slope,) = torch.autograd.grad(ops.soft_argmax(logits, beta).square().sum(), beta)
    assert slope != 0
    assert "option is a tensor" in str(kernels.refusal("closed", "soft_argmax", logits, beta=beta))


def test_tracing_takes_plain_operations():
    class Decoder(torch.nn.Module):
        def forward(self, logits: Tensor) -> tuple[Tensor, ...]:
            return ops.soft_argmax(logits), *ops.moments(logits)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace is deprecated, and TorchScript's ONNX exporter uses it
        graph = str(torch.jit.trace(Decoder(), torch.zeros(1, 2, 5, 5)).inlined_graph)
    assert "punctum::" not in graph
    assert "PythonOp" not in graph


def test_export_takes_plain_operations():
    class Decoder(torch.nn.Module):
        def forward(self, logits: Tensor) -> Tensor:
            return ops.soft_argmax(logits)

    program = torch.export.export(Decoder(), (torch.zeros(1, 2, 5, 5),))
    assert not any("punctum" in str(node.target) for node in program.graph.nodes)


@needs_library
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("own", [False, True])
def test_any_number_of_threads_gives_the_same(threads, own, monkeypatch):
    loaded, _ = library._loaded()
    logits, target = inputs((16, 20), (8, 13))
    wanted = terms("native", logits, target)
    monkeypatch.setattr(native, "GRAIN", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    loaded.punctum_use_own_threads(ctypes.c_int64(own))
    try:
        found = terms("native", logits, target)
    finally:
        loaded.punctum_use_own_threads(ctypes.c_int64(0))
    for got, true in zip(found, wanted, strict=True):
        assert torch.equal(got, true)


@needs_library
@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set(level, dtype):
    loaded, _ = library._loaded()
    logits, target = inputs((5, 6, 37))
    logits, target = logits.to(dtype), target.to(dtype).float()
    try:
        if loaded.punctum_use_level(ctypes.c_int64(level)) != level:
            pytest.skip("this machine lacks the instruction set")
        for regularizer in REGULARIZERS:
            found = terms("native", logits, target, regularizer=regularizer)
            agree(found, terms("plain", logits.double(), target.double(), regularizer=regularizer), dtype)
        agree(moments("native", logits, 1.0), moments("plain", logits.double(), 1.0), dtype)
    finally:
        loaded.punctum_use_level(ctypes.c_int64(2))


@needs_library
def test_custom_operations_are_registered_as_torch_wants_them():
    logits, target = inputs((3, 4))
    logits.requires_grad_()
    for options in (("euclidean", "js", 1.0, 1.0, "normalized"), ("l1", "variance", 1.0, 2.0, "pixels")):
        torch.library.opcheck(native._dsnt_terms.overload, (logits, target, *options))
    for spread in (True, False):
        torch.library.opcheck(native._moments.overload, (logits, 1.0, spread))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own, while it compiles
@pytest.mark.skipif(compiled.unavailable() is not None, reason=str(compiled.unavailable()))
@pytest.mark.parametrize("regularizer", ["js", "variance"])
def test_compiled(regularizer):
    logits, target = inputs((7, 18))
    options = {"regularizer": regularizer}
    found = terms("compiled", logits, target, **options)
    agree(found, terms("plain", logits.double(), target.double(), **options))
    agree(moments("compiled", logits, 1.0), moments("plain", logits.double(), 1.0))
