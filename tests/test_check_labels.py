"""`punctum check RUN DATA`: mistakes that were planted come first, and are called what they are."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import norm

from punctum import ops
from punctum.calibration import Density
from punctum.check_draw import write_finding_sheet
from punctum.check_judge import Judged, deviations, judge
from punctum.check_labels import check_labels, describe
from punctum.check_rank import Finding, in_context, rank, robust_z, spread
from punctum.cli import main
from punctum.data import Annotations, read
from punctum.data.images import read_image
from punctum.data.synthetic_layers import write_scans
from punctum.data.synthetic_volumes import write_volumes
from punctum.heads import Prediction
from punctum.model import KeypointModel, ModelConfig
from punctum.ops import GaussianMixture, single_gaussian
from punctum.schema import Schema

Array = NDArray[np.float64]
SIDE = 64
FLIPS = ((0, 1), (2, 3), (4, 5))


# --- deviations --------------------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(0, 2**16))
def test_a_gaussians_deviation_is_the_mahalanobis_distance(dims: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(2, 3, dims, dims)) + 2 * np.eye(dims)
    covariance = root @ root.swapaxes(-1, -2)
    mean, label = rng.normal(size=(2, 2, 3, dims))
    d = label - mean
    expected = np.sqrt(np.einsum("bki,bkij,bkj->bk", d, np.linalg.inv(covariance), d))
    mixture = single_gaussian(torch.from_numpy(mean), torch.from_numpy(covariance))
    found = deviations(mixture, torch.from_numpy(mean), torch.from_numpy(label), (8,) * dims).numpy()
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), expected, rtol=1e-6, atol=1e-6)
    # On a grid of squares the direction is that from the coordinate to the label.
    np.testing.assert_allclose(np.cross(found, d) if dims == 3 else _turned(found, d), 0, atol=1e-6)


def _turned(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., -1] - a[..., -1] * b[..., 0] if a.shape[-1] == 2 else np.sign(a) - np.sign(b)


def test_a_label_on_a_second_hill_is_hardly_off() -> None:
    means = torch.tensor([[[[-0.5, 0.0], [0.5, 0.0]]]], dtype=torch.float64)
    weights = torch.tensor([[[2 / 3, 1 / 3]]], dtype=torch.float64)
    spread_of = 0.01**2 * torch.eye(2, dtype=torch.float64).expand(1, 1, 1, 2, 2)
    mixture = GaussianMixture(weights.log(), means, spread_of, {"cells": 2})
    found = deviations(mixture, means[:, :, 0], means[:, :, 1], (8, 8))
    assert float(found.norm()) == pytest.approx(np.sqrt(2 * np.log(2)), rel=1e-6)
    between = deviations(mixture, means[:, :, 0], torch.zeros(1, 1, 2, dtype=torch.float64), (8, 8))
    assert float(between.norm()) > 40


def test_missing_labels_and_coordinates() -> None:
    mixture = single_gaussian(torch.zeros(1, 3, 2), torch.eye(2).expand(1, 3, 2, 2))
    labels = torch.tensor([[[torch.nan, 0.0], [0.0, 0.0], [1.0, 0.0]]])
    found = deviations(mixture, torch.zeros(1, 3, 2), labels, (8, 8))
    assert found.isnan().all(-1).tolist() == [[True, False, False]]
    assert found[0, 1].tolist() == [0, 0]
    lost = deviations(mixture, torch.full((1, 3, 2), torch.nan), labels, (8, 8))
    assert lost.isnan().any(-1).all()


# --- what is usual, and what neighbours say ----------------------------------------------------------------------


def test_the_usual_spread_is_a_normal_distributions() -> None:
    rng = np.random.default_rng(0)
    for dims in (1, 2, 3):
        drawn = rng.normal(size=(4000, 2, dims)) * np.array([1.0, 5.0])[:, None]
        drawn[:40] = 1000.0
        np.testing.assert_allclose(spread(drawn), [1.0, 5.0], rtol=0.06)


def test_a_rare_keypoint_borrows_what_is_usual() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(200, 3, 2))
    drawn[1:, 2] = np.nan
    drawn[0, 2] = 50.0
    assert spread(drawn)[2] < 10
    drawn[:, 2] = np.nan
    assert np.isfinite(spread(drawn)).all()


def test_robust_z_is_z_without_the_mistakes() -> None:
    values = np.sort(norm.ppf((np.arange(1000) + 0.5) / 1000))[:, None]
    np.testing.assert_allclose(robust_z(values), values, atol=0.01)
    values[-10:] = 1e6
    np.testing.assert_allclose(robust_z(values)[:-10], values[:-10], atol=0.05)


def test_context_is_the_conditional_distribution() -> None:
    """Against the blocks of the true covariance, S_ko S_oo^-1 d_o, of many draws."""
    rng = np.random.default_rng(1)
    root = np.tril(rng.normal(size=(6, 6))) + 2 * np.eye(6)
    covariance = root @ root.T
    drawn = rng.multivariate_normal(np.zeros(6), covariance, size=5000)
    found = in_context(drawn.reshape(-1, 3, 2))
    for k in range(3):
        own, others = [2 * k, 2 * k + 1], [i for i in range(6) if i // 2 != k]
        gain = covariance[np.ix_(own, others)] @ np.linalg.inv(covariance[np.ix_(others, others)])
        expected = np.linalg.norm(drawn[:, own] - drawn[:, others] @ gain.T, axis=-1)
        assert np.median(np.abs(found[:, k] - expected)) < 0.05 * np.median(expected)


def test_context_of_a_single_keypoint_is_its_length() -> None:
    drawn = np.random.default_rng(0).normal(size=(500, 1, 2))
    centred = drawn - np.median(drawn, axis=0)
    np.testing.assert_allclose(in_context(drawn)[:, 0], np.linalg.norm(centred[:, 0], axis=-1), atol=0.05)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**16))
def test_context_of_anything_is_finite_where_there_is_a_label(n: int, k: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(n, k, d)) * rng.choice([0.0, 1.0, 1e6])
    drawn[rng.random((n, k)) < 0.4] = np.nan
    np.testing.assert_array_equal(np.isfinite(in_context(drawn)), np.isfinite(drawn).all(-1))


# --- the list ----------------------------------------------------------------------------------------------------


class FakePredictor:
    """A model that has made these predictions: a Gaussian hill of one cell at each."""

    def __init__(self, predicted: Array, cells: int = 16, batch_size: int = 7) -> None:
        self.predicted, self.batch_size, self.dims = predicted, batch_size, predicted.shape[-1]
        self.crop, self.model = SimpleNamespace(input_size=(SIDE,) * self.dims), SimpleNamespace(dims=self.dims)
        self.size = (cells,) * self.dims

    def heatmaps(self, annotations: Annotations) -> Iterator[tuple[Any, Prediction, torch.Tensor]]:
        to_image = ops.pixels_matrix((SIDE,) * self.dims)
        for part in np.array_split(self.predicted, max(1, len(self.predicted) // self.batch_size)):
            coords = ops.to_normalized(torch.from_numpy(part), (SIDE,) * self.dims).float()
            maps = ops.render_gaussian(coords, 1.0, self.size)
            yield (
                None,
                Prediction(coords, torch.ones(coords.shape[:2]), None, maps),
                to_image.expand(len(part), -1, -1),
            )


def annotated(points: Array, flips: Sequence[tuple[int, int]] = ()) -> Annotations:
    n, k, d = points.shape
    return Annotations(
        schema=Schema(tuple(f"p{i}" for i in range(k)), flip_pairs=tuple(flips)),
        images=tuple(Path(f"{i}.png") for i in range(n)),
        image_names=tuple(f"{i}.png" for i in range(n)),
        keypoints=points,
        visibility=np.where(np.isfinite(points).all(-1), 2, 0).astype(np.int8),
        boxes=np.full((n, 2 * d), np.nan),
        ids=tuple(map(str, range(n))),
        source=Path("made-up.json"),
    )


def people(n: int = 60, k: int = 8, d: int = 2, seed: int = 0) -> tuple[Array, Array]:
    """Labels, and predictions whose errors are shared: all points of one are off by three pixels, each by half."""
    rng = np.random.default_rng(seed)
    places = np.stack([SIDE / 2 + 16 * np.cos(2 * np.pi * (np.arange(k) / k + a / 4)) for a in range(d)], -1)
    labels = places + rng.normal(size=(n, 1, d)) + rng.normal(size=(n, k, d))
    return labels, labels + 3.0 * rng.normal(size=(n, 1, d)) + 0.5 * rng.normal(size=(n, k, d))


def judged(labels: Array, predicted: Array) -> Judged:
    k, d = labels.shape[1:]
    return judge(FakePredictor(predicted), annotated(labels), Density.default(k, d))  # type: ignore[arg-type]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_mistakes_smaller_than_the_models_errors_come_first(dims: int) -> None:
    """By the distance alone few do: points that are only predicted badly beat them."""
    labels, predicted = people(n=60, d=dims)
    rng = np.random.default_rng(5)
    planted = sorted((int(i), int(k)) for i, k in zip(rng.permutation(60)[:10], rng.integers(0, 8, 10), strict=True))
    for i, k in planted:
        way = rng.normal(size=dims)
        labels[i, k] += 3.5 * way / np.linalg.norm(way)
    found = rank(judged(labels, predicted), ())
    assert len(found) == labels[..., 0].size
    first = {(f.row, f.keypoints[0]) for f in found[:12]}
    assert len(first & set(planted)) >= 9
    distance = np.linalg.norm(labels - predicted, axis=-1)
    nearest = {divmod(int(i), 8) for i in np.argsort(-distance.ravel())[:12]}
    assert len(nearest & set(planted)) <= 5


def test_every_judged_label_stands_on_one_line() -> None:
    labels, predicted = people()
    labels[3, :4] = np.nan
    labels[5, 2] = 3 * SIDE  # outside of what the model sees
    labels[7, [0, 1]] = labels[7, [1, 0]]
    all_judged = judged(labels, predicted)
    found = rank(all_judged, FLIPS)
    lines = [(f.row, k) for f in found for k in f.keypoints]
    assert len(lines) == len(set(lines)) == 60 * 8 - 5
    assert all_judged.outside.sum() == 1
    assert [f.evidence for f in found] == sorted((f.evidence for f in found), reverse=True)


def test_two_exchanged_labels_are_one_line_of_that_name() -> None:
    labels, predicted = people()
    labels[11, [2, 6]] = labels[11, [6, 2]]
    first = rank(judged(labels, predicted), FLIPS)[0]
    assert (first.row, first.keypoints, first.kind) == (11, (2, 6), "exchanged")


def test_left_and_right_exchanged_is_one_line_of_that_name() -> None:
    labels, predicted = people()
    for i, j in FLIPS:
        labels[[20, 41], i], labels[[20, 41], j] = labels[[20, 41], j], labels[[20, 41], i].copy()
    found = rank(judged(labels, predicted), FLIPS)[:2]
    assert sorted((f.row, f.kind) for f in found) == [(20, "mirrored"), (41, "mirrored")]
    assert found[0].keypoints == (0, 1, 2, 3, 4, 5)
    # Nobody says which are left and right: then nobody can say that.
    assert {f.kind for f in rank(judged(labels, predicted), ())} <= {"point", "exchanged"}


def test_shifted_and_strange_instances_are_named() -> None:
    labels, predicted = people()
    labels[8] += [11.0, -9.0]
    labels[30] = np.random.default_rng(3).uniform(4, SIDE - 4, size=labels[30].shape)
    all_judged = judged(labels, predicted)
    found = [f for f in rank(all_judged, ())[:6] if len(f.keypoints) == 8]
    assert {(f.row, f.kind) for f in found} == {(8, "shifted"), (30, "instance")}
    (shifted,) = (f for f in found if f.kind == "shifted")
    said = describe(shifted, annotated(labels), all_judged.predicted)
    assert said.startswith("all 8 points shifted by (1")


def test_clean_labels_make_no_findings_of_several_points() -> None:
    for seed in range(5):
        labels, predicted = people(seed=seed)
        assert {f.kind for f in rank(judged(labels, predicted), FLIPS)} == {"point"}


def test_few_instances_are_judged_too() -> None:
    labels, predicted = people(n=2, k=1)
    assert len(rank(judged(labels, predicted), ())) == 2


# --- the command -------------------------------------------------------------------------------------------------


def test_the_command_writes_list_and_picture(trained: Path, scenes: Path, tmp_path: Path) -> None:
    console = Console(record=True, width=120)
    found = check_labels(trained, scenes / "test.json", out=tmp_path, console=console)
    with (tmp_path / "implausible.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    annotations = read(scenes / "test.json")
    assert len(rows) == len(found.findings)
    assert sum(len(row["keypoint"].split(";")) for row in rows) == found.n_judged
    assert [int(row["rank"]) for row in rows] == list(range(1, len(rows) + 1))
    point = next(row for row in rows if row["finding"] == "point")
    i, k = annotations.ids.index(point["instance"]), annotations.schema.index(point["keypoint"])
    assert float(point["label_x"]) == pytest.approx(annotations.keypoints[i, k, 0], abs=1e-3)
    ends = np.array([[float(point[f"{side}_{axis}"]) for axis in "xy"] for side in ("label", "predicted")])
    assert float(point["distance_px"]) == pytest.approx(np.linalg.norm(ends[0] - ends[1]), abs=1e-2)
    said = console.export_text()
    missing = int((~annotations.labelled).sum())
    assert f"{found.n_judged} labels of 12 instances judged" in said
    assert missing == 1
    assert "1 point not judged: not labelled" in said
    assert read_image(tmp_path / "implausible.png").shape[1] > 1000


def test_one_word_checks_labels_and_two_a_model_with_them(
    trained: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(scenes / "test.json")
    assert main(["check", data, "--out", str(tmp_path / "a")]) == 0
    assert main(["check", str(trained), data, "--out", str(tmp_path / "b")]) == 0
    assert {p.name for p in (tmp_path / "b").iterdir()} == {"implausible.csv", "implausible.png"}
    assert (tmp_path / "a" / "labels.png").is_file()
    assert main(["check", data, data, data]) == 2
    assert main(["check", data, data, "--out", str(tmp_path / "c")]) == 1
    assert "no model in" in capsys.readouterr().err


def test_other_keypoints_and_nothing_to_judge_are_told(trained: Path, scenes: Path, tmp_path: Path) -> None:
    text = (scenes / "test.json").read_text()
    other = scenes / "other-names.json"
    other.write_text(text.replace('"head_top"', '"crown"'))
    with pytest.raises(ValueError, match="finds other keypoints"):
        check_labels(trained, other, out=tmp_path)
    with pytest.raises(FileNotFoundError):
        check_labels(tmp_path, scenes / "test.json", out=tmp_path)


@pytest.mark.parametrize("kind", ["volumes", "layers"])
def test_volumes_and_layers_are_judged_and_drawn(kind: str, tmp_path: Path) -> None:
    if kind == "volumes":
        write_volumes(tmp_path, 3, seed=0, split="test")
        data, backbone, size = tmp_path / "test.json", {"name": "resnet3d", "width": 0.03}, (16, 16, 16)
    else:
        data = write_scans(tmp_path / "scans", 3, seed=0)
        backbone, size = {"name": "columns", "width": 0.06}, (32, 16)
    annotations = read(data)
    config = ModelConfig(annotations.schema, size, backbone, {"name": "density"}, {"region": "image"})
    KeypointModel(config).eval().save(tmp_path / "run" / "model")
    found = check_labels(tmp_path / "run", data, out=tmp_path / "out", device="cpu")
    assert sum(len(f.keypoints) for f in found.findings) == found.n_judged == annotations.labelled.sum()
    header = (tmp_path / "out" / "implausible.csv").read_text().splitlines()[0]
    assert ("label_z" in header) == (kind == "volumes")
    assert read_image(tmp_path / "out" / "implausible.png").size


def test_the_sheet_shows_each_instance_once(scenes: Path, tmp_path: Path) -> None:
    annotations = read(scenes / "test.json")
    predicted = annotations.keypoints + 2.0
    found = [Finding(30.0 - n, n % 2, (n,), "point") for n in range(8)]
    one = read_image(write_finding_sheet(annotations, predicted, found, tmp_path / "sheet.png"))
    assert one.shape[1] < 3 * 500
