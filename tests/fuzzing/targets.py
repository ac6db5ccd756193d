"""Every kind of file that punctum reads: a valid sample, and what reads it."""

import csv
import json
import math
import runpy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from films import film, picture
from punctum.data import Annotations, read
from punctum.data.formats import write
from punctum.data.predictions import read_predictions
from punctum.data.synthetic import write_scenes
from punctum.data.synthetic_layers import write_scans
from punctum.data.synthetic_volumes import write_volumes
from punctum.data.views import read_view
from punctum.data.volumes import read_picture, read_spacing
from punctum.stream.boxes import COLUMNS, BoxFile

FORMATS = {
    "deeplabcut-h5": "CollectedData.h5", "sleap": "a.slp", "label-studio": "b.json", "cvat": "a.xml", "csv": "a.csv",
    "csv-wide": "b.csv",
}  # fmt: skip
NAMES = ("nose", "left_eye", "right_eye")


@dataclass(frozen=True)
class Target:
    """A file in a folder of samples, and the reader that gets it damaged; `every` so many rounds where it is slow.

    That is where a process is started for each file, as for what C libraries can die of.
    """

    name: str
    file: str
    call: Callable[[Path], object]
    every: int = 1


def targets() -> list[Target]:
    """All of them, by the files that `write_samples` writes."""
    return [*_annotations(), *_formats(), *_predictions(), *_pictures(), *_videos(), *_models(), *_results()]


def _annotations() -> list[Target]:
    files = {
        "coco": "points/coco.json",
        "deeplabcut": "points/CollectedData.csv",
        "part": "points/part.json",
        "layers": "layers/layers.json",
        "volumes-json": "volumes/train.json",
        "volumes-csv": "volumes/landmarks.csv",
        "mpii-json": "mpii/train.json",
        "mpii-h5": "mpii/train.h5",
        "mpii-mat": "mpii/release.mat",
    }
    return [Target(name, file, read, every=_every(file)) for name, file in files.items()]


def _every(file: str) -> int:
    return 20 if file.endswith((".mat", ".h5", ".slp")) else 1


def _formats() -> list[Target]:
    """Other tools' formats, as `punctum convert` writes them."""

    def call(path: Path) -> object:
        return read(path, path.parents[1] / "points" / "images")

    def label(path: Path) -> object:
        return read(path.parents[2] / "data.yaml")

    return [
        *(Target(name, f"formats/{file}", call, _every(file)) for name, file in FORMATS.items()),
        Target("yolo", "formats/yolo/data.yaml", read),
        Target("yolo-labels", "formats/yolo/labels/train/a.txt", label),
    ]


def _predictions() -> list[Target]:
    names = {
        "csv": "own.csv", "json": "own.json", "coco": "own.coco.json", "results": "coco-results.json",
        "h5": "preds.h5",
    }  # fmt: skip

    def call(path: Path) -> object:
        return read_predictions(path, read(path.parent / "coco.json", labels_only=True))

    return [
        *(Target(f"predictions-{name}", f"points/{file}", call, _every(file)) for name, file in names.items()),
        *(Target(f"boxes-{ending}", f"points/boxes.{ending}", BoxFile) for ending in ("csv", "json")),
    ]


def _pictures() -> list[Target]:
    def picture(path: Path) -> object:
        read_view(path, lambda size: 8 / max(size), "range")
        return read_view(path, lambda size: 1.0, "percentile")

    def volume(path: Path) -> object:
        read_spacing(path)
        return read_picture(path)

    endings = ("png", "jpg", "tif", "bmp", "webp", "gif", "ppm", "16.png", "float.tif", "palette.png")
    return [
        *(Target(f"picture-{ending}", f"pictures/a.{ending}", picture) for ending in endings),
        *(Target(f"volume-{ending}", f"pictures/v.{ending}", volume) for ending in ("npy", "npz")),
    ]


def _videos() -> list[Target]:
    def video(path: Path) -> object:
        from punctum.stream.video import read_video

        items = list(read_video(path))
        for item in items:
            if item.error:
                raise ValueError(f"{item.image}: {item.error}")
        return items

    return [Target(f"video-{name}", f"videos/a.{name}", video) for name in ("mp4", "avi", "gif")]


def _models() -> list[Target]:
    def model(path: Path) -> object:
        from punctum.predict import load

        return load(path.parent, "cpu")

    def exported(path: Path) -> object:
        from punctum.deploy import OnnxPredictor

        return OnnxPredictor(path, ["CPUExecutionProvider"], threads=1).predict([np.zeros((8, 8), np.uint8)])

    def config(path: Path) -> object:
        from punctum.train_settings import load_config

        return load_config(path.parent)

    return [
        *(
            Target(name, f"run/model/{name}", model, every=2)
            for name in ("model.json", "model.safetensors", "calibration.json")
        ),
        Target("model.onnx", "run/model.onnx", exported, every=5),
        Target("config.yaml", "run/config.yaml", config),
    ]


def _results() -> list[Target]:
    def report(path: Path) -> object:
        from punctum.report.folder import write_report

        return write_report(path.parent, path.parent / "out" / "report.html")

    files = ("metrics.json", "evaluation.npz", "diagnosis/diagnosis.json")
    return [Target(Path(file).name, f"run/{file}", report, every=10) for file in files]


# --- samples -----------------------------------------------------------------------------------------------------


def write_samples(folder: Path, run: Path | None = None) -> None:
    """Write a valid file of every kind.

    Args:
        folder: where to.
        run: of a calibrated and evaluated model; None: its files are left out.
    """
    _write_points(folder / "points")
    _write_formats(folder / "formats", read(folder / "points" / "coco.json"))
    _write_mpii(folder / "mpii")
    _write_pictures(folder / "pictures")
    _write_videos(folder / "videos")
    write_scans(folder / "layers", 2, size=(48, 8))
    write_volumes(folder / "volumes", 2, seed=0, size=(20, 20, 20), spacing=(1.8, 1.8, 1.8))
    _write_volumes_csv(folder / "volumes")
    if run is not None:
        shutil.copytree(run, folder / "run", ignore=shutil.ignore_patterns("logs", "checkpoints", "report.html"))


def _write_points(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / "images" / name), np.full((40, 60, 3), 128, np.uint8))
    category = {"id": 1, "name": "person", "keypoints": list(NAMES), "skeleton": [[1, 2]], "flip_pairs": [[1, 2]]}
    rows = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [5, 6, 20, 10], "area": 150.0, "num_keypoints": 3,
         "keypoints": [10.25, 12.5, 2, 8, 9, 1, 14, 9, 2]}
        for n in (1, 2)
    ]  # fmt: skip
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    coco = {"images": images, "categories": [{**category, "sigmas": [0.1, 0.1, 0.1]}], "annotations": rows}
    (folder / "coco.json").write_text(json.dumps(coco))
    header = [["scorer", *["me"] * 4], ["bodyparts", "nose", "nose", "ear", "ear"], ["coords", "x", "y", "x", "y"]]
    _write_csv(folder / "CollectedData.csv", [*header, ["a.png", 1, 2, 3, 4], ["b.png", 1.5, 2, "", ""]])
    part = {"part_of": str(folder / "coco.json"), "images": None, "names": ["a.png"]}
    (folder / "part.json").write_text(json.dumps(part))
    points = [{"name": name, "x": 3.0, "y": 4.0, "score": 0.5, "covariance": None} for name in NAMES]
    (folder / "own.json").write_text(json.dumps([{"image": "a.png", "instance": "1", "keypoints": points}]))
    lines = [["a.png", "1", name, 3.0, 4.0, 0.5] for name in NAMES]
    _write_csv(folder / "own.csv", [["image", "instance", "keypoint", "x", "y", "score"], *lines])
    results = [{"image_id": 1, "category_id": 1, "keypoints": [1.0, 2, 0.5] * 3, "score": 0.5}]
    (folder / "coco-results.json").write_text(json.dumps(results))
    scored = [{**row, "keypoint_scores": [0.5, 0.6, 0.7]} for row in rows]
    (folder / "own.coco.json").write_text(json.dumps({**coco, "annotations": scored}))
    boxes = [["a.png", 1, 2, 30.5, 20], ["b.png", 3, 4, 20, 20]]
    _write_csv(folder / "boxes.csv", [list(COLUMNS), *boxes])
    (folder / "boxes.json").write_text(json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in boxes]))
    import h5py

    with h5py.File(folder / "preds.h5", "w") as file:
        file["preds"] = np.ones((2, 3, 2))


def _write_csv(path: Path, rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _write_formats(folder: Path, labels: Annotations) -> None:
    (folder / "yolo").mkdir(parents=True)
    for name, file in {**FORMATS, "yolo": "yolo/data.yaml"}.items():
        write(labels, folder / file, name)


def _write_mpii(folder: Path) -> None:
    files = runpy.run_path(str(Path(__file__).parents[1] / "data" / "mpii_files.py"))
    (folder / "images").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        cv2.imwrite(str(folder / "images" / name), np.zeros((400, 400, 3), np.uint8))
    files["hrnet"](folder / "train.json")
    files["h5"](folder / "train.h5")
    files["mat"](folder / "release.mat")


def _write_volumes_csv(folder: Path) -> None:
    rows = [["a.npz", name, 3 + k, 4, 5, 0.5, 0.5, 1] for k, name in enumerate(NAMES)]
    header = ["volume", "keypoint", "x", "y", "z", "spacing_x", "spacing_y", "spacing_z"]
    _write_csv(folder / "landmarks.csv", [header, *rows])
    np.savez(folder / "a.npz", volume=np.zeros((8, 9, 10), np.uint8), spacing=[0.5, 0.5, 1])


def _write_pictures(folder: Path) -> None:
    from PIL import Image

    folder.mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    for ending in ("png", "jpg", "tif", "bmp", "webp", "gif", "ppm"):
        Image.fromarray(picture).save(folder / f"a.{ending}")
    cv2.imwrite(str(folder / "a.16.png"), picture.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "a.float.tif"), picture.astype(np.float32) / 255)
    Image.fromarray(picture).quantize(16).save(folder / "a.palette.png")
    volume = np.arange(math.prod((6, 7, 8)), dtype=np.uint8).reshape(6, 7, 8)
    np.save(folder / "v.npy", volume)
    np.savez_compressed(folder / "v.npz", volume=volume, spacing=[0.5, 0.5, 2.0])


def _write_videos(folder: Path) -> None:
    folder.mkdir()
    frames = [picture(i) for i in range(4)]
    film(folder / "a.mp4", frames, codec="libx264", pixels="yuv420p", options={"crf": "30"})
    film(folder / "a.avi", frames, codec="mjpeg", pixels="yuvj420p")
    film(folder / "a.gif", frames, codec="gif", pixels="rgb8")


def make_run(folder: Path) -> Path:
    """A run folder with everything that can be in one: trained for a moment, calibrated, evaluated."""
    from punctum.calibrate import calibrate
    from punctum.cli_train import parse_train
    from punctum.diagnose import diagnose
    from punctum.evaluate import evaluate
    from punctum.export.run import Request, export
    from punctum.train import train

    write_scenes(folder / "scenes", 16, seed=0, size=64, split="train")
    write_scenes(folder / "scenes", 32, seed=0, size=64, split="test")
    words = [str(folder / "scenes" / "train.json"), "--out", str(folder / "run"), "--max-epochs", "1"]
    words += ["--input-size", "32", "--crop.region", "image", "--backbone.width", "0.0625", "--batch-size", "8"]
    settings, _ = parse_train([*words, "--hardware.workers", "0", "--hardware.accelerator", "cpu"])
    run = train(settings).run
    calibrate(run, folder / "scenes" / "test.json", device="cpu")
    evaluate(run, folder / "scenes" / "test.json", device="cpu")
    diagnose(run, folder / "scenes" / "test.json", device="cpu")
    export(run, run / "model.onnx", Request(count=4))
    return run
