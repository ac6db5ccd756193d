"""Layers in scans, from files to depths: a 1-D head on a 2-D network, trained, measured and used."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

from punctum import ops
from punctum.check import check
from punctum.data import CropSettings, ImageError, read
from punctum.data.augment import Augmentation
from punctum.data.synthetic_layers import NAMES, write_scans
from punctum.evaluate import evaluate
from punctum.heads import Prediction
from punctum.model import KeypointModel, ModelConfig
from punctum.ops import transform_points
from punctum.predict import Predictor, load_model
from punctum.predict_files import predict_files
from punctum.predict_layers import LayerPredictor
from punctum.schema import Schema
from punctum.settings import HardwareSettings, TrainSettings
from punctum.stream.journal import Journal
from punctum.train import train

CPU = HardwareSettings(accelerator="cpu", workers=0, precision="32")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    write_scans(folder / "train", 60, seed=1)
    write_scans(folder / "test", 8, seed=2)
    return folder


def settings(scans: Path, out: Path, **changes: object) -> TrainSettings:
    values = {
        "backbone": {"name": "columns", "width": 0.25},
        "crop": CropSettings(input_size=(96, 48)),
        "augmentation": Augmentation(rotation=10, colour=0.1),
        "hardware": CPU,
        "batch_size": 8,
        "max_epochs": 14,
    }
    return TrainSettings(data=str(scans / "train" / "layers.json"), out=str(out), **{**values, **changes})


@pytest.fixture(scope="module")
def run(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(settings(scans, tmp_path_factory.mktemp("runs") / "layers")).run


def test_other_kinds_of_backbones_and_models_are_refused(scans: Path, tmp_path: Path) -> None:
    # Before weights are fetched for it.
    with pytest.raises(ValueError, match=r"'resnet18' finds points, and the data are layers: choose .*columns"):
        train(settings(scans, tmp_path / "run", backbone={"name": "resnet18", "weights": "nowhere/at_all"}))
    points = KeypointModel(
        ModelConfig(Schema(NAMES), (32, 32), {"name": "resnet18", "width": 0.03}, {"name": "dsnt"}, {"region": "box"})
    )
    points.save(tmp_path / "points")
    for judge in (evaluate, lambda model, data: predict_files(model, [data], tmp_path / "p.csv")):
        with pytest.raises(ValueError, match=r"finds points in images, and .*layers\.json is of layers in scans"):
            judge(tmp_path / "points", scans / "test" / "layers.json")


def test_check_does_not_speak_of_left_and_right(scans: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        console = Console(record=True, width=120, file=log)
        check(scans / "test" / "layers.json", out=tmp_path, console=console)
    shown = console.export_text()
    assert "64 x 96 px" in shown
    assert "mirrored" not in shown


@pytest.mark.slow
def test_layers_are_learnt(scans: Path, run: Path) -> None:
    metrics = evaluate(run, scans / "test" / "layers.json")
    assert metrics["n_images"] == 8
    assert metrics["n_instances"] == 8 * 64
    assert metrics["epe_px"]["median"] < 1.5
    assert metrics["constant_predictor"]["epe_px"]["median"] > 4
    assert [row["name"] for row in metrics["per_keypoint"]] == list(NAMES)
    for name in ("metrics.json", "figures/validation.png", "figures/training.png", "model/model.safetensors"):
        assert (run / name).is_file()


def test_predictions_are_rows_of_the_scan(scans: Path, run: Path, tmp_path: Path) -> None:
    predictions = predict_files(run, [scans / "test" / "images"], tmp_path / "p.csv", draw=tmp_path / "drawn")
    assert len(list((tmp_path / "drawn").glob("*.png"))) == len(predictions) == 8
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 * 3 * 64
    first = predictions[0]
    assert rows[70]["layer"] == NAMES[1]
    assert rows[70]["column"] == "6"
    assert float(rows[70]["row"]) == pytest.approx(first.rows[1, 6], rel=1e-4)
    # What is written as JSON is read as annotations are.
    predict_files(run, [scans / "test" / "layers.json"], tmp_path / "p.json")
    again = read(tmp_path / "p.json", scans / "test" / "images", labels_only=True)
    assert again.schema.names == NAMES
    np.testing.assert_allclose(again.keypoints[:64, :, 0].T, first.rows, atol=1e-4)
    assert json.loads((tmp_path / "p.json").read_text())["scans"][0]["score"]


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_interrupted_it_goes_on_to_the_same_bytes(
    scans: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    pictures, whole, out = scans / "test" / "images", tmp_path / f"whole.{ending}", tmp_path / f"a.{ending}"
    predict_files(run, [pictures], whole, device="cpu")
    original, left = Journal.write, 3

    def write(journal: Journal, source: int, number: int, *rest: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        original(journal, source, number, *rest)

    monkeypatch.setattr(Journal, "write", write)
    with pytest.raises(KeyboardInterrupt):
        predict_files(run, [pictures], out, device="cpu")
    assert not out.exists()
    left = 5  # No more than those that were missing.
    found = predict_files(run, [pictures], out, device="cpu")
    assert left == 0
    assert len(found) == 8
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.parts"))


def test_a_scan_that_cannot_be_read_stops_or_is_listed(scans: Path, run: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "images"
    shutil.copytree(scans / "test" / "images", pictures)
    broken = min(pictures.iterdir())
    broken.write_bytes(b"")
    with pytest.raises(ValueError, match=r"the file is empty.*--on-error skip"):
        predict_files(run, [pictures], tmp_path / "a.csv", device="cpu")
    assert not (tmp_path / "a.csv").exists()
    found = predict_files(run, [pictures], tmp_path / "a.csv", device="cpu", on_error="skip", draw=tmp_path / "drawn")
    assert len(found) == len(list((tmp_path / "drawn").iterdir())) == 7
    assert (tmp_path / "a.csv.errors.csv").read_text().splitlines()[1] == f"{broken},,the file is empty"


def test_the_flip_test_mirrors_columns_not_depths(scans: Path, run: Path) -> None:
    model = load_model(run)
    annotations = read(scans / "test" / "layers.json")
    plain = LayerPredictor(model).annotated_points(annotations)
    flipped = LayerPredictor(model, flip_test=True).annotated_points(annotations)
    truth = annotations.keypoints
    assert np.abs(flipped.keypoints - plain.keypoints).max() > 0
    assert np.abs(flipped.keypoints - truth).mean() < 1.1 * np.abs(plain.keypoints - truth).mean()


class _Brightest(KeypointModel):
    """Answers with the row of the brightest pixel of each column: what it says is known beforehand."""

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images.mean(1).permute(0, 2, 1).flatten(0, 1)[:, None]]

    def decode(self, outputs: list[torch.Tensor]) -> Prediction:
        coords = ops.argmax(outputs[0])
        return Prediction(coords, torch.ones(coords.shape[:2]))


@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("size", [(50, 30), (25, 8), (100, 64)])
def test_depths_come_back_to_the_scans_own_rows(tmp_path: Path, size: tuple[int, int], flip_test: bool) -> None:
    rows = (10 + np.arange(30)) % 40
    image = np.zeros((50, 30), np.uint8)
    image[rows, np.arange(30)] = 255
    cv2.imwrite(str(tmp_path / "a.png"), image)
    config = ModelConfig(Schema(("line",)), size, {"name": "columns", "width": 0.05}, {"name": "dsnt"})
    (found,) = LayerPredictor(_Brightest(config), "cpu", flip_test=flip_test).predict([tmp_path / "a.png"])
    assert found.rows.shape == (1, 30)
    # To within the cell: 50 rows in 25 cells are two rows each.
    assert np.abs(found.rows[0] - rows).max() <= max(0.5, 25 / size[0])


def test_another_network_is_refused_before_training(scans: Path, tmp_path: Path) -> None:
    chosen = {"name": "resnet18", "width": 0.1}
    with pytest.raises(ValueError, match="choose --backbone columns"):
        train(settings(scans, tmp_path / "run", backbone=chosen))
    assert not (tmp_path / "run").exists()


def test_without_a_choice_scans_meet_their_own_network(scans: Path, tmp_path: Path) -> None:
    small = {"backbone": {"name": "resnet18"}, "crop": CropSettings(input_size=(48, 16)), "max_epochs": 1}
    result = train(settings(scans, tmp_path / "run", budget=None, **small))
    assert load_model(result.run).config.backbone["name"] == "columns"


def test_models_of_layers_and_of_points_are_not_mixed_up(scans: Path, run: Path) -> None:
    with pytest.raises(ValueError, match="finds layers in scans"):
        Predictor(load_model(run))
    config = ModelConfig(Schema(("a",)), (32, 32), {"name": "resnet18", "width": 0.05}, {"name": "dsnt"})
    with pytest.raises(ValueError, match="finds points in pictures"):
        LayerPredictor(KeypointModel(config))


def test_a_wrong_width_is_found_before_training(tmp_path: Path) -> None:
    path = write_scans(tmp_path / "data", 3)
    content = json.loads(path.read_text())
    content["scans"][1]["rows"] = [row[:-1] for row in content["scans"][1]["rows"]]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"scan0001\.png: the picture has 64 columns, its layers have 63"):
        train(TrainSettings(str(path), str(tmp_path / "run")))
    with pytest.raises(ImageError):
        LayerPredictor(load_model(untrained(tmp_path))).annotated_points(read(path))


def untrained(folder: Path) -> Path:
    config = ModelConfig(Schema(NAMES), (48, 16), {"name": "columns", "width": 0.05}, {"name": "dsnt"})
    KeypointModel(config).save(folder / "model")
    return folder


def test_check_draws_scans(scans: Path, tmp_path: Path) -> None:
    result = check(scans / "test" / "layers.json", out=tmp_path / "check", console=Console(quiet=True))
    assert result.n_images == 8
    assert (tmp_path / "check" / "labels.png").is_file()


def test_the_way_back_is_one_matrix_per_column(scans: Path) -> None:
    model = KeypointModel(ModelConfig(Schema(NAMES), (48, 16), {"name": "columns", "width": 0.05}, {"name": "dsnt"}))
    annotations = read(scans / "test" / "layers.json")
    points = LayerPredictor(model, "cpu").annotated_points(annotations)
    edges = torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(len(annotations), 2, 1)
    found = transform_points(edges, torch.from_numpy(points.to_image))[..., 0]
    np.testing.assert_allclose(found.numpy(), np.tile([-0.5, 95.5], (len(annotations), 1)), atol=1e-9)
