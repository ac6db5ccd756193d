"""`punctum convert`, as a user meets it."""

import json
from pathlib import Path

import pytest

from punctum.cli import main
from punctum.convert import convert
from punctum.data import read


def test_it_says_what_is_lost(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "CollectedData_me.csv"
    assert main(["convert", str(scenes / "train.json"), str(out)]) == 0
    said = capsys.readouterr().out
    assert "24 instances in 24 images, 14 keypoints" in said
    assert "compared, none further than 0 px from itself" in said
    assert "lost 24 boxes: DeepLabCut's csv has none" in said
    assert f"--images {scenes}" in said
    assert len(read(out, scenes)) == 24


def test_nothing_is_lost_from_coco_to_coco(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["convert", str(scenes / "train.json"), str(tmp_path / "b.json"), "--copy-images"]
    assert main(words) == 0
    assert "nothing is lost" in capsys.readouterr().out
    # With the pictures beside it, it is found by itself.
    assert len(read(tmp_path / "b.json")) == 24
    assert main(words) == 1
    assert "there already; --force writes over it" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0


def test_yolo_split_by_split(scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for split, file in (("train", "train.json"), ("val", "test.json")):
        assert main(["convert", str(scenes / file), str(folder), "--split", split]) == 0
    assert (len(read(folder)), len(read(folder / "labels" / "val"))) == (24, 12)
    text = (folder / "data.yaml").read_text()
    assert "train: images/train\nval: images/val\n" in text
    assert "flip_idx" in text
    # Hard links: the same file, under another name.
    picture = next((folder / "images" / "train").rglob("*.png"))
    assert picture.stat().st_nlink == 2
    assert main(["convert", str(folder / "labels" / "val"), str(tmp_path / "back.json")]) == 0
    assert len(json.loads((tmp_path / "back.json").read_text())["annotations"]) == 12


def test_a_project_of_sleap_is_trained_on(
    scenes: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(scenes / "test.json"), str(tmp_path / "p.slp")]) == 0
    words = ["--images", str(scenes), "--out", str(tmp_path / "run"), "--max-epochs", "1", *tiny]
    assert main(["train", str(tmp_path / "p.slp"), *words]) == 0
    images = ["--images", str(scenes), "--out", str(tmp_path / "e"), "--no-report"]
    assert main(["evaluate", str(tmp_path / "run"), str(tmp_path / "p.slp"), *images]) == 0
    assert main(["check", str(tmp_path / "p.slp"), "--images", str(scenes), "--out", str(tmp_path / "look")]) == 0
    assert "12 instances" in capsys.readouterr().out


def test_frames_of_a_package_are_written_out(scenes: Path, tmp_path: Path) -> None:
    import sleap_io as sio

    convert(scenes / "test.json", tmp_path / "p.slp")
    package = tmp_path / "p.pkg.slp"
    sio.load_slp(str(tmp_path / "p.slp")).save(str(package), embed="user", verbose=False)
    assert main(["convert", str(package), str(tmp_path / "out" / "a.json")]) == 1
    assert main(["convert", str(package), str(tmp_path / "out" / "a.json"), "--copy-images"]) == 0
    assert len(read(tmp_path / "out" / "a.json")) == 12


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.json", "b.docx"], "no format has files like that"),
        (["a.json", "b.json", "--to", "cocoa"], "format 'cocoa' is not known; there are: coco, "),
        (["a.json", "b.json", "--from", "cocoa"], "format 'cocoa' is not known"),
        (["a.json", "b.mat", "--to", "mpii-mat"], "format 'mpii-mat' is not written"),
        (["a.json", "set", "--split", "rest"], "split should be one of train, val, test"),
        (["a.json", "b.json"], "a.json: cannot be read"),
    ],
)
def test_mistakes_are_one_message(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert", *words]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_layers_are_refused(tmp_path: Path) -> None:
    from punctum.data.synthetic_layers import write_scans

    data = write_scans(tmp_path, 2, seed=0)
    with pytest.raises(ValueError, match="these are of layers in scans"):
        convert(data, tmp_path / "b.xml")
