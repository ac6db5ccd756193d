"""Both engines say what the predictors say, whatever goes together in a batch."""

from pathlib import Path

import numpy as np
import pytest

from punctum.data.images import read_image
from punctum.predict import load
from punctum.serve.engine import Engine, Wanted, make_crop
from punctum.serve.limits import Limits
from punctum.serve.run import open_engine, warm_up

BOXES = [None, (10.0, 12.0, 40.0, 44.0), (0.0, 0.0, 30.0, 50.0)]


@pytest.fixture(scope="module")
def pictures(scenes: Path) -> list[Path]:
    return sorted((scenes / "images").glob("test_*"))[:3]


@pytest.fixture(scope="module")
def exported(trained: Path, pictures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxscript", reason="pip install punctum[export]")
    from punctum.export.run import Request, export

    out = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export(trained, out, Request("fp32", None, str(pictures[0]), 1, None))
    return out


def check_engine(engine: Engine, trained: Path, pictures: list[Path]) -> None:
    wanted = load(trained).predict(pictures, BOXES)
    crops = [make_crop(read_image(path), box, engine.crop) for path, box in zip(pictures, BOXES, strict=True)]
    for found in (engine.run(crops, Wanted()), [engine.run([crop], Wanted())[0] for crop in crops]):
        for one, other in zip(found, wanted, strict=True):
            assert one.prediction.names == other.names
            np.testing.assert_allclose(one.prediction.keypoints, other.keypoints, atol=1e-3)
            np.testing.assert_allclose(one.prediction.score, other.score, atol=1e-4)
            assert one.heatmaps is None
    assert warm_up(engine, Limits(batch=2)) > 0


def test_torch(trained: Path, pictures: list[Path]) -> None:
    engine = open_engine(trained, limits=Limits(batch=4))
    check_engine(engine, trained, pictures)
    assert engine.can == Wanted(heatmaps=True, places=16)
    crop = make_crop(read_image(pictures[0]), None, engine.crop)
    (found,) = engine.run([crop], Wanted(heatmaps=True, places=2))
    assert found.heatmaps is not None
    assert found.heatmaps.shape[0] == 14
    assert found.prediction.places is not None
    assert found.prediction.places[0].shape == (14, 2, 2)
    plain = load(trained, places=2).predict([pictures[0]])[0]
    np.testing.assert_allclose(found.prediction.places[0], plain.places[0], atol=1e-3)


def test_onnx(trained: Path, exported: Path, pictures: list[Path]) -> None:
    engine = open_engine(exported, threads=1)
    check_engine(engine, trained, pictures)
    assert engine.can == Wanted()
    with pytest.raises(ValueError, match="flip test and decode"):
        open_engine(exported, decode="mode")


def test_calibrated_levels_are_told(trained: Path, scenes: Path, tmp_path: Path) -> None:
    import shutil

    from punctum.calibrate import calibrate

    run = tmp_path / "run"
    shutil.copytree(trained, run)
    calibrate(run, scenes / "test.json", levels=(0.5, 0.8))
    engine = open_engine(run)
    assert engine.levels
    crop = make_crop(np.zeros((20, 20, 3), np.uint8), None, engine.crop)
    assert engine.run([crop], Wanted())[0].prediction.trust.levels == engine.levels


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such run folder"):
        open_engine(tmp_path / "nothing")
