"""The part of a page that says how far to trust a point of a calibrated model: promises against what happened."""

import math
from collections.abc import Iterator
from typing import Any

from punctum.data.errors import counted
from punctum.evaluation import Evaluation
from punctum.report.blocks import Block, Text
from punctum.report.calibrated_charts import histogram, regions_by_size, reliability_curve, risk_curve
from punctum.report.calibrated_tables import (
    figure_table,
    flag_table,
    flagged_pictures,
    keypoint_trust_table,
    region_tables,
)

WORDS = {"ball": "balls", "ellipse": "ellipses", "hdr": "highest-density regions"}
LENGTHS = {"bbox": "the box's longer side", "image": "the picture's longer side"}

UNUSUAL = 0.05
"""Share of the calibration instances at most as certain, from which on an instance counts as unlike them."""


def calibrated_blocks(evaluation: Evaluation | None, trust: dict[str, Any], unit: str) -> list[Block]:
    """How regions, densities and scores of a calibrated model fared.

    Args:
        evaluation: the points, for the list of flagged pictures; None where it is gone.
        trust: what metrics.json holds under "trust".
        unit: px or voxels.
    """
    dims = 2 if evaluation is None else evaluation.keypoints.shape[-1]
    area = unit if dims == 1 else unit + {2: "²", 3: "³"}[dims]
    blocks: list[Block] = [Text(_lead(trust, unit)), *_verdict(trust, area)]
    if trust.get("regions"):
        blocks += [*region_tables(trust, WORDS, area), regions_by_size(trust, WORDS, area)]
    blocks += [*_of_densities(trust), *_of_scores(trust, unit), figure_table(trust, unit, lengths_of(trust, unit))]
    blocks.append(keypoint_trust_table(trust, WORDS, unit, area))
    return blocks + _of_flags(evaluation, trust, unit)


def lengths_of(trust: dict[str, Any], unit: str) -> str:
    """What errors are divided by, in words."""
    word = str(trust.get("normalizer", ""))
    return unit if word == "pixels" else LENGTHS.get(word, "lengths")


def within(trust: dict[str, Any], unit: str) -> str:
    """What a hit is, in words.

    Example:
        >>> [within({"distance": 3, "normalizer": word}, "px") for word in ("pixels", "bbox")]
        ['3 px', "3 of the box's longer side"]
    """
    lengths = lengths_of(trust, unit)
    return f"{trust['distance']:g} {lengths}" if lengths == unit else f"{trust['distance']:g} of {lengths}"


def _lead(trust: dict[str, Any], unit: str) -> str:
    basis = ""
    if images := trust.get("calibration_images"):
        basis = f" Its promises rest on {counted(images[0], 'image')} that `punctum calibrate` was given."
    return (
        f"This model is calibrated.{basis} Here they are held against {counted(trust['n'], 'labelled point')} in "
        f"{counted(trust['n_images'], 'image')}. A score is the probability that the error is at most "
        f"{within(trust, unit)}; intervals come from resampling images."
    )


def _verdict(trust: dict[str, Any], area: str) -> list[Block]:
    """Whether regions keep their promises, and which kind does so with the least area."""
    tested = [(what, level, c) for what, level, c in _coverages(trust) if c["value"] is not None]
    if not tested:
        return []
    images = (trust.get("calibration_images") or (math.inf,))[-1]
    short = [
        (what, level, c)
        for what, level, c in tested
        if c["interval_95"] and c["interval_95"][1] + 2 * math.sqrt(level * (1 - level) / images) < level
    ]
    if short:
        what, level, coverage = min(short, key=lambda row: row[2]["value"] - row[1])
        text = (
            f"Promises are broken: {what} of {level:.0%} hold {coverage['value']:.1%}, which chance explains neither "
            "in these pictures nor in those of the calibration. Promises are for pictures like the latter."
        )
        return [Text(text, "warning")]
    top = max(level for _, level, _ in tested)
    held = [c["value"] for _, level, c in tested if level == top]
    text = f"Regions keep their promises: those of {top:.0%} hold {_span(held, '.1%')}."
    return [Text(text + _smallest(trust, top, area), "good")]


def _coverages(trust: dict[str, Any]) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """What kind, its nominal level, and its measured coverage."""
    for key, extra in (("regions", ""), ("joint", " of whole instances")):
        for kind, by_level in (trust.get(key) or {}).items():
            for level, figures in by_level.items():
                yield WORDS.get(kind, kind) + extra, float(level), figures["coverage"]


def _span(values: list[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def _smallest(trust: dict[str, Any], level: float, area: str) -> str:
    """Which kind of region needs the least room, where several are there."""
    if not trust.get("regions"):
        return ""
    medians = {
        kind: by_level[repr(level)]["median_size"]["value"] or math.inf for kind, by_level in trust["regions"].items()
    }
    best = min(medians, key=lambda kind: medians[kind])
    if len(medians) < 2 or not math.isfinite(medians[best]):
        return ""
    return f" The {WORDS.get(best, best)} are the smallest by their median, {medians[best]:,.0f} {area}."


def _of_densities(trust: dict[str, Any]) -> list[Block]:
    if "pit_histogram" not in trust:
        return []
    pit = trust["pit"]
    blocks: list[Block] = [histogram(trust)]
    if pit["ks"] is None or pit["ks_by_chance_95"] is None:
        return blocks
    verdict = "no more than chance explains" if pit["ks"] <= pit["ks_by_chance_95"] else "more than chance explains"
    text = (
        f"Levels of the densities are {pit['ks']:.3f} from uniform (Kolmogorov and Smirnov's distance), {verdict}: "
        f"on images like these, whose points err together, one in twenty right predictors reaches "
        f"{pit['ks_by_chance_95']:.3f}."
    )
    return [*blocks, Text(text)]


def _of_scores(trust: dict[str, Any], unit: str) -> list[Block]:
    blocks: list[Block] = []
    if len(trust["reliability"]["score"]) > 1:
        blocks.append(reliability_curve(trust, within(trust, unit)))
    if trust["risk_coverage"]["risk"][-1] is not None:
        blocks.append(risk_curve(trust, lengths_of(trust, unit)))
    return blocks


def _of_flags(evaluation: Evaluation | None, trust: dict[str, Any], unit: str) -> list[Block]:
    blocks: list[Block] = []
    if trust.get("flags"):
        blocks.append(flag_table(trust, lengths_of(trust, unit)))
    if evaluation is None or evaluation.typical is None:
        return blocks
    share = float((evaluation.typical <= UNUSUAL).mean())
    text = f"{share:.1%} of the instances are less certain than 95 % of the calibration's; {UNUSUAL:.0%} is usual."
    if share > 2 * UNUSUAL and (evaluation.typical <= UNUSUAL).sum() > 3:
        more = " These pictures are unlike those of the calibration, and its promises are not for them."
        blocks.append(Text(text + more, "warning"))
    else:
        blocks.append(Text(text))
    return [*blocks, *flagged_pictures(evaluation, UNUSUAL, unit)]
