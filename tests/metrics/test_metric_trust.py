"""The summary of trust: each number is that of its function, all is JSON, and promises that hold show as such."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from punctum.metrics import keypoint_similarity, mean_interval, rank_correlation
from punctum.metrics.calibration import (
    Outcomes,
    aurc,
    brier,
    coverage_and_size,
    crps,
    ece,
    energy_score,
    excess_aurc,
    linear_correlation,
    nll,
    pit_distance,
    summarize_trust,
)
from punctum.ops.highest_density import HighestDensity
from punctum.ops.mixture import single_gaussian

LEVELS = (0.5, 0.9)


def simulated(images: int = 60, k: int = 3, seed: int = 0, believed: float = 1.0) -> dict[str, Any]:
    """Gaussian errors in the plane of a known spread, which differs by point; `believed` times that is predicted."""
    generator = torch.Generator().manual_seed(seed)
    spread = 0.5 + 4 * torch.rand(images, k, generator=generator, dtype=torch.float64)
    offset = spread[..., None] * torch.randn(images, k, 2, generator=generator, dtype=torch.float64)
    offset[torch.rand(images, k, generator=generator) < 0.15] = torch.nan
    errors = offset.norm(dim=-1)
    said = believed * spread
    mixture = single_gaussian(torch.zeros(images, k, 2).double(), said[..., None, None].square() * torch.eye(2))
    truth = offset.nan_to_num()
    density = HighestDensity(mixture)
    radius = said[..., None] * torch.tensor([math.sqrt(-2 * math.log(1 - p)) for p in LEVELS])
    known = ~errors.isnan()
    balls = Outcomes(errors[..., None] <= radius, math.pi * radius.square())
    level = density.level(truth)
    highest = Outcomes(level[..., None] <= torch.tensor(LEVELS), torch.stack([density.volume(p) for p in LEVELS], -1))
    lengths = torch.full((images,), 50.0, dtype=torch.float64)
    distance = 0.06
    every = torch.where(known[..., None], balls.inside, True).all(1, keepdim=True)
    return {
        "errors": errors,
        "score": 1 - torch.exp(-((distance * 50 / said) ** 2) / 2),
        "names": [f"point {i}" for i in range(k)],
        "lengths": lengths,
        "distance": distance,
        "image_ids": torch.arange(images),
        "levels": LEVELS,
        "regions": {"ball": balls, "hdr": highest},
        "joint": {"ball": Outcomes(every, balls.size)},
        "level": level,
        "log_prob": mixture.log_prob(truth),
        "crps": crps(mixture, truth),
        "energy": energy_score(mixture.draw(64), truth, fair=False),
        "similarity": keypoint_similarity(errors, lengths.square(), [0.05] * k),
        "flags": {"wide": spread > 4},
        "n_resamples": 100,
    }


def test_every_number_is_that_of_its_function():
    given = simulated(images=40)
    summary = summarize_trust(**given)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    errors, score = given["errors"], given["score"]
    known = ~errors.isnan()
    relative = errors / 50
    hit = torch.where(known, (relative <= 0.06).double(), torch.nan)
    masked = {key: torch.where(known, given[key], torch.nan) for key in ("level", "log_prob", "crps", "energy")}

    def check(found: dict[str, Any], at: slice, bins: int) -> None:
        s, r, h = score[:, at], relative[:, at], hit[:, at]
        assert found["n"] == int(known[:, at].sum())
        assert found["hits"]["value"] == pytest.approx(float(h.nanmean()))
        assert found["brier"]["value"] == pytest.approx(float(brier(s, h).total))
        gap = ece(s, h, given["image_ids"], bins=bins)
        assert [found["ece"]["value"], found["ece"]["by_chance"]] == pytest.approx([float(v) for v in gap[:2]])
        assert found["ece"]["rms"]["value"] == pytest.approx(math.sqrt(max(0, float(gap.squared))))
        assert found["aurc"]["value"] == pytest.approx(float(aurc(s, r)))
        assert found["e_aurc"]["value"] == pytest.approx(float(excess_aurc(s, r)))
        assert found["correlation"]["error"]["spearman"]["value"] == pytest.approx(float(rank_correlation(s, r)))
        similar = given["similarity"][:, at]
        assert found["correlation"]["oks"]["pearson"]["value"] == pytest.approx(
            float(linear_correlation(s, -similar))
        )
        assert found["nll"]["value"] == pytest.approx(float(nll(masked["log_prob"][:, at]).total))
        assert found["pit"]["ks"] == pytest.approx(float(pit_distance(masked["level"][:, at]).total))
        for name in ("crps", "energy"):
            assert found[f"{name}_px"]["value"] == pytest.approx(float(masked[name][:, at].nanmean()))
        for kind, outcomes in given["regions"].items():
            inside = torch.where(known[..., None], outcomes.inside.double(), torch.nan)[:, at]
            figures = coverage_and_size(Outcomes(inside, outcomes.size[:, at]))
            for i, level in enumerate(LEVELS):
                entry = found["regions"][kind][str(level)]
                names = ("coverage", "mean_size", "median_size")
                for name, result in zip(names, figures, strict=True):
                    expected = float(result.total[i])
                    assert entry[name]["value"] == (pytest.approx(expected) if math.isfinite(expected) else None)
                assert entry["endless"] == int(outcomes.size[:, at][..., i][known[:, at]].isinf().sum())

    check(summary, slice(None), min(10, int(known.sum()) // 20))
    assert [row["name"] for row in summary["per_keypoint"]] == given["names"]
    for k, row in enumerate(summary["per_keypoint"]):
        check(row, slice(k, k + 1), 1)
    low, high = mean_interval([masked["crps"]], given["image_ids"], n=100)[:, 0].tolist()
    assert summary["crps_px"]["interval_95"] == pytest.approx([low, high])
    assert (summary["n_images"], summary["distance"]) == (40, 0.06)
    assert summary["intervals"] == {
        "method": "percentile bootstrap over images",
        "n": 100,
        "seed": 0,
        "n_per_keypoint": 25,
    }


def test_promises_that_hold_and_promises_that_do_not():
    for believed, right in ((1.0, True), (0.6, False)):
        summary = summarize_trust(**simulated(images=150, believed=believed))
        for kind in ("ball", "hdr"):
            for level in LEVELS:
                low, high = summary["regions"][kind][str(level)]["coverage"]["interval_95"]
                assert (low - 0.02 < level < high + 0.02) == right
        assert (summary["pit"]["ks"] < summary["pit"]["ks_by_chance_95"]) == right
        assert (summary["ece"]["value"] < 2 * summary["ece"]["by_chance"]) == right
    assert summary["correlation"]["error"]["spearman"]["value"] > 0.4


def test_joint_coverage_counts_instances_and_sizes_count_points():
    given = simulated(images=30)
    summary = summarize_trust(**given)
    known = ~given["errors"].isnan()
    rows = known.any(1)
    held = given["joint"]["ball"].inside[rows, 0]
    for i, level in enumerate(LEVELS):
        entry = summary["joint"]["ball"][str(level)]
        assert entry["coverage"]["value"] == pytest.approx(float(held[:, i].double().mean()))
        assert entry["mean_size"]["value"] == pytest.approx(
            float(given["regions"]["ball"].size[..., i][known].mean())
        )
    assert summary["n_instances"] == int(rows.sum())


def test_curves_and_flags():
    given = simulated(images=50)
    summary = summarize_trust(**given)
    known = ~given["errors"].isnan()
    assert sum(summary["reliability"]["n"]) == int(known.sum())
    assert summary["risk_coverage"]["risk"][-1] == pytest.approx(float((given["errors"] / 50).nanmean()))
    risks = zip(summary["risk_coverage"]["oracle"], summary["risk_coverage"]["risk"], strict=True)
    assert all(oracle <= risk + 1e-12 for oracle, risk in risks)
    assert np.mean(summary["pit_histogram"]["density"]) == pytest.approx(1)
    flagged = given["flags"]["wide"] & known
    assert summary["flags"]["wide"]["n"] == int(flagged.sum())
    assert summary["flags"]["wide"]["mean_error"] == pytest.approx(float(given["errors"][flagged].mean() / 50))


def test_what_is_no_number_is_none_and_what_is_not_given_is_missing():
    given = simulated(images=4, k=2)
    given["errors"][:, 1] = torch.nan
    given["regions"]["hdr"].size[0] = torch.inf
    given["log_prob"][1, 0] = -torch.inf
    given["errors"][:2, 0] = 1.0
    summary = summarize_trust(**given)
    json.dumps(summary, allow_nan=False)
    assert summary["regions"]["hdr"]["0.5"]["mean_size"] == {"value": None, "interval_95": None}
    assert summary["regions"]["hdr"]["0.5"]["endless"] == 1
    assert summary["nll"] == {"value": None, "interval_95": None, "impossible": 1}
    empty = summary["per_keypoint"][1]
    assert (empty["n"], empty["brier"]["value"], empty["pit"]["ks"]) == (0, None, None)
    few = ("errors", "score", "names", "lengths", "distance", "image_ids", "n_resamples")
    bare = summarize_trust(**{key: given[key] for key in few})
    assert not bare.keys() & {"regions", "joint", "nll", "pit", "pit_histogram", "crps_px", "flags"}
    assert list(bare["correlation"]) == ["error"]
    one = summarize_trust(**{**given, "image_ids": torch.zeros(4, dtype=torch.long)})
    assert one["brier"]["interval_95"] is None
    json.dumps(one, allow_nan=False)


def test_instances_without_a_length_count_where_pixels_do():
    given = simulated(images=20)
    given["lengths"][:5] = torch.nan
    summary = summarize_trust(**given)
    known = ~given["errors"].isnan()
    assert summary["n"] == int(known.sum())
    assert summary["hits"]["value"] == pytest.approx(float((given["errors"][5:][known[5:]] <= 3).double().mean()))


def test_mistakes():
    given = simulated(images=4)
    for name, value, message in (
        ("score", given["score"][:2], r"score must be \(4, 3\)"),
        ("names", ["a"], r"errors must be \(N, 1\) for 1 names"),
        ("image_ids", torch.arange(3), "image_ids"),
        ("flags", {"wide": torch.ones(4, dtype=torch.bool)}, r"wide must be \(4, 3\)"),
        ("regions", {"ball": Outcomes(torch.ones(2, 3, 2), torch.ones(2, 3, 2))}, r"for errors \(4, 3\)"),
        ("errors", torch.full((4, 3), torch.nan), "of 4 instances, not one point has an error"),
    ):
        with pytest.raises(ValueError, match=message):
            summarize_trust(**{**given, name: value})
