"""The page of a comparison: which head, how sure that is, what it costs, and all that was tried."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Drawing

from punctum.data.errors import counted
from punctum.json_file import parse_json
from punctum.one_line import told
from punctum.report.blocks import Block, Cell, Code, Column, Fact, Facts, Figure, Page, Section, Table, Text
from punctum.report.charts import bands, error_cdf, fixed_ticks, forest, scatter

NAME = "comparison.json"


def comparison_page(folder: str | Path) -> Page:
    """What `punctum compare` found, from its comparison.json alone.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not what `punctum compare` writes.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: `punctum compare` writes it")
    try:
        result = parse_json(path.read_bytes())
        return _page(result)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what `punctum compare` writes: {told(error)}") from error


def _page(result: Mapping[str, Any]) -> Page:
    request, test = result["request"], result["test"]
    data = next(iter(request["heads"].values()))["data"]
    sections = [
        Section("Which one", _recommendation(result)),
        Section("Differences from the best", _differences(result)),
        Section("Accuracy and time", _accuracy_and_time(result)),
        *_curves(result),
        Section("Errors", _errors(result)),
        Section("Keypoints", [_keypoints(result)]),
        Section("Every pair", _pairs(result), folded=True),
        Section("Learning rates", [_rates(result)], folded=True) if result["tuned"] else None,
        Section("What failed", _failed(result)) if result["failed"] else None,
        Section("How it was made", _making(result), folded=True),
    ]
    return Page(
        title="Heads compared",
        lead=f"{data}: {len(request['heads'])} heads, {request['seeds']} seeds each, "
        f"judged by {test['points']} points on {test['images']} images that took no part in training",
        sections=[section for section in sections if section is not None],
    )


def _scale(result: Mapping[str, Any]) -> tuple[float, str]:
    """What figures are multiplied by to be shown, and their unit."""
    name = result["metric"]["name"]
    return (1.0, f"{name}, px") if name == "epe" else (100.0, f"{name}, %")


def _main(result: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """The group of the largest training set, and its variants from the best on."""
    group = result["groups"][-1]
    return group, _ranked(result, group)


def _ranked(result: Mapping[str, Any], group: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = {e["title"]: e for e in result["variants"] if e["train_images"] == group["train_images"]}
    return [entries[title] for title in group["ranking"]]


def _recommendation(result: Mapping[str, Any]) -> list[Block]:
    scale, unit = _scale(result)
    advice, (_, entries) = result["recommendation"], _main(result)
    chosen = next(entry for entry in entries if entry["title"] == advice["title"])
    ends, cost = chosen["interval_95"], chosen["cost"]
    between = "" if ends is None else f"{scale * ends[0]:.2f} to {scale * ends[1]:.2f} (95 %)"
    facts = [Fact("recommended", chosen["title"]), Fact(unit, f"{scale * chosen['value']:.2f}", between)]
    if cost is not None:
        facts += [
            Fact("a picture, ms", f"{cost['picture_ms']:.1f}", f"{cost['device']}, one at a time"),
            Fact("parameters, million", f"{cost['parameters'] / 1e6:.2f}"),
        ]
    blocks: list[Block] = [Facts(facts), *(Text(sentence) for sentence in advice["sentences"])]
    if result["failed"]:
        blocks.append(Text(f"{counted(len(result['failed']), 'training')} failed, as listed below.", tone="warning"))
    return [*blocks, *(_heads_table(result, group) for group in reversed(result["groups"]))]


def _heads_table(result: Mapping[str, Any], group: Mapping[str, Any]) -> Table:
    scale, unit = _scale(result)
    told = {row["title"]: "yes" if row["told_apart"] else "no" for row in group["against_best"]}
    rows: list[Sequence[Cell]] = [
        [
            entry["title"],
            scale * entry["value"],
            _between(entry["interval_95"], scale),
            told.get(entry["title"], "best"),
            None if entry["cost"] is None else entry["cost"]["picture_ms"],
            entry["train_minutes"],
            len(entry["seeds"]),
        ]
        for entry in _ranked(result, group)
    ]
    columns = [
        Column("head"),
        Column(unit, ".2f", "high" if result["metric"]["higher_is_better"] else "low"),
        Column("95 % interval"),
        Column("told from the best"),
        Column("ms a picture", ".1f", "low"),
        Column("minutes of training", ".1f"),
        Column("seeds"),
    ]
    return Table(columns, rows, f"Trained on {_images(group['train_images'])}; means over seeds.")


def _figures_table(entries: Sequence[Mapping[str, Any]]) -> Table:
    """The usual metrics beside each other, whichever one decides."""
    thresholds = list(entries[0]["pck"])
    rows: list[Sequence[Cell]] = [
        [
            entry["title"],
            entry["epe_px_median"],
            entry["epe_px_mean"],
            _times(entry["nme"], 100),
            *(_times(entry["pck"][threshold], 100) for threshold in thresholds),
        ]
        for entry in entries
    ]
    columns = [
        Column("head"),
        Column("median, px", ".2f", "low"),
        Column("mean, px", ".2f", "low"),
        Column("nme, %", ".2f", "low"),
        *(Column(f"PCK@{threshold}, %", ".1f", "high") for threshold in thresholds),
    ]
    return Table(columns, rows, "Means over seeds.")


def _cost_table(entries: Sequence[Mapping[str, Any]]) -> Table:
    rows: list[Sequence[Cell]] = [
        [
            entry["title"],
            entry["cost"]["picture_ms"],
            entry["cost"]["batch_picture_ms"],
            entry["cost"]["step_mib"],
            entry["cost"]["parameters"] / 1e6,
        ]
        for entry in entries
    ]
    columns = [
        Column("head"),
        Column("ms a picture", ".1f", "low"),
        Column("ms a picture, 32 at once", ".1f", "low"),
        Column("MiB a training step", ".0f", "low"),
        Column("parameters, million", ".2f", "low"),
    ]
    return Table(columns, rows, "Medians; forward pass and decoding.")


def _images(size: int) -> str:
    return f"{size} images" if size else "all training images"


def _between(ends: Sequence[float] | None, scale: float) -> str | None:
    return None if ends is None else f"{scale * ends[0]:.2f} to {scale * ends[1]:.2f}"


def _differences(result: Mapping[str, Any]) -> list[Block]:
    figures = [_forest(result, group) for group in reversed(result["groups"])]
    blocks: list[Block] = [figure for figure in figures if figure is not None]
    return [
        *(blocks or [Text("There is nothing to compare with.")]),
        Text(
            "Intervals cover other images and other seeds, and allow for there being several heads: in 95 % of "
            "comparisons the truly best one is among those not told from the best. Images are paired: what makes one "
            "hard for all heads is not in them."
        ),
    ]


def _forest(result: Mapping[str, Any], group: Mapping[str, Any]) -> Figure | None:
    scale, unit = _scale(result)
    rows = [row for row in group["against_best"] if row["interval"] is not None]
    if not rows:
        return None
    equal = [row["title"] for row in rows if not row["told_apart"]]
    said = f"Not told from it: {', '.join(equal)}." if equal else "All can be told from it."
    drawing = forest(
        [row["title"] for row in rows],
        [scale * row["difference"] for row in rows],
        [scale * row["interval"][0] for row in rows],
        [scale * row["interval"][1] for row in rows],
        xlabel=f"{unit}, minus that of {group['best']}",
        reference=0,
        emphasized=[i for i, row in enumerate(rows) if row["told_apart"]],
    )
    return Figure(
        drawing,
        f"Trained on {_images(group['train_images'])}: how far each is from {group['best']}, the best. An interval "
        f"that reaches 0 (blue) says that the two cannot be told apart. {said}",
        f"Forest plot of differences from {group['best']}. {said}",
    )


def _accuracy_and_time(result: Mapping[str, Any]) -> list[Block]:
    scale, unit = _scale(result)
    _, entries = _main(result)
    measured = [entry for entry in entries if entry["cost"] is not None]
    if not measured:
        return [Text("No cost was measured.", tone="warning")]
    cost = measured[0]["cost"]
    threads = "" if cost["device"] != "cpu" else f", {cost['threads']} thread" + "s" * (cost["threads"] != 1)
    front = ", ".join(result["pareto"])
    memory = (
        "by how much the process grew over two training steps"
        if cost["device"] == "cpu"
        else "the most that was allocated in a training step"
    )
    return [
        Figure(
            scatter(
                [entry["cost"]["picture_ms"] for entry in measured],
                [scale * entry["value"] for entry in measured],
                [entry["title"] for entry in measured],
                xlabel="time for a picture, ms",
                ylabel=unit,
                front=[i for i, entry in enumerate(measured) if entry["title"] in result["pareto"]],
            ),
            f"{unit} against time for one picture ({cost['device']}{threads}, forward pass and decoding). None is "
            f"both faster and better than those on the line: {front}.",
            f"Scatter of {unit} against milliseconds a picture; the Pareto front is {front}.",
        ),
        _cost_table(measured),
        Text(f"Memory is {memory}."),
    ]


def _curves(result: Mapping[str, Any]) -> list[Section]:
    """By output stride at the largest training set, and by training set, where several were asked for."""
    largest = result["groups"][-1]["train_images"]
    at_largest = [entry for entry in result["variants"] if entry["train_images"] == largest]
    sections = []
    for key, name, entries, label in (
        ("output_stride", "output stride", at_largest, "head"),
        ("train_images", "training images", result["variants"], "title"),
    ):
        if len({entry[key] for entry in result["variants"]}) > 1:
            sections.append(Section(f"By {name}", [_curve(result, key, name, entries, label)]))
    return sections


def _curve(
    result: Mapping[str, Any], key: str, name: str, entries: Sequence[Mapping[str, Any]], label: str
) -> Figure:
    scale, unit = _scale(result)
    total = result["plan"]["train_pictures"]
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for entry in sorted(entries, key=lambda entry: entry[key] or total):
        lines.setdefault(entry[label], []).append(entry)
    curves = {}
    for i, (title, points) in enumerate(lines.items()):
        # A little aside, so that intervals do not hide each other.
        places = [(entry[key] or total) * 1.015 ** (i - (len(lines) - 1) / 2) for entry in points]
        values = [scale * entry["value"] for entry in points]
        ends = [entry["interval_95"] or [entry["value"]] * 2 for entry in points]
        curves[title] = (places, values, [scale * low for low, _ in ends], [scale * high for _, high in ends])
    drawing = bands([], curves, xlabel=name, ylabel=unit)
    drawing.axes[0].set_xscale("log")
    fixed_ticks(drawing.axes[0], "x", sorted({entry[key] or total for entry in entries}))
    return Figure(_roomy(drawing), f"Mean and 95 % interval by {name}.", f"Curves of {unit} by {name}, one per head.")


def _roomy(drawing: Drawing) -> Drawing:
    """Names beside the curves, where there are so many that they would hide them."""
    (axes,) = drawing.axes
    shown = axes.get_legend()
    if shown is not None and len(shown.get_texts()) > 3:
        shown.remove()
        drawing.set_size_inches(8, 4)
        drawing.legend(loc="outside right upper", frameon=False, fontsize=9)
    return drawing


def _errors(result: Mapping[str, Any]) -> list[Block]:
    _, entries = _main(result)
    unit = "error, px" if result["metric"]["name"] == "epe" else f"error / {result['metric']['normalizer']}"
    return [
        Figure(
            _roomy(error_cdf({e["title"]: e["error_quantiles"] for e in entries}, xlabel=unit, log=True)),
            "Share of test points with an error up to x, over all seeds. Curves that cross belong to heads of which "
            "one is finer and the other steadier.",
            f"Distribution of the {unit} by head.",
        ),
        _figures_table(entries),
    ]


def _keypoints(result: Mapping[str, Any]) -> Table:
    scale, unit = _scale(result)
    _, entries = _main(result)
    better = "high" if result["metric"]["higher_is_better"] else "low"
    names = [row["name"] for row in entries[0]["per_keypoint"]]
    rows: list[Sequence[Cell]] = [
        [name, *(_times(entry["per_keypoint"][i]["value"], scale) for entry in entries)]
        for i, name in enumerate(names)
    ]
    rest = (Column(entry["title"], ".2f") for entry in entries)
    return Table([Column("keypoint"), *rest], rows, f"{unit} of each keypoint ({better} is better).")


def _times(value: float | None, scale: float) -> float | None:
    return None if value is None else scale * value


def _pairs(result: Mapping[str, Any]) -> list[Block]:
    scale, unit = _scale(result)
    blocks: list[Block] = []
    for group in reversed(result["groups"]):
        rows: list[Sequence[Cell]] = [
            [
                row["second"],
                row["first"],
                scale * row["difference"],
                _between(row["interval_95"], scale),
                row["p"],
                row["p_holm"],
            ]
            for row in group["pairs"]
        ]
        columns = [
            Column("head"),
            Column("minus"),
            Column(f"difference, {unit}", ".3f"),
            Column("95 % interval"),
            Column("p", ".2g"),
            Column("p, Holm", ".2g"),
        ]
        caption = (
            f"Trained on {_images(group['train_images'])}. Each interval stands for itself; the last column allows "
            "for there being so many pairs, and asks for more than comparisons with the best do."
        )
        blocks.append(Table(columns, rows, caption))
    return blocks


def _rates(result: Mapping[str, Any]) -> Table:
    higher = result["metric"]["higher_is_better"]
    scale, unit = _scale(result)
    rows: list[Sequence[Cell]] = []
    for label, choice in result["tuned"].items():
        for trial in choice["trials"]:
            chosen = (trial["lr"], trial["schedule"]) == (choice["lr"], choice["schedule"])
            error = trial["error"]
            shown = None if error is None else scale * (1 - error if higher else error)
            rows.append([label, trial["lr"], trial["schedule"], shown, "chosen" if chosen else ""])
    columns = [Column("head"), Column("learning rate", ".2g"), Column("schedule"), Column(unit, ".2f"), Column("")]
    return Table(
        columns,
        rows,
        "Trials on a part of the training images, a third as long as the trainings; a dash is a trial that failed. "
        "The default rate stays where none is better by 1 %.",
    )


def _failed(result: Mapping[str, Any]) -> list[Block]:
    rows: list[Sequence[Cell]] = [[row["name"], row["error"]] for row in result["failed"]]
    blocks: list[Block] = [Table([Column("training"), Column("why")], rows)]
    gone = [row["title"] for row in result["failed_variants"]]
    if gone:
        blocks.append(Text(f"Without any result: {', '.join(dict.fromkeys(gone))}.", tone="warning"))
    return blocks


def _making(result: Mapping[str, Any]) -> list[Block]:
    plan = {key: value for key, value in result["plan"].items() if key not in ("cells", "speeds")}
    blocks: list[Block] = [Code(result["command"], "Command")] if result["command"] else []
    versions = {"punctum": result["punctum"], **result["environment"]}
    return [
        *blocks,
        Code(json.dumps(plan, indent=1), "Plan"),
        Code(json.dumps(versions, indent=1), "Versions"),
        Code(json.dumps(result["request"], indent=1), "Request"),
    ]
