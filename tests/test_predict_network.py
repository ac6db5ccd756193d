"""Pictures read ahead, in order and no further than promised; fused, compiled and mirrored batches; crops kept."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from punctum import predict_network, predict_reading
from punctum.data import inspect, inspection, read
from punctum.evaluate import evaluate
from punctum.model import KeypointModel, ModelConfig
from punctum.predict import Predictor, load_model
from punctum.predict_files import predict_files
from punctum.predict_reading import AHEAD, read_ahead
from punctum.schema import Schema


def test_batches_come_in_order_whatever_the_threads_do() -> None:
    def load(i: int) -> int:
        time.sleep(0.002 * (i % 3))
        return i

    assert list(read_ahead(load, list, 11, 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert list(read_ahead(load, list, 0, 4)) == []


def test_no_more_is_read_than_what_may_wait() -> None:
    begun, lock = [], threading.Lock()

    def load(i: int) -> int:
        with lock:
            begun.append(i)
        return i

    batches = read_ahead(load, list, 100, 5)
    next(batches)
    time.sleep(0.05)
    # One is used, `AHEAD` wait, and one was submitted when the first one left.
    assert max(begun) < 5 * (2 + AHEAD)
    batches.close()


def test_an_error_comes_at_its_turn_and_ends_the_reading() -> None:
    begun = []

    def load(i: int) -> int:
        begun.append(i)
        if i == 3:
            raise ValueError("picture 3 is broken")
        return i

    batches = read_ahead(load, list, 1000, 2)
    assert next(batches) == [0, 1]
    with pytest.raises(ValueError, match="picture 3 is broken"):
        next(batches)
    assert max(begun) < 20


def model(size: tuple[int, int] = (32, 32)) -> KeypointModel:
    schema = Schema(("left", "right"), flip_pairs=((0, 1),))
    return KeypointModel(ModelConfig(schema, size, {"name": "resnet18", "width": 0.125}, {"name": "dsnt"})).eval()


def pictures(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(i).integers(0, 255, (40, 30 + i, 3), dtype=np.uint8) for i in range(count)]


@pytest.mark.parametrize("flip_test", [False, True])
def test_fused_and_plain_find_the_same(flip_test: bool) -> None:
    network, images = model(), pictures(5)
    plain = Predictor(network, "cpu", 2, fuse=False, flip_test=flip_test).predict(images)
    fused = Predictor(network, "cpu", 4, flip_test=flip_test).predict(images)
    for a, b in zip(plain, fused, strict=True):
        assert np.allclose(a.keypoints, b.keypoints, atol=1e-3)
        assert np.allclose(a.score, b.score, atol=1e-5)
    assert not network.folded


def test_the_flip_test_in_one_batch_is_that_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = model(), pictures(7)
    seen: list[int] = []
    forward = KeypointModel.forward
    monkeypatch.setattr(KeypointModel, "forward", lambda self, x: (seen.append(len(x)), forward(self, x))[1])
    found = Predictor(network, "cpu", 6, flip_test=True, fuse=False).predict(images)
    # No more crops at a time than asked for, mirrored ones counted.
    assert seen == [6, 6, 2]
    crops = torch.cat(
        [crops for crops, _, _ in Predictor(network, "cpu", fuse=False)._batches(images, [None] * 7, None)]
    )
    with torch.no_grad():
        straight = network.decode(network(crops)).coords
        mirrored = network.decode(network(crops.flip(-1))).coords[:, [1, 0]] * torch.tensor([-1.0, 1.0])
    expected = (straight + mirrored) / 2
    for i, prediction in enumerate(found):
        height, width = images[i].shape[:2]
        # A crop shows the whole picture, as large as it fits into the square.
        pixels = (expected[i].numpy() * max(height, width) + [width, height]) / 2 - 0.5
        assert np.allclose(prediction.keypoints, pixels, atol=1e-3)


def test_compiled_networks_see_one_size_of_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def compile(module: torch.nn.Module) -> object:
        def forward(x: Tensor) -> object:
            seen.append(len(x))
            return module(x)

        return forward

    network, images = model(), pictures(7)
    expected = Predictor(network, "cpu", 4).predict(images)
    monkeypatch.setattr(predict_network.torch, "compile", compile)
    for flip_test, sizes in ((False, [4, 4]), (True, [4, 4, 4, 4])):
        seen.clear()
        found = Predictor(network, "cpu", 4, compile=True, flip_test=flip_test).predict(images)
        assert seen == sizes
        assert len(found) == 7
        if not flip_test:
            assert all(np.allclose(a.keypoints, b.keypoints, atol=1e-3) for a, b in zip(expected, found, strict=True))
    seen.clear()
    Predictor(network, "cpu", 32, compile=True).predict(images[:3])
    assert seen == [3]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
def test_without_a_compiler_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, str(tmp_path / "no-compiler")))
    with pytest.raises(ValueError, match="leave --compile out"):
        Predictor(model(), "cpu", compile=True).predict(pictures(1))


def test_evaluation_decodes_each_picture_once(trained: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []
    for module in (predict_reading, inspection):
        original = module.read_picture
        monkeypatch.setattr(module, "read_picture", lambda p, original=original: (decoded.append(p), original(p))[1])
    once = evaluate(trained, scenes / "test.json", out=scenes / "once")
    annotations = read(scenes / "test.json")
    pictures = sorted(set(annotations.images))
    assert sorted(decoded) == pictures
    monkeypatch.setattr("punctum.predict.KeptCrops.add", lambda *_: None)
    decoded.clear()
    assert evaluate(trained, scenes / "test.json", out=scenes / "twice") == once
    assert set(decoded) == set(pictures)
    assert len(decoded) > len(pictures)


def test_kept_crops_are_bounded_and_the_same(trained: Path, scenes: Path) -> None:
    annotations = read(scenes / "test.json")
    predictor = Predictor(load_model(trained), "cpu", 4)
    crop = 3 * 64 * 64 * 4
    kept = predictor.keep_crops(annotations, limit=3 * crop + 5)
    inspect(annotations, predictor.crop.intensity, kept.add)
    assert len(kept._kept) == 3
    with_kept = predictor.annotated_points(annotations, kept=kept)
    assert not kept._kept
    without = predictor.annotated_points(annotations)
    assert np.array_equal(with_kept.keypoints, without.keypoints)
    assert np.array_equal(with_kept.to_image, without.to_image)
    assert np.array_equal(with_kept.image_sizes, without.image_sizes)


def test_a_broken_picture_is_named(trained: Path, scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, path in enumerate(sorted(set(read(scenes / "test.json").images))):
        (folder / f"{i:02}.png").write_bytes(path.read_bytes() if i != 9 else b"no picture")
    with pytest.raises(ValueError, match=r"09\.png"):
        predict_files(trained, [folder], tmp_path / "points.csv", batch_size=2, device="cpu")
    assert not (tmp_path / "points.csv").exists()
