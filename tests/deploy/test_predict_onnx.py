"""`punctum predict model.onnx` beside `punctum predict RUN`: what goes in, what comes out, and how it goes on."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas
import pytest

from films import film, picture
from processes import environment
from punctum import cli
from punctum.data import read
from punctum.data.synthetic_volumes import write_volumes
from punctum.deploy import OnnxPredictor
from punctum.deploy.predict_onnx import predict_onnx
from punctum.predict_files import predict_files
from punctum.predict_write import write_predictions

FRAMES = 11

# What `pip install numpy opencv-python-headless onnxruntime rich av` does not bring is as if it were not there.
LEAN = """
import sys
absent = "torch lightning torchmetrics jsonargparse safetensors matplotlib yaml jinja2 pandas pyarrow scipy tqdm"
for name in absent.split():
    sys.modules[name] = None
from punctum.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("films") / "a.mp4", [picture(i, (64, 64)) for i in range(FRAMES)])


def test_it_finds_what_the_run_finds(
    onnx_file: Path, untrained: Path, scenes: Path, video: Path, tmp_path: Path
) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x,y,width,height\n" + "".join(f"a.mp4#{i},3,4,40,50\n" for i in range(4)))
    for given in ([video, scenes / "test.json"], [scenes / "images" / "train_000*.png"]):
        ours = predict_onnx(onnx_file, given, tmp_path / "a.csv", device="cpu", batch_size=4)
        theirs = predict_files(untrained, given, tmp_path / "b.csv", device="cpu")
        assert [(p.image, p.instance, p.frame, p.time) for p in ours] == [
            (p.image, p.instance, p.frame, p.time) for p in theirs
        ]
        assert np.allclose([p.keypoints for p in ours], [p.keypoints for p in theirs], atol=2e-3)
    with pytest.raises(ValueError, match="trained on whole pictures"):
        predict_onnx(onnx_file, [video], tmp_path / "a.csv", boxes=boxes)


def test_every_format_holds_the_same(onnx_file: Path, video: Path, tmp_path: Path) -> None:
    def out(name: str, **options: Any) -> Path:
        assert predict_onnx(onnx_file, [video], tmp_path / name, device="cpu", keep=False, **options) == []
        return tmp_path / name

    found = predict_onnx(onnx_file, [video], tmp_path / "a.csv", device="cpu", level=0.5)
    places = np.stack([p.keypoints for p in found])
    plain = write_predictions(found, tmp_path / "plain.json")
    assert out("b.json").read_bytes() == plain.read_bytes()
    assert "radius_50" in (tmp_path / "a.csv").read_text().splitlines()[0]
    table = pandas.read_parquet(out("a.parquet"))
    assert np.array_equal(table[["x", "y"]].to_numpy().reshape(places.shape), places)
    assert np.allclose(read(out("a.coco.json"), labels_only=True).keypoints, places, atol=1e-4)
    assert np.allclose(read(out("dlc.csv", format="deeplabcut"), labels_only=True).keypoints, places, atol=1e-4)
    assert np.allclose(pandas.read_hdf(out("a.h5")).to_numpy().reshape(FRAMES, -1, 3)[..., :2], places)


def test_interrupted_it_goes_on_to_the_same_bytes(
    onnx_file: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out, real = tmp_path / "whole.json", tmp_path / "a.json", OnnxPredictor.run
    batches: list[int] = []

    def run(self: OnnxPredictor, crops: Any, *rest: Any) -> Any:
        if len(batches) == 6:
            raise KeyboardInterrupt
        batches.append(len(crops))
        return real(self, crops, *rest)

    predict_onnx(onnx_file, [video], whole, device="cpu", batch_size=1)
    monkeypatch.setattr(OnnxPredictor, "run", run)
    with pytest.raises(KeyboardInterrupt):
        predict_onnx(onnx_file, [video], out, device="cpu", batch_size=1)
    batches.clear()
    with pytest.raises(ValueError, match="batch size was 1, is 2"):
        predict_onnx(onnx_file, [video], out, device="cpu", batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        predict_onnx(onnx_file, [video], out, device="cpu", batch_size=1)
    monkeypatch.undo()
    found = predict_onnx(onnx_file, [video], out, device="cpu", batch_size=1)
    assert len(found) == FRAMES
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.parts"))


def test_what_cannot_be_read_stops_or_is_listed(onnx_file: Path, scenes: Path, tmp_path: Path) -> None:
    given = [tmp_path / "bad.png", scenes / "images" / "test_00000.png"]
    given[0].write_bytes(b"x")
    with pytest.raises(ValueError, match=r"bad\.png: not an image.*--on-error skip"):
        predict_onnx(onnx_file, given, tmp_path / "a.csv")
    assert len(predict_onnx(onnx_file, given, tmp_path / "a.csv", on_error="skip")) == 1
    assert "bad.png" in (tmp_path / "a.csv.errors.csv").read_text()
    volumes = write_volumes(tmp_path / "volumes", 1, seed=0)
    with pytest.raises(ValueError, match=r"finds points in images, and .* is of points in volumes"):
        predict_onnx(onnx_file, [volumes], tmp_path / "a.csv")


def test_a_labelled_video_needs_no_torch(onnx_file: Path, video: Path, tmp_path: Path) -> None:
    out, drawn, folder = tmp_path / "a.csv", tmp_path / "drawn.mp4", tmp_path / "folder"
    words = ["predict", onnx_file, "-", "--out", out, "--draw", drawn, "--ellipses", "--batch-size", "4"]
    command = [sys.executable, "-c", LEAN, *map(str, words)]
    done = subprocess.run(
        command, input=f"{video}\n", capture_output=True, text=True, env=environment(), timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{FRAMES} instances" in done.stdout
    assert f"{FRAMES} frames of video" in done.stdout
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert rows[-1]["frame"] == str(FRAMES - 1)
    with av.open(str(drawn)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(frames) == FRAMES
    again = predict_onnx(
        onnx_file, [video], tmp_path / "b.json", batch_size=4, draw=tmp_path / "folder", ellipses=True
    )
    assert json.loads((tmp_path / "b.json").read_text())[0]["frame"] == 0
    assert float(rows[0]["x"]) == pytest.approx(again[0].keypoints[0, 0], abs=1e-3)
    with av.open(str(folder / "a.mp4")) as file:
        assert np.array_equal(next(file.decode(video=0)).to_ndarray(format="rgb24"), frames[0])


def test_pictures_are_drawn_without_torch(onnx_file: Path, untrained: Path, scenes: Path, tmp_path: Path) -> None:
    given = str(scenes / "images" / "test_00000.png")
    for model, folder in ((onnx_file, "ours"), (untrained, "theirs")):
        words = ["--out", str(tmp_path / "a.csv"), "--draw", str(tmp_path / folder), "--ellipses", "--device", "cpu"]
        assert cli.main(["predict", str(model), given, *words]) == 0
    ours, theirs = (tmp_path / folder / "test_00000.png" for folder in ("ours", "theirs"))
    from punctum.data.images import read_image

    # Points differ in the fourth digit, and edges of lines with them.
    assert np.abs(read_image(ours).astype(float) - read_image(theirs)).mean() < 0.05
