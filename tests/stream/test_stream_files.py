"""From a video on the disk to files and drawings, killed on the way."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pandas
import pytest

from films import film, picture
from processes import environment
from punctum import cli
from punctum.alone import alone
from punctum.data import read
from punctum.predict_files import predict_files
from punctum.predict_write import write_predictions

FRAMES = 40
TIMES = np.cumsum(np.random.default_rng(0).integers(7, 90, FRAMES)).tolist()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = [picture(i % 20, (63, 65)) for i in range(FRAMES)]
    return film(tmp_path_factory.mktemp("films") / "a.mp4", pictures, times=TIMES)


def test_every_format_holds_the_same(trained: Path, video: Path, tmp_path: Path) -> None:
    def out(name: str, **options: object) -> Path:
        predict_files(trained, [video], tmp_path / name, device="cpu", keep=False, **options)
        return tmp_path / name

    found = predict_files(trained, [video], tmp_path / "a.csv", device="cpu")
    places = np.stack([p.keypoints for p in found])
    for ending in ("csv", "json"):
        plain = write_predictions(found, tmp_path / f"plain.{ending}")
        assert out(f"b.{ending}").read_bytes() == plain.read_bytes()
    table = pandas.read_parquet(out("a.parquet"))
    assert np.array_equal(table[["x", "y"]].to_numpy().reshape(places.shape), places)
    assert np.allclose(table["time"].to_numpy()[::14], np.array(TIMES) / 1000)
    deep = pandas.read_hdf(out("a.h5"))
    assert deep.columns.names == ["scorer", "bodyparts", "coords"]
    assert list(deep.index) == list(range(FRAMES))
    assert np.allclose(deep.to_numpy().reshape(FRAMES, -1, 3)[..., :2], places)
    lab = read(out("dlc.csv", format="deeplabcut"), labels_only=True)
    coco = read(out("a.coco.json"), labels_only=True)
    assert np.allclose(lab.keypoints, places, atol=1e-4)
    assert np.allclose(coco.keypoints, places, atol=1e-4)
    assert not list(tmp_path.glob("*.parts"))


def test_a_drawn_video_keeps_its_times(trained: Path, video: Path, tmp_path: Path) -> None:
    predict_files(trained, [video], tmp_path / "a.csv", device="cpu", draw=tmp_path / "d.mp4", ellipses=True)
    with av.open(str(tmp_path / "d.mp4")) as file:
        frames = list(file.decode(video=0))
    assert np.allclose([frame.time for frame in frames], np.array(TIMES) / 1000, atol=1e-3)
    assert frames[0].width % 2 == frames[0].height % 2 == 0
    with pytest.raises(ValueError, match="which would be lost"):
        predict_files(trained, [video], tmp_path / "a.csv", device="cpu", draw=video)


def test_what_cannot_be_read_stops_or_is_listed(trained: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"bad\.png: not an image.*--on-error skip"):
        predict_files(trained, [tmp_path / "bad.png", video], tmp_path / "a.csv", device="cpu")
    found = predict_files(trained, [tmp_path / "bad.png", video], tmp_path / "a.csv", device="cpu", on_error="skip")
    assert len(found) == FRAMES
    assert "bad.png" in (tmp_path / "a.csv.errors.csv").read_text()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_ended_and_run_again_the_file_is_the_same(
    how: signal.Signals, trained: Path, video: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.json"
    predict_files(trained, [video], whole, device="cpu", batch_size=1)
    out, parts = tmp_path / "k.json", tmp_path / "k.json.parts"
    words = [trained, video, "--out", out, "--device", "cpu", "--batch-size", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "punctum.cli", "predict", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    while process.poll() is None and not list(parts.glob("[0-9]*.npz")):
        time.sleep(0.005)
    process.send_signal(how)
    said = " ".join("".join(process.communicate()).split())
    if parts.exists():  # Else it was faster than the signal.
        assert "Traceback" not in said
        assert ("the same command goes on" in said) is (how == signal.SIGINT)
        assert process.returncode == (130 if how == signal.SIGINT else -how)
        with pytest.raises(ValueError, match="batch size was 1, is 2"):
            predict_files(trained, [video], out, device="cpu", batch_size=2)
    predict_files(trained, [video], out, device="cpu", batch_size=1)
    assert out.read_bytes() == whole.read_bytes()
    assert not parts.exists()
    assert json.loads(out.read_text())[1]["frame"] == 1


def test_two_commands_do_not_work_on_one_file(trained: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "points.csv"
    with alone(tmp_path / "points.csv.parts"):
        done = cli.main(["predict", str(trained), str(video), "--out", str(out), "--device", "cpu"])
    assert done == 1
    assert not out.exists()
    assert cli.main(["predict", str(trained), str(video), "--out", str(out), "--device", "cpu"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["points.csv"]
