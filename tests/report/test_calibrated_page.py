"""The part of a page on trust: its numbers are those of metrics.json, and it says what is wrong with them."""

import json
from pathlib import Path

import numpy as np
import pytest

from punctum.evaluation import Evaluation
from punctum.report.blocks import Figure, Section, Table, Text
from punctum.report.calibrated import calibrated_blocks
from punctum.report.folder import write_report
from punctum.report.run import run_page
from report.pages import write_calibrated, write_evaluation

TITLE = "How far to trust a point"


def section(folder: Path, title: str = TITLE) -> Section:
    (found,) = (one for one in run_page(folder).sections if one.title == title)
    return found


def texts(folder: Path, title: str = TITLE) -> str:
    return "\n".join(block.text for block in section(folder, title).blocks if isinstance(block, Text))


def tables(folder: Path) -> dict[str, Table]:
    """By their first column."""
    return {block.columns[0].title: block for block in section(folder).blocks[::-1] if isinstance(block, Table)}


def test_the_section_says_what_metrics_json_says(tmp_path: Path) -> None:
    evaluation = write_calibrated(tmp_path)
    trust = json.loads((tmp_path / "metrics.json").read_text())["trust"]
    assert "rest on 100 images that `punctum calibrate` was given" in texts(tmp_path)
    assert "at most 2 px" in texts(tmp_path)
    found = tables(tmp_path)
    assert [c.title for c in found["regions"].columns][-1] == "mean size, px²"
    row = next(row for row in found["regions"].rows if row[:2] == ["highest-density regions", 0.95])
    entry = trust["regions"]["hdr"]["0.95"]
    assert row[2:6] == [entry["coverage"]["value"], *entry["coverage"]["interval_95"], entry["median_size"]["value"]]
    assert len(found["regions"].rows) == 12
    figures = {row[0]: row for row in found["figure"].rows}
    assert figures["Brier score"][1] == f"{trust['brier']['value']:.4f}"
    assert [row[0] for row in found["keypoint"].rows] == list(evaluation.names)
    assert found["keypoint"].rows[0][-1] == trust["per_keypoint"][0]["correlation"]["error"]["spearman"]["value"]
    assert [row[0] for row in found["flag"].rows] == ["wide", "two places", "flat"]
    assert len([b for b in section(tmp_path).blocks if isinstance(b, Figure)]) == 4
    assert "Does the score know?" not in [one.title for one in run_page(tmp_path).sections]
    assert write_report(tmp_path).stat().st_size > 10_000


def test_promises_that_hold_are_good_news_and_broken_ones_a_warning(tmp_path: Path) -> None:
    tones = {}
    for believed in (1.0, 0.5):
        folder = tmp_path / str(believed)
        write_calibrated(folder, believed=believed)
        tones[believed] = next(b for b in section(folder).blocks if isinstance(b, Text) and b.tone != "plain")
    assert tones[1.0].tone == "good"
    assert "the smallest by their median" in tones[1.0].text
    assert "highest-density regions are" in tones[1.0].text
    assert tones[0.5].tone == "warning"
    assert "Promises are broken" in tones[0.5].text
    assert "no more than chance explains" in texts(tmp_path / "1.0")
    assert ", more than chance explains" in texts(tmp_path / "0.5")


def test_what_the_choice_of_calibration_images_explains_is_no_broken_promise(tmp_path: Path) -> None:
    """A shortfall that 5 calibration images leave room for, and 5,000 do not."""
    write_calibrated(tmp_path, believed=0.8, images=100)
    path = tmp_path / "metrics.json"
    metrics = json.loads(path.read_text())
    for images, broken in ((5, False), (5000, True)):
        metrics["trust"]["calibration_images"] = [2 * images, images]
        path.write_text(json.dumps(metrics))
        assert ("Promises are broken" in texts(tmp_path)) == broken


def test_pictures_that_stand_out_are_listed_the_oddest_first(tmp_path: Path) -> None:
    evaluation = write_calibrated(tmp_path)
    typical, flags = np.full(60, 0.5), np.zeros((60, 3, 3), dtype=bool)
    typical[[7, 3]] = 0.01, 0.04
    flags[11, :2, 1] = True  # most of its points have two places
    flags[20, 0] = True
    Evaluation(**{**vars(evaluation), "typical": typical, "flags": flags}).save(tmp_path)
    table = tables(tmp_path)["picture"]
    assert [row[0] for row in table.rows] == evaluation.images[[7, 3, 11]].tolist()
    assert [column.title for column in table.columns] == [
        "picture", "instance", "as uncertain", "two places", "mean error, px"
    ]  # fmt: skip
    assert table.rows[2][3] == 2
    assert "3.3% of the instances are less certain" in texts(tmp_path)
    typical[:20] = 0.02
    Evaluation(**{**vars(evaluation), "typical": typical, "flags": flags}).save(tmp_path)
    assert "unlike those of the calibration" in texts(tmp_path)
    Evaluation(**{**vars(evaluation), "typical": np.ones(60), "flags": 0 * flags}).save(tmp_path)
    assert "No picture stands out" in texts(tmp_path)


def test_without_points_and_without_most_figures(tmp_path: Path) -> None:
    write_calibrated(tmp_path)
    (tmp_path / "evaluation.npz").unlink()
    assert "picture" not in tables(tmp_path)
    trust = json.loads((tmp_path / "metrics.json").read_text())["trust"]
    for key in (
        "regions",
        "joint",
        "pit",
        "pit_histogram",
        "nll",
        "crps_px",
        "energy_px",
        "flags",
        "calibration_images",
    ):
        del trust[key]
    for row in trust["per_keypoint"]:
        for key in ("regions", "pit", "nll", "crps_px", "energy_px"):
            del row[key]
    shown = calibrated_blocks(None, {**trust, "normalizer": "bbox"}, "voxels")
    assert "at most 2 of the box's longer side" in shown[0].text
    assert len([block for block in shown if isinstance(block, Figure)]) == 2


def test_a_single_point_has_a_section(tmp_path: Path) -> None:
    write_calibrated(tmp_path, images=1, names=("tip",), per_image=2)
    write_report(tmp_path)


@pytest.mark.parametrize(("dims", "told"), [(1, False), (2, True), (3, True)])
def test_a_model_that_is_not_calibrated_is_told_how(tmp_path: Path, dims: int, told: bool) -> None:
    write_evaluation(tmp_path, dims=dims)
    assert ("`punctum calibrate`" in texts(tmp_path, "Does the score know?")) == told


def test_what_a_calibration_adds_survives_the_file(tmp_path: Path) -> None:
    evaluation = write_calibrated(tmp_path)
    again = Evaluation.load(tmp_path)
    for name in ("level", "typical", "flags", "flag_names"):
        np.testing.assert_array_equal(getattr(again, name), getattr(evaluation, name))
    assert again.log_prob is None
