"""OKS and AP of files against files: worked by hand, in each form that predictions come in."""

import builtins
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from punctum.cli import main
from punctum.data import DataError
from punctum.score import score

NAMES = ["tip", "end"]
SIGMAS = [0.05, 0.1]
# One sigma of the tip and none of the end; one of the end alone: areas 10000 (the file's) and 0.53 x 100 x 100.
FIRST = (math.exp(-1 / 8) + 1) / 2
SECOND = (1 + math.exp(-1 / 8)) / 2


def annotations(folder: Path, **changes: Any) -> Path:
    keypoints = [10, 10, 2, 90, 90, 1]
    content = {
        "images": [{"id": 4, "file_name": "a.png"}, {"id": 5, "file_name": "b.png"}],
        "categories": [{"id": 3, "name": "pin", "keypoints": NAMES, "sigmas": SIGMAS}],
        "annotations": [
            {"id": 8, "image_id": 4, "category_id": 3, "keypoints": keypoints, "area": 10000},
            {"id": 9, "image_id": 5, "category_id": 3, "keypoints": keypoints, "bbox": [0, 0, 100, 100]},
        ],
    } | changes
    (folder / "labels.json").write_text(json.dumps(content))
    return folder / "labels.json"


def points() -> list[list[float]]:
    """Of the two instances; the scores are 0.8 and 0.6."""
    off = 0.1 * math.sqrt(0.53 * 100 * 100)
    return [[10 + 5, 10, 0.8, 90, 90, 0.8], [10, 10, 0.6, 90, 90 + off, 0.6]]


def results(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "results.json").write_text(json.dumps([{"category_id": 3, "score": 0.5, **row} for row in rows]))
    return folder / "results.json"


def table(folder: Path, name: str = "p.csv") -> Path:
    lines = ["image,instance,keypoint,x,y,score"]
    for image, instance, row in zip("ab", "89", points(), strict=True):
        lines += [f"{image}.png,{instance},{NAMES[k]},{','.join(map(str, row[3 * k : 3 * k + 3]))}" for k in (0, 1)]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


@pytest.mark.parametrize("form", ["csv", "results"])
def test_oks_by_hand_and_ap(tmp_path: Path, form: str) -> None:
    data = annotations(tmp_path)
    rows = [{"image_id": i, "keypoints": p} for i, p in zip((4, 5), points(), strict=True)]
    predictions = table(tmp_path) if form == "csv" else results(tmp_path, rows)
    result = score(predictions, data, metric="oks", out=tmp_path / "out.json")
    assert result["total"]["oks"]["value"] == pytest.approx((FIRST + SECOND) / 2)
    assert [row["oks"] for row in result["per_keypoint"]] == pytest.approx([SECOND, FIRST])
    assert result["sigmas"] == SIGMAS
    # 0.941 each: right at 0.50, ..., 0.90 and wrong at 0.95.
    assert result["ap"]["AP"] == pytest.approx(0.9)
    assert result["ap"]["AP_M"] == pytest.approx(0.9)
    assert json.loads((tmp_path / "out.json").read_text()) == result


def test_without_sigmas_in_the_file(tmp_path: Path) -> None:
    data = annotations(tmp_path, categories=[{"id": 3, "name": "pin", "keypoints": NAMES}])
    predictions = table(tmp_path)
    with pytest.raises(ValueError, match="give --sigmas, or `sigmas` in the category"):
        score(predictions, data, metric="oks")
    (tmp_path / "sigmas.json").write_text(json.dumps({"keypoints": NAMES, "sigmas": SIGMAS, "n": [9, 9]}))
    for given in ("0.05,0.1", SIGMAS, tmp_path / "sigmas.json"):
        result = score(predictions, data, metric="oks", sigmas=given)
        assert result["total"]["oks"]["value"] == pytest.approx((FIRST + SECOND) / 2)
        assert result["ap"]["AP"] == pytest.approx(0.9)
    (tmp_path / "half.json").write_text(json.dumps({"keypoints": NAMES, "sigmas": [0.1, None]}))
    (tmp_path / "other.json").write_text(json.dumps({"keypoints": ["a", "b"], "sigmas": SIGMAS}))
    for wrong, message in (
        ("0.05", "sigmas should be 2 positive numbers"),
        ("0.05,x", "sigmas should be 2 positive numbers"),
        ("0.05,-1", "sigmas should be 2 positive numbers"),
        (tmp_path / "half.json", "no sigma of end: nobody labelled it twice"),
        (tmp_path / "other.json", "its keypoints are not those"),
        (predictions.with_suffix(".json"), "No such file"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            score(predictions, data, metric="oks", sigmas=wrong)
    with pytest.raises(ValueError, match="pck has no sigmas"):
        score(predictions, data, metric="pck", sigmas=SIGMAS)
    for options in ({"normalizer": "bbox"}, {"thresholds": [0.5]}):
        with pytest.raises(ValueError, match=r"takes no normalizer|has no thresholds"):
            score(predictions, data, metric="oks", **options)


def test_detections_of_several_in_a_picture_have_ap_alone(tmp_path: Path) -> None:
    data, (first, second) = annotations(tmp_path), points()
    rows = [
        {"image_id": 4, "keypoints": first, "score": 0.9},
        {"image_id": 4, "keypoints": [v + 500 for v in first], "score": 0.1},  # wrong, and the least sure
        {"image_id": 5, "keypoints": second, "score": 0.8},
    ]
    console = Console(record=True, width=120)
    result = score(results(tmp_path, rows), data, metric="oks", console=console)
    assert result["ap"]["AP"] == pytest.approx(0.9)
    assert result["total"] == {}
    assert "AP alone" in result["notes"][-1]
    text = console.export_text()
    assert "AP     90.00 %" in text
    assert "95 % interval" not in text
    with pytest.raises(ValueError, match="name no instances"):
        score(tmp_path / "results.json", data, metric="oks", by="joints")
    # Told whose they are, they have an OKS.
    named = [{**row, "annotation_id": i} for row, i in zip((rows[0], rows[2]), (8, 9), strict=True)]
    result = score(results(tmp_path, named), data, metric="oks")
    assert result["total"]["oks"]["value"] == pytest.approx((FIRST + SECOND) / 2)


def test_a_missing_prediction_is_worth_nothing(tmp_path: Path) -> None:
    data, predictions = annotations(tmp_path), table(tmp_path)
    lines = predictions.read_text().splitlines()
    predictions.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match="no prediction of end"):
        score(predictions, data, metric="oks")
    result = score(predictions, data, metric="oks", allow_missing=True)
    assert result["total"]["oks"]["value"] == pytest.approx((FIRST + 0.5) / 2)
    # OKS 0.5 is right at 0.50 alone.
    assert result["ap"]["AP50"] == 1.0
    assert result["ap"]["AP"] == pytest.approx((1 + 8 * 51 / 101) / 10)


def test_instances_without_a_size_are_left_out_of_oks(tmp_path: Path) -> None:
    data = annotations(tmp_path)
    content = json.loads(data.read_text())
    content["annotations"][1] |= {"bbox": [], "num_keypoints": 0}
    data.write_text(json.dumps(content))
    result = score(table(tmp_path), data, metric="oks")
    assert result["total"]["oks"]["value"] == pytest.approx(FIRST)
    assert result["left_out"]["instances_without_length"] == 1
    assert result["left_out"]["why_without_length"] == "it has neither an area nor a box"


@pytest.mark.parametrize("metric", ["oks", "epe", "pck", "nme"])
def test_easy_and_hard_apart(tmp_path: Path, metric: str) -> None:
    data = annotations(tmp_path)
    content = json.loads(data.read_text())
    content["annotations"][0]["bbox"] = [0, 0, 40, 90]
    content["annotations"][1]["bbox"] = [0, 0, 50, 129]
    content["annotations"][1]["area"] = 5300
    data.write_text(json.dumps(content))
    by = score(table(tmp_path), data, metric=metric, by="size")["by_difficulty"]
    assert (by["criterion"], by["instances_in_no_class"], by["hard"]) == ("size", 0, None)
    off = 0.1 * math.sqrt(5300)
    expected = {
        "oks": ("oks", FIRST, SECOND),
        "epe": ("mean", 2.5, off / 2),
        "pck": ("pck@0.05", 0.5, 0.5),
        "nme": ("nme", 2.5 / 90, off / 2 / 129),
    }
    column, medium, easy = expected[metric]
    for level, value in (("medium", medium), ("easy", easy)):
        assert by[level]["total"][column]["value"] == pytest.approx(value)
        assert (by[level]["n"], by[level]["n_instances"]) == (2, 1)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["score", str(table(tmp_path)), str(annotations(tmp_path)), "--metric", "oks", "--sigmas", "0.05,0.1"]
    assert main([*words, "--by", "occlusion"]) == 0
    shown = capsys.readouterr().out
    assert "94.12" in shown
    assert "AP     90.00 %" in shown
    assert "medium, by occlusion" in shown  # One of two points is hidden: exactly half.


def test_without_the_package_there_is_oks_and_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **options: Any) -> Any:
        if name == "faster_coco_eval":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    result = score(table(tmp_path), annotations(tmp_path), metric="oks")
    assert result["total"]["oks"]["value"] == pytest.approx((FIRST + SECOND) / 2)
    assert result["ap"] is None
    assert "pip install 'punctum[coco]'" in result["notes"][-1]
