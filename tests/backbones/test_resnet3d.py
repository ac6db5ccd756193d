"""The residual network of volumes: its sizes, and that a volume is computed alone."""

from pathlib import Path

import pytest
import torch

from punctum import backbones
from punctum.model import KeypointModel, ModelConfig
from punctum.schema import Schema


@pytest.mark.parametrize("output_stride", [8, 4, 2])
@pytest.mark.parametrize("depth", [10, 18])
def test_feature_size_is_the_real_one(output_stride: int, depth: int) -> None:
    backbone = backbones.build("resnet3d", output_stride=output_stride, depth=depth, width=0.0625).eval()
    for size in [(7, 9, 16), (8, 16, 12), (15, 17, 5)]:
        (features,) = backbone(torch.zeros(1, 1, *size))
        assert tuple(features.shape) == (1, backbone.channels, *backbone.feature_size(size))


def test_its_size() -> None:
    """Counted by hand: convolutions, two numbers a channel for each norm, and a projection where channels change."""
    widths, total, before = (32, 64, 128, 256), 27 * 32 + 2 * 32, 32
    for width in widths:
        total += 27 * before * width + 27 * width * width + 4 * width
        total += (before * width + 2 * width) if before != width else 0
        before = width
    backbone = backbones.build("resnet3d")
    assert sum(p.numel() for p in backbone.parameters()) == total
    assert backbone.channels == 256


def test_volumes_of_a_batch_do_not_meet() -> None:
    backbone = backbones.build("resnet3d", width=0.125).train()
    volumes = torch.randn(3, 1, 16, 16, 16)
    (together,), (alone,) = backbone(volumes), backbone(volumes[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-5)


def test_a_model_of_volumes_and_what_it_refuses(tmp_path: Path) -> None:
    config = ModelConfig(Schema(("a", "b")), (16, 16, 24), {"name": "resnet3d", "width": 0.125}, {"name": "dsnt"})
    model = KeypointModel(config).eval()
    assert model.decode(model(torch.rand(2, 1, 16, 16, 24))).coords.shape == (2, 2, 3)
    with pytest.raises(ValueError, match=r"of shape \(B, 1, 16, 16, 24\)"):
        model(torch.rand(2, 3, 16, 16))
    model.save(tmp_path)
    assert KeypointModel.load(tmp_path).config == config
    with pytest.raises(ValueError, match=r"takes volumes of size \(D, H, W\)"):
        backbones.build("resnet3d").feature_size((64, 64))
    with pytest.raises(ValueError, match="depth=11 is no choice"):
        backbones.build("resnet3d", depth=11)
