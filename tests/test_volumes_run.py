"""Landmarks in volumes end to end: settings that follow from the data, training, evaluation, prediction, pictures."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from punctum import ops
from punctum.check import check
from punctum.cli_train import parse_train
from punctum.data import read
from punctum.data.augment import Augmentation
from punctum.data.crop import CropSettings
from punctum.data.synthetic_volumes import NAMES, write_volumes
from punctum.evaluate import evaluate
from punctum.heads import Prediction
from punctum.judging import Protocol
from punctum.model import KeypointModel, ModelConfig
from punctum.overlays import view_labels
from punctum.predict import Predictor
from punctum.predict_files import predict_files
from punctum.predict_write import write_predictions
from punctum.schema import Schema
from punctum.settings import HardwareSettings, OptimizerSettings, TrainSettings
from punctum.slices import draw_slices
from punctum.train import train
from punctum.train_settings import resolve

SPACING = np.array([0.7, 0.9, 2.0])


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    write_volumes(folder, 48, seed=0)
    write_volumes(folder, 12, seed=0, split="test")
    return folder


class BlobFinder(KeypointModel):
    """No network: the heatmap is the volume's brightness, so every error is the geometry's."""

    def __init__(self, size: tuple[int, int, int]) -> None:
        backbone = {"name": "resnet3d", "width": 0.03}
        super().__init__(ModelConfig(Schema(("blob",)), size, backbone, {"name": "dsnt"}, {"region": "image"}))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images]

    def decode(self, outputs: list[torch.Tensor]) -> Prediction:
        heatmaps = ops.normalize(outputs[0], "relu")
        mean = ops.dsnt(heatmaps)
        return Prediction(mean, torch.ones(mean.shape[:2]), ops.covariance(heatmaps, mean), heatmaps)


def blob(centre: list[float]) -> np.ndarray:
    """A Gaussian of 4 mm, (24, 60, 70) uint16, drawn from its formula."""
    z, y, x = np.indices((24, 60, 70))
    offsets = (np.stack([x, y, z], axis=-1) - centre) * SPACING
    return (60000 * np.exp(-(offsets**2).sum(-1) / 32)).astype(np.uint16)


def test_a_blob_comes_back_in_its_own_voxels(tmp_path: Path) -> None:
    centre = [30.3, 33.8, 10.6]
    np.savez(tmp_path / "a.npz", volume=blob(centre), spacing=SPACING)
    np.save(tmp_path / "b.npy", blob(centre))
    predictor = Predictor(BlobFinder((32, 40, 48)), "cpu")
    found = predictor.predict([tmp_path / "a.npz"])
    found += predictor.predict([tmp_path / "b.npy", blob(centre)], spacing=[SPACING, SPACING.tolist()])
    for p in found:
        assert np.abs((p.keypoints[0] - centre) * SPACING).max() < 0.1
        # Four millimetres on every axis, whatever the voxels: the covariance comes back in voxels squared.
        assert p.covariance is not None
        assert np.allclose(p.covariance[0] * np.outer(SPACING, SPACING), 16 * np.eye(3), atol=1.5)
    path = write_predictions(found, tmp_path / "out.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    spread = ["cov_xx", "cov_xy", "cov_xz", "cov_yy", "cov_yz", "cov_zz"]
    assert list(rows[0]) == ["image", "instance", "keypoint", "x", "y", "z", "score", *spread]
    assert float(rows[0]["z"]) == pytest.approx(found[0].keypoints[0, 2], rel=1e-4)
    assert float(rows[0]["cov_zz"]) == pytest.approx(found[0].covariance[0, 2, 2], rel=1e-4)  # type: ignore[index]
    point = json.loads(write_predictions(found, tmp_path / "out.json").read_text())[0]["keypoints"][0]
    assert [point[axis] for axis in "xyz"] == pytest.approx(found[0].keypoints[0].tolist(), abs=1e-3)


def test_pictures_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "flat.png"), np.zeros((20, 20), np.uint8))
    predictor = Predictor(BlobFinder((16, 16, 16)), "cpu")
    with pytest.raises(ValueError, match=r"flat.png: the model finds points in volumes \(.npy, .npz\)"):
        predictor.predict([tmp_path / "flat.png"])
    with pytest.raises(ValueError, match=r"array 0: a volume is an array \(D, H, W\)"):
        predictor.predict([np.zeros((20, 20), np.uint8)])
    with pytest.raises(ValueError, match="1 pictures but 2 spacings"):
        predictor.predict([np.zeros((20, 20, 20), np.uint8)], spacing=[None, None])
    assert predictor.points([], []).keypoints.shape == (0, 1, 3)


def test_settings_follow_from_the_data(volumes: Path, scenes: Path) -> None:
    data, images = read(volumes / "test.json"), read(scenes / "test.json")

    def resolved(*words: str) -> TrainSettings:
        return resolve(parse_train(["a.json", "--out", "r", *words])[0], data)

    plain = resolved()
    assert (plain.backbone["name"], plain.crop.input_size) == ("resnet3d", (64, 64, 64))
    assert plain.crop.region == "image"
    assert resolved("--input_size", "48").crop.input_size == (48, 48, 48)
    assert resolved("--input_size", "32x48x40").crop.input_size == (32, 48, 40)
    assert resolved("--backbone", "resnet3d", "--backbone.depth", "18").backbone["depth"] == 18
    assert TrainSettings.from_dict(plain.to_dict()) == plain
    with pytest.raises(ValueError, match=r"'resnet34' takes images, and the data are volumes: .*--backbone resnet3d"):
        resolved("--backbone", "resnet34")
    with pytest.raises(ValueError, match="'resnet18' takes images"):
        resolved("--backbone.width", "0.5")
    with pytest.raises(ValueError, match="input_size 32x48: volumes need one side"):
        resolved("--input_size", "32x48")
    settings = parse_train(["a.json", "--out", "r"])[0]
    assert resolve(settings, images).backbone["name"] == "resnet18"
    with pytest.raises(ValueError, match="'resnet3d' takes volumes, and the data are images"):
        resolve(replace(settings, backbone={"name": "resnet3d"}), images)
    with pytest.raises(ValueError, match="input_size 32x32x32: images have two sides"):
        resolve(replace(settings, crop=CropSettings((32, 32, 32))), images)


def test_slices_go_through_the_landmark() -> None:
    """One bright voxel: all three slices show it, where its coordinates say."""
    volume = np.zeros((30, 40, 50), np.uint8)
    volume[7, 21, 33] = 255
    picture = draw_slices(volume, np.array([[33.0, 21, 7], [1, 1, 1]]), Schema(("a", "b")), 0)
    empty = draw_slices(volume, np.full((2, 3), np.nan), Schema(("a", "b")), 0)  # through the middle: all black
    width = picture.shape[1] // 3
    for i, (x, y) in enumerate([(33, 21), (33, 7), (21, 7)]):
        difference = np.abs(picture.astype(int) - empty)[:, i * width : (i + 1) * width].sum(-1)
        row, column = np.unravel_index(
            cv2.GaussianBlur(difference.astype(np.float32), (0, 0), 3).argmax(), difference.shape
        )
        assert abs((column - 4) / 3 - x) < 2
        assert abs((row - 4) / 3 - y) < 2
    assert empty.shape == picture.shape


def test_check_draws_volumes(volumes: Path, tmp_path: Path) -> None:
    result = check(volumes / "test.json", out=tmp_path)
    assert (result.n_images, result.labelled["nose"], result.suspicious) == (12, 12, {})
    assert [path.name for path in result.figures] == ["labels.png"]
    data = read(volumes / "test.json")
    assert view_labels(data, 0).shape == view_labels(data, 0, flip=True).shape


def test_hounsfield_units_are_evaluated_as_they_were_trained(volumes: Path, tmp_path: Path) -> None:
    """int16 in bare .npy files, the spacing in the csv: percentiles in training, and so in evaluation."""
    data, rows = read(volumes / "test.json"), ["volume,keypoint,x,y,z,spacing_x,spacing_y,spacing_z"]
    for i, path in enumerate(data.images[:4]):
        np.save(tmp_path / f"{i}.npy", np.load(path)["volume"].astype(np.int16) * 8 - 1000)
        for name, place in zip(NAMES, data.keypoints[i].tolist(), strict=True):
            rows.append(",".join(map(str, [f"{i}.npy", name, *place, 1.0, 1.0, 1.6])))
    (tmp_path / "ct.csv").write_text("\n".join(rows))
    settings = TrainSettings(
        data=str(tmp_path / "ct.csv"),
        out=str(tmp_path / "run"),
        backbone={"name": "resnet3d", "width": 0.1},
        crop=CropSettings(input_size=(16, 16, 16)),
        hardware=HardwareSettings(accelerator="cpu", workers=0),
        max_epochs=1,
    )
    with pytest.raises(ValueError, match=r"int16 has no known range .* use intensity 'percentile'"):
        train(settings)
    run = train(replace(settings, crop=replace(settings.crop, intensity="percentile"))).run
    metrics = evaluate(run, tmp_path / "ct.csv")
    assert metrics["mre_mm"]["value"] > 0
    predict_files(run, [tmp_path / "0.npy"], tmp_path / "known.csv", spacing=[1, 1, 1.6])
    predict_files(run, [tmp_path / "0.npy"], tmp_path / "unknown.csv")
    assert (tmp_path / "known.csv").read_text() != (tmp_path / "unknown.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("head", "epochs"), [("dsnt", 25), pytest.param("heatmap", 14, marks=pytest.mark.thorough)])
def test_a_small_network_learns(head: str, epochs: int, volumes: Path, tmp_path: Path) -> None:
    """Held-out volumes: the median error is below a voxel, less than 40 % of the constant predictor's."""
    settings = TrainSettings(
        data=str(volumes / "train.json"),
        val=str(volumes / "test.json"),
        out=str(tmp_path / "run"),
        head={"name": head},
        backbone={"name": "resnet3d", "width": 0.25, "output_stride": 2},
        crop=CropSettings(input_size=(24, 24, 24)),
        augmentation=Augmentation(rotation=10, scale=0.1, colour=0.2),
        optimizer=OptimizerSettings(lr=4e-3),
        hardware=HardwareSettings(accelerator="cpu", workers=0),
        batch_size=6,
        max_epochs=epochs,
    )
    run = train(settings).run
    metrics = evaluate(run, volumes / "test.json")
    assert metrics["epe_px"]["median"] < 1, metrics["epe_px"]
    assert metrics["epe_px"]["median"] < metrics["constant_predictor"]["epe_px"]["median"] * 0.4
    # Millimetres come from the files' spacing; by hand from the predictions, they are the same.
    data = read(volumes / "test.json")
    found = predict_files(
        run, [volumes / "test.json"], tmp_path / "points.csv", draw=tmp_path / "drawn", ellipses=True
    )
    offsets = (np.stack([p.keypoints for p in found]) - data.keypoints) * [1.0, 1.0, 1.6]
    assert metrics["mre_mm"]["value"] == pytest.approx(np.linalg.norm(offsets, axis=-1).mean(), rel=1e-6)
    assert metrics["constant_predictor"]["mre_mm"]["value"] > metrics["mre_mm"]["value"]
    assert set(metrics["sdr_mm"]) == {"2", "2.5", "3", "4"}
    # Volumes without annotations give the same coordinates, since the .npz files know their spacing.
    files = sorted((volumes / "volumes").glob("test_*.npz"))
    alone = predict_files(run, files, tmp_path / "alone.csv")
    assert np.allclose([p.keypoints for p in alone], [p.keypoints for p in found], atol=1e-4)
    assert {row["keypoint"] for row in csv.DictReader((tmp_path / "points.csv").read_text().splitlines())} == set(
        NAMES
    )
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 12
    assert (run / "figures" / "validation.png").stat().st_size > 10_000
    # A spacing given by hand replaces the files'.
    doubled = evaluate(run, volumes / "test.json", protocol=Protocol(spacing=2.0), out=tmp_path)
    assert doubled["mre_mm"]["value"] == pytest.approx(2 * metrics["epe_px"]["mean"])
