"""Every head as ONNX beside the model it is of: small networks of random weights, another batch and another size.

python benchmarks/export_heads.py
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from punctum import heads
from punctum.deploy.description import Description
from punctum.deploy.onnx_predictor import OnnxPredictor
from punctum.export.files import describe_onnx, write_onnx
from punctum.export.graph import graph_of, record
from punctum.files import write_text
from punctum.model import KeypointModel, ModelConfig
from punctum.ops import pixels_matrix, transform_points
from punctum.schema import Schema

SIZE, OTHER = (64, 64), (96, 80)


def compare(head: str, folder: Path) -> dict[str, object]:
    """Largest distance in pixels of the crop, and largest difference of scores, over 64 crops of noise."""
    torch.manual_seed(0)
    config = ModelConfig(Schema(("a", "b", "c")), SIZE, {"name": "resnet18", "width": 0.125}, {"name": head})
    model = KeypointModel(config).eval()
    exported = record(graph_of(model, None), SIZE)
    path = folder / f"{head}.onnx"
    write_onnx(exported, path)
    describe_onnx(path, Description(config.schema, SIZE, {}, head, "fp32", exported.any_size, exported.outputs))
    size = OTHER if exported.any_size else SIZE
    crops, to_pixels = torch.rand(64, 3, *size), pixels_matrix(size).repeat(64, 1, 1)
    found = OnnxPredictor(path, ["CPUExecutionProvider"], threads=1).run(crops.numpy(), to_pixels.numpy())
    with torch.no_grad():
        prediction = model.decode(model(crops))
        points = transform_points(prediction.coords, to_pixels)
    moved = found["keypoints"] - points.numpy()
    return {
        "any_size": exported.any_size,
        "max_px": float(np.linalg.norm(moved, axis=-1).max()),
        "max_score": float(np.abs(found["score"] - prediction.score.numpy()).max()),
        "outputs": list(exported.outputs),
    }


def main() -> None:
    """Print the figures, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "export_heads.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        results = {}
        for head in heads.available():
            results[head] = compare(head, Path(name))
            print(head, results[head], flush=True)
    write_text(given.out, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
