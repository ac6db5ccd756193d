"""Every recipe builds the network it names and learns a step; what its name says is what its settings are."""

import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from punctum import ops, recipes
from punctum.cli import main
from punctum.cli_train import parse_train
from punctum.heads import Target
from punctum.model import KeypointModel, ModelConfig
from punctum.recipes import Recipe
from punctum.schema import Schema
from punctum.settings import TrainSettings
from punctum.train_settings import load_config, save_config
from punctum.training.optimizer import build_optimizer

NAMES = list(recipes.available())

# Without heads: published, or added up by hand in tests/backbones.
RESNET = {"resnet18": 11_176_512, "resnet34": 21_284_672, "resnet50": 23_508_032, "resnet101": 42_500_160}
FEATURES = {"resnet18": 512, "resnet34": 512, "resnet50": 2048, "resnet101": 2048}
HOURGLASS = {1: 3_586_960, 2: 6_730_912, 4: 13_018_816, 8: 25_594_624}
KEYPOINTS = {"nibali2018": 16, "gu2022": 17, "li2021": 17}


def keypoints(name: str) -> int:
    family, kind = name.split("/")
    return 5 if kind.startswith("mtfl") else 18 if kind.startswith("human36m") else KEYPOINTS[family]


def neck(channels: int) -> int:
    """Three transposed convolutions of 4 x 4 to 256 channels, each with a norm."""
    return channels * 256 * 16 + 2 * 256 * 256 * 16 + 3 * 2 * 256


def expected_size(name: str) -> tuple[int, ...]:
    kind = name.split("/")[1]
    if "px-" in kind:
        side = int(kind.split("-")[1].removesuffix("px"))
        return side, side
    if kind.startswith("human36m"):
        return 64, 64, 64
    return (64, 64) if kind.startswith(("hourglass", "mtfl")) else (64, 48)


def expected_parameters(name: str) -> int:
    """Added up by hand: K maps by a 1 x 1 convolution, with a bias where they are matched to Gaussians."""
    k, kind = keypoints(name), name.split("/")[1]
    matching = kind.endswith(("-hm", "-detection"))
    if kind.startswith("hourglass"):
        stacks = int(kind.split("-")[0].removeprefix("hourglass"))
        return HOURGLASS[stacks] - (0 if matching else stacks * k)
    resnet = next(part for part in kind.split("-") if part in RESNET)
    deconvolved = not name.startswith("nibali2018")
    channels = 256 if deconvolved else FEATURES[resnet]
    total = RESNET[resnet] + (neck(FEATURES[resnet]) if deconvolved else 0)
    if kind.startswith("human36m"):
        return total + 256 * k * 64 + k * 64 + k * k
    total += channels * k + (k if matching else 0)
    if kind.endswith("-fc"):
        total += (k * math.prod(expected_size(name)) + 1) * 2 * k
    return total


def build(recipe: Recipe, input_size: tuple[int, ...] | None = None, **backbone: object) -> KeypointModel:
    settings = recipes.settings(recipe.name, "a.json", "run")
    schema = Schema(tuple(f"point {i}" for i in range(keypoints(recipe.name))))
    size = input_size or settings.crop.input_size
    config = ModelConfig(schema, size, {**settings.backbone, **backbone}, settings.head)
    return KeypointModel(config, pretrained=False)


@pytest.mark.parametrize("name", NAMES)
def test_published_sizes(name: str) -> None:
    recipe = recipes.find(name)
    with torch.device("meta"):
        model = build(recipe)
    assert sum(p.numel() for p in model.parameters()) == expected_parameters(name)
    assert model.backbone.feature_size(model.config.input_size) == expected_size(name)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "28px-js" in name or "8-js" in name or "detection" in name]
)
def test_features_have_the_size_they_say(name: str) -> None:
    with torch.device("meta"):
        model = build(recipes.find(name))
        outputs = model(torch.zeros(1, 3, *model.config.input_size))
    assert {tuple(output.shape[2:]) for output in outputs} == {expected_size(name)}


@pytest.mark.parametrize("name", NAMES)
def test_learns_a_step(name: str) -> None:
    """On noise, a sixteenth as wide and at a smaller size: all that a step runs through is as in the recipe."""
    torch.manual_seed(0)
    recipe = recipes.find(name)
    model = build(recipe, (64, 64), width=0.0625).train()
    settings = recipes.settings(name, "a.json", "run")
    target, images = noise(model)
    optimizer = build_optimizer(model, settings.optimizer)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    model.set_progress(0.0)
    losses = model.losses(model(images), target)
    loss = torch.stack([ops.average_loss(term, model.counts(target)) for term in losses.values()]).sum()
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    assert all(p.isfinite().all() for p in model.parameters())
    still = [key for key, p in model.named_parameters() if torch.equal(p, before[key]) and p.ndim > 1]
    assert still == []


def noise(model: KeypointModel) -> tuple[Target, Tensor]:
    head, dims = model.heads[-1], len(model.backbone.feature_size((64, 64)))
    assert isinstance(head, nn.Module)
    k = len(model.config.schema.names)
    return Target(torch.rand(2, k, dims) - 0.5, torch.ones(2, k, dtype=torch.bool)), torch.rand(2, 3, 64, 64)


@pytest.mark.parametrize("name", NAMES)
def test_says_where_it_is_from(name: str) -> None:
    recipe = recipes.find(name)
    assert recipe.summary.endswith(".")
    assert "\nSource: " in recipe.about
    assert "\nPublished: " in recipe.about
    assert "\nDiffers: " in recipe.about
    assert all(len(line) <= 118 for line in recipe.about.splitlines())
    assert not {"data", "out", "recipe", "seed", "hardware"} & recipe.values.keys()


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("nibali2018")])
def test_nibali_trains_as_the_paper_does(name: str) -> None:
    settings = recipes.settings(name, "a.json", "run")
    hourglass = "hourglass" in name
    assert settings.optimizer.name == "rmsprop"
    assert (settings.optimizer.lr, settings.optimizer.schedule) == (2.5e-4, "step")
    assert [round(part * settings.max_epochs) for part in settings.optimizer.milestones] == [60, 90]
    assert (settings.max_epochs, settings.batch_size) == (120, 6 if hourglass else 32)
    assert settings.crop.input_size == ((256, 256) if hourglass else (224, 224))
    head = {
        "fc": {"name": "fully_connected"},
        "hm": {"name": "heatmap", "sigma": 1.0, "decoder": "quarter", "centre": "rounded"},
        "dsnt": {"name": "dsnt", "regularizer": "none"},
        "js": {"name": "dsnt", "regularizer": "js", "reg_weight": 1.0, "sigma": 1.0},
    }
    assert settings.head == head[name.split("-")[-1]]
    network = name.split("/")[1].split("-")[0]
    assert settings.backbone["name"] == ("hourglass" if hourglass else network)
    if not hourglass:
        # He et al.'s weights, as torchvision has them.
        assert settings.backbone["weights"] == f"timm/{network}.tv_in1k"


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("gu2022", "li2021"))])
def test_simple_baselines_drop_their_rate_at_90_and_120_of_140_epochs(name: str) -> None:
    settings = recipes.settings(name, "a.json", "run")
    assert (settings.optimizer.name, settings.optimizer.lr, settings.max_epochs) == ("adam", 1e-3, 140)
    assert [part * 140 for part in settings.optimizer.milestones] == pytest.approx([90, 120], abs=1e-3)


def test_all_of_nibalis_configurations_are_there() -> None:
    wanted = {f"resnet{d}-{px}px-{h}" for d in (18, 34, 50, 101) for px in (7, 14, 28, 56) for h in HEADS}
    wanted |= {f"hourglass{stacks}-{h}" for stacks in (1, 2, 4, 8) for h in ("hm", "js")}
    assert {name.split("/")[1] for name in NAMES if name.startswith("nibali2018/")} == wanted


HEADS = ("fc", "hm", "dsnt", "js")
JS = "nibali2018/resnet34-28px-js"


def parsed(*words: str) -> TrainSettings:
    return parse_train(["a.json", "--out", "run", *words])[0]


def test_a_recipe_takes_the_place_of_the_defaults() -> None:
    settings, python = parsed("--recipe", JS), recipes.settings(JS, "a.json", "run")
    assert settings.recipe == JS
    assert (settings.crop, settings.optimizer, settings.augmentation) == (
        python.crop,
        python.optimizer,
        python.augmentation,
    )
    assert python.head.items() <= settings.head.items()
    assert python.backbone.items() <= settings.backbone.items()
    assert settings.seed == TrainSettings("a.json", "run").seed


def test_config_wins_over_the_recipe_and_what_is_typed_over_both(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("optimizer: {lr: 0.1}\nmax_epochs: 7\nhead: {sigma: 2.0}\n")
    for words in (["--recipe", JS, "--config", str(file)], ["--config", str(file), "--recipe", JS]):
        settings = parsed(*words, "--max-epochs", "3")
        assert (settings.optimizer.lr, settings.max_epochs, settings.head["sigma"]) == (0.1, 3, 2.0)
        assert (settings.optimizer.name, settings.head["regularizer"]) == ("rmsprop", "js")


def test_another_head_leaves_the_recipes_head_behind() -> None:
    settings = parsed("--recipe", JS, "--head", "heatmap", "--backbone.weights", "null")
    assert settings.head == parsed("--head", "heatmap").head
    assert (settings.backbone["name"], settings.backbone["weights"]) == ("resnet34", None)
    assert settings.optimizer.name == "rmsprop"


def test_a_config_may_name_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"recipe: {JS}\nmax_epochs: 7\n")
    settings = parsed("--config", str(file))
    assert (settings.recipe, settings.max_epochs, settings.optimizer.name) == (JS, 7, "rmsprop")


def test_a_run_remembers_its_recipe_and_can_be_resumed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings, _ = parse_train(["a.json", "--out", str(run), "--recipe", JS, "--max-epochs", "3"])
    save_config(settings, run)
    assert load_config(run) == settings
    assert parse_train(["--out", str(run), "--resume"])[0] == settings


def test_unknown_recipes_are_told_what_is_close(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "a.json", "--out", "run", "--recipe", "nibali2018/resnet34-28px-jss"]) == 1
    error = capsys.readouterr().err
    assert f"did you mean {JS}" in error
    assert "`punctum recipes` lists all" in error
    with pytest.raises(ValueError, match="did you mean nibali2018/hourglass1-hm"):
        recipes.find("hourglass1")
    with pytest.raises(ValueError, match=r"unknown recipe 'zzzz'\. "):
        recipes.find("zzzz")


def test_they_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in NAMES)
    assert main(["recipes", "resnet18-7px"]) == 0
    assert "4 recipes" in capsys.readouterr().out
    assert main(["recipes", JS]) == 0
    shown = capsys.readouterr().out
    assert "87.59 %" in shown
    assert "regularizer: js" in shown
    assert main(["recipes", "zzzz"]) == 1


def test_numbers_are_sorted_by_value() -> None:
    sizes = [name for name in NAMES if name.startswith("nibali2018/resnet18") and name.endswith("-js")]
    assert [name.split("-")[1] for name in sizes] == ["7px", "14px", "28px", "56px"]


def expand(pattern: str) -> list[str]:
    """Braces written out: a{1,2} is a1 and a2."""
    start, brace, rest = pattern.partition("{")
    if not brace:
        return [pattern]
    choices, _, end = rest.partition("}")
    return [start + choice + tail for choice in choices.split(",") for tail in expand(end)]


def test_the_page_names_every_recipe() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    patterns = re.findall(r"`(\w+/[^`]*)`", page)
    named = {name for pattern in patterns for name in expand(pattern)}
    assert {name for name in named if name.split("/")[0] in KEYPOINTS} == set(NAMES)
    for name in NAMES:
        number = recipes.find(name).published.split(" ")[0]
        if number.replace(".", "").isdigit():
            assert number in page, name
