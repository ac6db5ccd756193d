"""Training: what it leaves behind, that it can be repeated and resumed, and what it refuses."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from processes import environment
from punctum import train as training
from punctum.cli_train import parse_train
from punctum.data import check_images, read
from punctum.data.synthetic_volumes import write_volumes
from punctum.held_out import parts_of
from punctum.model import KeypointModel
from punctum.settings import TrainSettings
from punctum.train import build_model, train
from punctum.train_settings import load_config
from punctum.training import budget
from punctum.training.budget import with_measured_budget
from punctum.training.callbacks import EpochLog


def settings_of(scenes: Path, out: Path, tiny: list[str], *more: str) -> TrainSettings:
    return parse_train([str(scenes / "train.json"), "--out", str(out), "--max-epochs", "2", *tiny, *more])[0]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def history(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "logs" / "metrics.csv").read_text().splitlines()))


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_folder_holds_what_was_promised(trained: Path) -> None:
    for name in (
        "config.yaml",
        "metrics.json",
        "model/model.safetensors",
        "model/model.json",
        "figures/training.png",
        "figures/validation.png",
    ):
        assert (trained / name).is_file(), name
    assert (trained / "checkpoints" / "last.ckpt").is_file()
    assert list((trained / "logs" / "tensorboard").glob("events*"))
    rows = history(trained)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(float(row["val_epe_px_median"]) > 0 for row in rows)
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["n_images"] == 2  # A tenth of 24, held out.
    assert {"epe_px", "pck", "per_keypoint", "constant_predictor", "intervals"} <= metrics.keys()


def test_no_pickle_in_the_model(trained: Path) -> None:
    assert {path.name for path in (trained / "model").iterdir()} == {"model.safetensors", "model.json"}
    assert (trained / "model" / "model.safetensors").read_bytes()[8:9] == b"{"


def test_the_model_loads_without_the_training_stack(trained: Path) -> None:
    code = (
        "import sys; from punctum.model import KeypointModel; KeypointModel.load(sys.argv[1]); "
        "print([m for m in ('lightning', 'jsonargparse', 'torchmetrics') if m in sys.modules])"
    )
    words = [sys.executable, "-c", code, str(trained / "model")]
    assert subprocess.run(words, capture_output=True, text=True, env=environment(), check=True).stdout.strip() == "[]"


def test_the_constant_predictor_is_the_mean_of_the_training_points(trained: Path) -> None:
    settings = load_config(trained)
    data, _ = parts_of(settings)
    name = data.schema.index("neck")
    places = data.keypoints[data.labelled[:, name], name].mean(0)
    wanted = [(2 * x + 1) / 64 - 1 for x in places]
    found = KeypointModel.load(trained / "model").config.mean_coords
    assert found is not None
    assert found[name] == pytest.approx(wanted, abs=1e-6)


def test_the_same_seed_gives_the_same_run_for_any_number_of_workers(
    scenes: Path, tiny: list[str], tmp_path: Path
) -> None:
    for name, workers, seed in (("none", "0", "3"), ("two", "2", "3"), ("other", "0", "4")):
        train(settings_of(scenes, tmp_path / name, tiny, "--hardware.workers", workers, "--seed", seed))
    assert_same_weights(tmp_path / "none", tmp_path / "two")
    with pytest.raises(AssertionError):
        assert_same_weights(tmp_path / "none", tmp_path / "other")


def test_noise_in_a_head_depends_on_neither_interruption_nor_workers(
    scenes: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that draws: stopped after two epochs of four and resumed, and with a loader that runs ahead."""
    noisy = ["--max-epochs", "4", "--head", "sampling", "--head.num_samples", "2"]

    def settings(name: str, workers: str) -> TrainSettings:
        return settings_of(scenes, tmp_path / name, tiny, *noisy, "--hardware.workers", workers)

    def stop(log: EpochLog, trainer: training.L.Trainer, module: training.TrainingModule) -> None:
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt
        start(log, trainer, module)

    train(settings("whole", "0"))
    start = EpochLog.on_train_epoch_start
    monkeypatch.setattr(EpochLog, "on_train_epoch_start", stop)
    with pytest.raises(KeyboardInterrupt):
        train(settings("stopped", "1"))
    monkeypatch.undo()
    assert len(history(tmp_path / "stopped")) == 2
    train(load_config(tmp_path / "stopped"), resume=True)
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.slow
def test_killed_and_resumed_is_the_same_as_uninterrupted(scenes: Path, tiny: list[str], tmp_path: Path) -> None:
    more = ["--max-epochs", "6", "--precision", "auto"]
    words = [str(scenes / "train.json"), *tiny, *more[:2], "--head", "dsnt"]
    train(parse_train([*words, "--out", str(tmp_path / "whole")])[0])
    command = [sys.executable, "-m", "punctum.cli", "train", *words, "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    log = tmp_path / "killed" / "logs" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") >= 3):  # A header and two epochs.
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)  # Somewhere in the third epoch.
    process.wait()
    if process.stderr:
        process.stderr.close()
    assert not (tmp_path / "killed" / "model").exists()
    settings, resume = parse_train(["--out", str(tmp_path / "killed"), "--resume"])
    train(settings, resume=resume)
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")
    assert [row["epoch"] for row in history(tmp_path / "killed")] == ["1", "2", "3", "4", "5", "6"]


def test_resuming_a_run_that_finished_no_epoch_starts_it(scenes: Path, tiny: list[str], tmp_path: Path) -> None:
    settings = settings_of(scenes, tmp_path / "run", tiny)
    training.save_config(settings, tmp_path / "run")
    train(settings, resume=True)
    train(replace(settings, out=str(tmp_path / "whole")))
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


def test_early_stopping_keeps_the_best_weights(scenes: Path, tiny: list[str], tmp_path: Path) -> None:
    more = ["--early-stopping", "1", "--max-epochs", "8", "--lr", "0.05", "--optimizer.schedule", "constant"]
    run = train(settings_of(scenes, tmp_path / "run", tiny, *more)).run
    rows = history(run)
    errors = [float(row["val_epe_px_mean"]) for row in rows]
    assert len(rows) < 8
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == errors.index(min(errors))
    kept = {f"model.{name}": tensor for name, tensor in weights(run).items()}
    assert all(torch.equal(best["state_dict"][name], tensor) for name, tensor in kept.items())


def test_the_resolved_config_starts_the_same_run(trained: Path, scenes: Path, tmp_path: Path) -> None:
    settings, _ = parse_train(["--config", str(trained / "config.yaml"), "--out", str(tmp_path / "again")])
    assert replace(settings, out=str(trained)) == load_config(trained)
    assert yaml.safe_load((trained / "config.yaml").read_text())["data"] == str(scenes / "train.json")
    train(settings)
    assert_same_weights(trained, tmp_path / "again")


def test_a_budget_sets_the_epochs(
    scenes: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(scenes, tmp_path, tiny, "--budget", "1")
    data = read(scenes / "train.json")
    model = build_model(settings, data, check_images(data))
    monkeypatch.setattr(budget, "seconds_per_step", lambda *_: (0.75, 1.0))
    several = replace(settings, hardware=replace(settings.hardware, devices=2))
    with pytest.raises(ValueError, match="measured on one device"):
        with_measured_budget(several, model, data, data, training.Console(quiet=True))
    # 24 images: 3 steps of 0.75 s, and 3 validation batches at a third of that: 3 s an epoch, of 0.95 * 60 - 1 s.
    assert with_measured_budget(settings, model, data, data, training.Console(quiet=True)).max_epochs == 18


def test_a_budget_is_really_measured(scenes: Path, tiny: list[str], tmp_path: Path) -> None:
    settings = settings_of(scenes, tmp_path, tiny)
    data = read(scenes / "train.json")
    model = build_model(settings, data, check_images(data))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    step, start = budget.seconds_per_step(settings, model, data)
    assert 1e-4 < step < 60
    assert start > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_nothing_is_overwritten(trained: Path, scenes: Path, tiny: list[str], tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="add --resume"):
        train(settings_of(scenes, trained, tiny))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        train(settings_of(scenes, tmp_path, tiny))
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        train(settings_of(scenes, tmp_path / "none", tiny), resume=True)


def test_mistakes_in_the_data_are_found_before_anything_is_written(tmp_path: Path, tiny: list[str]) -> None:
    (tmp_path / "train.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(ValueError, match=r"train\.json"):
        train(settings_of(tmp_path, tmp_path / "run", tiny))
    assert not (tmp_path / "run").exists()


def test_other_keypoints_in_the_validation_data_are_refused(scenes: Path, tiny: list[str], tmp_path: Path) -> None:
    content = json.loads((scenes / "test.json").read_text())
    content["categories"][0]["keypoints"][0] = "hat"
    other = scenes / "other.json"
    other.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="names other keypoints"):
        train(settings_of(scenes, tmp_path / "run", tiny, "--val", str(other)))


def test_a_loss_that_is_not_a_number_stops_with_the_pictures_named(
    scenes: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: KeypointModel, outputs: list[torch.Tensor], target: object) -> dict[str, torch.Tensor]:
        return {"euclidean": outputs[0].flatten(2).mean(-1) * torch.nan}

    monkeypatch.setattr(KeypointModel, "losses", broken)
    with pytest.raises(ValueError, match=r"not a number at step 0.*the batch holds images/train_000"):
        train(settings_of(scenes, tmp_path / "run", tiny))


def test_instances_without_points_are_left_out_and_counted(scenes: Path, tmp_path: Path) -> None:
    content = json.loads((scenes / "train.json").read_text())
    content["annotations"][5]["keypoints"] = [0] * len(content["annotations"][5]["keypoints"])
    content["annotations"][5]["num_keypoints"] = 0
    (scenes / "empty.json").write_text(json.dumps(content))
    console = training.Console(record=True, width=200, file=(tmp_path / "log").open("w"))
    settings = TrainSettings(str(scenes / "empty.json"), str(tmp_path / "run"))
    train_data, val_data, inspected = training.load_data(settings, console)
    assert inspected.sizes.tolist() == [[64, 64]] * len(train_data)
    assert len(train_data) + len(val_data) == 23
    assert "1 instance" in console.export_text()
    console.file.close()


@pytest.mark.slow
def test_two_processes_train_one_model(scenes: Path, tiny: list[str], tmp_path: Path) -> None:
    words = [str(scenes / "train.json"), "--out", str(tmp_path / "run"), "--max-epochs", "2", *tiny]
    words += ["--hardware.devices", "2", "--hardware.strategy", "ddp"]
    command = [sys.executable, "-m", "punctum.cli", "train", *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch   2/2") == 1
    assert done.stdout.count("training: ") == 1
    model = KeypointModel.load(tmp_path / "run" / "model")
    assert all(torch.isfinite(p).all() for p in model.parameters())
    # 22 training instances dealt to two processes: 11 each, one full batch of 8 (a short last one is dropped).
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    # Normalization over groups, not batches: over the batches of several processes it needs a GPU. Points are missing
    # unevenly: the mean of two processes' means would not be the mean over all points.
    data = write_volumes(tmp_path / "data", 20, seed=0, size=(24, 36, 36))
    content = json.loads(data.read_text())
    for row in content["volumes"][::3]:
        row["points"] = dict(list(row["points"].items())[:1])
    data.write_text(json.dumps(content))
    common = [str(data), "--max-epochs", "2", "--backbone", "resnet3d", "--backbone.width", "0.125"]
    common += ["--input-size", "16", "--hardware.precision", "32", "--hardware.accelerator", "cpu"]
    common += ["--hardware.workers", "0", "--val-fraction", "0.2"]
    coords = []
    for name, words in {
        "one": ["--batch-size", "8"],
        "two": ["--batch-size", "4", "--hardware.devices", "2", "--hardware.strategy", "ddp"],
    }.items():
        command = [sys.executable, "-m", "punctum.cli", "train", *common, *words, "--out", str(tmp_path / name)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        model = KeypointModel.load(tmp_path / name / "model")
        volumes = torch.rand(4, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
        coords.append(model.decode(model(volumes)).coords)
    torch.testing.assert_close(*coords, rtol=0, atol=1e-4)
    start = KeypointModel(model.config).eval()
    assert (start.decode(start(volumes)).coords - coords[0]).abs().max() > 0.01
