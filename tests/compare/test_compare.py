"""`punctum compare`, from the command line's words to the page."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from processes import environment
from punctum.compare import worker
from punctum.compare.plan import Speed
from punctum.data import read
from punctum.data.synthetic_layers import write_scans
from punctum.data.synthetic_volumes import write_volumes
from punctum.report.comparison import comparison_page

ONE_EPOCH = ("--max-epochs", "1", "--no-tune")


def without_times(result):
    """What an interrupted comparison and another have in common."""
    kept = {key: result[key] for key in ("metric", "test", "groups", "failed", "tuned")}
    variants = [
        {k: v for k, v in entry.items() if k not in ("train_minutes", "cost")} for entry in result["variants"]
    ]
    plan = {key: value for key, value in result["plan"].items() if key not in ("seconds", "speeds", "jobs")}
    return {**kept, "variants": variants, "plan": plan}


def numbers_of(value):
    if isinstance(value, dict):
        return [n for inner in value.values() for n in numbers_of(inner)]
    if isinstance(value, list):
        return [n for inner in value for n in numbers_of(inner)]
    return [value] if isinstance(value, float) else []


def test_two_names_of_one_head_cannot_be_told_apart(compare, tmp_path):
    result = compare(tmp_path, "--heads", "dsnt,dsnt:sigma=1.0", "--seeds", "2", *ONE_EPOCH)
    (group,) = result["groups"]
    (row,) = group["against_best"]
    assert (row["difference"], row["told_apart"], row["p_adjusted"]) == (0, False, 1)
    assert result["recommendation"]["candidates"] == ["dsnt", "dsnt:sigma=1.0"]
    assert any("cannot be told" in sentence for sentence in result["recommendation"]["sentences"])
    assert result == json.loads((tmp_path / "comparison.json").read_text())
    assert all(math.isfinite(number) for number in numbers_of(result))
    page = (tmp_path / "report.html").read_text()
    assert "cannot be told" in page
    assert [s.title for s in comparison_page(tmp_path).sections][:3] == [
        "Which one",
        "Differences from the best",
        "Accuracy and time",
    ]


def test_figures_are_those_of_the_evaluations(compare, tmp_path):
    result = compare(tmp_path, "--heads", "dsnt,fully_connected", "--seeds", "2", *ONE_EPOCH)
    for entry in result["variants"]:
        metrics = [
            json.loads((tmp_path / "cells" / entry["head"] / f"seed{seed}" / "test" / "metrics.json").read_text())
            for seed in (0, 1)
        ]
        assert entry["by_seed"] == pytest.approx([m["nme"]["value"] for m in metrics])
        assert entry["value"] == pytest.approx(sum(entry["by_seed"]) / 2)
        assert entry["cost"]["parameters"] > 1000
        assert entry["cost"]["picture_ms"] > 0
    best, other = sorted(result["variants"], key=lambda entry: entry["value"])
    (row,) = result["groups"][0]["against_best"]
    assert (result["groups"][0]["best"], row["title"]) == (best["title"], other["title"])
    assert row["difference"] == pytest.approx(other["value"] - best["value"])


def test_test_images_are_neither_trained_on_nor_tuned_by(compare, tmp_path, monkeypatch):
    seen: list[tuple[str, set[Path]]] = []
    real = worker.train

    def watched(settings, **options):
        seen.append((settings.out, set(read(settings.data, settings.images).images)))
        return real(settings, **options)

    monkeypatch.setattr(worker, "train", watched)
    result = compare(tmp_path, "--heads", "dsnt", "--seeds", "1", "--max-epochs", "1", "--test-fraction", "0.25")
    test = set(read(tmp_path / "data" / "test.json").images)
    assert len(test) == 6
    assert any("tuning" in out for out, _ in seen)
    assert any("cells" in out for out, _ in seen)
    assert all(len(images) == 18 and not images & test for _, images in seen)
    judged = json.loads((tmp_path / "tuning" / "dsnt" / "lr0.002-one_cycle" / "test" / "metrics.json").read_text())
    assert judged["n_images"] == 2  # a tenth of the 18
    choice = result["tuned"]["dsnt"]
    assert len(choice["trials"]) in (4, 5)
    assert (result["variants"][0]["lr"], result["variants"][0]["schedule"]) == (choice["lr"], choice["schedule"])


def test_a_cell_that_fails_leaves_the_others_alone(compare, tmp_path, monkeypatch, in_process):
    real = worker.train

    def failing(settings, **options):
        if settings.head["name"] == "rle" or (settings.head["name"] == "simcc" and settings.seed == 1):
            raise RuntimeError("out of memory, say <script>")
        return real(settings, **options)

    monkeypatch.setattr(worker, "train", failing)
    words = ("--heads", "dsnt,rle,simcc", "--seeds", "2", *ONE_EPOCH)
    result = compare(tmp_path, *words)
    assert [row["name"] for row in result["failed"]] == ["rle/seed0", "rle/seed1", "simcc/seed1"]
    assert [row["title"] for row in result["failed_variants"]] == ["rle"]
    assert {entry["head"]: entry["seeds"] for entry in result["variants"]} == {"dsnt": [0, 1], "simcc": [0]}
    assert any("--seeds 3" in sentence for sentence in result["recommendation"]["sentences"])
    page = (tmp_path / "report.html").read_text()
    assert "out of memory, say &lt;script&gt;" in page
    # Called again, what failed is tried again, and nothing else.
    monkeypatch.setattr(worker, "train", real)
    in_process.clear()
    result = compare(tmp_path, *words)
    assert sorted(folder.parent.name for folder in in_process if "cells" in folder.parts) == ["rle", "rle", "simcc"]
    assert result["failed"] == []


def test_nothing_at_all_came_to_an_end(compare, tmp_path, monkeypatch):
    def failing(settings, **options):
        raise RuntimeError("no luck")

    monkeypatch.setattr(worker, "train", failing)
    with pytest.raises(ChildProcessError, match=r"no training came to an end: dsnt/seed0: .*no luck"):
        compare(tmp_path, "--heads", "dsnt", "--seeds", "1", *ONE_EPOCH)


def test_another_request_is_refused_and_says_what_differs(compare, tmp_path):
    compare(tmp_path, "--heads", "dsnt", "--seeds", "1", *ONE_EPOCH)
    before = (tmp_path / "comparison.json").read_text()
    with pytest.raises(ValueError, match=r"another comparison: seeds was 1, now 2; metric was nme, now epe"):
        compare(tmp_path, "--heads", "dsnt", "--seeds", "2", "--metric", "epe", *ONE_EPOCH)
    with pytest.raises(ValueError, match=r"heads.rle is new; heads.dsnt is gone"):
        compare(tmp_path, "--heads", "rle", "--seeds", "1", *ONE_EPOCH)
    assert (tmp_path / "comparison.json").read_text() == before


def test_strides_and_training_sets(compare, tmp_path):
    words = ("--output-strides", "16,8", "--train-sizes", "8,16", "--metric", "pck@0.5")
    result = compare(tmp_path, "--heads", "dsnt,heatmap", "--seeds", "1", *words, *ONE_EPOCH)
    assert [group["train_images"] for group in result["groups"]] == [8, 16]
    assert set(result["groups"][1]["ranking"]) == {
        f"{head} @ 1/{stride}" for head in ("dsnt", "heatmap") for stride in (16, 8)
    }
    steps = {entry["train_images"]: entry["epochs"] * (entry["train_images"] // 8) for entry in result["variants"]}
    assert steps == {8: 2, 16: 2}
    assert all(0 <= entry["value"] <= 1 for entry in result["variants"])
    best = max(e["value"] for e in result["variants"] if e["train_images"] == 16)
    assert best == next(
        e["value"]
        for e in result["variants"]
        if e["title"] == result["groups"][1]["best"] and e["train_images"] == 16
    )
    titles = [section.title for section in comparison_page(tmp_path).sections]
    assert {"By output stride", "By training images"} <= set(titles)


def test_a_budget_becomes_epochs(compare, tmp_path, monkeypatch):
    # As if a step took half a minute: what this machine needs by itself does not matter then.
    slow = Speed(start=1.0, step=30.0, picture=0.0)
    monkeypatch.setattr("punctum.compare.run.measure_speeds", lambda wanted, *_: (dict.fromkeys(wanted, slow), {}))
    result = compare(tmp_path, "--heads", "dsnt", "--seeds", "1", "--budget", "10", "--no-tune")
    plan = result["plan"]
    epoch = 30 * plan["steps"] / plan["epochs"]
    assert 0.5 * 600 / (epoch + 10) < plan["epochs"] < 600 / epoch
    assert 0 < plan["seconds"] <= 600
    assert plan["cells"] == {"dsnt/seed0": plan["epochs"]}
    assert set(plan["speeds"]) == {"dsnt"}


CPU = ("--hardware.workers", "0", "--hardware.accelerator", "cpu", "--batch-size", "4")


def test_layers_in_scans(compare, tmp_path):
    data = write_scans(tmp_path / "scans", 12, seed=1)
    options = ("--backbone", "columns", "--backbone.width", "0.125", "--input-size", "96x48", *CPU)
    words = ("--heads", "dsnt,heatmap", "--seeds", "1", "--metric", "epe", *ONE_EPOCH)
    result = compare(tmp_path / "out", *words, data=data, options=options)
    assert result["test"]["images"] == 2
    assert result["test"]["instances"] == 2 * 64  # columns
    assert result["plan"]["steps"] == 2
    assert result["failed"] == []


def test_points_in_volumes(compare, tmp_path):
    data = write_volumes(tmp_path / "volumes", 10, seed=0)
    options = ("--input-size", "16", "--backbone", "resnet3d", "--backbone.width", "0.0625", *CPU)
    words = ("--heads", "dsnt,heatmap", "--seeds", "1", "--output-strides", "8", *ONE_EPOCH)
    result = compare(tmp_path / "out", *words, data=data, options=options)
    assert result["test"]["images"] == 2
    assert {entry["output_stride"] for entry in result["variants"]} == {8}
    assert all(entry["cost"] is not None for entry in result["variants"])


def test_a_stride_that_the_backbone_has_not(compare, tmp_path):
    words = ("--heads", "dsnt", "--output-strides", "8", "--backbone", "hourglass", *ONE_EPOCH)
    with pytest.raises(ValueError, match=r"output.stride"):
        compare(tmp_path, *words, options=("--input-size", "64"))
    with pytest.raises(ValueError, match=r"output_stride"):
        compare(tmp_path, "--heads", "dsnt", "--output-strides", "7", *ONE_EPOCH)


def test_images_in_both_parts_are_refused(compare, scenes, tmp_path):
    with pytest.raises(ValueError, match=r"24 images are in .*train.json and in"):
        compare(tmp_path, "--heads", "dsnt", "--test", str(scenes / "train.json"), *ONE_EPOCH)
    assert not (tmp_path / "plan.json").exists()


def test_a_metric_without_lengths_is_refused(compare, tmp_path):
    with pytest.raises(ValueError, match="has a length to divide errors by"):
        compare(tmp_path, "--heads", "dsnt", "--min-length", "9999", *ONE_EPOCH)


def test_no_comparison_here(tmp_path):
    with pytest.raises(FileNotFoundError, match="punctum compare"):
        comparison_page(tmp_path)
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(ValueError, match="is not what"):
        comparison_page(tmp_path)


@pytest.mark.slow
def test_killed_and_called_again_it_comes_to_the_same(compare, scenes, tiny, tmp_path):
    words = ("--heads", "dsnt,heatmap", "--seeds", "1", "--max-epochs", "2", "--no-tune")
    whole = compare(tmp_path / "whole", *words)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "punctum.cli", "compare", str(scenes / "train.json"), "--out", str(out)]
    command += ["--jobs", "1", *words, *tiny]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    waited_for = out / "cells" / "dsnt" / "seed0" / "run" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 240
    while not waited_for.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert waited_for.exists()
    assert not (out / "comparison.json").exists()
    time.sleep(1)  # The worker ends with its parent.
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "going on with the comparison" in done.stdout
    assert "report.html" in done.stdout
    result = json.loads((out / "comparison.json").read_text())
    assert without_times(result) == without_times(whole)
