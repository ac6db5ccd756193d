"""Predictions in original pixels: proved with a network that only looks for bright blobs, then with a real one."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import punctum
from films import BlobFinder
from punctum import ops
from punctum.data import read
from punctum.data.images import read_image
from punctum.flip_test import mirrored_mean
from punctum.heads import Prediction
from punctum.predict import Predictor
from punctum.predict_files import predict_files
from punctum.predict_write import write_predictions
from punctum.schema import Schema
from punctum.stream.gather import gather_stills


def blob(height: int, width: int, x: float, y: float, sigma: float = 4.0) -> NDArray[np.uint16]:
    """A bright Gaussian on black, drawn from its formula."""
    rows, columns = np.mgrid[:height, :width]
    values = 60000 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return values.round().astype(np.uint16)


@pytest.mark.parametrize("size", [(96, 128), (200, 150), (64, 64), (48, 80)])
def test_a_marker_comes_back_in_original_pixels(size: tuple[int, int], tmp_path: Path) -> None:
    rng, places, paths = np.random.default_rng(0), [], []
    for i in range(6):
        x, y = rng.uniform(40, 110), rng.uniform(40, 80)
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), blob(120, 150, x, y))
        places.append((x, y))
        paths.append(path)
    found = Predictor(BlobFinder(size, region="image"), "cpu", batch_size=4).predict(paths)
    error = np.array([p.keypoints[0] for p in found]) - places
    assert np.abs(error).max() < 0.05
    # The blob's own variance, 16 px^2 on both axes, comes back too, whatever the crop's scale.
    for p in found:
        assert p.covariance is not None
        assert np.allclose(p.covariance[0], 16 * np.eye(2), atol=2.0)


def test_boxes_are_where_it_looks() -> None:
    image = np.maximum(blob(200, 300, 60.3, 70.7), blob(200, 300, 220.4, 110.2))
    boxes = [[20, 30, 80, 80], [180, 70, 80, 80]]
    found = Predictor(BlobFinder((96, 96), padding=1.25), "cpu").predict([image, image], boxes)
    assert np.allclose([p.keypoints[0] for p in found], [[60.3, 70.7], [220.4, 110.2]], atol=0.05)


def test_arrays_and_files_of_every_kind_agree(tmp_path: Path) -> None:
    gray = (blob(64, 64, 30.25, 33.5) // 257).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), gray)
    rgb = np.repeat(gray[..., None], 3, axis=-1)
    kinds = [tmp_path / "a.png", gray, rgb, np.dstack([rgb, gray]), gray.astype(np.uint16) * 257, gray / 255.0]
    found = Predictor(BlobFinder((64, 64)), "cpu").predict(kinds)
    assert np.ptp([p.keypoints[0] for p in found], axis=0).max() < 1e-3
    assert [p.image for p in found] == [str(tmp_path / "a.png"), *(f"array {i}" for i in range(1, 6))]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((4, 4, 5), np.uint8), "array 0 has shape"),
        (np.zeros((4, 4), np.int64), "expected uint8, uint16 or float"),
        (np.full((4, 4), 255.0), r"must lie in \[0, 1\]"),
        (np.full((4, 4), np.nan), r"must lie in \[0, 1\]"),
        (np.zeros((0, 4), np.uint8), "array 0 has shape"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(picture: NDArray[np.generic], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Predictor(BlobFinder((32, 32)), "cpu").predict([picture])


def test_mistakes_in_calls() -> None:
    predictor = Predictor(BlobFinder((32, 32)), "cpu")
    with pytest.raises(ValueError, match="put a single one in brackets"):
        predictor.predict("a.png")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 pictures but 2 boxes"):
        predictor.predict([np.zeros((8, 8), np.uint8)], [None, None])
    with pytest.raises(ValueError, match=r"missing\.png"):
        predictor.predict(["missing.png"])
    assert predictor.predict([]) == []


class SideFinder(BlobFinder):
    """The bright blob left of the middle, the one right of it, and both together; `bias` moves all to the right."""

    def __init__(self, size: tuple[int, int], bias: float = 0.0) -> None:
        schema = Schema(("left", "right", "middle"), flip_pairs=((0, 1),))
        super().__init__(size, region="image")
        self.config = replace(self.config, schema=schema)
        self.bias = bias

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        light = images.mean(1, keepdim=True)
        is_right = ops.axis_centres(images.shape[-1]) > 0
        return [torch.cat([light * ~is_right, light * is_right, light], 1)]

    def decode(self, outputs: list[torch.Tensor]) -> Prediction:
        found = super().decode(outputs)
        return replace(found, coords=found.coords + torch.tensor([self.bias, 0.0]))


@pytest.mark.parametrize("size", [(64, 96), (63, 95)])
def test_a_flip_test_moves_nothing_by_a_fraction_of_a_pixel(size: tuple[int, int]) -> None:
    """Mirrored by one pixel too many, as some tools do on their grids, a point would move by half a pixel."""
    image = np.maximum(blob(*size, 23.3, 30.2), 0.7 * blob(*size, 70.6, 33.4)).round().astype(np.uint16)
    plain = Predictor(SideFinder(size), "cpu").predict([image])[0]
    assert np.allclose(plain.keypoints[:2], [[23.3, 30.2], [70.6, 33.4]], atol=0.02)
    flipped = Predictor(SideFinder(size), "cpu", flip_test=True).predict([image])[0]
    assert np.allclose(flipped.keypoints, plain.keypoints, atol=1e-4)
    assert flipped.covariance is not None
    assert np.allclose(flipped.covariance, plain.covariance, atol=1e-3)
    # A network that errs to one side: mirrored it errs to the other, and their mean is the truth.
    biased = Predictor(SideFinder(size, bias=0.1), "cpu", flip_test=True).predict([image])[0]
    assert np.allclose(biased.keypoints, plain.keypoints, atol=1e-4)


@pytest.mark.parametrize("size", [(9,), (8, 9), (5, 6, 7)])
def test_the_flip_tests_mean_is_that_of_the_heatmaps_average(size: tuple[int, ...]) -> None:
    first, second = torch.randn(2, 2, 3, *size, dtype=torch.float64).flatten(3).softmax(-1).reshape(2, 2, 3, *size)
    order = [1, 0, 2]
    average = (first + second[:, order].flip(-1)) / 2
    one, other = (
        Prediction(ops.dsnt(h), h.flatten(2).amax(-1), ops.covariance(h, ops.dsnt(h)), h, h.flatten(2)[..., 0])
        for h in (first, second)
    )
    found = mirrored_mean(one, other, order)
    mean = ops.dsnt(average)
    torch.testing.assert_close(found.coords, mean)
    torch.testing.assert_close(found.covariance, ops.covariance(average, mean))
    torch.testing.assert_close(found.heatmap, average)
    there = first.flatten(2)[..., 0] + second.flatten(2)[:, order, 0]
    torch.testing.assert_close(found.present, there / 2)
    assert mirrored_mean(one, replace(other, covariance=None), order).covariance is None


def test_a_flip_test_needs_flip_pairs(trained: Path, scenes: Path) -> None:
    with pytest.raises(ValueError, match="flip test: the model's keypoints have no flip_pairs"):
        Predictor(BlobFinder((32, 32)), "cpu", flip_test=True)
    annotations = read(scenes / "test.json").subset([0, 1, 2])
    plain, flipped = (punctum.load(trained, "cpu", flip_test=f).predict_annotations(annotations) for f in (0, 1))
    for one, other in zip(plain, flipped, strict=True):
        assert not np.allclose(one.keypoints, other.keypoints, atol=1e-3)
        assert np.isfinite(other.keypoints).all()


def test_load_and_predict_from_python(trained: Path, scenes: Path) -> None:
    predictor = punctum.load(trained, device="cpu")
    paths = sorted((scenes / "images").glob("test_*.png"))[:3]
    by_path = predictor.predict(paths)
    by_array = predictor.predict([read_image(path) for path in paths])
    for one, other in zip(by_path, by_array, strict=True):
        assert one.names == predictor.schema.names
        assert np.allclose(one.keypoints, other.keypoints, atol=1e-4)
        assert one.covariance is not None
        assert (np.linalg.eigvalsh(one.covariance) >= -1e-9).all()
        assert ((one.score >= 0) & (one.score <= 1)).all()


def test_batches_do_not_change_predictions(trained: Path, scenes: Path) -> None:
    annotations = read(scenes / "test.json")
    predictor = punctum.load(trained, device="cpu")
    found = []
    for size in (1, 5, 32):
        predictor.batch_size = size
        found.append(np.stack([p.keypoints for p in predictor.predict_annotations(annotations)]))
    assert np.allclose(found[0], found[1], atol=1e-3)
    assert np.allclose(found[0], found[2], atol=1e-3)


def test_csv_and_json_hold_the_same(trained: Path, scenes: Path, tmp_path: Path) -> None:
    predictions = punctum.load(trained, device="cpu").predict_annotations(read(scenes / "test.json").subset([0, 1]))
    write_predictions(predictions, tmp_path / "a.csv")
    write_predictions(predictions, tmp_path / "a.json")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    instances = json.loads((tmp_path / "a.json").read_text())
    points = [(i, point) for i in instances for point in i["keypoints"]]
    assert len(rows) == len(points) == 28
    for row, (instance, point) in zip(rows, points, strict=True):
        assert (row["image"], row["instance"], row["keypoint"]) == (
            instance["image"],
            instance["instance"],
            point["name"],
        )
        assert float(row["x"]) == pytest.approx(point["x"], abs=1e-3)
        assert float(row["cov_xy"]) == pytest.approx(point["covariance"][0][1], rel=1e-4)
    with pytest.raises(ValueError, match=r"\.csv or \.json"):
        write_predictions(predictions, tmp_path / "a.txt")


def test_predict_files_takes_pictures_folders_and_annotations(trained: Path, scenes: Path, tmp_path: Path) -> None:
    some = sorted((scenes / "images").glob("test_*.png"))[:2]
    found = predict_files(trained, [*some, scenes / "test.json"], tmp_path / "p.csv", draw=tmp_path / "drawn")
    assert len(found) == 2 + 12
    drawings = sorted((tmp_path / "drawn").iterdir())
    # A picture that was named twice is drawn once, with both predictions.
    assert len(drawings) == 12
    assert read_image(drawings[0]).shape == (512, 512, 3)  # Eight times larger, to be legible.
    pictures, annotated = gather_stills([scenes / "images"])
    assert len(pictures) == 36
    assert annotated == []


def test_two_pictures_of_one_name_get_two_drawings(trained: Path, scenes: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes((scenes / "images" / "test_00000.png").read_bytes())
    predict_files(trained, [tmp_path / "a", tmp_path / "b"], tmp_path / "p.json", draw=tmp_path / "drawn")
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["x-2.png", "x.png"]


def test_missing_files_are_named_together(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"one\.png, .*two\.png"):
        predict_files(trained, [tmp_path / "one.png", tmp_path / "two.png"], tmp_path / "p.csv")
    with pytest.raises(ValueError, match="holds no pictures"):
        predict_files(trained, [tmp_path], tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()
