"""Exported models beside run folders: the same points of the same pictures, and without torch."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import punctum
from processes import environment
from punctum import cli
from punctum.data import read
from punctum.data.images import read_image
from punctum.deploy import OnnxPredictor
from punctum.deploy.description import Description
from punctum.predict import load
from punctum.predict_reading import AHEAD, READERS

CPU = ["CPUExecutionProvider"]

# Everything heavy that `pip install --no-deps` leaves out is as if it were not there.
WITHOUT_TORCH = """
import sys
for name in ("torch", "lightning", "torchmetrics", "jsonargparse", "safetensors", "matplotlib", "yaml", "jinja2"):
    sys.modules[name] = None
from punctum.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def predictor(onnx_file: Path) -> OnnxPredictor:
    return OnnxPredictor(onnx_file, CPU, batch_size=5)


def test_annotated_instances_come_out_as_of_the_run(predictor: OnnxPredictor, untrained: Path, scenes: Path) -> None:
    annotations = read(scenes / "test.json")
    counted: list[int] = []
    ours = predictor.predict_annotations(annotations, counted.append)
    theirs = load(untrained, "cpu").predict_annotations(annotations)
    assert counted == [5, 5, 2]
    for a, b in zip(ours, theirs, strict=True):
        assert (a.image, a.instance, a.names) == (b.image, b.instance, b.names)
        assert np.allclose(a.keypoints, b.keypoints, atol=1e-3)
        assert np.allclose(a.score, b.score, atol=1e-3)
        assert a.covariance is not None
        assert a.present is not None
        assert a.trust is not None
        assert b.trust is not None
        assert b.covariance is not None
        assert np.allclose(a.covariance, b.covariance, rtol=1e-3, atol=1e-3)
        assert np.allclose(a.trust.radius, b.trust.radius, rtol=1e-4)
        assert np.allclose(a.trust.factor, b.trust.factor, rtol=1e-5)
        assert a.trust.typical == pytest.approx(b.trust.typical)
        assert all((a.trust.flags[name] == b.trust.flags[name]).all() for name in ("wide", "two", "flat"))
        assert a.trust.area is None


def test_boxes_and_arrays(predictor: OnnxPredictor, untrained: Path, scenes: Path) -> None:
    image = read_image(scenes / "images" / "test_00000.png")
    gray = (image.mean(-1) * 257).astype(np.uint16)
    pictures, boxes = [image, gray, image / np.float32(255)], [None, [3.0, 5.0, 40.0, 30.0], None]
    ours, theirs = predictor.predict(pictures, boxes), load(untrained, "cpu").predict(pictures, boxes)
    assert [p.image for p in ours] == ["array 0", "array 1", "array 2"]
    assert all(np.allclose(a.keypoints, b.keypoints, atol=1e-3) for a, b in zip(ours, theirs, strict=True))


def test_a_stream_is_read_a_few_batches_ahead(predictor: OnnxPredictor) -> None:
    taken = []

    def frames() -> Iterator[np.ndarray]:
        for i in range(10**9):
            taken.append(i)
            yield np.zeros((20, 30, 3), np.uint8)

    stream = predictor.stream(frames())
    assert [next(stream).image for _ in range(7)] == [f"array {i}" for i in range(7)]
    assert len(taken) <= 5 * (3 + AHEAD) + READERS
    stream.close()


def test_what_is_wrong_is_said(predictor: OnnxPredictor, onnx_file: Path, scenes: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    with pytest.raises(FileNotFoundError, match="punctum export RUN"):
        OnnxPredictor(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ValueError, match="no ONNX file that ONNX Runtime can run"):
        OnnxPredictor(tmp_path / "text.onnx")
    proto = onnx.load(str(onnx_file))
    del proto.metadata_props[:]
    onnx.save(proto, str(tmp_path / "bare.onnx"))
    with pytest.raises(ValueError, match="does not say what it is"):
        OnnxPredictor(tmp_path / "bare.onnx")
    with pytest.raises(ValueError, match="no provider Nobody"):
        OnnxPredictor(onnx_file, ["Nobody"])
    with pytest.raises(ValueError, match="1 pictures but 2 boxes"):
        predictor.predict([np.zeros((9, 9), np.uint8)], [None, None])
    with pytest.raises(ValueError, match="in brackets"):
        predictor.predict(str(scenes / "images" / "test_00000.png"))
    with pytest.raises(ValueError, match=r"gone\.png"):
        predictor.predict([tmp_path / "gone.png"])
    with pytest.raises(ValueError, match="array 1 is int32"):
        predictor.predict([np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.int32)])
    with pytest.raises(ValueError, match="for run folders"):
        punctum.load(onnx_file, flip_test=True)
    assert isinstance(punctum.load(onnx_file, "cpu"), OnnxPredictor)


def test_descriptions_of_other_versions_are_refused(predictor: OnnxPredictor) -> None:
    values = json.loads(predictor.description.to_json())
    with pytest.raises(ValueError, match="format_version is 99"):
        Description.from_json(json.dumps({**values, "format_version": 99}))
    with pytest.raises(ValueError, match="malformed"):
        Description.from_json(json.dumps({"format_version": 1}))


def test_the_command_needs_no_torch(onnx_file: Path, untrained: Path, scenes: Path, tmp_path: Path) -> None:
    out, theirs = tmp_path / "points.csv", tmp_path / "torch.csv"
    words = ["predict", onnx_file, scenes / "test.json", scenes / "images" / "train_00000.png", "--out", out]
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert "13 instances" in done.stdout
    assert cli.main(["predict", str(untrained), *map(str, words[2:-1]), str(theirs), "--device", "cpu"]) == 0
    ours, wanted = (list(csv.DictReader(path.read_text().splitlines())) for path in (out, theirs))
    assert set(wanted[0]) - set(ours[0]) == {"area_80"}
    places = {(row["image"], row["instance"], row["keypoint"]): float(row["x"]) for row in wanted}
    assert len(places) == len(ours)
    for row in ours:
        assert float(row["x"]) == pytest.approx(places[row["image"], row["instance"], row["keypoint"]], abs=2e-3)


def test_help_and_import_need_no_torch() -> None:
    code = WITHOUT_TORCH + "\n"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert "export" in done.stdout


def test_options_of_run_folders_are_refused(onnx_file: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "x.png").touch()
    words = ["predict", str(onnx_file), str(tmp_path / "x.png"), "--out", str(tmp_path / "a.json")]
    assert cli.main([*words, "--flip-test", "--places=2"]) == 1
    assert "--places, --flip_test: not for exported models" in capsys.readouterr().err
    assert cli.main([*words, "--level", "0.9"]) == 1
    assert "calibrated for 0.5, 0.8, not 0.9" in capsys.readouterr().err


def test_json_has_no_areas(onnx_file: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "points.json"
    picture = str(scenes / "images" / "test_00000.png")
    assert cli.main(["predict", str(onnx_file), picture, "--out", str(out), "--device", "cpu"]) == 0
    point = json.loads(out.read_text())[0]["keypoints"][0]
    assert set(point["regions"]["0.8"]) == {"radius", "ellipse"}
