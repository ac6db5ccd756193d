"""Graphs of single heads, beside the model that they are of."""

from pathlib import Path

import numpy as np
import pytest
import torch

from punctum import heads
from punctum.export.files import write_onnx
from punctum.export.graph import graph_of, record, takes_other_sizes
from punctum.model import KeypointModel, ModelConfig
from punctum.ops import transform_points
from punctum.schema import Schema

SIZE = (32, 48)


def model_of(head: str, **backbone: object) -> KeypointModel:
    torch.manual_seed(0)
    options = {"name": "resnet18", "width": 0.05, **backbone}
    return KeypointModel(ModelConfig(Schema(("a", "b")), SIZE, options, {"name": head})).eval()


# Every head is exported by benchmarks/export_heads.py; these are those whose decoding has the oddest operations.
@pytest.mark.parametrize("head", ["heatmap", "rle"])
def test_onnx_says_what_the_head_says(head: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = model_of(head)
    exported = record(graph_of(model, None), SIZE)
    write_onnx(exported, tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert exported.any_size
    crops, to_image = torch.rand(3, 3, 48, 80), torch.tensor([[30.0, 2, 5], [-1, 40, 9], [0, 0, 1]]).repeat(3, 1, 1)
    found = dict(
        zip(exported.outputs, session.run(None, {"image": crops.numpy(), "to_image": to_image.numpy()}), strict=True)
    )
    with torch.no_grad():
        prediction = model.decode(model(crops))
    assert np.allclose(found["keypoints"], transform_points(prediction.coords, to_image).numpy(), atol=1e-3)
    assert np.allclose(found["score"], prediction.score.numpy(), atol=1e-4)
    assert ("covariance" in found) == (prediction.covariance is not None)


@pytest.mark.parametrize("head", heads.available())
def test_which_heads_take_other_sizes(head: str) -> None:
    assert takes_other_sizes(model_of(head), SIZE) == (head not in ("simcc", "fully_connected"))


def test_the_batch_is_free_where_the_size_is_not() -> None:
    model = model_of("fully_connected")
    exported = record(graph_of(model, None), SIZE)
    assert not exported.any_size
    crops, to_image = torch.rand(5, 3, *SIZE), torch.eye(3).repeat(5, 1, 1)
    with torch.no_grad():
        found = exported.program.module()(crops, to_image)
        assert torch.allclose(found[0], model.decode(model(crops)).coords, atol=1e-5)


def test_a_stacked_network_in_half_precision_feeds_its_heads_floats() -> None:
    config = ModelConfig(Schema(("a",)), (64, 64), {"name": "hourglass", "stacks": 2, "width": 0.1}, {"name": "dsnt"})
    model = KeypointModel(config).eval()
    crops, to_image = torch.rand(1, 3, 64, 64), torch.diag(torch.tensor([32.0, 32.0, 1.0]))[None]
    with torch.no_grad():
        exact, half = (graph_of(model, None, half=h).named_outputs(crops, to_image) for h in (False, True))
    assert all(value.dtype == torch.float32 for value in half.values())
    assert 0 < float((exact["keypoints"] - half["keypoints"]).abs().max()) < 0.5
    assert next(model.backbone.parameters()).dtype == torch.float32
