"""The options of `punctum train`: what wins over what, and what a run has when nothing is said."""

from pathlib import Path

import pytest

from punctum import backbones, heads
from punctum.cli_train import parse_train
from punctum.registry import options_of
from punctum.settings import TrainSettings
from punctum.train_settings import save_config


@pytest.fixture
def run(tmp_path: Path) -> Path:
    settings, _ = parse_train(["a.json", "--out", str(tmp_path / "run"), "--backbone.width", "0.25", "--seed", "3"])
    save_config(settings, tmp_path / "run")
    return tmp_path / "run"


def test_resume_needs_nothing_but_the_run_folder(run: Path) -> None:
    settings, resume = parse_train(["--out", str(run), "--resume"])
    assert resume
    assert settings == parse_train(["--config", str(run / "config.yaml")])[0]
    assert (settings.data, settings.backbone["width"], settings.seed) == ("a.json", 0.25, 3)


def test_resume_refuses_other_settings(run: Path) -> None:
    for words in (["b.json"], ["--seed", "4"], ["--data", "b.json"]):
        with pytest.raises(ValueError, match="a resumed run keeps the settings"):
            parse_train([*words, "--out", str(run), "--resume"])


def test_a_run_that_was_started_from_python_can_be_resumed(tmp_path: Path) -> None:
    save_config(TrainSettings("a.json", str(tmp_path), head={"name": "heatmap", "sigma": 2.0}), tmp_path)
    settings, _ = parse_train(["--out", str(tmp_path), "--resume"])
    assert (settings.head["name"], settings.head["sigma"]) == ("heatmap", 2.0)


def test_data_that_is_typed_wins_over_the_config_wherever_it_stands(run: Path) -> None:
    config = ["--config", str(run / "config.yaml")]
    assert parse_train([*config])[0].data == "a.json"
    assert parse_train(["b.json", *config])[0].data == "b.json"
    assert parse_train([*config, "b.json"])[0].data == "b.json"


def test_a_run_has_the_same_defaults_from_the_command_line_and_from_python() -> None:
    settings, python = parse_train(["a.json", "--out", "run"])[0], TrainSettings("a.json", "run")
    for part, package in (("head", heads), ("backbone", backbones)):
        typed, written = getattr(settings, part), getattr(python, part)
        defaults = {name: p.default for name, p in options_of(package.available()[written["name"]]).items()}
        assert typed == {**defaults, **written}
    stride = parse_train(["a.json", "--out", "run", "--backbone.output_stride", "32"])[0].backbone["output_stride"]
    assert stride == 32


def test_data_and_out_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_train(["--out", "run"])
    assert "data must be given" in capsys.readouterr().err
