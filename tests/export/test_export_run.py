"""Exports as a user has them: checked before they get their name, and refused in words."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from punctum import cli
from punctum.deploy.description import KEY
from punctum.export import files
from punctum.export.files import PT2_ENTRY
from punctum.export.int8 import quantize
from punctum.export.parity import Parity
from punctum.export.run import Request, export
from punctum.export.samples import find_samples
from punctum.model import KeypointModel, ModelConfig
from punctum.predict import Predictor, load
from punctum.schema import Schema

onnx = pytest.importorskip("onnx")

OUTPUTS = ["keypoints", "score", "covariance", "present", "radius", "factor", "wide", "two", "flat", "typical"]


@pytest.fixture(scope="module")
def plain(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run without its calibration, whose export takes less time."""
    run = tmp_path_factory.mktemp("plain") / "run"
    shutil.copytree(untrained, run)
    (run / "model" / "calibration.json").unlink()
    return run


def test_a_file_says_all_of_itself(onnx_file: Path, untrained: Path) -> None:
    proto = onnx.load(str(onnx_file))
    shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.input}
    assert shapes == {"image": ["batch", 3, "height", "width"], "to_image": ["batch", 3, 3], "length": ["batch"]}
    assert [value.name for value in proto.graph.output] == OUTPUTS
    said = json.loads(next(entry.value for entry in proto.metadata_props if entry.key == KEY))
    assert said["promise"]["levels"] == [0.5, 0.8]
    assert said["parity"]["images"] == 12
    assert said["parity"]["max_px"] < said["parity"]["bound_px"] == 0.01
    others = said["parity"]["others"]
    assert set(others) == set(OUTPUTS) - {"keypoints"}
    assert others["score"] < 1e-3
    assert max(others["covariance"], others["radius"]) < 1e-4
    assert others["wide"] == others["two"] == others["flat"] == 0
    assert said["schema"]["names"] == list(KeypointModel.load(untrained / "model").config.schema.names)


def test_a_file_that_differs_is_not_left_behind(plain: Path, scenes: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "model.pt2"
    out.write_text("what was there")
    words = ["export", str(plain), "--out", str(out), "--fp16", "--bound", "1e-9"]
    assert cli.main([*words, "--samples", str(scenes / "test.json"), "--count", "3"]) == 1
    said = capsys.readouterr().err
    assert "more than 1e-09 px" in said
    assert ".png" in said
    assert out.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [out]


def test_what_is_no_number_is_no_match() -> None:
    parity = Parity(1, float("nan"), 0.0, "a.png, nose", {}, None, None, "")
    with pytest.raises(ValueError, match=r"no number at a\.png, nose"):
        parity.check()


def test_torch_export_and_half_precision(plain: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.pt2"
    description = export(plain, out, Request("fp16", samples=str(scenes / "images"), count=5, bound=2.0))
    assert 1e-5 < description.parity["max_px"] < 2
    assert description.parity["median_error_px"] is None  # Pictures of a folder have no labels.
    extra = {PT2_ENTRY: ""}
    module = torch.export.load(str(out), extra_files=extra).module()
    assert json.loads(extra[PT2_ENTRY])["parity"]["images"] == 5
    found = module(torch.rand(3, 3, 96, 80), torch.eye(3).repeat(3, 1, 1))
    assert found[0].shape == (3, len(description.schema.names), 2)


def test_crops_as_bytes(plain: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.pt2"
    description = export(plain, out, Request(samples=str(scenes / "test.json"), count=5, uint8=True))
    assert description.parity["max_px"] < 0.01
    module = torch.export.load(str(out)).module()
    crops, to_image = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8), torch.eye(3).repeat(3, 1, 1)
    model = KeypointModel.load(plain / "model")
    with torch.no_grad():
        wanted = model.decode(model(crops / 255)).coords
    assert torch.allclose(module(crops, to_image)[0], wanted, atol=1e-4)


def test_integers_are_in_the_backbone_alone(onnx_file: Path, untrained: Path, scenes: Path, tmp_path: Path) -> None:
    from punctum.deploy import OnnxPredictor

    path = tmp_path / "int8.onnx"
    shutil.copy(onnx_file, path)
    predictor = load(untrained, "cpu")
    samples = find_samples(untrained, predictor, str(scenes / "train.json"), 8)
    count = quantize(path, samples, ("image", "to_image", "length"))
    proto = onnx.load(str(path))
    weights = [i for i in proto.graph.initializer if i.data_type == onnx.TensorProto.INT8 and len(i.dims) == 4]
    assert len(weights) == count == 20
    assert {entry.key for entry in proto.metadata_props} >= {KEY}
    given = samples.crops.numpy(), samples.to_image.numpy()
    exact, rough = (OnnxPredictor(p, ["CPUExecutionProvider"]).run(*given) for p in (onnx_file, path))
    moved = np.linalg.norm(exact["keypoints"] - rough["keypoints"], axis=-1)
    assert 1e-3 < np.median(moved) < 3


def test_without_the_runs_pictures_noise_is_taken(plain: Path) -> None:
    samples = find_samples(plain, Predictor(KeypointModel.load(plain / "model"), "cpu"), None, 4)
    assert samples.source.startswith("painted noise")
    assert samples.crops.shape == (4, 3, 64, 64)
    assert samples.labels is None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--out", "model.pth"], "exported as .onnx or .pt2"),
        (["--out", "model.pt2", "--int8"], "int8 is for .onnx"),
        (["--out", "model.onnx", "--calibrate-on", "x"], "add --int8"),
        (["--out", "model.onnx", "--count", "0"], "at least 1"),
        (["--out", "model.onnx", "--bound", "-1"], "positive number of pixels"),
        (["--out", "model.onnx", "--samples", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_is_refused(plain: Path, words: list[str], reason: str, capsys, monkeypatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(plain), *words]) == 1
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_models_of_volumes_are_refused(tmp_path: Path) -> None:
    config = ModelConfig(Schema(("a",)), (16, 16, 16), {"name": "resnet3d", "width": 0.125}, {"name": "dsnt"})
    KeypointModel(config).save(tmp_path / "run" / "model")
    with pytest.raises(ValueError, match="finds points in volumes"):
        export(tmp_path / "run", tmp_path / "model.onnx")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ImportError, match=r"onnxscript: pip install 'punctum\[export\]'"):
        files._onnx()
