"""`punctum diagnose` from a trained run to a folder with figures, pictures and a page."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

import punctum.diagnose
from punctum import cli
from punctum.data import read
from punctum.data.synthetic_volumes import write_volumes
from punctum.diagnose import default_criterion, diagnose
from punctum.diagnostics.gallery import chosen, overlay
from punctum.diagnostics.places import true_places
from punctum.predict import Predictor, load_model
from punctum.report.blocks import Facts, Figure, Gallery, Table, Text
from punctum.report.diagnosis import diagnosis_page
from punctum.terminal_diagnosis import print_diagnosis


@pytest.fixture(scope="module")
def diagnosed(trained: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("diagnosis")
    return folder, diagnose(trained, scenes / "test.json", out=folder, batch_size=5)


def test_it_says_what_it_measured(diagnosed: tuple[Path, dict[str, Any]], scenes: Path) -> None:
    folder, result = diagnosed
    assert json.loads((folder / "diagnosis.json").read_text()) == result
    annotations = read(scenes / "test.json")
    assert result["n_instances"] == len(annotations)
    assert 0 < result["n"] <= annotations.labelled.sum()
    assert [row["name"] for row in result["per_keypoint"]] == list(annotations.schema.names)
    assert sum(row["n"] for row in result["per_keypoint"]) == result["n"]
    assert sum(part["n"] for part in result["splits"]["error"].values()) == result["n"]
    assert result["head"]["decoder"] == "mean"
    assert result["all"]["errors"]["expected"] >= result["all"]["errors"]["mean"]
    assert "softmax" in result["normalization"]
    assert len(result["heatmap_size"]) == 2


def test_its_errors_are_those_of_the_predictor(
    diagnosed: tuple[Path, dict[str, Any]], trained: Path, scenes: Path
) -> None:
    """In cells, from original pixels by the crop's scale: the two ways must agree."""
    _, result = diagnosed
    annotations = read(scenes / "test.json")
    points = Predictor(load_model(trained), "cpu").annotated_points(annotations)
    _, seen = true_places(annotations, slice(None), torch.from_numpy(points.to_image), (64, 64))
    errors = np.linalg.norm(points.keypoints - annotations.keypoints, axis=-1)
    assert int(seen.sum()) == result["n"]
    assert errors[seen.numpy()].mean() == pytest.approx(result["all"]["error"]["mean"] * result["cell_px"], rel=1e-4)


def test_its_folder_and_page(diagnosed: tuple[Path, dict[str, Any]]) -> None:
    folder, result = diagnosed
    for name in ("activation.png", "sigma.png", "border.png", "gradient.png", "report.html"):
        assert (folder / name).stat().st_size > 1000, name
    assert [entry["kind"] for entry in result["gallery"]] == ["best", "best", "median", "median", "worst", "worst"]
    for entry in result["gallery"]:
        picture = cv2.imread(str(folder / entry["file"]))
        assert picture.std() > 5
        assert entry["errors"] == sorted(entry["errors"])
    page = diagnosis_page(folder)
    blocks = [block for section in page.sections for block in section.blocks]
    counts = {kind: sum(isinstance(b, kind) for b in blocks) for kind in (Facts, Figure, Gallery, Table)}
    assert counts == {Facts: 1, Figure: 4, Gallery: 3, Table: 3}
    assert page.sections[0].title == "Findings"
    told = [b.text for b in page.sections[0].blocks if isinstance(b, Text)]
    assert len(told) == max(1, len(result["findings"]))


def test_the_terminal(diagnosed: tuple[Path, dict[str, Any]]) -> None:
    for findings, word in (
        ([], "no findings"),
        ([{"name": "flat maps", "advice": "train longer"}], "1. flat maps: train"),
    ):
        console = Console(record=True, width=140, file=io.StringIO())
        print_diagnosis({**diagnosed[1], "findings": findings}, console)
        shown = console.export_text()
        assert word in shown
        assert "far, by error" in shown
        assert f"{diagnosed[1]['n']} points" in shown


def test_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    called: list[Any] = []
    monkeypatch.setattr(punctum.diagnose, "diagnose", lambda *args, **options: called.append((args, options)))
    assert cli.main(["diagnose", "runs/first", "test.json", "--by", "size", "--batch-size", "4"]) == 0
    (args, options) = called[0]
    assert args == ("runs/first", "test.json")
    assert (options["by"], options["batch_size"], options["out"]) == ("size", 4, None)


def test_an_unknown_criterion_is_refused_first(trained: Path, scenes: Path) -> None:
    with pytest.raises(ValueError, match="unknown criterion 'mood'"):
        diagnose(trained, scenes / "test.json", by="mood")  # type: ignore[arg-type]


@pytest.mark.parametrize("head", ["fully_connected", "rle"])
def test_heads_without_heatmaps_are_refused(head: str, trained: Path, scenes: Path, tmp_path: Path) -> None:
    from punctum import model

    config = replace(load_model(trained).config, head={"name": head})
    model.KeypointModel(config).save(tmp_path)
    with pytest.raises(ValueError, match=f"head '{head}' has no heatmap .* such as dsnt"):
        diagnose(tmp_path, scenes / "test.json")


def test_volumes_are_looked_into(tmp_path: Path) -> None:
    from punctum.cli_train import parse_train
    from punctum.train import train

    data = write_volumes(tmp_path / "data", 3, seed=0)
    words = [
        str(data),
        "--out",
        str(tmp_path / "run"),
        "--max-epochs",
        "1",
        "--input-size",
        "32",
        "--batch-size",
        "2",
    ]
    words += ["--head", "heatmap", "--hardware.workers", "0", "--hardware.accelerator", "cpu"]
    settings, _ = parse_train([*words, "--backbone", "resnet3d", "--backbone.width", "0.125"])
    run = train(settings).run
    result = diagnose(run, data)
    assert len(result["heatmap_size"]) == 3
    assert "divided by its sum" in result["normalization"]
    assert (run / "diagnosis" / "report.html").is_file()


def test_the_criterion_is_one_that_tells_instances_apart(scenes: Path) -> None:
    annotations = read(scenes / "train.json")
    full = replace(annotations, visibility=np.full_like(annotations.visibility, 2))
    boxes = np.tile([0.0, 0, 200, 200], (len(full), 1))
    assert default_criterion(replace(full, boxes=boxes)) is None
    boxes[:10, 2:] = 50
    assert default_criterion(replace(full, boxes=boxes)) == "size"
    few = full.visibility.copy()
    few[:12, 1:] = 0
    assert default_criterion(replace(full, visibility=few)) == "joints"


def test_the_gallery_takes_each_instance_once() -> None:
    class Table:
        error = np.array([[5.0], [1.0], [np.nan], [3.0], [2.0], [4.0], [6.0], [2.5]])

    assert chosen(Table()) == {"best": [1, 4], "median": [7, 3], "worst": [6, 0]}  # type: ignore[arg-type]
    Table.error = Table.error[:3]
    assert chosen(Table()) == {"best": [1, 0], "median": [], "worst": []}  # type: ignore[arg-type]


def test_an_overlay_shows_the_picture_where_the_map_is_empty() -> None:
    grey, share = np.tile(np.linspace(0, 1, 8), (8, 1)), np.zeros((8, 8))
    share[2, 3] = 1
    picture = overlay(grey, share).astype(int)
    assert (np.diff(picture[0, :, 0]) > 0).all()
    assert (picture[0, :, 0] == picture[0, :, 2]).all()
    assert picture[2, 3, 0] - picture[2, 3, 2] > 20  # Warm.


def test_broken_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="punctum diagnose"):
        diagnosis_page(tmp_path)
    (tmp_path / "diagnosis.json").write_text('{"n": 1}')
    with pytest.raises(ValueError, match="is not what"):
        diagnosis_page(tmp_path)
