"""KeypointModel: backbone and heads together, saved and found again."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import punctum.model
from punctum import heads, ops
from punctum.backbones import Backbone
from punctum.heads import Target
from punctum.model import IMAGE_MEAN, IMAGE_STD, KeypointModel, ModelConfig
from punctum.schema import Schema

SCHEMA = Schema(
    ("nose", "left_ear", "right_ear"), skeleton=((0, 1), (0, 2)), flip_pairs=((1, 2),), sigmas=(0.1, 0.2, 0.2)
)


def config(head: str = "dsnt", **changes: Any) -> ModelConfig:
    base = ModelConfig(
        SCHEMA,
        input_size=(40, 56),
        backbone={"name": "resnet18", "width": 0.125, "output_stride": 8},
        head={"name": head},
        preprocessing={"crop": {"margin": 1.25, "sizes": (40, 56)}, "source": "ü"},
        mean_coords=[[0.0, 0.5], [0.1, -0.2], [0.0, 0.0]],
    )
    return replace(base, **changes)


def images(batch: int = 2, size: tuple[int, int] = (40, 56)) -> Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5))


def used(head: str = "dsnt", **changes: Any) -> KeypointModel:
    """A model whose batch statistics have moved, as training leaves it."""
    model = KeypointModel(config(head, **changes)).train()
    model(images(8))
    return model.eval()


def test_config_survives_json() -> None:
    wanted = config()
    assert ModelConfig.from_dict(json.loads(json.dumps(wanted.to_dict()))) == wanted
    assert ModelConfig.from_dict(wanted.to_dict()) == wanted
    wanted.to_dict()["head"]["name"] = "changed"
    assert wanted.head == {"name": "dsnt"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": (0, 4)}, "input_size must be positive integers"),
        ({"input_size": (40.0, 56)}, "input_size must be positive integers"),
        ({"head": {"sigma": 1}}, 'head must be {"name"'),
        ({"backbone": "resnet18"}, 'backbone must be {"name"'),
        ({"preprocessing": {"path": Path("x")}}, "preprocessing must be plain JSON"),
        ({"mean_coords": [[float("nan"), 0.0]] * 3}, "mean_coords must be plain JSON with finite numbers"),
        ({"mean_coords": [[0.0, 0.0]] * 2}, "mean_coords must be 3 places"),
        ({"mean_coords": [[0.0, 0.0], [0.0, 0.0], [0.0]]}, "mean_coords must be 3 places"),
    ],
)
def test_config_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


@pytest.mark.parametrize("head", heads.available())
def test_saved_and_loaded_models_predict_the_same_bits(head: str, tmp_path: Path) -> None:
    model = used(head)
    model.save(tmp_path / "run" / "model")
    loaded = KeypointModel.load(tmp_path / "run" / "model")
    assert not loaded.training
    assert loaded.config == model.config
    assert sorted(path.name for path in (tmp_path / "run" / "model").iterdir()) == ["model.json", "model.safetensors"]
    with torch.no_grad():
        wanted, found = (m.decode(m(images())) for m in (model, loaded))
    assert torch.equal(found.coords, wanted.coords)
    assert torch.equal(found.score, wanted.score)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_saving_again_replaces_and_survives_other_memory_formats(tmp_path: Path) -> None:
    used("heatmap").save(tmp_path)
    model = used().to(memory_format=torch.channels_last)
    model.save(tmp_path)
    assert KeypointModel.load(tmp_path).config.head == {"name": "dsnt"}


def test_no_pickle_is_written_and_none_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a pickle was opened")

    for module, name in ((torch, "load"), (torch, "save"), (torch.serialization, "load")):
        monkeypatch.setattr(module, name, refuse)
    used().save(tmp_path)
    KeypointModel.load(tmp_path)
    json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    data = (tmp_path / "model.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert "backbone.conv1.weight" in header


def test_loading_fetches_no_pretrained_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    monkeypatch.setattr("punctum.backbones.resnet.load_weights", lambda module, source: fetched.append(source))
    backbone = {**config().backbone, "weights": "user/repo"}
    KeypointModel(config(backbone=backbone)).save(tmp_path)
    assert fetched == ["user/repo"]
    assert KeypointModel.load(tmp_path).config.backbone == backbone
    assert fetched == ["user/repo"]


def spoil(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def drop(folder: Path, name: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors")


def with_config(**changes: Any) -> dict[str, Any]:
    return {"config": {**config().to_dict(), **changes}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "model.json").write_text('{"format_'), r"model\.json is not JSON: .*line 1"),
        (lambda f: (f / "model.json").write_bytes(b"\xff\xfe\x00"), r"model\.json is not JSON"),
        (lambda f: (f / "model.json").write_text("[]"), "does not describe a model"),
        (lambda f: spoil(f, format_version=99, punctum="7.0"), "format_version 99 .written by punctum 7.0"),
        (lambda f: spoil(f, config={"head": 1}), "config has the entries"),
        (lambda f: spoil(f, **with_config(schema={"names": 3})), "config is malformed"),
        (lambda f: spoil(f, **with_config(head={"name": "sdnt"})), r"model\.json: unknown head 'sdnt'.*'dsnt'"),
        (lambda f: spoil(f, **with_config(head={"name": "dsnt", "in_channels": 3})), r"model\.json: .*in_channels"),
        (lambda f: spoil(f, **with_config(backbone={"name": "resnet18", "width": "x"})), "width must be a positive"),
        (lambda f: spoil(f, **with_config(backbone={"name": "resnet18"})), r"do not fit: .*of another shape"),
        (lambda f: drop(f, "heads.0.conv.weight"), r"1 missing \(heads\.0\.conv\.weight\)"),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-1]),
            r"model\.safetensors is not a whole safetensors file",
        ),
        (lambda f: (f / "model.safetensors").write_bytes(b""), r"model\.safetensors is not a whole safetensors file"),
    ],
)
def test_broken_models_are_refused_with_the_reason(change: Any, message: str, tmp_path: Path) -> None:
    used().save(tmp_path)
    change(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        KeypointModel.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_missing_models_are_refused_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model in .*nowhere: model\.json is missing"):
        KeypointModel.load(tmp_path / "nowhere")
    used().save(tmp_path / "model")
    with pytest.raises(FileNotFoundError, match=r"there is one in .*model"):
        KeypointModel.load(tmp_path)
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        KeypointModel.load(tmp_path / "model")


def test_a_failed_save_leaves_the_old_model_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = used()
    model.save(tmp_path)
    before = [(tmp_path / name).read_bytes() for name in ("model.json", "model.safetensors")]

    def fail(state: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(punctum.model, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        used("heatmap").save(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in ("model.json", "model.safetensors")] == before


@pytest.mark.parametrize(
    "wrong",
    [torch.rand(2, 1, 40, 56), torch.rand(3, 40, 56), torch.zeros(2, 3, 40, 56, dtype=torch.uint8)],
    ids=["gray", "no batch", "integers"],
)
def test_wrong_images_are_refused_with_what_came(wrong: Tensor) -> None:
    with pytest.raises(ValueError, match=r"of shape \(B, 3, 40, 56\); got") as caught:
        KeypointModel(config())(wrong)
    assert f"{wrong.dtype} of shape {tuple(wrong.shape)}" in str(caught.value)


def test_other_sizes_work_where_the_head_allows_it() -> None:
    for name in ("dsnt", "heatmap"):
        model = used(name)
        assert model.decode(model(images(1, (64, 33)))).coords.shape == (1, 3, 2)
    with pytest.raises(ValueError, match=r"built for features of size \(5, 7\)"):
        used("fully_connected")(images(1, (64, 33)))


def test_images_are_normalized_as_imagenet() -> None:
    model = KeypointModel(config())
    seen: list[Tensor] = []
    model.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(torch.full((1, 3, 40, 56), 0.5))
    for channel in range(3):
        wanted = (0.5 - IMAGE_MEAN[channel]) / IMAGE_STD[channel]
        assert seen[0][0, channel].unique().item() == pytest.approx(wanted, rel=1e-5)


class TwoStages(Backbone):
    """Two different feature maps, for what a stacked network does."""

    name = "two_stages"
    channels, num_stages = 4, 2

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, kernel_size=1)

    def feature_size(self, input_size: tuple[int, ...]) -> tuple[int, ...]:
        return input_size

    def forward(self, images: Tensor, feedback: Sequence[Callable[[Tensor], Tensor]] = ()) -> list[Tensor]:
        return list(self.conv(images).split(4, dim=1))


def test_every_stage_has_a_head_losses_are_summed_and_the_last_one_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("punctum.backbones.build", lambda name: TwoStages())
    model = KeypointModel(config(input_size=(8, 8), backbone={"name": "two_stages"}))
    assert len(model.heads) == 2
    target = Target(torch.rand(2, 3, 2) - 0.5, torch.ones(2, 3, dtype=torch.bool))
    outputs = model(images(2, (8, 8)))
    found = model.losses(outputs, target)
    first, last = (head.losses(output, target) for head, output in zip(model.heads, outputs, strict=True))
    assert found.keys() == {"euclidean", "js"}
    for term in found:
        torch.testing.assert_close(found[term], first[term] + last[term])
    assert torch.equal(model.decode(outputs).coords, model.heads[1].decode(outputs[1]).coords)


def test_progress_reaches_every_head(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[float] = []
    monkeypatch.setattr("punctum.heads.dsnt.DSNT.set_progress", lambda self, fraction: heard.append(fraction))
    KeypointModel(config()).set_progress(0.25)
    assert heard == [0.25]


@pytest.mark.parametrize("head", ["dsnt", "heatmap", "fully_connected"])
def test_a_few_steps_learn_where_a_bright_square_is(head: str) -> None:
    model = KeypointModel(config(head, input_size=(32, 32))).train()
    places = torch.randint(4, 28, (8, 3, 2), generator=torch.Generator().manual_seed(1))
    pictures = torch.zeros(8, 3, 32, 32)
    for i in range(8):
        for k in range(3):
            x, y = places[i, k].tolist()
            pictures[i, k, y - 2 : y + 3, x - 2 : x + 3] = 1
    target = Target(ops.to_normalized(places.float(), (32, 32)), torch.ones(8, 3, dtype=torch.bool))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(40):
        optimizer.zero_grad()
        losses = model.losses(model(pictures), target)
        loss = sum(ops.average_loss(term, target.visible) for term in losses.values())
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.5 * history[0]


def test_building_and_loading_need_no_training_stack(tmp_path: Path) -> None:
    used().save(tmp_path)
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['lightning', 'torchmetrics', 'cv2', 'huggingface_hub']));"
        "from punctum.model import KeypointModel; import torch;"
        f"KeypointModel.load({str(tmp_path)!r})(torch.zeros(1, 3, 40, 56))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(p for p in sys.path if p)})


def test_a_network_of_several_stages_refuses_a_head_without_heatmaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("punctum.backbones.build", lambda name: TwoStages())
    with pytest.raises(ValueError, match="'fully_connected' has none"):
        KeypointModel(config("fully_connected", input_size=(8, 8), backbone={"name": "two_stages"}))
