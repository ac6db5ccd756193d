"""`punctum suggest`: pictures that are doubtful, of each kind one, and none that is like a labelled one."""

import csv
import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from punctum.calibration import Density
from punctum.cli import main
from punctum.data import read
from punctum.data.images import read_image
from punctum.data.synthetic_layers import write_scans
from punctum.data.synthetic_volumes import write_volumes
from punctum.heads import Prediction
from punctum.model import KeypointModel, ModelConfig
from punctum.predict import Predictor
from punctum.suggest import suggest
from punctum.suggest_choose import choose, squared_distances
from punctum.suggest_looks import expected_error, look

Array = NDArray[np.float64]


# --- the choice --------------------------------------------------------------------------------------------------


def left_over(doubt: Array, features: Array, known: list[Array], worst: float) -> float:
    """The doubt that is left, by loops: each picture's times its squared distance to the nearest known one."""
    total = 0.0
    for u, f in zip(doubt, features, strict=True):
        total += u * min([worst, *(float(((f - g) ** 2).sum()) for g in known)])
    return total


def standardized(features: Array) -> Array:
    return features / np.where(features.std(0) > 0, features.std(0), 1.0)


@settings(max_examples=25)
@given(st.integers(2, 8), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2**16))
def test_each_turn_takes_what_wins_most(n: int, c: int, labelled: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    doubt, features, known = rng.random(n), rng.normal(size=(n, c)), rng.normal(size=(labelled, c))
    choice = choose(doubt, features, n - 1, known)
    scaled, seen = standardized(features), list(known / features.std(0))
    worst = np.inf if labelled else float(squared_distances(scaled, scaled).max())
    for taken in choice.order:
        left = [left_over(doubt, scaled, [*seen, f], worst) for f in scaled]
        assert left[taken] <= min(left) + 1e-4 * max(left)
        seen.append(scaled[taken])
    assert len(set(choice.order.tolist())) == n - 1


def test_greedy_is_nearly_as_good_as_the_best() -> None:
    """At least 1 - 1/e of what the best three of ten win, in every draw."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        doubt, features = rng.random(10), rng.normal(size=(10, 2))
        scaled = standardized(features)
        worst = float(squared_distances(scaled, scaled).max())
        start = left_over(doubt, scaled, [], worst)
        best = min(
            left_over(doubt, scaled, list(scaled[list(s)]), worst) for s in itertools.combinations(range(10), 3)
        )
        ours = left_over(doubt, scaled, list(scaled[choose(doubt, features, 3).order]), worst)
        assert start - ours >= (1 - 1 / np.e) * (start - best)


def test_copies_are_not_chosen_twice() -> None:
    features = np.repeat(np.random.default_rng(0).normal(size=(10, 4)), 3, axis=0)
    order = choose(np.random.default_rng(1).random(30), features, 10).order
    assert sorted(order // 3) == list(range(10))
    # When there is nothing new any more, the most doubtful copies come.
    assert len(set(choose(np.ones(30), features, 30).order.tolist())) == 30


def test_doubtful_kinds_come_first() -> None:
    """Of twenty kinds of five pictures each, those that a model knows little of."""
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.arange(20), 5)
    features = rng.normal(size=(20, 8))[kinds] * 3 + 0.1 * rng.normal(size=(100, 8))
    doubt = np.where(kinds < 5, 1.0, 0.01)
    order = choose(doubt, features, 5).order
    assert sorted(kinds[order]) == [0, 1, 2, 3, 4]
    # By doubt alone, all five might be of one kind; by distance alone, of any.
    assert choose(doubt, features, 5, features[kinds == 2]).order.tolist() != order.tolist()
    assert 2 not in kinds[choose(doubt, features, 4, features[kinds == 2]).order]


def test_a_lone_oddity_waits_for_what_many_are_like() -> None:
    features = np.concatenate([np.random.default_rng(0).normal(size=(50, 2)), [[12.0, 0.0]]])
    assert choose(np.ones(51), features, 2).order[0] != 50


def test_the_reasons_are_true() -> None:
    features = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    choice = choose(np.array([1.0, 100.0, 1.0, 1.0, 2.0, 1.0]), features, 2)
    assert choice.order.tolist() == [1, 4]
    assert choice.similar.tolist() == [3, 3]
    assert np.isnan(choice.novelty[0])
    assert choice.novelty[1] == pytest.approx(10.0)
    assert choice.nearest[1] == 1
    with_known = choose(np.ones(6), features, 1, np.array([[0.5], [30.0]]))
    assert with_known.order.tolist() == [4]
    assert with_known.nearest.tolist() == [-1]
    assert with_known.similar.tolist() == [3]


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="the 3 pictures there are"):
        choose(np.ones(3), np.zeros((3, 2)), 4)
    with pytest.raises(ValueError, match="finite"):
        choose(np.ones(2), np.array([[np.nan], [0.0]]), 1)


# --- how pictures look -------------------------------------------------------------------------------------------


def test_the_expected_error_is_that_of_draws() -> None:
    prediction = Prediction(torch.zeros(1, 2, 2), torch.ones(1, 2), None, torch.rand(1, 2, 6, 6))
    density = Density.default(2, 2)
    draws = density.mixture(prediction).without("background").draw(8192)
    expected = ((draws - draws.mean(-2, keepdim=True)) ** 2).sum(-1).mean(-1) / 4
    torch.testing.assert_close(expected_error(prediction, density), expected, rtol=0.02, atol=0)


@pytest.fixture(scope="module")
def run(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose model nobody has trained: its features tell pictures apart all the same."""
    torch.manual_seed(0)
    schema = read(scenes / "test.json").schema
    backbone = {"name": "resnet18", "width": 0.125}
    config = ModelConfig(schema, (32, 32), backbone, {"name": "density"}, {"region": "image"})
    folder = tmp_path_factory.mktemp("suggest") / "run"
    KeypointModel(config).eval().save(folder / "model")
    return folder


def test_features_are_what_the_head_is_given(run: Path, scenes: Path) -> None:
    model = KeypointModel.load(run / "model")
    paths = sorted((scenes / "images").glob("test_*"))[:5]
    predictor = Predictor(model, "cpu", 2, fuse=False)
    seen = look(predictor, paths, Density.default(14, 2))
    for i, path in enumerate(paths):
        crop = predictor.read(path)[0][None]
        features = model.backbone((crop - model.image_mean) / model.image_std)[-1]
        np.testing.assert_allclose(seen.features[i], features.mean((2, 3))[0].detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seen.keypoints[3], predictor.predict([paths[3]])[0].keypoints, atol=1e-3)


def test_of_several_instances_the_most_doubtful_one_speaks(run: Path, scenes: Path) -> None:
    annotations = read(scenes / "test.json").subset([0, 0, 1])
    boxed = replace(annotations, boxes=np.array([[0, 0, 60, 60], [10, 10, 20, 20], [0, 0, 60, 60.0]]))
    model = KeypointModel.load(run / "model")
    predictor = Predictor(
        KeypointModel(replace(model.config, preprocessing={"region": "box"})).eval(), "cpu", fuse=False
    )
    density = Density.default(14, 2)
    each = [float(look(predictor, boxed.subset([i]), density).doubt[0]) for i in range(3)]
    seen = look(predictor, boxed, density)
    assert seen.images == [boxed.images[0], boxed.images[2]]
    np.testing.assert_allclose(seen.doubt, [max(each[:2]), each[2]], rtol=1e-5)


# --- the command -------------------------------------------------------------------------------------------------


def test_the_command_picks_twice_the_same_and_no_copy(run: Path, scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for path in sorted((scenes / "images").glob("test_*")):
        shutil.copy(path, folder / path.name)
        shutil.copy(path, folder / f"copy_of_{path.name}")
    words = ["suggest", str(run), str(folder), "-n", "12", "--device", "cpu", "--out"]
    assert main([*words, str(tmp_path / "a.csv")]) == 0
    assert main([*words, str(tmp_path / "b.csv")]) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["rank", "image", "spread_percent", "novelty", "nearest", "similar"]
    assert len({Path(row["image"]).name.removeprefix("copy_of_") for row in rows}) == 12
    assert sum(int(row["similar"]) for row in rows) == 24
    assert read_image(tmp_path / "a.png").shape[1] > 1000


def test_labelled_pictures_are_left_out(
    run: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((scenes / "test.json").read_text())
    kept = [image["id"] for image in content["images"][:4]]
    content["images"] = content["images"][:4]
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] in kept]
    part = scenes / "labelled.json"
    part.write_text(json.dumps(content))
    words = ["suggest", str(run), str(scenes / "test.json"), "--labelled", str(part), "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "s.csv")]) == 0
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labelled = {Path(image["file_name"]).name for image in content["images"]}
    assert len(rows) == 8
    assert not {Path(row["image"]).name for row in rows} & labelled
    assert all(row["nearest"] for row in rows)
    assert "4 pictures left out: labelled already" in capsys.readouterr().out
    with pytest.raises(ValueError, match="none to choose from"):
        suggest(run, [part], labelled=part, out=tmp_path / "t.csv", device="cpu")


def test_mistakes_are_told(run: Path, scenes: Path, tmp_path: Path) -> None:
    data = scenes / "test.json"
    with pytest.raises(ValueError, match="at least 1"):
        suggest(run, [data], 0, out=tmp_path / "s.csv")
    with pytest.raises(ValueError, match=r"written as \.csv"):
        suggest(run, [data], out=tmp_path / "s.txt")
    with pytest.raises(FileNotFoundError, match="nothing"):
        suggest(run, ["nothing"], out=tmp_path / "s.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["volumes", "layers"])
def test_volumes_and_layers_are_chosen_too(kind: str, tmp_path: Path) -> None:
    if kind == "volumes":
        write_volumes(tmp_path, 3, seed=0, split="test")
        data, backbone, size = tmp_path / "test.json", {"name": "resnet3d", "width": 0.03}, (16, 16, 16)
    else:
        data = write_scans(tmp_path / "scans", 3, seed=0)
        backbone, size = {"name": "columns", "width": 0.06}, (32, 16)
    annotations = read(data)
    config = ModelConfig(annotations.schema, size, backbone, {"name": "density"}, {"region": "image"})
    KeypointModel(config).eval().save(tmp_path / "run" / "model")
    pictures = list(dict.fromkeys(annotations.images))
    by_file = suggest(tmp_path / "run", pictures, 2, out=tmp_path / "a.csv", device="cpu")
    by_label = suggest(tmp_path / "run", [data], 2, out=tmp_path / "b.csv", device="cpu")
    assert len(by_file) == 2
    assert [p.resolve() for p in by_file] == [p.resolve() for p in by_label]
    assert read_image(tmp_path / "a.png").size
