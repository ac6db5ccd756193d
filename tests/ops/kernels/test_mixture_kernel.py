"""The density kernel against the plain version in float64, on every instruction set."""

import ctypes

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import forward_ad

from ops.mixtures import random_mixture, some
from punctum import ops
from punctum.ops import kernels
from punctum.ops.kernels import library, native_mixture

pytestmark = pytest.mark.skipif(library.unavailable() is not None, reason=str(library.unavailable()))


@pytest.fixture(params=(0, 1, 2))
def level(request: pytest.FixtureRequest):
    loaded, _ = library._loaded()
    if loaded.punctum_use_level(ctypes.c_int64(request.param)) != request.param:
        pytest.skip("this machine lacks the instruction set")
    yield
    loaded.punctum_use_level(ctypes.c_int64(2))


def pair(mixture: ops.GaussianMixture, points: Tensor) -> tuple[Tensor, Tensor]:
    """The kernel's, and the plain version's in float64 of the same numbers."""
    single, places = mixture.map(torch.Tensor.float), points.float()
    assert native_mixture.serves(single.log_weights, single.means, single.covariances, places)
    return single.log_prob(places).double(), single.map(torch.Tensor.double).log_prob(places.double())


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "groups", [{"a": 1}, {"a": 15, "b": 1}, {"a": 1, "b": 2, "c": 30}, {"a": 147, "b": 1, "c": 1}]
)
def test_it_is_the_plain_density(dims: int, groups: dict[str, int]) -> None:
    found, wanted = pair(random_mixture(dims, groups), 2 * some(1, 2, 3, 5, dims))
    torch.testing.assert_close(found, wanted, rtol=2e-5, atol=2e-5)


@settings(max_examples=30, deadline=None)
@given(
    dims=st.integers(1, 3),
    lead=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    n=st.integers(1, 40),
    far=st.sampled_from([1.0, 30.0, 1000.0]),
)
def test_for_all_shapes_and_distances(dims: int, lead: tuple[int, int], n: int, far: float) -> None:
    found, wanted = pair(random_mixture(dims, lead=lead), far * some(2, *lead, n, dims))
    torch.testing.assert_close(found, wanted, rtol=5e-5, atol=2e-5)


def test_no_weight_and_no_number_and_much_too_far() -> None:
    mixture = random_mixture(2, {"a": 3, "b": 2}).map(torch.Tensor.float)
    weights = mixture.log_weights.index_fill(-1, torch.tensor([0, 4]), -torch.inf).log_softmax(-1)
    mixture = ops.GaussianMixture(weights, mixture.means, mixture.covariances, mixture.groups)
    points = torch.stack([torch.zeros(2, 3, 2), torch.full((2, 3, 2), torch.nan), torch.full((2, 3, 2), 1e18)], 2)
    found = mixture.log_prob(points)
    with kernels.use("plain"):
        torch.testing.assert_close(found, mixture.log_prob(points), equal_nan=True)
    assert found[..., 0].isfinite().all()
    assert found[..., 1].isnan().all()
    assert (found[..., 2] < -1e35).all()


def test_strided_memory_is_read_as_it_lies() -> None:
    mixture, points = random_mixture(2, lead=(4, 5)).map(torch.Tensor.float), some(3, 4, 5, 6, 2).float()
    turned = mixture.map(lambda x: x.transpose(0, 1).contiguous().transpose(0, 1))
    apart = points.movedim(-1, 0).contiguous().movedim(0, -1)
    torch.testing.assert_close(turned.log_prob(apart), mixture.log_prob(points), rtol=0, atol=0)


def test_threads_change_nothing() -> None:
    mixture, points = random_mixture(2, {"a": 100}, (20, 30)).map(torch.Tensor.float), some(4, 20, 30, 60, 2).float()
    before, found = torch.get_num_threads(), []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        found.append(mixture.log_prob(points))
    torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own
def test_it_leaves_alone_what_it_has_no_answer_for() -> None:
    single, points = random_mixture(2).map(torch.Tensor.float), torch.zeros(2, 3, 1, 2)
    tensors = (single.log_weights, single.means, single.covariances)
    assert native_mixture.serves(*tensors, points)
    assert not native_mixture.serves(*tensors, points.double())
    assert not native_mixture.serves(*tensors, points[:0])
    assert not native_mixture.serves(*tensors, points.to("meta"))
    assert not native_mixture.serves(*tensors, points.clone().requires_grad_())
    with torch.no_grad():
        assert native_mixture.serves(*tensors, points.clone().requires_grad_())
    with kernels.use("plain"):
        assert not native_mixture.serves(*tensors, points)
    with forward_ad.dual_level():
        assert not native_mixture.serves(*tensors, forward_ad.make_dual(points, torch.ones_like(points)))
    of_one = torch.func.vmap(lambda y: single.log_prob(y))(torch.zeros(5, 2, 3, 2))
    torch.testing.assert_close(of_one[2], single.log_prob(points[:, :, 0]))
