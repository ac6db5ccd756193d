"""OKS against values by hand and the public evaluator; AP against counted precision; sigmas against simulation."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faster_coco_eval import COCO, COCOeval_faster

from punctum.data import Annotations
from punctum.metrics import OKS, average_precision, estimate_sigmas, oks, sigmas_of
from punctum.metrics.oks import COCO_NAMES, COCO_SIGMAS, instance_areas, keypoint_similarity
from punctum.schema import Schema

# --- OKS -----------------------------------------------------------------------------------------------------------


def test_oks_by_hand() -> None:
    # One sigma off is exp(-1/8), two sigma are one standard deviation of the bell, exp(-1/2).
    d = torch.tensor([[0.0, 3.0, 6.0]])
    similarity = keypoint_similarity(d, torch.tensor([900.0]), [0.1, 0.1, 0.1])
    assert similarity[0].tolist() == pytest.approx([1.0, 0.8824969025845955, 0.6065306597126334])


@pytest.mark.parametrize("seed", range(3))
def test_oks_is_what_the_public_evaluator_computes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k = 6, 5
    target, preds = rng.uniform(0, 200, (n, k, 2)), rng.uniform(0, 200, (n, k, 2))
    preds[:3] = target[:3] + rng.normal(0, 5, (3, k, 2))
    visible, areas, sigmas = rng.random((n, k)) < 0.7, rng.uniform(100, 9000, n), rng.uniform(0.02, 0.2, k)
    visible[:, 0] = True
    assert len(set(visible.sum(1))) > 1

    def rows(points: Any, v: Any) -> list[dict[str, Any]]:
        flat = np.concatenate([points, v[..., None]], -1).reshape(n, -1).tolist()
        shared = {"category_id": 1, "iscrowd": 0, "bbox": [0, 0, 9, 9]}
        return [
            {**shared, "id": i + 1, "image_id": i + 1, "keypoints": flat[i], "area": areas[i], "num_keypoints": 1}
            for i in range(n)
        ]

    truth = {"images": [{"id": i + 1} for i in range(n)], "categories": [{"id": 1, "name": "x"}]}
    reference = COCO({**truth, "annotations": rows(target, visible * 2)})
    found = reference.loadRes([{**row, "score": 1.0} for row in rows(preds, visible * 0)])
    evaluation = COCOeval_faster(reference, found, "keypoints", kpt_oks_sigmas=sigmas.tolist())
    evaluation._prepare()
    expected = [float(np.asarray(evaluation.computeOks(i + 1, 1))[0, 0]) for i in range(n)]
    ours = oks(*map(torch.from_numpy, (preds, target, visible, areas)), sigmas.tolist())
    assert ours.tolist() == pytest.approx(expected, rel=1e-12)


def test_what_does_not_count_is_left_out() -> None:
    preds, target = torch.zeros(3, 2, 2), torch.full((3, 2, 2), torch.nan)
    target[0, 0], target[1] = 0, 0
    visible = torch.tensor([[True, False], [True, True], [False, False]])
    values = oks(preds, target, visible, torch.tensor([4.0, torch.nan, 4.0]), [0.1, 0.1])
    assert values[0] == 1.0
    assert values[1:].isnan().all()


def test_the_class_equals_the_function_over_any_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(7, 3, 2, generator=generator) * 50
    preds = target + torch.randn(7, 3, 2, generator=generator) * 4
    visible = torch.rand(7, 3, generator=generator) < 0.7
    areas = torch.rand(7, generator=generator) * 900 + 100
    metric = OKS([0.1, 0.05, 0.2])
    for part in (slice(0, 2), slice(2, 2), slice(2, 7)):
        metric.update(preds[part], target[part], visible[part], areas[part])
    expected = oks(preds, target, visible, areas, [0.1, 0.05, 0.2])
    torch.testing.assert_close(metric.compute().total, expected.nanmean())
    with pytest.raises(ValueError, match="areas must be positive"):
        metric.update(preds, target, visible, areas * 0)


@pytest.mark.parametrize(
    ("areas", "sigmas", "message"),
    [
        ([1.0, 0.0], [0.1], "instance 1 has 0"),
        ([1.0, 1.0], [0.0], "sigmas must be positive"),
        ([1.0, 1.0], [float("nan")], "sigmas must be positive"),
        ([1.0], [0.1], r"areas \(N,\)"),
        ([1.0, 1.0], [0.1, 0.1], r"sigmas \(K,\)"),
    ],
)
def test_mistakes(areas: list[float], sigmas: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        keypoint_similarity(torch.zeros(2, 1), torch.tensor(areas), sigmas)


def test_coco_names_have_coco_sigmas_unless_the_file_says_otherwise() -> None:
    assert len(COCO_NAMES) == len(COCO_SIGMAS) == 17
    assert sigmas_of(Schema(COCO_NAMES)) == COCO_SIGMAS
    assert sigmas_of(Schema(COCO_NAMES, sigmas=(0.1,) * 17)) == (0.1,) * 17
    assert sigmas_of(Schema(COCO_NAMES[:16])) is None


# --- AP ------------------------------------------------------------------------------------------------------------


def pins(n: int, **changes: Any) -> dict[str, Any]:
    """n images of one pin each, 100 px long, of medium area."""
    category = {"id": 5, "name": "pin", "keypoints": ["tip", "end"], "sigmas": [0.05, 0.05]}
    keypoints = [10, 10, 2, 70, 90, 2]
    pin = {"category_id": 5, "keypoints": keypoints, "num_keypoints": 2, "area": 4000, "bbox": [10, 10, 60, 80]}
    return {
        "images": [{"id": 100 + i, "file_name": f"{i}.png"} for i in range(n)],
        "categories": [category],
        # The first id is 0, which the evaluator itself would take for "unmatched".
        "annotations": [{**pin, "id": i, "image_id": 100 + i, "iscrowd": 0} for i in range(n)],
    } | changes


def found(image: int, score: float, shift: float = 0.0, **changes: Any) -> dict[str, Any]:
    points = [10 + shift, 10, 1, 70 + shift, 90, 1]
    return {"image_id": image, "category_id": 5, "keypoints": points, "score": score, **changes}


def test_perfect_detections() -> None:
    stats = average_precision(pins(4), [found(100 + i, 0.5) for i in range(4)])
    assert stats["AP"] == stats["AP50"] == stats["AR"] == stats["AP_M"] == 1.0
    assert stats["AP_L"] is None  # There is no large instance.


def test_precision_is_counted_by_hand() -> None:
    # Half of four are found: precision is 1 at the 51 recalls 0, 0.01, ..., 0.50, and 0 beyond.
    two = [found(100, 0.9), found(101, 0.8)]
    assert average_precision(pins(4), two)["AP"] == pytest.approx(51 / 101)
    assert average_precision(pins(4), two)["AR"] == pytest.approx(0.5)
    # A wild one between them, surer than the second: precision falls to 2/3 beyond a recall of 1/4.
    wild = [found(100, 0.9), found(102, 0.85, shift=200), found(101, 0.8)]
    assert average_precision(pins(4), wild)["AP"] == pytest.approx((26 + 25 * 2 / 3) / 101)


def test_thresholds_are_of_oks() -> None:
    # Both points off by d: OKS = exp(-d^2 / (2 area (2 sigma)^2)) = 0.72, above 0.50, 0.55, ..., 0.70.
    d = math.sqrt(-math.log(0.72) * 2 * 4000 * 0.1**2)
    stats = average_precision(pins(3), [found(100 + i, 0.5, shift=d) for i in range(3)])
    assert stats["AP"] == pytest.approx(0.5)
    assert (stats["AP50"], stats["AP75"]) == (1.0, 0.0)
    wider = average_precision(pins(3), [found(100 + i, 0.5, shift=d) for i in range(3)], sigmas=[0.5, 0.5])
    assert wider["AP"] == pytest.approx(1.0)


def test_crowds_and_unlabelled_instances_are_neither_right_nor_wrong() -> None:
    content = pins(3)
    content["annotations"][1]["iscrowd"] = 1
    content["annotations"][2].update(keypoints=[0] * 6, num_keypoints=0)
    three = [found(100, 0.5), found(101, 0.9), found(102, 0.8)]
    assert average_precision(content, three)["AP"] == 1.0
    # Without those rows the same two detections are false ones, ahead of the right one.
    content["annotations"] = content["annotations"][:1]
    assert average_precision(content, three)["AP"] == pytest.approx(1 / 3)


def test_what_a_file_of_ones_own_lacks_is_filled_in() -> None:
    content = pins(4)
    for row in content["annotations"]:
        for key in ("iscrowd", "num_keypoints", "area"):
            del row[key]
        row["image_id"] = f"image {row['image_id']}"
    for row in content["images"]:
        row["id"] = f"image {row['id']}"
    # 0.53 of 60 x 80 is medium; with num_keypoints taken for 0 nothing would count, and all would be None.
    stats = average_precision(content, [found(100 + i, 0.5, image_id=f"image {100 + i}") for i in range(2)])
    assert stats["AP_M"] == stats["AP"] == pytest.approx(51 / 101)


def test_other_categories_stay_out_and_nothing_is_changed(tmp_path: Path) -> None:
    content = pins(2)
    content["categories"].append({"id": 6, "name": "car"})
    content["annotations"].append({"id": 9, "image_id": 100, "category_id": 6, "bbox": [1, 1, 2, 2]})
    rows = [found(100, 0.5), found(101, 0.5), found(100, 0.9, shift=300, category_id=6)]
    before = json.dumps([content, rows])
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "results.json").write_text(json.dumps(rows))
    assert average_precision(tmp_path / "truth.json", tmp_path / "results.json")["AP"] == 1.0
    assert average_precision(content, rows)["AP"] == 1.0
    assert json.dumps([content, rows]) == before


def test_nothing_found_is_zero() -> None:
    assert average_precision(pins(2), [])["AP"] == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 7}, "row 1: image_id 7 is not among the images"),
        ({"image_id": [7]}, "row 1: image_id"),
        ({"score": None}, "row 1: its score None is not a number"),
        ({"keypoints": [1, 2, 3]}, "row 1: keypoints must be 6 finite numbers"),
        ({"keypoints": [1, 2, 3, 4, 5, float("nan")]}, "row 1: keypoints must be 6"),
        ({"bbox": [1, 2]}, "row 1: bbox should be"),
    ],
)
def test_broken_results_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        average_precision(pins(2), [found(100, 0.5), {**found(101, 0.5), **changes}])


def test_broken_annotations_are_named(tmp_path: Path) -> None:
    unnamed = pins(1)
    del unnamed["categories"][0]["sigmas"]
    with pytest.raises(ValueError, match="needs a sigma for each keypoint"):
        average_precision(unnamed, [])
    with pytest.raises(ValueError, match="must be 2 positive numbers"):
        average_precision(pins(1), [], sigmas=[0.1])
    sizeless = pins(1)
    del sizeless["annotations"][0]["area"], sizeless["annotations"][0]["bbox"]
    with pytest.raises(ValueError, match="annotation 0 has neither an area nor a bbox"):
        average_precision(sizeless, [])
    with pytest.raises(ValueError, match="images should be a list"):
        average_precision(pins(1, images=None), [])
    with pytest.raises(ValueError, match="one category with keypoints"):
        average_precision(pins(1, categories=[]), [])
    with pytest.raises(ValueError, match="no row has category_id 5"):
        average_precision(pins(1), [found(100, 0.5, category_id=1)])
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match=r"results\.json is not JSON"):
        average_precision(pins(1), tmp_path / "results.json")


# --- sigmas --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_sigmas_are_found_again(dims: int) -> None:
    """Labels drawn with known spread, two to four of them: sigma^2 comes back within its standard error."""
    rng = np.random.default_rng(dims)
    n, sigmas = 4000, np.array([0.02, 0.05, 0.1])
    areas = rng.uniform(500, 20000, n)
    place = rng.uniform(0, 100, (1, n, 3, dims))
    per_axis = sigmas[:, None] * np.sqrt(areas / dims)[:, None, None]
    labels = place + rng.normal(size=(4, n, 3, dims)) * per_axis
    visible = np.ones((4, n, 3), dtype=bool)
    visible[3, ::2], visible[2, ::4], visible[1:, :, 2] = False, False, False
    visible[1, :100, 2] = True  # The last point has two labels a hundred times.
    labels[~visible] = np.nan
    found = estimate_sigmas(*map(torch.from_numpy, (labels, visible, areas)))
    assert found.degrees.tolist() == (visible.sum(0) - 1).sum(0).tolist()
    errors = 1 / np.sqrt(2 * dims * found.degrees.numpy())
    assert (np.abs(found.sigmas.numpy() / sigmas - 1) < 4 * errors).all()


def test_two_labels_by_hand() -> None:
    labels = torch.tensor([[[[0.0, 0.0], [5.0, 5.0]]], [[[3.0, 4.0], [torch.nan, 0.0]]]])
    visible = torch.tensor([[[True, True]], [[True, False]]])
    found = estimate_sigmas(labels, visible, torch.tensor([100.0]))
    # Each lies 2.5 from the mean: (6.25 + 6.25) / 1 / 100.
    assert found.sigmas[0].item() == pytest.approx(math.sqrt(0.125))
    assert found.sigmas[1].isnan()
    assert found.degrees.tolist() == [1, 0]


def test_labellings_that_cannot_be_used() -> None:
    labels, visible = torch.zeros(2, 1, 1, 2), torch.ones(2, 1, 1, dtype=torch.bool)
    with pytest.raises(ValueError, match="two or more labellings"):
        estimate_sigmas(labels[:1], visible[:1], torch.ones(1))
    with pytest.raises(ValueError, match="areas must be positive"):
        estimate_sigmas(labels, visible, torch.zeros(1))
    with pytest.raises(ValueError, match="every visible label finite"):
        estimate_sigmas(labels * torch.nan, visible, torch.ones(1))
    with pytest.raises(ValueError, match=r"areas \(N,\)"):
        estimate_sigmas(labels, visible, torch.ones(2))
    assert estimate_sigmas(labels, visible, torch.tensor([torch.nan])).degrees.tolist() == [0]


def test_areas_of_instances(tmp_path: Path) -> None:
    annotations = Annotations(
        Schema(("a",)),
        (tmp_path,) * 3,
        ("x",) * 3,
        np.zeros((3, 1, 2)),
        np.ones((3, 1), np.int8),
        np.array([[0, 0, 10, 20], [0, 0, 10, 20], [np.nan] * 4]),
        ("1", "2", "3"),
        tmp_path,
        areas=np.array([50.0, np.nan, np.nan]),
    )
    assert instance_areas(annotations).tolist()[:2] == [50.0, pytest.approx(106.0)]
    assert instance_areas(annotations)[2].isnan()
    assert instance_areas(annotations.subset([1, 0])).tolist() == [pytest.approx(106.0), 50.0]
