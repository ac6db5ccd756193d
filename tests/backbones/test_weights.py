"""Pretrained weights: from files, from the hub, and all the ways they may not fit."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from punctum import backbones
from punctum.backbones.weights import find_weights, load_weights

WIDTH = 0.0625


def state() -> dict[str, Tensor]:
    torch.manual_seed(7)
    values = backbones.build("resnet18", width=WIDTH).state_dict()
    return {name: torch.rand_like(v) if v.is_floating_point() else v for name, v in values.items()}


def write(folder: Path, tensors: dict[str, Tensor]) -> str:
    path = folder / "resnet.safetensors"
    save_file(tensors, path)
    return str(path)


def test_a_classifiers_file_fills_the_backbone(tmp_path: Path) -> None:
    tensors = state()
    source = write(tmp_path, {**tensors, "fc.weight": torch.zeros(10, 32), "fc.bias": torch.zeros(10)})
    found = backbones.build("resnet18", width=WIDTH, weights=source, output_stride=8).state_dict()
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_the_neck_is_no_business_of_the_file(tmp_path: Path) -> None:
    tensors = state()
    found = backbones.build("resnet18", width=WIDTH, weights=write(tmp_path, tensors), neck="deconv").state_dict()
    assert torch.equal(found["layer4.1.conv2.weight"], tensors["layer4.1.conv2.weight"])
    assert "neck.0.weight" in found


def test_counters_may_be_absent_and_halves_are_widened(tmp_path: Path) -> None:
    tensors = {name: v.half() for name, v in state().items() if not name.endswith("num_batches_tracked")}
    found = backbones.build("resnet18", width=WIDTH, weights=write(tmp_path, tensors)).state_dict()
    assert found["conv1.weight"].dtype == torch.float32
    assert torch.equal(found["conv1.weight"], tensors["conv1.weight"].float())


def test_all_that_does_not_fit_is_said_at_once(tmp_path: Path) -> None:
    tensors = state()
    del tensors["bn1.weight"]
    tensors["layer9.weight"] = torch.zeros(1)
    tensors["conv1.weight"] = torch.zeros(4, 1, 7, 7)
    source = write(tmp_path, tensors)
    with pytest.raises(ValueError, match="do not fit") as caught:
        backbones.build("resnet18", width=WIDTH, weights=source)
    message = str(caught.value)
    assert source in message
    assert "1 missing (bn1.weight)" in message
    assert "1 unexpected (layer9.weight)" in message
    assert "1 of another shape (conv1.weight (4, 1, 7, 7), not (4, 3, 7, 7))" in message


def test_a_long_list_is_shortened(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"100 missing \(conv1.weight, (\S+, ){4}\.\.\.\)") as caught:
        backbones.build("resnet18", width=WIDTH, weights=write(tmp_path, {"fc.bias": torch.zeros(1)}))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["resnet18.pth", "model.BIN", "user/repo/pytorch_model.bin", "a.ckpt"])
def test_pickles_are_refused_with_the_way_to_convert_them(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"weights_only=True\); safetensors\.torch\.save_file\(state, '\w+\.safetens"
    ):
        find_weights(name)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = Path(write(tmp_path, state()))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"resnet\.safetensors is not a whole safetensors file"):
        load_weights(torch.nn.Linear(1, 1), str(path))


@pytest.mark.parametrize(
    "name", ["no/such/../file.safetensors", "/no/such.safetensors", "nothing", "./a/b", "a/b.safetensors"]
)
def test_what_is_neither_file_nor_hub_id_is_not_fetched(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        find_weights(name)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("timm/resnet18.a1_in1k", ("timm/resnet18.a1_in1k", "model.safetensors")),
        ("user/repo/old/net.safetensors", ("user/repo", "old/net.safetensors")),
    ],
)
def test_hub_ids_are_fetched(
    source: str, wanted: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    tensors = state()
    asked = []

    def download(repo: str, file: str) -> str:
        asked.append((repo, file))
        return write(tmp_path, tensors)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    found = backbones.build("resnet18", width=WIDTH, weights=source).state_dict()
    assert asked == [wanted]
    assert torch.equal(found["conv1.weight"], tensors["conv1.weight"])


def test_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(repo: str, file: str) -> str:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(hub, "hf_hub_download", download)
    with pytest.raises(ConnectionError, match="no connection") as caught:
        find_weights("timm/resnet18.a1_in1k")
    message = str(caught.value)
    assert "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors" in message
    assert "pass the file's path as weights" in message


def test_a_missing_hub_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'punctum\[hub\]'"):
        find_weights("timm/resnet18.a1_in1k")
