"""Folded models against the unfolded ones, layer pairs against the formula, and pairs that must be left alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from punctum.fuse import batch_norms, fold_batch_norms
from punctum.model import KeypointModel, ModelConfig
from punctum.schema import Schema

# Backbone, size of the picture, and how many of how many normalizations stand behind a convolution.
NETWORKS: list[tuple[dict[str, Any], tuple[int, ...], int]] = [
    ({"name": "resnet18", "width": 0.125, "output_stride": 8}, (40, 56), 20),
    ({"name": "resnet50", "width": 0.0625, "output_stride": 16}, (64, 64), 53),
    ({"name": "resnet18", "width": 0.125, "neck": "deconv"}, (64, 64), 23),
    # Of a residual module's three, the first stands behind a sum. 17 modules, and the two of stem and stage.
    ({"name": "hourglass", "stacks": 1, "width": 0.0625}, (64, 64), 2 * 17 + 2),
    ({"name": "hourglass", "stacks": 2, "width": 0.0625}, (64, 64), 2 * (3 + 2 * 14) + 3),
    ({"name": "columns", "width": 0.25, "depth": 2}, (32, 24), 8),
]


def used(backbone: dict[str, Any], size: tuple[int, ...]) -> KeypointModel:
    """A model whose normalizations have seen something: none is the identity."""
    model = KeypointModel(ModelConfig(Schema(("a", "b")), size, backbone, {"name": "dsnt"}))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
            ):
                assert tensor is not None
                tensor.uniform_(low, high)
    return model.eval()


@pytest.mark.parametrize(("backbone", "size", "folded"), NETWORKS, ids=lambda v: str(v)[:60])
@torch.no_grad()
def test_a_fused_model_predicts_the_same(backbone: dict[str, Any], size: tuple[int, ...], folded: int) -> None:
    model = used(backbone, size)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fused = model.fuse()
    images = torch.rand(2, 3, *size)
    for ours, theirs in zip(fused(images), model(images), strict=True):
        assert (ours - theirs).abs().max() < 2e-5 * theirs.abs().max()
    assert torch.allclose(fused.decode(fused(images)).coords, model.decode(model(images)).coords, atol=1e-5)
    assert len(fused.folded) == folded
    assert batch_norms(fused) == batch_norms(model) - folded
    assert not model.folded
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_float64_agrees_to_its_own_precision() -> None:
    model = used({"name": "resnet18", "width": 0.125}, (32, 32)).double()
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    assert torch.allclose(model.fuse()(images)[0], model(images)[0], rtol=1e-12, atol=1e-13)


def test_a_network_without_batch_norm_is_left_as_it_is() -> None:
    model = KeypointModel(
        ModelConfig(Schema(("a",)), (16, 16, 16), {"name": "resnet3d", "width": 0.125}, {"name": "dsnt"})
    )
    assert model.eval().fuse().folded == ()


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv1d(4, 6, 3, padding=1),
        nn.Conv2d(4, 6, 3, groups=2, bias=False),
        nn.Conv3d(4, 6, 2, stride=2),
        nn.ConvTranspose1d(4, 6, 4, stride=2),
        nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1, bias=False),
        nn.ConvTranspose3d(4, 6, 2),
    ],
)
@torch.no_grad()
def test_a_pair_is_the_formula(convolution: nn.Module) -> None:
    dims = convolution.weight.ndim - 2
    kind = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
    model = nn.Sequential(convolution, kind(6))
    x = torch.randn(3, 4, *[7] * dims)
    model(x)  # In training mode: the statistics move.
    model.eval()
    norm = model[1]
    shape = (1, -1, *[1] * dims)
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).reshape(shape)
    expected = (convolution(x) - norm.running_mean.reshape(shape)) * scale + norm.bias.reshape(shape)
    assert fold_batch_norms(model, lambda: model(x)) == ("1",)
    assert isinstance(model[1], nn.Identity)
    assert torch.allclose(model(x), expected, atol=1e-6)


class Parts(nn.Module):
    """A convolution and a normalization, put together in a way that forbids folding."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.conv, self.norm = how, nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        y = self.conv(x)
        if self.how == "also added":
            return self.norm(y) + y
        if self.how == "also in a list":
            return torch.cat([self.norm(y), y])
        if self.how == "also returned":
            return [self.norm(y), y]
        if self.how == "relu between":
            return self.norm(y.relu())
        if self.how == "convolution twice":
            return self.norm(y) + self.conv(x + 1)
        return self.norm(y) + self.norm(x)


@pytest.mark.parametrize(
    "how",
    ["also added", "also in a list", "also returned", "relu between", "convolution twice", "normalization twice"],
)
def test_what_cannot_be_folded_is_left(how: str) -> None:
    model = Parts(how).eval()
    assert fold_batch_norms(model, lambda: model(torch.zeros(1, 3, 2, 2))) == ()
    assert batch_norms(model) == 1


def test_without_running_statistics_and_in_groups_nothing_is_folded() -> None:
    x = torch.zeros(1, 4, 3, 3)
    batch = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    groups = nn.Sequential(nn.ConvTranspose2d(4, 4, 1, groups=2), nn.BatchNorm2d(4)).eval()
    for model in (batch, groups):
        assert fold_batch_norms(model, lambda model=model: model(x)) == ()


def test_a_fused_model_only_predicts(tmp_path: Any) -> None:
    model = used({"name": "resnet18", "width": 0.125}, (32, 32))
    with pytest.raises(ValueError, match="training mode"):
        model.train().fuse()
    fused = model.eval().fuse()
    assert fused.eval() is fused
    assert fused.fuse().folded == fused.folded
    with pytest.raises(ValueError, match="train the one it was made from"):
        fused.train()
    with pytest.raises(ValueError, match="save the one it was made from"):
        fused.save(tmp_path)
