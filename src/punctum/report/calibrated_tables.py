"""Numbers of trust as tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from punctum.evaluation import Evaluation
from punctum.report.blocks import Block, Cell, Column, Table, Text

LISTED = 50
"""Rows of the flagged pictures."""
FLAGS = {"wide": "wide", "two_places": "two places", "flat": "flat"}


def region_tables(trust: dict[str, Any], words: Mapping[str, str], area: str) -> list[Table]:
    """What regions promise, what they hold, and how large they are: of points, and of whole instances."""
    columns = [
        Column("regions"),
        Column("promised", ".0%"),
        Column("held", ".1%"),
        Column("95 % from", ".1%"),
        Column("to", ".1%"),
        Column(f"median size, {area}", ",.1f"),
        Column("95 % from", ",.1f"),
        Column("to", ",.1f"),
        Column(f"mean size, {area}", ",.1f"),
        Column("without end"),
    ]
    captions = {
        "regions": "How many true places regions hold, and how large they are, over the same points.",
        "joint": "Regions of whole instances: all of an instance's hold their points at once, or count as a miss. "
        "Their size is that of a single point's part.",
    }
    tables = []
    for key, caption in captions.items():
        rows = [
            [words.get(kind, kind), float(level), *_region_cells(figures)]
            for kind, by_level in (trust.get(key) or {}).items()
            for level, figures in by_level.items()
        ]
        if rows:
            tables.append(_kept(columns, rows, caption))
    return tables


def _region_cells(figures: Mapping[str, Any]) -> list[Cell]:
    coverage, median, mean = (figures[name] for name in ("coverage", "median_size", "mean_size"))
    held = [coverage["value"], *_ends(coverage)]
    return [*held, median["value"], *_ends(median), mean["value"], figures["endless"] or None]


def figure_table(trust: dict[str, Any], unit: str, lengths: str) -> Table:
    """One line for each figure, with what would be right."""
    ece, pit = trust["ece"], trust.get("pit") or {}
    error, similar = trust["correlation"]["error"], trust["correlation"].get("oks") or {}
    chance = "" if ece["by_chance"] is None else f"{ece['by_chance']:.3f} by chance"
    of_pit = f"below {pit['ks_by_chance_95']:.3f}" if pit.get("ks_by_chance_95") is not None else ""
    given: list[tuple[str, Any, str, str]] = [
        (f"share of points within {trust['distance']:g} ({lengths})", trust["hits"], ".4f", ""),
        ("Brier score", trust["brier"], ".4f", "low"),
        ("expected calibration error", {"value": ece["value"]}, ".4f", chance),
        ("root mean square of its gaps, chance taken off", ece["rms"], ".4f", "0"),
        ("negative log likelihood, nats", trust.get("nll"), ".3f", "low"),
        (f"CRPS, {unit}", trust.get("crps_px"), ".3f", "low"),
        (f"energy score, {unit}", trust.get("energy_px"), ".3f", "low"),
        ("distance of levels from uniform", {"value": pit.get("ks")}, ".4f", of_pit),
        (f"AURC, mean error of the surest ({lengths})", trust["aurc"], ".4f", "low"),
        ("its excess over the best order", trust["e_aurc"], ".4f", "0"),
        ("rank correlation of score and closeness", error["spearman"], ".3f", "1"),
        ("linear correlation of score and closeness", error["pearson"], ".3f", "1"),
        ("rank correlation of score and similarity (OKS)", similar.get("spearman"), ".3f", "1"),
        ("linear correlation of score and similarity (OKS)", similar.get("pearson"), ".3f", "1"),
    ]
    rows: list[list[Cell]] = []
    for name, figure, form, right in given:
        if figure and figure["value"] is not None:
            low, high = (None if end is None else format(end, form) for end in _ends(figure))
            rows.append([name, format(figure["value"], form), low, high, right])
    columns = [Column("figure"), Column("value"), Column("95 % from"), Column("to"), Column("right")]
    return _kept(columns, rows, "Figures of all points together.")


def keypoint_trust_table(trust: dict[str, Any], words: Mapping[str, str], unit: str, area: str) -> Table:
    """A row for each keypoint: its regions at the highest level, and its score."""
    top = repr(float(max(trust["levels"])))
    kinds = list(trust.get("regions") or {})
    columns = [Column("keypoint"), Column("points")]
    for kind in kinds:
        columns += [Column(f"held by {words.get(kind, kind)}", ".1%"), Column(f"their median size, {area}", ",.1f")]
    columns += [
        Column("hits", ".1%"),
        Column("Brier", ".3f"),
        Column("ECE", ".3f"),
        Column("by chance", ".3f"),
        Column("NLL, nats", ".2f"),
        Column(f"CRPS, {unit}", ".2f"),
        Column("rank correlation", ".2f"),
    ]
    rows: list[list[Cell]] = []
    for row in trust["per_keypoint"]:
        cells: list[Cell] = [row["name"], row["n"]]
        for kind in kinds:
            figures = row["regions"][kind][top]
            cells += [figures["coverage"]["value"], figures["median_size"]["value"]]
        cells += [row["hits"]["value"], row["brier"]["value"], row["ece"]["value"], row["ece"]["by_chance"]]
        cells += [(row.get(name) or {}).get("value") for name in ("nll", "crps_px")]
        rows.append([*cells, row["correlation"]["error"]["spearman"]["value"]])
    caption = (
        f"Each keypoint: its regions of {float(top):.0%}, and its score. With few points, some keypoints miss their "
        "promise by chance; metrics.json has the intervals."
    )
    return _kept(columns, rows, caption)


def flag_table(trust: dict[str, Any], lengths: str) -> Table:
    """What flags are worth: the errors of the points that have one."""
    rows: list[list[Cell]] = [
        [FLAGS.get(name, name), flag["n"], flag["n"] / trust["n"], flag["mean_error"], flag["mean_error_of_others"]]
        for name, flag in trust["flags"].items()
    ]
    columns = [
        Column("flag"),
        Column("points"),
        Column("of all", ".1%"),
        Column(f"mean error ({lengths})", ".4f"),
        Column("of the others", ".4f"),
    ]
    caption = (
        "What makes a point suspect: a spread wider than that of 99 % of the calibration points (wide), two separate "
        "peaks (two places), a map without any (flat)."
    )
    return Table(columns, rows, caption)


def flagged_pictures(evaluation: Evaluation, unusual: float, unit: str) -> list[Block]:
    """Instances that are unlike those of the calibration, or most of whose points are flagged; the oddest first."""
    typical = np.ones(len(evaluation.ids)) if evaluation.typical is None else evaluation.typical
    flags = np.zeros((*evaluation.score.shape, 0), dtype=bool) if evaluation.flags is None else evaluation.flags
    names = [] if evaluation.flag_names is None else [FLAGS.get(str(n), str(n)) for n in evaluation.flag_names]
    marked = flags.any(-1).mean(1)
    odd = np.flatnonzero((typical <= unusual) | (marked > 0.5))
    if not len(odd):
        return [Text("No picture stands out.")]
    order = odd[np.lexsort((-marked[odd], typical[odd]))]
    errors = evaluation.errors
    rows: list[list[Cell]] = []
    for i in order[:LISTED]:
        known = errors[i][np.isfinite(errors[i])]
        counts = [int(flags[i, :, f].sum()) or None for f in range(len(names))]
        mean = float(known.mean()) if len(known) else None
        rows.append([str(evaluation.images[i]), str(evaluation.ids[i]), float(typical[i]), *counts, mean])
    columns = [Column("picture"), Column("instance"), Column("as uncertain", ".1%")]
    columns += [*(Column(name) for name in names), Column(f"mean error, {unit}", ".2f")]
    caption = (
        f"The first {len(rows)} of {len(odd)} that stand out. As uncertain: the share of the calibration's instances "
        "that are at least as uncertain. Then: how many points have which flag."
    )
    return [_kept(columns, rows, caption)]


def _ends(figure: Mapping[str, Any]) -> list[float | None]:
    return list(figure.get("interval_95") or (None, None))


def _kept(columns: list[Column], rows: list[list[Cell]], caption: str) -> Table:
    """Without columns of which nothing is known."""
    kept = [i for i in range(len(columns)) if any(row[i] not in (None, "") for row in rows)]
    return Table([columns[i] for i in kept], [[row[i] for i in kept] for row in rows], caption)
