"""`punctum.compat.dsntnn` against values of dsntnn itself, values worked by hand, and the faults it must not have."""

import inspect
import math

import pytest
import torch
from torch import Tensor

from punctum import ops
from punctum.compat import dsntnn

# Computed once by dsntnn 0.5.3, the newest version on PyPI:
#
#   z = torch.sin(torch.arange(12, dtype=torch.float64)).reshape(1, 2, 2, 3).requires_grad_()
#   p = dsntnn.flat_softmax(2 * z)
#   t = torch.tensor([[[0.2, -0.4], [-0.7, 0.9]]], dtype=torch.float64)
#   c = dsntnn.dsnt(p)
#   coords, pixels = c, dsntnn.dsnt(p, normalized_coordinates=False)
#   gauss, raw = dsntnn.make_gauss(t, (2, 3), 0.8), dsntnn.make_gauss(t, (2, 3), 0.8, normalize=False)
#   losses = {"euclidean_losses": dsntnn.euclidean_losses(c, t), ...,
#             "kl_reg_losses": dsntnn.kl_reg_losses(p, t, 0.1), "js_reg_losses": dsntnn.js_reg_losses(p, t, 0.8),
#             "variance_reg_losses": dsntnn.variance_reg_losses(p, 0.8)}
#   for each: torch.autograd.grad(dsntnn.average_loss(loss, torch.tensor([[1.0, 0.25]])), z)
#
# sigma 0.1 for KL: its floor of 1e-24 is felt there.
# fmt: off
GOLDEN = {
    "coords": [0.1865479364, -0.3810808108, 0.2108875982, -0.3072394154],
    "pixels": [1.2798219047, 0.1189191892, 1.3163313974, 0.1927605846],
    "gauss": [0.0924703456, 0.3227532194, 0.2361312996, 0.0494958093, 0.1727573493, 0.1263919768,
              0.1347194664, 0.0570438112, 0.0050629261, 0.549739533, 0.232774364, 0.0206598993],
    "raw": [0.2649736214, 0.9248488132, 0.6766338462, 0.1418301591, 0.4950358969, 0.3621759991,
            0.2158431862, 0.0913937554, 0.0081116569, 0.880774958, 0.3729435822, 0.0331006247],
}
GOLDEN_LOSSES = {
    "euclidean_losses": (
        [0.0232140848, 1.5123303947],
        [0.0446703749, 0.006762792, -0.2598214661, 0.1806897998, 0.0204361806, 0.0072623188,
         -0.0060026256, 0.0027992821, 0.0868084429, -0.0749228405, -0.0072799482, -0.0014023108],
    ),
    "l1_losses": (
        [0.0161856264, 1.0590635068],
        [0.0412592403, 0.0204490984, -0.2074485652, 0.1292256628, 0.0132044518, 0.0033101119,
         -0.0054853776, -0.0009447602, 0.0657092019, -0.0538086748, -0.0048041353, -0.0006662541],
    ),
    "mse_losses": (
        [0.0002694469, 1.1435716113],
        [0.0010369819, 0.000156992, -0.0060315176, 0.0041945483, 0.0004744072, 0.0001685881,
         -0.0090779531, 0.0042334394, 0.1312830468, -0.1133080889, -0.0110096869, -0.0021207572],
    ),
    "kl_reg_losses": (
        [17.6251684277, 45.1683133799],
        [3.9310846143, -11.2471333731, 1.064904709, 5.2550598669, 0.4503277944, 0.5457563885,
         0.1101593036, 0.9119703339, 1.9075643787, -3.0023385237, 0.0520385905, 0.020605917],
    ),
    "js_reg_losses": (
        [0.0875214452, 0.3192161636],
        [-0.0142895323, -0.0095338752, 0.0520947582, 0.0118907179, -0.0236670351, -0.0164950334,
         -0.0084292075, 0.0116259077, 0.0416489181, -0.0341804453, -0.0092703919, -0.0013947811],
    ),
    "variance_reg_losses": (
        [0.2989460051, 0.2352277543],
        [-0.0169621339, 0.1194785788, 0.0686853377, -0.1440748486, -0.0152938941, -0.0118330399,
         0.0009703678, 0.0145687519, 0.0247109083, -0.0341563704, -0.0042990014, -0.0017946562],
    ),
}
# fmt: on

SIGMA = {"kl_reg_losses": 0.1, "js_reg_losses": 0.8, "variance_reg_losses": 0.8}
TARGET = torch.tensor([[[0.2, -0.4], [-0.7, 0.9]]], dtype=torch.float64)


def logits() -> Tensor:
    return torch.sin(torch.arange(12, dtype=torch.float64)).reshape(1, 2, 2, 3).requires_grad_()


def losses_of(name: str, heatmaps: Tensor, target: Tensor, sigma: float | None = None) -> Tensor:
    """Any of the six kinds of loss, called as users of dsntnn call it."""
    function = getattr(dsntnn, name)
    sigma = SIGMA.get(name) if sigma is None else sigma
    if name == "variance_reg_losses":
        return function(heatmaps, sigma)
    if name in SIGMA:
        return function(heatmaps, target, sigma)
    return function(dsntnn.dsnt(heatmaps), target)


def assert_golden(found: Tensor, wanted: list[float]) -> None:
    torch.testing.assert_close(
        found.detach().flatten(), torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=2e-10
    )


def test_coordinates_and_gaussians_are_those_of_dsntnn() -> None:
    heatmaps = dsntnn.flat_softmax(2 * logits())
    assert_golden(dsntnn.dsnt(heatmaps), GOLDEN["coords"])
    assert_golden(dsntnn.dsnt(heatmaps, normalized_coordinates=False), GOLDEN["pixels"])
    assert_golden(dsntnn.make_gauss(TARGET, (2, 3), 0.8), GOLDEN["gauss"])
    assert_golden(dsntnn.make_gauss(TARGET, (2, 3), 0.8, normalize=False), GOLDEN["raw"])


@pytest.mark.parametrize("name", GOLDEN_LOSSES)
def test_losses_and_their_gradients_are_those_of_dsntnn(name: str) -> None:
    z, (values, gradient) = logits(), GOLDEN_LOSSES[name]
    losses = losses_of(name, dsntnn.flat_softmax(2 * z), TARGET)
    assert_golden(losses, values)
    mean = dsntnn.average_loss(losses, torch.tensor([[1.0, 0.25]]))
    assert_golden(torch.autograd.grad(mean, z)[0], gradient)


def test_names_and_arguments_are_those_of_dsntnn() -> None:
    wanted = {
        "average_loss": ["losses", "mask"],
        "dsnt": ["heatmaps", "normalized_coordinates"],
        "euclidean_losses": ["actual", "target"],
        "flat_softmax": ["inp"],
        "js_reg_losses": ["heatmaps", "mu_t", "sigma_t"],
        "kl_reg_losses": ["heatmaps", "mu_t", "sigma_t"],
        "l1_losses": ["actual", "target"],
        "linear_expectation": ["probs", "values"],
        "make_gauss": ["means", "size", "sigma", "normalize"],
        "mse_losses": ["actual", "target"],
        "normalized_linspace": ["length", "dtype", "device"],
        "normalized_to_pixel_coordinates": ["coords", "size"],
        "pixel_to_normalized_coordinates": ["coords", "size"],
        "sharpen_heatmaps": ["heatmaps", "alpha"],
        "soft_argmax": ["heatmaps", "normalized_coordinates"],
        "variance_reg_losses": ["heatmaps", "sigma_t"],
    }
    assert {name: list(inspect.signature(getattr(dsntnn, name)).parameters) for name in dsntnn.__all__} == wanted


def test_expectations_come_in_the_order_of_axes_and_coordinates_the_other_way_round() -> None:
    heatmaps = torch.zeros(1, 1, 2, 3, 4)
    heatmaps[0, 0, 1, 2, 0] = 1.0
    index = [torch.arange(n, dtype=torch.float32) for n in (2, 3, 4)]
    assert dsntnn.linear_expectation(heatmaps, index).flatten().tolist() == [1, 2, 0]
    assert dsntnn.soft_argmax(heatmaps, normalized_coordinates=False).flatten().tolist() == [0, 2, 1]
    torch.testing.assert_close(dsntnn.dsnt(heatmaps), torch.tensor([[[-3 / 4, 2 / 3, 1 / 2]]]))


def test_values_may_differ_by_map() -> None:
    heatmaps, values = torch.tensor([[[0.25, 0.75], [0.5, 0.5]]]), torch.tensor([[[0.0, 4.0], [10.0, 20.0]]])
    assert dsntnn.linear_expectation(heatmaps, [values]).flatten().tolist() == [3, 15]


def test_grid_is_that_of_ops_and_half_precision_is_rounded_once() -> None:
    torch.testing.assert_close(dsntnn.normalized_linspace(5), torch.tensor([-0.8, -0.4, 0.0, 0.4, 0.8]))
    assert dsntnn.normalized_linspace(torch.tensor(4), device="cpu").tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert dsntnn.normalized_linspace(3, dtype=torch.float64).dtype == torch.float64
    fine = dsntnn.normalized_linspace(4096, dtype=torch.float16)
    assert torch.equal(fine, dsntnn.normalized_linspace(4096, dtype=torch.float64).half())


def test_means_may_have_any_number_of_leading_axes() -> None:
    means = torch.tensor([[[[0.1, -0.5]], [[0.7, 0.2]]]]).expand(3, 2, 1, 2)
    found = dsntnn.make_gauss(means, (4, 5), sigma=0.9)
    assert found.shape == (3, 2, 1, 4, 5)
    torch.testing.assert_close(found[1, 1, 0], dsntnn.make_gauss(torch.tensor([0.7, 0.2]), (4, 5), sigma=0.9))


@pytest.mark.parametrize("shape", [(1, 1, 6), (2, 3, 4, 5), (5, 2, 2, 2, 2)])
def test_every_map_is_sharpened_by_its_own_sum(shape: tuple[int, ...]) -> None:
    heatmaps = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = dsntnn.sharpen_heatmaps(heatmaps, 6)
    for b in range(shape[0]):
        for k in range(shape[1]):
            torch.testing.assert_close(found[b, k], heatmaps[b, k] ** 6 / (heatmaps[b, k] ** 6).sum())
    tiny = torch.tensor([[[1e-30, 3e-30]]])
    torch.testing.assert_close(dsntnn.sharpen_heatmaps(tiny, 2), torch.tensor([[[0.1, 0.9]]]))
    assert dsntnn.sharpen_heatmaps(torch.zeros(1, 1, 4), 2).tolist() == [[[0.25, 0.25, 0.25, 0.25]]]


@pytest.mark.parametrize(
    ("mask", "wanted"),
    [
        (None, 3.0),
        (torch.tensor([[True, False, True]]), 2.5),
        (torch.tensor([[1, 0, 1]]), 2.5),
        (torch.tensor([[1.0, 0.0, 2.0]]), 3.0),
        (torch.tensor([[0.5, 0.0, 0.0]]), 0.5),  # a sum below one divides as one
        (torch.tensor([[0, 0, 0]]), 0.0),
    ],
)
def test_masks_weigh_and_a_mask_of_nothing_gives_zero(mask: Tensor | None, wanted: float) -> None:
    assert dsntnn.average_loss(torch.tensor([[1.0, 4.0, 4.0]]), mask).item() == wanted


@pytest.mark.parametrize("name", GOLDEN_LOSSES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_masked_targets_touch_neither_mean_nor_gradient(name: str, value: float) -> None:
    mask = torch.tensor([[True, False]])
    found = []
    for spoilt in (value, 0.3):
        z, target = logits(), torch.where(mask[..., None], TARGET, spoilt)
        loss = dsntnn.average_loss(losses_of(name, dsntnn.flat_softmax(2 * z), target), mask)
        found += [loss.detach(), torch.autograd.grad(loss, z)[0]]
    assert found[0].isfinite()
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])


@pytest.mark.parametrize("name", ["euclidean_losses", "kl_reg_losses", "js_reg_losses"])
def test_a_missing_target_without_a_mask_is_not_hidden(name: str) -> None:
    losses = losses_of(name, dsntnn.flat_softmax(logits()), torch.where(TARGET > 0.5, torch.nan, TARGET))
    assert losses.isnan().tolist() == [[False, True]]


@pytest.mark.parametrize("name", GOLDEN_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_heatmaps_have_finite_losses_and_gradients(name: str, dtype: torch.dtype) -> None:
    heatmaps = dsntnn.make_gauss(torch.full((1, 2, 2), -0.8), (32, 32), sigma=1.0).to(dtype).requires_grad_()
    assert (heatmaps == 0).any() or dtype == torch.bfloat16
    losses = losses_of(name, heatmaps, torch.full((1, 2, 2), 0.8, dtype=dtype), sigma=1.0)
    assert losses.dtype == torch.float32
    assert losses.isfinite().all()
    assert torch.autograd.grad(losses.sum(), heatmaps)[0].isfinite().all()


def test_euclidean_distance_of_zero_has_a_gradient_of_zero() -> None:
    coords = torch.zeros(1, 1, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(dsntnn.euclidean_losses(coords, torch.zeros(1, 1, 2)).sum(), coords)
    assert gradient.tolist() == [[[0.0, 0.0]]]


def test_kl_has_the_floor_of_dsntnn_and_without_it_is_that_of_ops() -> None:
    """-log 1e-24 = 55.26 per unit of mass far from the target; the divergence itself is d^2 / 2 + log sqrt(2 pi)."""
    one_hot, mean = torch.zeros(1, 1, 64).index_fill(-1, torch.tensor([0]), 1.0), torch.tensor([[[33 / 64]]])
    assert dsntnn.kl_reg_losses(one_hot, mean, 1.0).item() == pytest.approx(24 * math.log(10), rel=1e-5)
    assert ops.kl_losses(one_hot, mean, 1.0).item() == pytest.approx(48**2 / 2 + math.log(2 * math.pi) / 2, rel=1e-5)
    near, around = dsntnn.make_gauss(torch.zeros(1, 1, 2), (16, 16), 2.0), torch.full((1, 1, 2), 0.1)
    torch.testing.assert_close(dsntnn.kl_reg_losses(near, around, 2.0), ops.kl_losses(near, around, 2.0))


def test_a_gaussian_far_outside_still_sums_to_one() -> None:
    torch.testing.assert_close(dsntnn.make_gauss(torch.tensor([40.0, 0.0]), (8, 8), 1.0).sum(), torch.tensor(1.0))


def test_pixels_and_back() -> None:
    points = torch.tensor([[0, 0], [63, 47]])
    coords = dsntnn.pixel_to_normalized_coordinates(points, size=(48, 64))
    torch.testing.assert_close(coords, torch.tensor([[1 / 64 - 1, 1 / 48 - 1], [1 - 1 / 64, 1 - 1 / 48]]))
    for size in ((48, 64), torch.tensor([48, 64]), torch.Size([48, 64])):
        torch.testing.assert_close(dsntnn.normalized_to_pixel_coordinates(coords, size), points.float())
    assert dsntnn.pixel_to_normalized_coordinates(1, 4) == -0.25
    assert dsntnn.normalized_to_pixel_coordinates(-0.25, 4) == 1.0


def test_bad_input_is_told_in_words() -> None:
    heatmaps = torch.full((1, 2, 3, 4), 1 / 12)
    with pytest.raises(ValueError, match="2 spatial axes, but there are values for 1"):
        dsntnn.linear_expectation(heatmaps, [torch.zeros(3)])
    with pytest.raises(ValueError, match="differ in shape"):
        dsntnn.euclidean_losses(torch.zeros(1, 2, 2), torch.zeros(1, 3, 2))
    with pytest.raises(ValueError, match=r"mask must be of shape \(1, 2\)"):
        dsntnn.average_loss(torch.zeros(1, 2), torch.ones(2))
    for losses in (dsntnn.kl_reg_losses, dsntnn.js_reg_losses):
        with pytest.raises(ValueError, match=r"mu_t must be \(1, 2, 2\)"):
            losses(heatmaps, torch.zeros(1, 2, 3), 1.0)
    with pytest.raises(TypeError, match=r"torch\.as_tensor"):
        dsntnn.pixel_to_normalized_coordinates(torch.zeros(3, 2).numpy(), (4, 4))


def test_it_exports_and_compiles() -> None:
    class Net(torch.nn.Module):
        def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            p = dsntnn.flat_softmax(z)
            coords = dsntnn.dsnt(dsntnn.sharpen_heatmaps(p, 2))
            return coords, dsntnn.js_reg_losses(p, coords, 1.0), dsntnn.kl_reg_losses(p, coords, 1.0)

    z = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    for run in (torch.export.export(Net(), (z,)).module(), torch.compile(Net(), backend="eager", fullgraph=True)):
        for found, wanted in zip(run(z), Net()(z), strict=True):
            torch.testing.assert_close(found, wanted)
