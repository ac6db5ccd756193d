"""A second call: what it takes over, what it refuses, and what processes leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread, Timer

import numpy as np
import pytest
from rich.console import Console

from processes import environment
from punctum.alone import alone
from punctum.cli_train import parse_train
from punctum.compare import run, speed, tuning, worker
from punctum.compare.cells import Cell, Outcome, _placed, run_cells
from punctum.compare.judge import outcome_value
from punctum.compare.processes import run_workers
from punctum.compare.request import Request
from punctum.compare.speed import measure_speeds
from punctum.evaluation import Evaluation
from punctum.settings import HardwareSettings, TrainSettings

WORDS = ("--heads", "dsnt", "--seeds", "1", "--max-epochs", "1", "--no-tune")
# A worker that says that it is there, and then waits.
SLEEPER = """
import sys, time
from pathlib import Path
from punctum.compare.processes import end_with_parent
def main():
    end_with_parent()
    import os
    (Path(sys.argv[1]) / "pid").write_text(str(os.getpid()))
    time.sleep(600)
if __name__ == "__main__":
    main()
"""


def wait_for(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def planned(compare, monkeypatch):
    """A comparison that is interrupted once everything is planned."""

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    def call(*args, **options):
        with monkeypatch.context() as patch:
            patch.setattr(run, "run_cells", interrupted)
            with pytest.raises(KeyboardInterrupt):
                compare(*args, **options)

    return call


def test_annotations_are_never_written_over(compare, scenes, tmp_path):
    (tmp_path / "data").mkdir()
    data = tmp_path / "data" / "train.json"
    text = (scenes / "train.json").read_text()
    data.write_text(text)
    with pytest.raises(FileExistsError, match=r"holds other things \(data\).*choose another --out"):
        compare(tmp_path, *WORDS, "--images", str(scenes), data=data)
    assert data.read_text() == text


def test_other_data_under_the_same_name_are_refused(compare, planned, scenes, tmp_path):
    source = json.loads((scenes / "train.json").read_text())
    data = tmp_path / "train.json"
    data.write_text(json.dumps(source))
    words = (*WORDS, "--images", str(scenes))
    planned(tmp_path / "out", *words, data=data)
    planned(tmp_path / "out", *words, data=data)
    before = (tmp_path / "out" / "data" / "test.json").read_text()
    fewer = {i["id"] for i in source["images"][:20]}
    source["images"] = [i for i in source["images"] if i["id"] in fewer]
    source["annotations"] = [a for a in source["annotations"] if a["image_id"] in fewer]
    data.write_text(json.dumps(source))
    with pytest.raises(ValueError, match=r"annotations have changed .*\(train and test images\)"):
        compare(tmp_path / "out", *words, data=data)
    assert (tmp_path / "out" / "data" / "test.json").read_text() == before


@pytest.mark.parametrize("text", ["{}", "{", '{"request": {}, "plan": {"epochs": 3, "of_old": 1}}'])
def test_a_plan_of_another_version_is_named(compare, tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match=r"plan.json is no plan that punctum .* can go on with"):
        compare(tmp_path, *WORDS)


def test_what_was_never_planned_binds_nobody(compare, planned, tmp_path, monkeypatch):
    def failing(settings):
        raise RuntimeError("no memory")

    monkeypatch.setattr(speed, "measured", failing)
    with pytest.raises(ValueError, match=r"no head can be trained: .*no memory"):
        compare(tmp_path, "--heads", "dsnt", "--seeds", "1", "--budget", "1")
    planned(tmp_path, *WORDS)


def test_speeds_of_other_settings_are_measured_again(scenes, in_process, tmp_path, monkeypatch):
    measured = []

    def told(settings):
        measured.append(settings.batch_size)
        return speed.Speed(start=1, step=settings.batch_size, picture=1)

    monkeypatch.setattr(speed, "measured", told)
    settings = TrainSettings(str(scenes / "train.json"), "out", batch_size=4)
    for batch in (4, 4, 8):
        wanted = {"dsnt": replace(settings, batch_size=batch)}
        found, errors = measure_speeds(wanted, tmp_path, 1, Console(quiet=True))
        assert (found["dsnt"].step, errors) == (batch, {})
    assert measured == [4, 8]


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_speeds_are_measured_from_cached_windows(scenes, tiny, tmp_path, cache):
    words = [str(scenes / "train.json"), "--out", str(tmp_path / "run"), *tiny, "--cache", cache, "--warp", "device"]
    assert speed.measured(parse_train(words)[0]).step > 0
    assert not list(tmp_path.rglob("*.bin"))


def test_cells_share_a_disk_cache(tmp_path):
    cells = {}
    for given in (None, "given"):
        hardware = HardwareSettings(cache="disk", cache_dir=given)
        placed = _placed(Cell("a", TrainSettings("train.json", "", hardware=hardware), "test.json"), tmp_path)
        assert placed.out == str(tmp_path / "a" / "run")
        cells[given] = placed.hardware.cache_dir
    assert cells == {None: str(tmp_path / "cache"), "given": "given"}


def test_rates_are_decided_once(tmp_path, monkeypatch):
    request = Request({"dsnt": TrainSettings("train.json", "out")})
    luck = {"error": None, "calls": 0}

    def run_cells(cells, *args, **options):
        luck["calls"] += 1
        return [Outcome(cell, tmp_path, {}) for cell in cells]

    def value(outcome, metric):
        return luck["error"] if outcome.cell.tags["lr"] > 0.005 else 1.0

    monkeypatch.setattr(tuning, "run_cells", run_cells)
    monkeypatch.setattr(tuning, "outcome_value", value)
    words = (request, {"data": "train.json"}, (1, 0), tmp_path / "tuning", 1, Console(quiet=True))
    first, calls = tuning.tune(*words), luck["calls"]
    # A trial that failed would win now; the cells were trained with what was chosen without it.
    luck["error"] = 0.1
    assert tuning.tune(*words) == first
    assert luck["calls"] == calls > 0


def test_a_cell_goes_on_from_another_folder_on_other_hardware(scenes, tiny, in_process, tmp_path, monkeypatch):
    settings, _ = parse_train([str(scenes / "train.json"), "--out", "x", "--max-epochs", "1", *tiny])
    cell = Cell("dsnt/seed0", settings)
    hardware = []

    def failing(settings, **options):
        hardware.append(settings.hardware.accelerator)
        raise RuntimeError("no such device")

    (tmp_path / "a" / "b").mkdir(parents=True)
    real = worker.train
    monkeypatch.setattr(worker, "train", failing)
    monkeypatch.chdir(tmp_path)
    (first,) = run_cells([replace(cell, settings=replace(settings, hardware=HardwareSettings("gpu")))], "a/b")
    assert "no such device" in first.error
    monkeypatch.setattr(worker, "train", real)
    # As a kill leaves it that came before the first file was whole.
    (tmp_path / "a" / "b" / "dsnt" / "seed0" / "run").mkdir()
    (tmp_path / "a" / "b" / "dsnt" / "seed0" / "run" / ".config-x.yaml").write_text("")
    monkeypatch.chdir(tmp_path / "a")
    (second,) = run_cells([cell], "b")
    assert second.error == ""
    assert second.result is not None
    assert not (tmp_path / "a" / "a").exists()
    assert (tmp_path / "a" / "b" / "dsnt" / "seed0" / "run" / "config.yaml").is_file()


def test_two_processes_in_one_folder(tmp_path, scenes):
    with alone(tmp_path), pytest.raises(ValueError, match="another process is at work in"):
        run_cells([Cell("a", TrainSettings(str(scenes / "train.json"), "out"))], tmp_path)
    assert not (tmp_path / "a").exists()


def test_a_file_system_without_locks_is_worked_on_all_the_same(tmp_path, monkeypatch):
    import fcntl

    def refusing(file, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refusing)
    with alone(tmp_path):
        worked = True
    assert worked


def sleepers(tmp_path, count):
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    folders = [tmp_path / f"cell{i}" for i in range(count)]
    for folder in folders:
        folder.mkdir()
    return folders


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_no_worker_outlives_a_killed_parent(tmp_path, how):
    folders = sleepers(tmp_path, 2)
    code = (
        "import sys; from pathlib import Path; from punctum.compare.processes import run_workers\n"
        "for _ in run_workers('sleeper', [Path(p) for p in sys.argv[1:]], jobs=2): pass"
    )
    path = os.pathsep.join([environment()["PYTHONPATH"], str(tmp_path)])
    parent = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, folders)], env={**environment(), "PYTHONPATH": path}
    )
    wait_for(lambda: all((folder / "pid").is_file() and (folder / "pid").read_text() for folder in folders))
    pids = [int((folder / "pid").read_text()) for folder in folders]
    assert all(map(alive, pids))
    os.kill(parent.pid, how)
    parent.wait(60)
    wait_for(lambda: not any(map(alive, pids)), 10)


def test_a_killed_worker_is_named_and_the_others_go_on(tmp_path, monkeypatch):
    folders = sleepers(tmp_path, 2)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = run_workers("sleeper", folders, jobs=1)

    def kill(folder, how):
        wait_for(lambda: (folder / "pid").is_file() and (folder / "pid").read_text())
        os.kill(int((folder / "pid").read_text()), how)

    for folder, how in zip(folders, (signal.SIGKILL, signal.SIGTERM), strict=True):
        Thread(target=kill, args=(folder, how)).start()
    errors = dict(found)
    assert errors[folders[0]].startswith("killed by signal 9: it said nothing")
    assert errors[folders[1]].startswith("killed by signal 15")


def test_what_starts_while_all_is_ended_is_ended_too(tmp_path, monkeypatch):
    (folder,) = sleepers(tmp_path, 1)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    class Slow(subprocess.Popen):
        def __init__(self, *args, **options):
            Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            time.sleep(1)
            super().__init__(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", Slow)
    began = time.monotonic()
    # Where tests run side by side, the processes that run them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            next(run_workers("sleeper", [folder], jobs=1))
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 60  # It would have slept for ten minutes.


def test_predictions_that_are_no_numbers_win_nothing(tmp_path, scenes):
    points = np.zeros((2, 1, 2))
    bad = points.copy()
    bad[1] = np.nan
    names = np.array(["a", "b"])
    one = np.ones(2)
    Evaluation(names[:1], names, names, bad, points + 1, one[:, None], one, np.array("pixels")).save(
        tmp_path / "test"
    )
    cell = Cell("a", TrainSettings(str(scenes / "train.json"), "out"))
    assert outcome_value(Outcome(cell, tmp_path, {}), "epe") is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing", b"no archive"])
def test_half_an_evaluation_is_named(tmp_path, content):
    (tmp_path / "evaluation.npz").write_bytes(content)
    with pytest.raises(ValueError, match="is not what `punctum evaluate` writes"):
        Evaluation.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"budget": None, "max_epochs": 0}, "--max-epochs must be at least 1"),
        ({"budget": float("inf")}, "--budget must be a positive number"),
        ({"test_images": "there"}, "--test-images goes with --test"),
    ],
)
def test_requests_that_make_no_sense(values, said):
    with pytest.raises(ValueError, match=said):
        Request({"dsnt": TrainSettings("train.json", "out")}, **values)


def test_more_images_than_there_are(compare, tmp_path):
    with pytest.raises(ValueError, match=r"--train-sizes 1000: there are \d+ images to train on"):
        compare(tmp_path, *WORDS, "--train-sizes", "8,1000")


def test_heads_are_not_chosen_by_test_images(compare, scenes, tmp_path):
    test = str(scenes / "test.json")
    with pytest.raises(ValueError, match=r"12 images are in .*test.json and in"):
        compare(tmp_path, *WORDS, "--test", test, "--val", test)


def test_nothing_to_judge_by_is_said_before_anything_is_trained(compare, scenes, tmp_path):
    content = json.loads((scenes / "test.json").read_text())
    for row in content["annotations"]:
        row["keypoints"] = [0] * len(row["keypoints"])
        row["num_keypoints"] = 0
    path = tmp_path / "unlabelled.json"
    path.write_text(json.dumps(content))
    for metric in ("epe", "nme"):
        with pytest.raises(ValueError, match="label"):
            compare(tmp_path / "out", *WORDS, "--test", str(path), "--test-images", str(scenes), "--metric", metric)
    assert not (tmp_path / "out" / "cells").exists()


def test_images_that_are_long_enough(compare, planned, tmp_path):
    words = ("--normalizer", "image", "--min-length")
    planned(tmp_path / "a", *WORDS, *words, "5")
    with pytest.raises(ValueError, match="has a length to divide errors by"):
        compare(tmp_path / "b", *WORDS, *words, "65")
