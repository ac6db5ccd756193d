"""timm's networks: with a stand-in for the package everywhere, with the real one where it is installed.

`make test-timm` makes an environment that has it.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from punctum import backbones
from punctum.heads import Target
from punctum.model import KeypointModel, ModelConfig
from punctum.schema import Schema


class StandInNetwork(nn.Module):
    """One convolution that says about itself what timm's networks say."""

    def __init__(self, output_fmt: str, only_size: int | None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, kernel_size=4, stride=4)
        self.output_fmt, self.only_size = output_fmt, only_size
        self.feature_info = SimpleNamespace(channels=lambda: [6])

    def forward(self, x: Tensor) -> list[Tensor]:
        assert self.only_size in (None, x.shape[-1]), "Input width doesn't match model"
        features = self.conv(x)
        return [features.permute(0, 2, 3, 1) if self.output_fmt == "NHWC" else features]


def create(name: str, **options: Any) -> nn.Module:
    if options["out_indices"] != (-1,):
        raise IndexError("list index out of range")
    return StandInNetwork("NHWC" if name == "channels_last" else "NCHW", 32 if name == "fixed" else None)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package of the name timm with three networks; `calls` holds the options of each one that was made."""
    module, names = ModuleType("timm"), ["convnext_tiny", "channels_last", "fixed"]
    module.calls = []  # type: ignore[attr-defined]

    def create_model(name: str, **options: Any) -> nn.Module:
        module.calls.append((name, options))
        return create(name, **options)

    module.is_model = lambda name: name.split(".")[0] in names  # type: ignore[attr-defined]
    module.list_models = lambda: names  # type: ignore[attr-defined]
    module.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pip install 'punctum\[timm\]'"):
        backbones.build("timm")


def test_it_is_listed_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "timm" in backbones.available()


def test_features_come_from_one_stage(stand_in: ModuleType) -> None:
    backbone = backbones.build("timm", output_stride=4)
    assert stand_in.calls == [("convnext_tiny", {"features_only": True, "out_indices": (-1,), "output_stride": 4})]
    assert (backbone.channels, backbone.num_stages) == (6, 1)
    (features,) = backbone(torch.zeros(2, 3, 32, 45))
    assert features.shape == (2, 6, *backbone.feature_size((32, 45))) == (2, 6, 8, 11)


def test_channels_that_come_last_are_brought_forward(stand_in: ModuleType) -> None:
    torch.manual_seed(0)
    last = backbones.build("timm", model="channels_last")
    torch.manual_seed(0)
    first = backbones.build("timm", model="convnext_tiny")
    images = torch.randn(1, 3, 32, 48)
    assert torch.equal(last(images)[0], first(images)[0])
    assert last.feature_size((32, 48)) == (8, 12)


def test_the_neck(stand_in: ModuleType) -> None:
    backbone = backbones.build("timm", neck="deconv").eval()
    (features,) = backbone(torch.zeros(1, 3, 16, 16))
    assert features.shape == (1, 256, 32, 32) == (1, backbone.channels, *backbone.feature_size((16, 16)))


def test_weights_are_timms_own_or_a_file(stand_in: ModuleType, tmp_path: Path) -> None:
    backbones.build("timm", weights="timm")
    assert stand_in.calls[-1][1]["pretrained"] is True
    assert "pretrained_cfg_overlay" not in stand_in.calls[-1][1]
    file = tmp_path / "net.safetensors"
    save_file({"conv.bias": torch.zeros(6)}, file)
    backbones.build("timm", weights=str(file))
    assert stand_in.calls[-1][1]["pretrained_cfg_overlay"] == {"file": str(file)}
    with pytest.raises(ValueError, match="is a pickle"):
        backbones.build("timm", weights="net.pth")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "convnext_tony"}, "timm has no network 'convnext_tony': did you mean convnext_tiny"),
        ({"model": "zzz"}, r"timm has no network 'zzz'; timm.list_models\(\) lists them"),
        ({"stage": 9}, "timm cannot make convnext_tiny with .* stage 9.*out of range"),
        ({"neck": "fpn"}, "There are: none, deconv"),
    ],
)
def test_bad_options_are_refused(stand_in: ModuleType, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backbones.build("timm", **options)


def test_a_network_of_one_size_refuses_others(stand_in: ModuleType) -> None:
    backbone = backbones.build("timm", model="fixed")
    assert backbone.feature_size((32, 32)) == (8, 8)
    with pytest.raises(ValueError, match=r"fixed does not take images of \(64, 64\): Input width"):
        backbone.feature_size((64, 64))
    with pytest.raises(ValueError, match="take images of size"):
        backbone.feature_size((32,))


def config(**options: object) -> ModelConfig:
    return ModelConfig(Schema(("a", "b")), (64, 64), {"name": "timm", **options}, {"name": "dsnt"})


def check_a_model(folder: Path, **options: object) -> None:
    """Trains a step, is saved, and is loaded without asking for pretrained weights."""
    torch.manual_seed(0)
    model, images = KeypointModel(config(**options), pretrained=False).train(), torch.rand(2, 3, 64, 64)
    target = Target(torch.zeros(2, 2, 2), torch.ones(2, 2, dtype=torch.bool))
    torch.stack(list(model.losses(model(images), target).values())).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval().save(folder)
    loaded = KeypointModel.load(folder)
    assert torch.equal(loaded(images)[0], model(images)[0])


def test_a_saved_model_fetches_nothing(stand_in: ModuleType, tmp_path: Path) -> None:
    check_a_model(tmp_path, weights="timm")
    assert not any("pretrained" in options for _, options in stand_in.calls)


# --- the real package ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    """The real package, or a skip where it is not installed."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed: make test-timm")
    _without_compiled_torchvision()
    return pytest.importorskip("timm")


KEEP: list[object] = []


def _without_compiled_torchvision() -> None:
    """Let torchvision be imported where its compiled part cannot be loaded, for want of CUDA's libraries say.

    timm takes none of its compiled operators, but torchvision's import stops at two that are not declared then.
    """
    spec = importlib.util.find_spec("torchvision")
    compiled = next(Path(spec.origin).parent.glob("_C*.so"), None) if spec and spec.origin else None
    if compiled is None or "torchvision" in sys.modules:
        return
    try:
        torch.ops.load_library(str(compiled))
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        KEEP.append(library)


@pytest.mark.usefixtures("timm")
class TestRealPackage:
    @pytest.mark.parametrize(
        ("options", "cells"),
        [
            ({"model": "convnext_atto"}, (3, 4)),
            ({"model": "convnext_atto", "output_stride": 8}, (12, 16)),
            ({"model": "convnext_atto", "stage": 0}, (24, 32)),
            ({"model": "resnet18", "output_stride": 8}, (12, 16)),
            ({"model": "mobilenetv3_small_050", "neck": "deconv"}, (24, 32)),
            ({"model": "hrnet_w18_small", "stage": 1}, (24, 32)),
        ],
    )
    def test_feature_size_is_the_real_one(self, options: dict[str, Any], cells: tuple[int, int]) -> None:
        backbone = backbones.build("timm", **options).eval()
        (features,) = backbone(torch.zeros(1, 3, 96, 128))
        assert features.shape == (1, backbone.channels, *cells)
        assert backbone.feature_size((96, 128)) == cells

    def test_it_is_our_resnet_too(self) -> None:
        """Ours and theirs with the same weights: the same features, at stride 32, where both have no dilation."""
        theirs = backbones.build("timm", model="resnet18").eval()
        ours = backbones.build("resnet18", output_stride=32).eval()
        ours.load_state_dict(theirs.net.state_dict())
        images = torch.randn(1, 3, 64, 96)
        torch.testing.assert_close(ours(images)[0], theirs(images)[0], rtol=1e-4, atol=1e-5)

    def test_channels_last_networks(self) -> None:
        backbone = backbones.build("timm", model="swin_tiny_patch4_window7_224").eval()
        (features,) = backbone(torch.zeros(1, 3, 224, 224))
        assert features.shape == (1, backbone.channels, 7, 7) == (1, 768, *backbone.feature_size((224, 224)))
        with pytest.raises(ValueError, match="does not take images of"):
            backbone.feature_size((96, 96))

    def test_weights_from_a_classifiers_file(self, timm: ModuleType, tmp_path: Path) -> None:
        file = tmp_path / "net.safetensors"
        torch.manual_seed(1)
        state = timm.create_model("convnext_atto").state_dict()
        save_file(state, file)
        found = backbones.build("timm", model="convnext_atto", weights=str(file)).net.state_dict()
        assert torch.equal(found["stem_0.weight"], state["stem.0.weight"])
        with pytest.raises(ValueError, match="size mismatch"):
            backbones.build("timm", model="convnext_femto", weights=str(file))

    @pytest.mark.parametrize(
        "options", [{"model": "resnet19"}, {"model": "resnet18.nope"}, {"model": "vgg11", "output_stride": 8}]
    )
    def test_what_timm_refuses_is_said(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"timm (has no network|cannot make)"):
            backbones.build("timm", **options)

    def test_a_model_trains_is_saved_and_loaded(self, tmp_path: Path) -> None:
        check_a_model(tmp_path, model="convnext_atto", output_stride=8)
