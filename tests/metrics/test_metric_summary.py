"""The summary: says what the functions say, is JSON without NaN, and hides nothing that it left out."""

import json
import math
import subprocess
import sys

import pytest
import torch

from punctum.metrics import Normalizer, summarize
from punctum.schema import Schema

NAMES = ("neck", "head_top", "hand", "tail")
SCHEMA = Schema(NAMES)


def scene(normalizer: str = "keypoints:neck,head_top", images: int = 30) -> dict:
    """Two instances an image; the tail is never seen; instance 0 lacks its neck, instance 1 everything."""
    generator = torch.Generator().manual_seed(0)
    n = 2 * images
    target = torch.rand(n, 4, 2, generator=generator) * 100
    visible = torch.rand(n, 4, generator=generator) < 0.9
    visible[:, 3] = False
    visible[:, :3] |= torch.arange(n)[:, None] > 1
    visible[0, 0], visible[0, 2], visible[1] = False, True, False
    target[~visible] = torch.nan
    preds = target + torch.randn(target.shape, generator=generator) * 3
    chosen = Normalizer.parse(normalizer, SCHEMA)
    return {
        "preds": preds,
        "target": target,
        "visible": visible,
        "names": NAMES,
        "normalizer": chosen,
        "lengths": chosen.lengths(target, visible),
        "thresholds": [0.1, 0.5],
        "image_ids": torch.arange(images).repeat_interleave(2),
    }


def test_numbers_agree_with_loops():
    given = scene()
    summary = summarize(**given)
    preds, target, visible = (given[key].tolist() for key in ("preds", "target", "visible"))
    errors, relative, instances = [], [], []
    for p, t, v in zip(preds, target, visible, strict=True):
        mine = [math.dist(p[k], t[k]) for k in range(4) if v[k]]
        errors += mine
        if v[0] and v[1]:
            ratios = [error / math.dist(t[0], t[1]) for error in mine]
            relative += ratios
            instances.append(sum(ratios) / len(ratios))
    assert summary["n_images"] == 30
    assert summary["n_instances"] == 60
    assert summary["n"] == len(errors)
    assert summary["epe_px"]["mean"] == pytest.approx(sum(errors) / len(errors))
    assert summary["pck"]["0.5"]["value"] == pytest.approx(sum(r <= 0.5 for r in relative) / len(relative))
    assert summary["pck_auc"]["value"] == pytest.approx(sum(max(0, 1 - r / 0.5) for r in relative) / len(relative))
    assert summary["pck_auc"]["max_threshold"] == 0.5
    assert summary["nme"]["value"] == pytest.approx(sum(instances) / len(instances))
    assert summary["nme"]["failure_rate"] == pytest.approx(sum(i > 0.1 for i in instances) / len(instances))
    assert summary["normalizer"] == "keypoints:neck,head_top (distance of neck and head_top)"
    hand = summary["per_keypoint"][2]
    assert hand["name"] == "hand"
    assert hand["n"] == sum(v[2] for v in visible)


def test_what_was_left_out_is_counted_with_its_reason():
    left_out = summarize(**scene())["left_out"]
    assert left_out["instances_without_visible_point"] == 1
    assert left_out["instances_without_length"] == 2
    assert left_out["points_without_length"] == int(scene()["visible"][0].sum())
    assert "neck or head_top is not labelled" in left_out["why_without_length"]
    assert summarize(**scene("pixels"))["left_out"]["why_without_length"] is None


def test_json_has_no_nan_and_an_unseen_keypoint_has_nulls():
    for normalizer in ("keypoints:neck,head_top", "pixels", "keypoints:neck,tail"):
        summary = summarize(**scene(normalizer), spacing=[0.1, 0.1])
        assert json.loads(json.dumps(summary, allow_nan=False)) == summary
        tail = summary["per_keypoint"][3]
        assert tail["n"] == 0
        assert all(value is None for key, value in tail.items() if key.startswith(("epe", "pck", "nme", "mre")))
        assert tail["interval_95"] == {"epe_px_mean": None}
    assert summary["pck"]["0.5"] == {"value": None, "interval_95": None}  # no instance has a tail
    assert summary["epe_px"]["mean"] is not None


def test_every_interval_holds_its_value():
    summary = summarize(**scene(), spacing=[1.0, 1.0])
    pairs = [(summary["epe_px"][name], interval) for name, interval in summary["epe_px"]["interval_95"].items()]
    entries = [*summary["pck"].values(), summary["pck_auc"], summary["nme"], summary["mre_mm"]]
    pairs += [(e["value"], e["interval_95"]) for e in [*entries, *summary["sdr_mm"].values()]]
    pairs += [(p["epe_px_mean"], p["interval_95"]["epe_px_mean"]) for p in summary["per_keypoint"] if p["n"]]
    assert len(pairs) == 4 + 5 + 4 + 3
    for value, (low, high) in pairs:
        assert low <= value <= high
        assert low < high


def test_an_interval_without_width_is_none():
    given = scene()
    perfect = summarize(**(given | {"preds": given["target"] + 0.001}))
    assert perfect["pck"]["0.5"] == {"value": 1, "interval_95": None}
    assert perfect["nme"]["interval_95"] is not None


def test_spacing_adds_millimetres_and_only_then():
    plain, spaced = summarize(**scene()), summarize(**scene(), spacing=[0.5, 0.5])
    assert "mre_mm" not in plain
    assert "sdr_mm" not in plain
    assert spaced["mre_mm"]["value"] == pytest.approx(plain["epe_px"]["mean"] / 2)
    assert list(spaced["sdr_mm"]) == ["2", "2.5", "3", "4"]
    assert spaced["per_keypoint"][0]["mre_mm"] == pytest.approx(plain["per_keypoint"][0]["epe_px_mean"] / 2)


def test_one_image_gives_no_interval_and_few_images_a_warning():
    given = scene()
    alone = summarize(**(given | {"image_ids": torch.zeros(60, dtype=torch.long)}))
    assert alone["epe_px"]["interval_95"] == dict.fromkeys(("mean", "median", "p90", "p95"))
    assert alone["pck"]["0.5"]["interval_95"] is None
    assert "one image" in alone["intervals"]["note"]
    assert "too narrow" in summarize(**scene(images=5))["intervals"]["note"]
    assert summarize(**given)["intervals"]["note"] is None


def test_deterministic_and_pixels_have_no_failure_rate():
    assert summarize(**scene(), seed=3) == summarize(**scene(), seed=3)
    assert summarize(**scene(), seed=3) != summarize(**scene(), seed=4)
    pixels = summarize(**(scene("pixels") | {"thresholds": [2, 5, 0.1 + 0.2]}))
    assert list(pixels["pck"]) == ["2", "5", "0.30000000000000004"]
    assert "failure_rate" not in pixels["nme"]


def test_refusals():
    given = scene()
    with pytest.raises(ValueError, match="not one visible point"):
        summarize(**(given | {"visible": torch.zeros(60, 4, dtype=torch.bool)}))
    with pytest.raises(ValueError, match="image_ids must be"):
        summarize(**(given | {"image_ids": torch.arange(3)}))
    with pytest.raises(ValueError, match="image_ids must be"):
        summarize(**(given | {"image_ids": torch.zeros(60)}))
    broken = given["preds"].clone()
    broken[7, 2] = torch.nan
    with pytest.raises(ValueError, match=r"sample 7, keypoint 2 \(hand\)"):
        summarize(**(given | {"preds": broken}))


def test_importing_punctum_does_not_import_metrics():
    code = "import sys, punctum; sys.exit('punctum.metrics' in sys.modules or 'torchmetrics' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
