"""Calibration as a user has it: from a run folder to points with promises, and what keeps a wrong promise away."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import punctum
from punctum import cli
from punctum.calibrate import calibrate, collect
from punctum.calibration import Calibration
from punctum.calibration import calibrate as fitted_to
from punctum.data import read
from punctum.data.synthetic import write_scenes
from punctum.decision import Decision
from punctum.evaluate import evaluate
from punctum.held_out import parts_of
from punctum.predict import Predictor, load_model
from punctum.reading import Reading
from punctum.scales import Scales
from punctum.train_settings import load_config

IMAGES = 60


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes that no model has learned from."""
    folder = tmp_path_factory.mktemp("unseen")
    return write_scenes(folder, IMAGES, seed=7, size=64, split="unseen")


@pytest.fixture(scope="module")
def run(trained: Path, unseen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained run, calibrated to 80 and 90 %."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(trained, folder)
    calibrate(folder, unseen, levels=(0.8, 0.9), within=0.1, device="cpu")
    return folder


def test_a_calibrated_run_says_what_its_points_promise(run: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "points.csv"
    words = ["predict", str(run), str(scenes / "test.json"), "--out", str(out), "--places", "2", "--device", "cpu"]
    assert cli.main([*words, "--draw", str(tmp_path / "drawn"), "--ellipses"]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert {"radius_90", "ellipse_90", "area_90", "flags", "typical", "x_1", "y_1", "mass_1", "mass_2"} <= set(
        rows[0]
    )
    assert all(0 <= float(row["score"]) <= 1 for row in rows)
    assert all(float(row["radius_90"]) > 0 and float(row["area_90"]) > 0 for row in rows)
    assert all(float(row["mass_1"]) >= float(row["mass_2"]) for row in rows)
    as_json = tmp_path / "points.json"
    assert cli.main([*words[:4], str(as_json), "--level", "0.8", "--device", "cpu"]) == 0
    point = json.loads(as_json.read_text())[0]["keypoints"][0]
    assert set(point["regions"]) == {"0.8", "0.9"}
    assert point["regions"]["0.8"]["radius"] <= point["regions"]["0.9"]["radius"]


def test_evaluation_says_how_the_promises_fare(run: Path, scenes: Path, tmp_path: Path) -> None:
    metrics = evaluate(run, scenes / "test.json", out=tmp_path, device="cpu")
    trust = metrics["trust"]
    assert sum(trust["calibration_images"]) == IMAGES
    for kind in ("ball", "ellipse", "hdr"):
        assert set(trust["regions"][kind]) == {"0.8", "0.9"}
        assert (
            trust["regions"][kind]["0.9"]["coverage"]["value"] >= trust["regions"][kind]["0.8"]["coverage"]["value"]
        )
        # 12 images of the same kind: far off would be a mistake, not chance.
        assert trust["regions"][kind]["0.9"]["coverage"]["value"] > 0.75
    json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)


def test_judged_by_what_it_was_calibrated_on_is_told(run: Path, unseen: Path, scenes: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(unseen.parent, moved)
    own = evaluate(run, moved / unseen.name, out=tmp_path, device="cpu")
    assert any(f"calibrated on {IMAGES} of these {IMAGES} pictures" in note for note in own["notes"])
    other = evaluate(run, scenes / "test.json", out=tmp_path, device="cpu")
    assert not any("calibrated on" in note for note in other["notes"])


def test_a_prediction_does_not_depend_on_its_batch(run: Path, scenes: Path) -> None:
    annotations = read(scenes / "test.json")
    predictor = punctum.load(run, "cpu", places=2)
    together = predictor.predict_annotations(annotations)
    alone = predictor.predict_annotations(annotations.subset([3]))[0]
    assert alone.trust is not None
    assert together[3].trust is not None
    assert np.allclose(alone.score, together[3].score, atol=1e-5)
    for name in ("radius", "factor", "area", "typical"):
        assert np.allclose(getattr(alone.trust, name), getattr(together[3].trust, name), rtol=1e-3), name


def test_a_calibration_holds_for_its_own_rule_and_flip_test_alone(
    run: Path, scenes: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert punctum.load(run, "cpu").reading.calibration is not None
    assert punctum.load(run, "cpu", decode="head").reading.calibration is not None
    other = punctum.load(run, "cpu", decode="mode")
    assert other.reading.calibration is None
    assert other.predict_annotations(read(scenes / "test.json").subset([0]))[0].trust is None
    words = ["predict", str(run), str(scenes / "test.json"), "--out", str(tmp_path / "a.csv"), "--device", "cpu"]
    assert cli.main([*words, "--flip-test"]) == 0
    assert "calibration is of predictions without the flip test" in " ".join(capsys.readouterr().out.split())
    assert cli.main([*words, "--decode", "mode", "--level", "0.9"]) == 1
    assert cli.main([*words, "--level", "0.5"]) == 1
    assert "calibrated for 0.8, 0.9, not 0.5" in capsys.readouterr().err


def test_images_that_taught_the_model_are_refused(trained: Path, scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"learned from \d+ of its 24 images .*train_0"):
        calibrate(trained, scenes / "train.json", device="cpu")
    # Those that it kept back are too few here: the error says how many it takes.
    _, kept = parts_of(load_config(trained))
    with pytest.raises(ValueError, match=rf"{len(set(kept.images))} images are too few .* 95 %.* calibrate on 24"):
        calibrate(trained, device="cpu")
    assert not (trained / "model" / "calibration.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": (1.5,)}, "a level must be in"),
        ({"levels": ()}, "levels: there is none"),
        ({"within": 0.0}, "within must be a positive distance"),
        ({"normalizer": "head"}, "not known of a picture without labels"),
        ({"levels": (0.999,)}, "60 images are too few for a promise of 99.9 %: it rests on 999"),
        ({"decision": Decision("oks")}, "oks needs a sigma for each keypoint"),
    ],
    ids=str,
)
def test_what_cannot_be_promised_is_said(trained: Path, unseen: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibrate(trained, unseen, device="cpu", **{"levels": (0.8,), **options})


def test_another_models_calibration_and_a_broken_one_are_refused(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    path = folder / "model" / "calibration.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "names": [f"{name}?" for name in content["names"]]}))
    with pytest.raises(ValueError, match="other keypoints than the model beside it"):
        punctum.load(folder, "cpu")
    path.write_text("{")
    with pytest.raises(ValueError, match=r"calibration\.json: "):
        punctum.load(folder, "cpu")


@pytest.mark.parametrize("rule", ["mean", "mode", "median", "oks:0.05", "pck:0.1"])
def test_a_rule_moves_points_and_nothing_else(run: Path, scenes: Path, rule: str) -> None:
    annotations = read(scenes / "test.json").subset([0, 1])
    model = load_model(run)
    own = Predictor(model, "cpu").annotated_points(annotations)
    moved = Predictor(model, "cpu", reading=Reading(Decision.parse(rule))).annotated_points(annotations)
    assert np.isfinite(moved.keypoints).all()
    assert np.allclose(moved.score, own.score, atol=1e-6)
    assert ((moved.keypoints > -20) & (moved.keypoints < 84)).all()


def test_the_calibration_of_a_rule_is_used_with_it(trained: Path, unseen: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    cli_words = ["calibrate", str(folder), str(unseen), "--levels", "0.8", "--decode", "median", "--device", "cpu"]
    assert cli.main(cli_words) == 0
    assert Calibration.load(folder / "model").decision == "median"
    assert str(punctum.load(folder, "cpu").reading.decision) == "median"


def test_promises_are_kept_on_average(trained: Path, tmp_path: Path) -> None:
    """Many splits of 80 images: own regions hold nine in ten, and so do those of whole instances."""
    annotations = read(write_scenes(tmp_path, 80, seed=11, size=64, split="many"))
    predictor = Predictor(load_model(trained), "cpu")
    sizes = np.full((len(annotations), 2), 64)
    maps = collect(predictor, annotations, Scales.of(annotations.boxes, sizes), "image")
    held: dict[str, list[float]] = {"hdr": [], "ellipse": [], "ball": [], "joint": []}
    for seed in range(4):
        part, rest = maps.split(50, seed)
        found = fitted_to(part, annotations.schema.names, levels=(0.9,), normalizer="image", seed=seed)
        truth = torch.where(rest.visible[..., None], rest.keypoints, torch.nan)
        calibrated = found.apply(rest.prediction, rest.to_image, rest.lengths)
        for kind in ("hdr", "ellipse", "ball"):
            held[kind].append(float(calibrated.holds(kind, 0.9, truth)[rest.visible].double().mean()))
        together = calibrated.holds("hdr", 0.9, truth, joint=True) | ~rest.visible
        held["joint"].append(float(together.all(1).double().mean()))
    # 30 images judge each of 4 splits: a mean coverage of 90 to 93 %, give or take two standard errors.
    for kind, shares in held.items():
        assert 0.84 < np.mean(shares) < 0.985, (kind, shares)


def test_what_an_oks_rule_takes_for_size() -> None:
    scales = Scales.of(np.array([[0, 0, 30, 40], [np.nan] * 4]), np.array([[100, 200], [100, 200]]))
    # 2 sigma times the root of 0.53 of the box: 636 and 10600 px^2.
    assert scales.oks_lengths([0.05])[:, 0] == pytest.approx([2.52190, 10.29563], abs=1e-4)
    with pytest.raises(ValueError, match="not known of a picture"):
        scales.lengths("keypoints:a,b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modus", "there is no rule 'modus'"),
        ("pck", "pck needs a distance"),
        ("pck:-1", "positive number"),
        ("pck:x", "'x' in 'pck:x' is not a number"),
        ("mean:3", "mean takes no number"),
        ("oks:nan", "positive number"),
    ],
)
def test_rules_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Decision.parse(text)
