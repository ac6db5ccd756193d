"""One head to use, in words, with the figures that speak for it: pure functions of the figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from punctum.compare.judge import higher_is_better, written
from punctum.compare.specs import joined

AS_FAST = 1.05
"""Times and sizes within 5 % are the same: a measurement cannot tell less."""


def recommend(entries: Sequence[Mapping[str, Any]], group: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The cheapest of those that cannot be told from the best.

    Cheapest is the least time for a picture; among equally fast ones the smallest network; then the better metric.

    Args:
        entries: the variants of the group: title, value, interval_95, seeds, cost.
        group: the best one's title and what the others' differences from it are worth.
        metric: that they were judged by.
    Returns:
        title, best, candidates (not told apart from the best, itself included), and sentences.
    """
    by_title = {entry["title"]: entry for entry in entries}
    best = group["best"]
    equal = [row["title"] for row in group["against_best"] if not row["told_apart"]]
    title = cheapest([by_title[name] for name in (best, *equal)], higher_is_better(metric))
    return {
        "title": title,
        "best": best,
        "candidates": [best, *equal],
        "sentences": _sentences(by_title, group, title, equal, metric),
    }


def cheapest(entries: Sequence[Mapping[str, Any]], higher: bool) -> str:
    """Title of the cheapest; without measured costs, of the best.

    Example:
        >>> def entry(title, value, ms):
        ...     return {"title": title, "value": value, "cost": {"picture_ms": ms, "parameters": 9}}
        >>> cheapest([entry("a", 1.0, 20), entry("b", 1.1, 10), entry("c", 1.05, 10.2)], higher=False)
        'c'
    """
    left = [entry for entry in entries if entry["cost"] is not None] or list(entries)
    for figure in ("picture_ms", "parameters"):
        if left[0]["cost"] is not None:
            least = min(entry["cost"][figure] for entry in left)
            left = [entry for entry in left if entry["cost"][figure] <= AS_FAST * least]
    return str(min(left, key=lambda entry: -entry["value"] if higher else entry["value"])["title"])


def pareto_front(entries: Sequence[Mapping[str, Any]], higher: bool) -> list[str]:
    """Titles of those that none beats in both time for a picture and the metric, the fastest first.

    Example:
        >>> def entry(title, value, ms):
        ...     return {"title": title, "value": value, "cost": {"picture_ms": ms}}
        >>> pareto_front([entry("a", 1.0, 20), entry("b", 2.0, 10), entry("c", 3.0, 15)], higher=False)
        ['b', 'a']
    """
    measured = [entry for entry in entries if entry["cost"] is not None]
    front: list[str] = []
    lowest = float("inf")
    for entry in sorted(measured, key=lambda e: (e["cost"]["picture_ms"], -e["value"] if higher else e["value"])):
        value = -entry["value"] if higher else entry["value"]
        if value < lowest:
            front.append(str(entry["title"]))
            lowest = value
    return front


def _sentences(
    by_title: Mapping[str, Mapping[str, Any]], group: Mapping[str, Any], title: str, equal: Sequence[str], metric: str
) -> list[str]:
    best, chosen = by_title[group["best"]], by_title[title]
    said = [f"{title}: {_with_interval(chosen, metric)}{_costs(chosen)}."]
    others = len(by_title) - 1
    if not others:
        said.append("No other head has a result to compare it with.")
    elif not equal:
        said.append(f"It has the {_lowest(metric)}, and every other one can be told from it.")
    elif title == best["title"]:
        said.append(f"It has the {_lowest(metric)}; {_same(equal, title)}, and none of those is cheaper.")
    else:
        row = next(row for row in group["against_best"] if row["title"] == title)
        said.append(
            f"{best['title']} has the {_lowest(metric)}, {_with_interval(best, metric)}, but the two cannot be told "
            f"apart (difference {written(row['difference'], metric)}{_ends(row, metric)}){_saving(best, chosen)}."
        )
        rest = [name for name in equal if name != title]
        if rest:
            said.append(f"Nor can {joined(rest)} be told from the best.")
    worse = [
        f"{row['title']} by {written(row['difference'], metric)}{_ends(row, metric)}"
        for row in group["against_best"]
        if row["told_apart"]
    ]
    if worse:
        said.append(f"Worse than {best['title']}: {'; '.join(worse)}.")
    single = [str(name) for name, entry in by_title.items() if not entry["over_seeds"]]
    if single:
        said.append(
            f"Of {joined(single)} there is one training: what another seed would give, nobody can tell, and the "
            "intervals do not hold it. Ask for --seeds 3."
        )
    return said


def _lowest(metric: str) -> str:
    return "highest share" if higher_is_better(metric) else "lowest error"


def _same(titles: Sequence[str], title: str) -> str:
    return f"{joined(titles)} cannot be told from {title}"


def _with_interval(entry: Mapping[str, Any], metric: str) -> str:
    ends = entry["interval_95"]
    between = "" if ends is None else f" ({written(ends[0], metric)} to {written(ends[1], metric)})"
    return f"{metric} {written(entry['value'], metric)}{between}"


def _ends(row: Mapping[str, Any], metric: str) -> str:
    ends = row["interval"]
    return "" if ends is None else f", {written(ends[0], metric)} to {written(ends[1], metric)}"


def _costs(entry: Mapping[str, Any]) -> str:
    cost = entry["cost"]
    if cost is None:
        return ""
    return f", {cost['picture_ms']:.1f} ms a picture, {cost['parameters'] / 1e6:.2f} million parameters"


def _saving(best: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    if best["cost"] is None or chosen["cost"] is None:
        return ""
    slow, fast = best["cost"]["picture_ms"], chosen["cost"]["picture_ms"]
    if slow > AS_FAST * fast or best["cost"]["parameters"] <= chosen["cost"]["parameters"]:
        return f", and it takes {slow:.1f} ms a picture instead of {fast:.1f}"
    return ", and it is the larger network"
