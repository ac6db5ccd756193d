"""Exported files against the model: pixels, accuracy by the labels, sizes, and CPU time of one core per picture.

python benchmarks/export.py RUN --data test.json --ranges other.json

RUN is a trained run; where it is calibrated, the calibrated graph is measured beside the plain one. Time is that of
the process on one thread, the least of several passes taken in turn, since other work may share the machine.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from punctum.data import read
from punctum.deploy import OnnxPredictor
from punctum.export.run import Request, export
from punctum.files import write_text
from punctum.model import KeypointModel, ModelConfig
from punctum.predict import load
from punctum.schema import Schema

PASSES = 5
FORMS = {"fp32": ("model.onnx", "fp32"), "fp16": ("half.onnx", "fp16"), "int8": ("int8.onnx", "int8"),
         "torch.export": ("model.pt2", "fp32")}  # fmt: skip
CPU = ["CPUExecutionProvider"]


def parities(run: Path, folder: Path, data: str, ranges: str, count: int) -> dict[str, Any]:
    """Every form of one run, with what its own check says."""
    found = {}
    for name, (file, precision) in FORMS.items():
        on = ranges if precision == "int8" else None
        request = Request(precision, calibrate_on=on, samples=data, count=count)  # type: ignore[arg-type]
        description = export(run, folder / file, request)
        found[name] = {**description.parity, "mib": (folder / file).stat().st_size / 2**20}
    return found


def accuracy(run: Path, folder: Path, data: str, corners: tuple[str, str]) -> dict[str, Any]:
    """Errors by the labels: median px of the pictures, and the mean NME, by two keypoints' distance."""
    annotations = read(data)
    a, b = (annotations.schema.index(name) for name in corners)
    truth = np.where(annotations.labelled[..., None], annotations.keypoints, np.nan)
    length = np.linalg.norm(truth[:, a] - truth[:, b], axis=-1)
    predictors: dict[str, Any] = {"model": load(run, "cpu")}
    predictors |= {n: OnnxPredictor(folder / file, CPU) for n, (file, _) in FORMS.items() if file.endswith(".onnx")}
    found = {}
    for name, predictor in predictors.items():
        points = np.stack([p.keypoints for p in predictor.predict_annotations(annotations)])
        errors = np.linalg.norm(points - truth, axis=-1)
        nme = np.nanmean(errors, axis=1) / length
        found[name] = {"median_px": float(np.nanmedian(errors)), "nme_percent": 100 * float(np.nanmean(nme))}
    return found


def milliseconds(calls: dict[str, Callable[[], Any]], pictures: int) -> dict[str, float]:
    """CPU ms per picture: the least of several passes, in turn, the first of each not counted."""
    best = dict.fromkeys(calls, float("inf"))
    for number in range(PASSES + 1):
        for name, call in calls.items():
            began = time.process_time()
            call()
            if number:
                best[name] = min(best[name], 1000 * (time.process_time() - began) / pictures)
    return best


def speed(run: Path, folder: Path, batch: int) -> dict[str, float]:
    """From crops to coordinates, without reading pictures."""
    predictor = load(run, "cpu")
    crops = torch.rand(batch, 3, *predictor.crop.input_size, generator=torch.Generator().manual_seed(0))
    maps = torch.diag(torch.tensor([64.0, 64.0, 1.0], dtype=torch.float64)).repeat(batch, 1, 1)
    calls: dict[str, Callable[[], Any]] = {"torch, fused": lambda: predictor.network(crops)}
    for name, (file, _) in FORMS.items():
        if file.endswith(".onnx"):
            graph = OnnxPredictor(folder / file, CPU, threads=1)
            calls[f"onnx {name}"] = lambda graph=graph: graph.run(crops.numpy(), maps.numpy())
    return milliseconds(calls, batch)


def untrained(folder: Path, size: int) -> Path:
    """A network of usual width, whose weights do not matter for its speed."""
    torch.manual_seed(0)
    names = tuple(f"p{i}" for i in range(17))
    config = ModelConfig(
        Schema(names), (size, size), {"name": "resnet18"}, {"name": "density"}, {"region": "image", "padding": 1.25}
    )
    KeypointModel(config).save(folder / "model")
    return folder


def main() -> None:
    """Print the figures, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True, help="annotations that the files are judged by")
    parser.add_argument("--ranges", required=True, help="pictures that int8 takes its ranges from")
    parser.add_argument("--corners", default="p37,p46", help="keypoints whose distance errors are divided by")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "export.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    first, second = given.corners.split(",")
    results: dict[str, Any] = {"run": given.run.name, "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = folder / "plain"
        shutil.copytree(given.run / "model", plain / "model", ignore=shutil.ignore_patterns("calibration.json"))
        results["parity"] = parities(plain, folder, given.data, given.ranges, given.count)
        results["accuracy"] = accuracy(plain, folder, given.data, (first, second))
        results["ms"] = {f"run, batch {batch}": speed(plain, folder, batch) for batch in (1, 16)}
        if (given.run / "model" / "calibration.json").is_file():
            description = export(
                given.run, folder / "calibrated.onnx", Request(samples=given.data, count=given.count)
            )
            results["parity"]["fp32, calibrated"] = {
                **description.parity, "mib": (folder / "calibrated.onnx").stat().st_size / 2**20
            }  # fmt: skip
            graph = OnnxPredictor(folder / "calibrated.onnx", CPU, threads=1)
            results["ms"]["run, batch 16"]["onnx fp32, calibrated"] = calibrated_speed(graph)
        wide = untrained(folder / "wide", 256)
        parities(wide, folder, given.data, given.ranges, 16)
        results["ms"]["resnet18, 256 px, batch 1"] = speed(wide, folder, 1)
    text = json.dumps(results, indent=1)
    print(text)
    write_text(given.out, text + "\n")


def calibrated_speed(graph: OnnxPredictor) -> float:
    """CPU ms per picture of a graph with its calibration, in batches of 16."""
    crops = np.random.default_rng(0).random((16, 3, *graph.crop.input_size), dtype=np.float32)
    maps = np.diag([64.0, 64.0, 1.0])[None].repeat(16, 0)
    return milliseconds({"it": lambda: graph.run(crops, maps)}, 16)["it"]


if __name__ == "__main__":
    main()
