"""The page of an evaluation: its numbers against loops and SciPy, its pictures, and what is missing or odd."""

import io
import json
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from punctum.cli import main
from punctum.data import read
from punctum.data.synthetic_layers import write_scans
from punctum.data.synthetic_volumes import write_volumes
from punctum.evaluate import as_evaluation, evaluate
from punctum.evaluation import Evaluation
from punctum.judging import Protocol, measure
from punctum.points import Points
from punctum.report.blocks import Code, Facts, Figure, Gallery, Page, Table, Text
from punctum.report.examples import chosen, galleries, shown_things
from punctum.report.folder import write_report
from punctum.report.page import write_page
from punctum.report.run import run_page
from punctum.report.trust import by_score, coverage, levels
from punctum.schema import Schema
from report.pages import EVIL, write_evaluation


def blocks(page: Page, kind: type) -> list:
    return [block for section in page.sections for block in section.blocks if isinstance(block, kind)]


def texts(page: Page) -> str:
    return "\n".join(block.text for block in blocks(page, Text))


# --- scores and spreads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_levels_are_the_chi_square_distribution(dims: int) -> None:
    rng = np.random.default_rng(dims)
    offset, roots = rng.normal(size=(50, dims)), rng.normal(size=(50, dims, dims))
    covariance = roots @ roots.swapaxes(-1, -2) + 0.1 * np.eye(dims)
    found = levels(offset, covariance)
    for u, o, c in zip(found, offset, covariance, strict=True):
        assert u == pytest.approx(stats.chi2.cdf(o @ np.linalg.inv(c) @ o, dims), abs=1e-12)


def test_levels_of_gaussian_errors_are_uniform() -> None:
    rng = np.random.default_rng(0)
    covariance = np.array([[4.0, 1.5], [1.5, 1.0]])
    found = levels(rng.multivariate_normal([0, 0], covariance, 20000), np.broadcast_to(covariance, (20000, 2, 2)))
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_levels_without_an_answer_are_nan() -> None:
    offset = np.array([[1.0, 1.0], [np.nan, 0.0], [1.0, 0.0], [0.0, 0.0]])
    covariance = np.stack([np.ones((2, 2)), np.eye(2), np.full((2, 2), np.nan), np.eye(2)])
    np.testing.assert_array_equal(levels(offset, covariance), [np.nan, np.nan, np.nan, 0.0])


def test_coverage_counts_what_lies_within_and_its_interval_holds_the_truth() -> None:
    rng = np.random.default_rng(3)
    level = rng.uniform(size=(400, 5))
    level[0, 0] = np.nan
    found = coverage(level, np.arange(400), (0.5, 0.9))
    counted = [u for u in level.ravel() if not np.isnan(u)]
    assert found.count.tolist() == [1999, 1999]
    assert found.value.tolist() == [sum(u <= p for u in counted) / 1999 for p in (0.5, 0.9)]
    assert ((found.low < (0.5, 0.9)) & (found.high > (0.5, 0.9))).all()


def test_groups_by_score_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(1)
    score, values = rng.uniform(size=(60, 4)), rng.normal(size=(60, 4))
    values[3, 2], score[5, 1] = np.nan, np.nan
    found = by_score(score, values, np.arange(60), bins=7)
    pairs = sorted((s, v) for s, v in zip(score.ravel(), values.ravel(), strict=True) if not np.isnan(s + v))
    start = 0
    for i, count in enumerate(found.count):
        part = pairs[start : start + count]
        assert found.score[i] == pytest.approx(np.mean([s for s, _ in part]))
        assert found.value[i] == pytest.approx(np.mean([v for _, v in part]))
        start += count
    assert start == len(pairs) == 238
    assert set(found.count.tolist()) == {34}


def test_equal_scores_stay_together() -> None:
    score = np.repeat([0.2, 0.5, 0.9], [40, 20, 40])[:, None]
    found = by_score(score, score, np.arange(100))
    assert (found.score.tolist(), found.count.tolist()) == ([0.2, 0.5, 0.9], [40, 20, 40])
    assert len(by_score(np.ones((9, 2)), np.ones((9, 2)), np.arange(9)).score) == 1
    assert len(by_score(np.full((3, 1), np.nan), np.ones((3, 1)), np.arange(3)).score) == 0


# --- the page ------------------------------------------------------------------------------------------------------


def test_the_page_of_made_up_errors(tmp_path: Path) -> None:
    evaluation = write_evaluation(tmp_path, images=12)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    page = run_page(tmp_path)
    facts = {fact.label: fact for fact in blocks(page, Facts)[0].facts}
    assert facts["NME, by image"].value == f"{metrics['nme']['value']:.2%}"
    assert facts["Median error, px"].value == f"{np.nanmedian(evaluation.errors):.2f}"
    low, high = metrics["epe_px"]["interval_95"]["mean"]
    assert facts["Mean error, px"].note == f"95 %: {low:.2f} – {high:.2f}"
    assert "Within 0.05 lengths (PCK)" in facts
    assert [table.columns[0].title for table in blocks(page, Table)][:1] == ["keypoint"]
    assert [row[0] for row in blocks(page, Table)[0].rows] == list(evaluation.names)
    assert [len(gallery.pictures) for gallery in blocks(page, Gallery)] == [4, 4, 4]
    assert EVIL[4] in texts(page)
    assert "1 instance has no" not in texts(page)
    assert len(blocks(page, Figure)) == 5
    # The made-up spread is the true one: 2 px.
    assert "can be taken at their word" in texts(page)


def test_errors_with_long_tails_are_told(tmp_path: Path) -> None:
    """Two thirds of the errors much smaller than the spread, one third much larger: no one size is right."""
    evaluation = write_evaluation(tmp_path, images=30, spread=4.0)
    offset = evaluation.keypoints - evaluation.target
    size = np.where(np.arange(30) % 3 == 0, 5.0, 0.2)[:, None, None]
    Evaluation(**{**vars(evaluation), "keypoints": evaluation.target + size * offset}).save(tmp_path)
    # By hand: all of the small ones and 1 - exp(-0.693 / 25) of the large ones lie in the 50 % ellipse, 67.6 %.
    assert "have not the errors' shape: those of 50% hold 68" in texts(run_page(tmp_path))


@pytest.mark.parametrize(("spread", "word"), [(0.1, "too small"), (400.0, "too large"), (0.0, "No predicted spread")])
def test_spreads_that_do_not_fit_are_told(tmp_path: Path, spread: float, word: str) -> None:
    write_evaluation(tmp_path, spread=spread)
    assert word in texts(run_page(tmp_path))


def test_pictures_that_are_gone_or_broken_are_counted(tmp_path: Path) -> None:
    evaluation = write_evaluation(tmp_path, images=12)
    things = chosen(shown_things(evaluation))
    gone = [str(evaluation.images[thing.rows[0]]) for thing in (*things["Worst"][:2], things["Best"][0])]
    Path(gone[0]).unlink()
    Path(gone[1]).write_bytes(b"no picture")
    Path(gone[2]).unlink()
    page = run_page(tmp_path)
    assert [len(gallery.pictures) for gallery in blocks(page, Gallery)] == [2, 4, 3]
    assert "3 pictures could not be shown; the first: " in texts(page)
    for path in tmp_path.glob("*.png"):
        path.unlink()
    page = run_page(tmp_path)
    assert not blocks(page, Gallery)
    assert "12 pictures could not be shown" in texts(page)


def test_the_worst_comes_first_and_nothing_twice(tmp_path: Path) -> None:
    evaluation = write_evaluation(tmp_path, images=40)
    order = [int(thing.rows[0]) for thing in shown_things(evaluation)]
    assert order == sorted(range(40), key=lambda i: -np.nanmean(evaluation.errors[i]))
    kinds = chosen(shown_things(evaluation))
    rows = {kind: [int(thing.rows[0]) for thing in some] for kind, some in kinds.items()}
    assert rows == {"Worst": order[:4], "Median": order[18:22], "Best": order[-4:]}
    for n in range(1, 15):
        shown = [int(t.rows[0]) for some in chosen(shown_things(evaluation)[:n]).values() for t in some]
        assert len(shown) == len(set(shown)) == min(n, 12) or n < 12


def test_a_prediction_is_drawn_where_it_is(tmp_path: Path) -> None:
    """A black picture with one white pixel at the prediction: the dot covers it, off the labelled cross."""
    evaluation = write_evaluation(tmp_path, images=1, names=("tip",), spread=None)
    where, true = np.array([[[20.0, 40.0]]]), np.array([[[44.0, 40.0]]])
    evaluation = Evaluation(**{**vars(evaluation), "keypoints": where, "target": true})
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[40, 20] = 255
    cv2.imwrite(str(evaluation.images[0]), pixels)
    (gallery,), failures = galleries(evaluation, Schema(("tip",)), "px")
    assert failures == []
    drawn = np.asarray(Image.open(io.BytesIO(gallery.pictures[0].content))).astype(int)
    # Between the two at the middle of the picture; the region is 24 px and 35 % wide.
    scale = 360 / (24 * 1.35)
    x, y = 179.5 - 12 * scale, 179.5
    blue = (drawn[..., 2] - drawn[..., 0] > 60).nonzero()
    assert np.abs(np.mean(blue[1]) - x) < 2
    assert np.abs(np.mean(blue[0]) - y) < 2
    assert gallery.pictures[0].caption.endswith("24.00 px, NME 75.0%")


@pytest.mark.parametrize("spread", [4.0, None])
def test_odd_evaluations_have_a_page(tmp_path: Path, spread: float | None) -> None:
    evaluation = write_evaluation(tmp_path, images=1, spread=spread, names=("only",), per_image=2)
    run_page(tmp_path)
    nothing = {"lengths": np.full(2, np.nan), "score": np.full((2, 1), np.nan)}
    Evaluation(**{**vars(evaluation), **nothing}).save(tmp_path)
    page = run_page(tmp_path)
    assert write_page(tmp_path / "report.html", page).stat().st_size > 10_000


def test_predictions_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    evaluation = write_evaluation(tmp_path)
    wild = evaluation.keypoints.copy()
    wild[1], wild[2, 0] = np.inf, 1e90
    Evaluation(**{**vars(evaluation), "keypoints": wild}).save(tmp_path)
    write_page(tmp_path / "report.html", run_page(tmp_path))
    Evaluation(**{**vars(evaluation), "keypoints": np.full_like(wild, np.nan)}).save(tmp_path)
    assert "No labelled point has a prediction that is a number" in texts(run_page(tmp_path))


def test_without_the_points_the_numbers_stand(tmp_path: Path) -> None:
    write_evaluation(tmp_path)
    (tmp_path / "evaluation.npz").unlink()
    page = run_page(tmp_path)
    assert "evaluation.npz is not beside metrics.json" in texts(page)
    assert [section.title for section in page.sections] == ["Numbers", "Errors", "Keypoints", "Environment"]


def test_easy_and_hard_instances_get_a_table(tmp_path: Path) -> None:
    write_evaluation(tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    part = {"n": 5, "n_instances": 2, "n_images": 2, **{key: metrics[key] for key in ("epe_px", "pck", "nme")}}
    none = {"n": 0, "n_instances": 0, "n_images": 0}
    metrics["by_difficulty"] = {
        "criterion": "size",
        "instances_in_no_class": 3,
        "easy": part,
        "medium": none,
        "hard": part,
    }
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    page = run_page(tmp_path)
    (table,) = (t for t in blocks(page, Table) if t.columns[0].title == "by size")
    assert [row[:3] for row in table.rows] == [["easy", 2, 5], ["medium", 0, 0], ["hard", 2, 5]]
    assert "3 instances in no class of difficulty" in texts(page)


def test_a_model_that_is_no_better_than_the_mean_is_told(tmp_path: Path) -> None:
    write_evaluation(tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    metrics["constant_predictor"] = {key: metrics[key] for key in ("epe_px", "pck", "nme")}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert "the model has learned nothing of use" in texts(run_page(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1]", "is not what `punctum evaluate` writes"), ("{", "not JSON"), ('{"n": 1}', "it needs n, n_instances")],
)
def test_a_broken_metrics_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


# --- volumes and scans ---------------------------------------------------------------------------------------------


def _off(data: Path, by: float) -> Evaluation:
    """The evaluation of predictions that are `by` off on the first axis."""
    annotations = read(data)
    found = annotations.keypoints + np.array([by, *[0.0] * (annotations.dims - 1)])
    sizes = np.full((len(annotations), annotations.dims), 32)
    covariance = np.broadcast_to(np.eye(annotations.dims), (*found.shape, annotations.dims)).copy()
    points = Points(found, np.full(found.shape[:2], 0.5), covariance, np.zeros(1), sizes)
    protocol = Protocol(normalizer="image")
    evaluation = as_evaluation(points, annotations, protocol)
    folder = data.parent / "measured"
    evaluation.save(folder)
    metrics = measure(found, annotations, sizes, protocol, points.score)
    (folder / "metrics.json").write_text(json.dumps({"notes": [], "data": str(data), **metrics}))
    return evaluation


def test_volumes_are_shown_as_slices(tmp_path: Path) -> None:
    data = write_volumes(tmp_path / "data", 3, seed=0)
    _off(data, 2.0)
    page = run_page(data.parent / "measured")
    (first, *_) = blocks(page, Gallery)
    assert "2.00 voxels" in first.pictures[0].caption
    width, height = Image.open(io.BytesIO(first.pictures[0].content)).size
    assert width > 2.5 * height
    assert "three slices" in texts(page)


def test_scans_are_shown_whole(tmp_path: Path) -> None:
    data = write_scans(tmp_path / "data", 4, seed=0)
    _off(data, 1.5)
    page = run_page(data.parent / "measured")
    pictures = [picture for gallery in blocks(page, Gallery) for picture in gallery.pictures]
    assert len(pictures) == 4
    assert all("1.50 rows" in picture.caption for picture in pictures)
    assert "Coloured lines are the predicted layers" in texts(page)
    assert not [b for b in blocks(page, Text) if b.tone == "warning" and "could not be shown" in b.text]


# --- the verb ------------------------------------------------------------------------------------------------------


def test_the_report_of_a_run(trained: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "measured"
    evaluate(trained, scenes / "test.json", out=out)
    assert not (out / "report.html").exists()
    assert main(["report", str(out)]) == 0
    assert "report.html" in capsys.readouterr().out
    page = run_page(out)
    assert page.title == "dsnt on resnet18, measured on test.json"
    titles = [section.title for section in page.sections]
    assert {"Training", "Configuration", "Environment", "Worst, median and best"} <= set(titles)
    (settings,) = blocks(page, Code)
    assert settings.text == (trained / "config.yaml").read_text()
    assert (out / "report.html").stat().st_size < 1_000_000


def test_evaluate_writes_the_page_unless_told_otherwise(trained: Path, scenes: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(trained), str(scenes / "test.json"), "--out"]
    assert main([*words, str(tmp_path / "with")]) == 0
    assert main([*words, str(tmp_path / "without"), "--no-report"]) == 0
    assert (tmp_path / "with" / "report.html").is_file()
    assert [path.name for path in sorted((tmp_path / "without").iterdir())] == ["evaluation.npz", "metrics.json"]


def test_a_folder_with_nothing_known_says_what_would_make_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    for verb in ("punctum compare", "punctum diagnose", "punctum evaluate"):
        assert f"`{verb}` writes it" in told
    assert main(["report", str(tmp_path / "nowhere")]) == 1
    assert "nowhere is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("comparison.json", {"request": {"heads": {}}, "test": {}}),
        ("comparison.json", {"request": {"heads": []}, "test": {}}),
        ("diagnosis.json", {"splits": {}}),
    ],
)
def test_a_file_of_another_kind_is_told(tmp_path: Path, name: str, content: object) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{name} is not what `punctum .*` writes: "):
        write_report(tmp_path)


def test_what_stops_within_a_page_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `next` of nothing, in a generator or not."""
    (tmp_path / "diagnosis.json").write_text("{}")
    for error in (StopIteration(), RuntimeError("generator raised StopIteration")):
        monkeypatch.setattr("punctum.report.diagnosis.diagnosis_page", Mock(side_effect=error))
        with pytest.raises(ValueError, match=r"diagnosis\.json is not what `punctum diagnose` writes"):
            write_report(tmp_path)
