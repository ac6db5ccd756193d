"""The experiments that are grids of trainings: every variant means a training, and a tiny grid runs to its table."""

import json
from pathlib import Path

import pytest

import activations
import common
import depth
import integral
import regularizers
import resolution
import sampling
import stacks
import training_size
from punctum.judging import Protocol

OPTIONS = ["--data", "nowhere"]
MODULES = [activations, depth, integral, regularizers, resolution, sampling, stacks, training_size]


@pytest.mark.parametrize("full", [False, True], ids=["small", "full"])
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_variant_means_another_training(module, full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(module, "run", lambda experiment, given: seen.append((experiment, given)))
    monkeypatch.setattr("sys.argv", ["experiment", *OPTIONS, *(["--full"] if full else [])])
    module.main()
    ((experiment, given),) = seen
    cells = [common.make_cell(experiment.data, v, 0, Path("data"), given) for v in experiment.variants.values()]
    assert len({cell.name for cell in cells}) == len(cells) > 1
    assert {label for pair in experiment.pairs for label in pair} <= set(experiment.variants)


def test_few_images_get_as_many_steps() -> None:
    given = common.parser("").parse_args(OPTIONS)
    few, all_of_them = (
        common.make_cell("helen", {"max_images": n}, 0, Path("data"), given).settings for n in (128, 1024)
    )
    steps = [s.max_epochs * (s.max_images // s.batch_size) for s in (few, all_of_them)]
    assert steps[0] == pytest.approx(15 * (1171 // 32), rel=0.03) == steps[1]


def test_a_difference_is_welchs_by_hand() -> None:
    # Means 2 and 5, variances 1 and 4 of three each: standard error sqrt(1/3 + 4/3), 2.94 degrees of freedom.
    found = common.difference([1.0, 2.0, 3.0], [3.0, 5.0, 7.0])
    assert found is not None
    assert found["mean"] == pytest.approx(-3.0)
    assert found["half_width"] == pytest.approx(3.218 * (5 / 3) ** 0.5, rel=1e-3)
    assert common.difference([1.0, None], [2.0, 3.0]) is None
    assert common.difference([90.0, 90.0], [90.0, 90.0]) == {"mean": 0.0, "half_width": 0.0}


def test_only_some_variants_and_their_pairs() -> None:
    experiment = common.Experiment(
        "a", "b", "helen", {"x 1": {}, "x 2": {}, "y": {}}, [], pairs=[("x 1", "x 2"), ("x 1", "y")]
    )
    found = common.only(experiment, "^x")
    assert (list(found.variants), list(found.pairs)) == (["x 1", "x 2"], [("x 1", "x 2")])
    assert common.only(experiment, "") == experiment


@pytest.mark.slow
def test_a_tiny_grid_runs_to_its_table(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = common.Data("train.json", "test.json", Protocol(normalizer="bbox"), {"crop.region": "image"}, 1, 24)
    monkeypatch.setitem(common.DATA, "helen", data)
    monkeypatch.setattr(common, "SMALL", {"backbone.width": 0.125, "input_size": 64, "batch_size": 8})
    monkeypatch.setattr(common, "unpack", lambda name, zips, folder: scenes)
    given = common.parser("").parse_args([*OPTIONS, "--out", str(tmp_path), "--seeds", "2", "--jobs", "1"])
    experiment = common.Experiment(
        "tiny",
        "nothing",
        "helen",
        {"js": {"head": "dsnt"}, "again": {"head": "dsnt"}},
        [common.NME],
        pairs=[("js", "again")],
    )
    first = common.run(experiment, given)
    assert first["results"]["js"] == first["results"]["again"]
    assert len(first["results"]["js"]["NME %"]["seeds"]) == 2
    assert first["failed"] == []
    assert json.loads((tmp_path / "tiny.json").read_text()) == json.loads(json.dumps(first))
    assert "| js minus again | 0.00" in capsys.readouterr().out
    assert common.run(experiment, given)["results"] == first["results"]
