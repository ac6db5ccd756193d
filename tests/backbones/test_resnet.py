"""ResNets: the published sizes and names, and that dilation keeps the function."""

import pytest
import torch
from torch import nn

from punctum import backbones
from punctum.backbones import Backbone
from punctum.backbones.deconv import DeconvNeck
from punctum.heads import Target
from punctum.model import KeypointModel, ModelConfig
from punctum.schema import Schema

# Of the published classifiers, without their last layer: parameters, and entries of the state dict.
PUBLISHED = {
    "resnet18": (11_176_512, 120, 512),
    "resnet34": (21_284_672, 216, 512),
    "resnet50": (23_508_032, 318, 2048),
    "resnet101": (42_500_160, 624, 2048),
}


def small(name: str = "resnet18", **options: object) -> Backbone:
    return backbones.build(name, width=0.0625, **options).eval()


def shaken(backbone: Backbone) -> Backbone:
    """With batch statistics as after training: not zero and one."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias, std=0.1)
    return backbone.eval()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_size_and_names(name: str) -> None:
    backbone = backbones.build(name)
    parameters, entries, channels = PUBLISHED[name]
    state = backbone.state_dict()
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    assert len(state) == entries
    assert backbone.channels == channels
    assert backbone.num_stages == 1
    assert {"conv1.weight", "bn1.running_mean", "layer2.0.downsample.0.weight", "layer2.0.downsample.1.bias"} <= set(
        state
    )
    assert state["conv1.weight"].shape == (64, 3, 7, 7)
    deep = name in ("resnet50", "resnet101")
    assert ("layer1.0.downsample.0.weight" in state) == deep
    assert state["layer4.1.conv1.weight"].shape == ((512, 2048, 1, 1) if deep else (512, 512, 3, 3))


@pytest.mark.parametrize(("output_stride", "cells"), [(32, 7), (16, 14), (8, 28), (4, 56)])
def test_the_papers_heatmap_sizes(output_stride: int, cells: int) -> None:
    backbone = small(output_stride=output_stride)
    (features,) = backbone(torch.zeros(1, 3, 224, 224))
    assert features.shape == (1, backbone.channels, cells, cells)
    assert backbone.feature_size((224, 224)) == (cells, cells)


@pytest.mark.parametrize("output_stride", [32, 16, 8, 4])
@pytest.mark.parametrize("neck", ["none", "deconv"])
def test_feature_size_is_the_real_one(output_stride: int, neck: str) -> None:
    backbone = small(output_stride=output_stride, neck=neck)
    sizes = [(1, 1), (7, 9), (31, 33), (32, 64), (63, 65), (95, 96), (97, 100), (127, 130)]
    sizes += [(40 + i, 71 - i) for i in range(17)]
    for size in sizes:
        (features,) = backbone(torch.zeros(1, 3, *size))
        assert backbone.feature_size(size) == tuple(features.shape[2:]), size
        assert features.shape[1] == backbone.channels


@pytest.mark.parametrize("size", [(96, 128), (101, 75)])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_dilation_keeps_the_function(name: str, size: tuple[int, int]) -> None:
    # In float64: a processor's own way to sum up fifty layers is no part of the question.
    coarse = shaken(small(name, output_stride=32)).double()
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    (wanted,) = coarse(images)
    assert wanted.std() > 0.01
    for output_stride in (16, 8, 4):
        fine = small(name, output_stride=output_stride).double()
        fine.load_state_dict(coarse.state_dict())
        (found,) = fine(images)
        step = 32 // output_stride
        # Zero padding falls on the same places in both, so they agree at the borders too.
        torch.testing.assert_close(found[..., ::step, ::step], wanted, rtol=1e-8, atol=1e-10)


def test_width_scales_channels() -> None:
    half = backbones.build("resnet18", width=0.5)
    assert half.channels == 256
    assert half.state_dict()["conv1.weight"].shape[0] == 32
    assert backbones.build("resnet50", width=0.25).channels == 512


def test_simple_baseline_neck() -> None:
    backbone = backbones.build("resnet18", neck="deconv")
    assert backbone.channels == 256
    assert backbone.feature_size((256, 192)) == (64, 48)
    layers = [layer for layer in backbone.neck if isinstance(layer, nn.ConvTranspose2d)]
    assert [tuple(layer.weight.shape) for layer in layers] == [(512, 256, 4, 4), (256, 256, 4, 4), (256, 256, 4, 4)]
    assert backbones.build("resnet18", neck="deconv", width=0.25).channels == 64


def test_simple_baseline_has_its_published_size() -> None:
    # Xiao et al. 2018 and all who compare with it: 34.0 million parameters with 17 heatmaps.
    names = tuple(map(str, range(17)))
    backbone = {"name": "resnet50", "neck": "deconv"}
    with torch.device("meta"):
        model = KeypointModel(ModelConfig(Schema(names), (256, 192), backbone, {"name": "heatmap"}))
        (heatmaps,) = model(torch.zeros(1, 3, 256, 192))
    neck = 2048 * 256 * 16 + 2 * 256 * 256 * 16 + 3 * 2 * 256
    by_hand = PUBLISHED["resnet50"][0] + neck + 256 * 17 + 17
    assert sum(p.numel() for p in model.parameters()) == by_hand == 33_999_697
    assert heatmaps.shape == (1, 17, 64, 48)


def test_depth_lifts_pictures_to_volumes() -> None:
    backbone = small(neck="deconv", depth=5)
    with pytest.raises(ValueError, match="call connect"):
        backbone(torch.zeros(1, 3, 64, 32))
    backbone.connect(num_keypoints=4)
    (features,) = backbone(torch.randn(2, 3, 64, 32))
    assert features.shape == (2, backbone.channels, *backbone.feature_size((64, 32))) == (2, 4, 5, 16, 8)
    (flat,) = small(neck="deconv")(torch.zeros(1, 3, 64, 32))
    assert flat.shape == (1, 16, 16, 8)


def test_volumes_keep_each_keypoints_layers_together() -> None:
    backbone = small(neck="deconv", depth=5)
    backbone.connect(num_keypoints=4)
    with torch.no_grad():
        backbone.lift.conv.weight.zero_()
        backbone.lift.conv.bias.copy_(torch.arange(20.0))
    (features,) = backbone(torch.zeros(1, 3, 32, 32))
    for k in range(4):
        for z in range(5):
            assert (features[0, k, z] == 5 * k + z).all()


def test_a_model_finds_three_coordinates_in_a_picture() -> None:
    torch.manual_seed(0)
    names, backbone = ("a", "b"), {"name": "resnet18", "width": 0.125, "neck": "deconv", "depth": 8}
    config = ModelConfig(Schema(names), (32, 32), backbone, {"name": "dsnt"}, mean_coords=[[0.0, 0.0, 0.0]] * 2)
    model = KeypointModel(config).train()
    coords = torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    target, images = Target(coords, torch.ones(4, 2, dtype=torch.bool)), torch.rand(4, 3, 32, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = torch.stack(list(model.losses(model(images), target).values())).sum(0).mean()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.7 * history[0]
    prediction = model.eval().decode(model(images))
    assert prediction.coords.shape == (4, 2, 3)
    assert prediction.covariance.shape == (4, 2, 3, 3)


def test_flat_points_do_not_fit_a_volume() -> None:
    backbone = {"name": "resnet18", "width": 0.0625, "depth": 4}
    config = ModelConfig(Schema(("a",)), (32, 32), backbone, {"name": "dsnt"}, mean_coords=[[0.0, 0.0]])
    with pytest.raises(ValueError, match="the points have 2 coordinates, and the features 3 axes"):
        KeypointModel(config)


def test_neck_starts_with_features_of_unit_size() -> None:
    neck = DeconvNeck(64, 64).eval()
    # Half of a standard normal has a mean square of 1/2; Kaiming's rule doubles what ReLU halves.
    found = neck(torch.randn(4, 64, 8, 8).relu() * 2**0.5)
    assert found[..., 8:-8, 8:-8].square().mean().item() == pytest.approx(1, rel=0.3)


def test_features_start_alive_and_every_parameter_learns() -> None:
    backbone = backbones.build("resnet50", width=0.125, output_stride=8, neck="deconv").train()
    (features,) = backbone(torch.randn(2, 3, 64, 64))
    assert 0.1 < features.std() < 10
    features.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in backbone.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 64}, "output_stride=64 is no choice.* 32, 16, 8, 4"),
        ({"width": 0}, "width must be a positive number"),
        ({"neck": "fpn"}, "There are: none, deconv"),
        ({"depth": 0}, "depth must be a positive whole number or None"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backbones.build("resnet18", **options)


def test_feature_size_wants_two_sides() -> None:
    for size in ((64,), (64, 64, 64), (0, 64)):
        with pytest.raises(ValueError, match="takes images of size"):
            small(output_stride=32).feature_size(size)
