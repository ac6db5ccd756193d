"""The command line as a user meets it: in a process of its own, by exit code and message."""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from punctum.cli import COMMANDS, main

Cli = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def test_the_whole_way(cli: Cli, scenes: Path, tiny: list[str], tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "p.csv"
    words = ["train", scenes / "train.json", "--val", scenes / "test.json", "--out", run, "--max-epochs", "1", *tiny]
    done = cli([*words, "--head", "heatmap", "--head.decoder", "quarter"])
    assert done.returncode == 0, done.stderr
    assert f"The run is in {run}" in done.stdout
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr, done.stderr
    judged = cli(["evaluate", run, scenes / "test.json", "--normalizer", "keypoints:neck,head_top"])
    assert judged.returncode == 0, judged.stderr
    assert "constant predictor" in judged.stdout
    assert json.loads((run / "metrics.json").read_text())["normalizer"].startswith("keypoints:neck,head_top")
    images = sorted((scenes / "images").glob("test_*"))[:2]
    told = cli(["predict", run, *images, "--out", out, "--draw", tmp_path / "drawn"])
    assert told.returncode == 0, told.stderr
    lines = out.read_text().splitlines()
    assert lines[0].startswith("image,instance,keypoint,x,y,score,cov_xx")
    assert len(lines) == 1 + 2 * 14
    assert len(list((tmp_path / "drawn").iterdir())) == 2


def test_check(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    done = cli(["check", scenes / "train.json", "--out", tmp_path / "look"])
    assert done.returncode == 0, done.stderr
    assert "24 instances, 24 images" in done.stdout
    assert (tmp_path / "look" / "labels.png").is_file()


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    assert "torch" in shown
    assert "resnet18" in shown


def test_info_says_which_kernels_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--kernels"]) == 0
    shown = capsys.readouterr().out
    for word in ("closed", "ready", "dsnt_terms", "PUNCTUM_KERNELS"):
        assert word in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "nothing.json"], "nothing.json"),
        (["evaluate", "no-run", "nothing.json"], "no-run"),
        (["predict", "no-run", "a.png", "--out", "p.csv"], "a.png"),
        (["predict", "no-run", "a.png", "--out", "p.txt"], ".csv or .json"),
        (["train", "nothing.json", "--out", "run", "--head", "dsmt"], "unknown head 'dsmt'"),
        (["train", "nothing.json", "--out", "run", "--backbone", "vgg"], "unknown backbone 'vgg'"),
        (["train", "nothing.json", "--out", "run", "--lr", "-1"], "lr must be positive"),
        (["train", "nothing.json", "--out", "run", "--head.sigma", "-1"], "nothing.json"),
    ],
)
def test_mistakes_are_one_message_and_exit_1(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["trian"],
        ["train"],
        ["train", "a.json"],
        ["train", "a.json", "--out", "run", "--max-epochs", "many"],
        ["train", "a.json", "--out", "run", "--head.regulariser", "js"],
        ["train", "a.json", "--out", "run", "--head", "heatmap", "--head.regularizer", "js"],
        ["evaluate", "run"],
        ["predict", "run", "a.png"],
        ["check"],
        ["info", "--what"],
    ],
)
def test_wrong_usage_is_exit_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    assert "usage" in (said.err + said.out).lower()


@pytest.mark.parametrize("verb", list(COMMANDS))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"punctum {verb}" in capsys.readouterr().out


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("punctum ")


def test_head_options_are_those_of_the_head(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--head", "heatmap", "--help"])
    shown = capsys.readouterr().out
    assert "--head.decoder" in shown
    assert "--head.regularizer" not in shown


def test_sizes_are_written_as_people_do() -> None:
    from punctum.cli_train import parse_train

    for words, size in ((["--input-size", "96"], (96, 96)), (["--input-size=192x256"], (192, 256))):
        settings, _ = parse_train(["a.json", "--out", "r", *words])
        assert settings.crop.input_size == size
