"""A diagnosis as a page: findings first, then what they rest on."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from punctum.files import write_through
from punctum.json_file import parse_json
from punctum.report.blocks import (
    Block,
    Code,
    Column,
    Fact,
    Facts,
    Figure,
    Gallery,
    Page,
    Picture,
    Section,
    Table,
    Text,
)
from punctum.report.charts import PALETTE, legend, new_axes, plain

NAME = "diagnosis.json"

# What the radii of the activation curve are drawn up to: the paper's figures end at 9.
SHOWN_RADIUS = 10

MEASURES = (
    Column("points", "d"),
    Column("median error, cells", ".2f"),
    Column("A(2)", ".2f"),
    Column("best sigma, cells", ".2f"),
    Column("chi-square", ".2f"),
    Column("flat", ".1%"),
    Column("two candidates", ".1%"),
    Column("on flip partner", ".1%"),
    Column("gradient near truth", ".1%"),
    Column("errors / own spread", ".2f"),
)
"""What tables tell of a group of points; `_figures_of` gives them in this order."""

KINDS = {"best": "Best", "median": "Median", "worst": "Worst"}


def diagnosis_page(folder: str | Path) -> Page:
    """The page of a folder with a diagnosis.json.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not what `punctum diagnose` writes.
    """
    folder = Path(folder)
    path = folder / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: `punctum diagnose` writes it")
    try:
        result = parse_json(path.read_bytes())
        sections = [*_sections(result, folder)]
        lead = f"{result['run']} on {result['data']}: {result['n']} points of {result['n_instances']} instances."
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what `punctum diagnose` writes: {type(error).__name__} {error}") from error
    return Page(title=f"Diagnosis: {result['head']['name']}", lead=lead, sections=sections)


def write_figures(folder: Path, result: Mapping[str, Any]) -> list[Path]:
    """The page's drawings as PNG files in the folder."""
    written = []
    for name, figure in figures(result).items():

        def save(path: Path, drawing: Drawing = figure.drawing) -> None:
            drawing.savefig(path, dpi=150)

        written.append(write_through(folder / f"{name}.png", save))
    return written


def figures(result: Mapping[str, Any]) -> dict[str, Figure]:
    """Every drawing by its file's name, made from diagnosis.json alone."""
    drawn = {"activation": _activation(result), "sigma": _sigma(result), "border": _border(result)}
    factors = next((entry["gradient"] for entry in result["gallery"] if entry["gradient"]), None)
    if factors is not None:
        drawn["gradient"] = _gradient(factors)
    return drawn


def _sections(result: Mapping[str, Any], folder: Path) -> Iterator[Section]:
    drawn = figures(result)
    yield Section("Findings", [_facts(result), *_findings(result)])
    yield Section("How wide, how sure", [drawn["activation"], drawn["sigma"], _split_table(result)])
    yield Section("Ways to read the same maps", [_decoders(result)])
    yield Section("Pull towards the middle", [drawn["border"]])
    if "gradient" in drawn:
        yield Section("Where the gradient acts", [drawn["gradient"]])
    yield Section("Best, median and worst", [*_gallery(result, folder)])
    yield Section("By keypoint", [_keypoint_table(result)])
    settings = {"head": result["head"], "heatmap_size": result["heatmap_size"], "stride": result["stride"]}
    yield Section(
        "Settings and notes",
        [
            Text(f"Heatmaps: {result['normalization']}."),
            *(Text(note) for note in result["notes"]),
            Code(json.dumps(settings, indent=1), "model"),
        ],
        folded=True,
    )


def _facts(result: Mapping[str, Any]) -> Facts:
    part = result["all"]
    interval = part["a2"]["interval_95"]
    facts = [
        Fact("median error, cells", _number(part["error"]["median"]), f"a cell is {result['cell_px']:.1f} px"),
        Fact(
            "A(2): mass near the truth",
            _number(part["a2"]["value"]),
            "" if interval is None else f"95 %: {interval[0]:.2f} to {interval[1]:.2f}",
        ),
        Fact("best sigma, cells", _number(part["sigma"]["median"]), f"chi-square {_number(part['chi_square'])}"),
        Fact("two candidates", _number(part["two"], ".0%"), f"flat {_number(part['flat'], '.0%')}"),
    ]
    if part["confidence"] is not None:
        facts.append(Fact("errors / own spread", _number(part["confidence"]), "1 is honest"))
    return Facts(facts)


def _findings(result: Mapping[str, Any]) -> list[Block]:
    if not result["findings"]:
        return [Text("Nothing stands out: no instrument is beyond its threshold.", tone="good")]
    return [
        Text(f"{found['name'].capitalize()}: {found['advice']}. (Threshold: {found['threshold']}.)", tone="warning")
        for found in result["findings"]
    ]


def _activation(result: Mapping[str, Any]) -> Figure:
    split, levels = next(iter(result["splits"].items()))
    drawing, axes = new_axes("s, cells", "A(s): share of the mass")
    parts = {"all": result["all"], **levels}
    shown = {level: part["activation"][: SHOWN_RADIUS + 1] for level, part in parts.items() if part["n"]}
    for i, (level, curve) in enumerate(shown.items()):
        style = {"color": "black", "linestyle": "--"} if level == "all" else {"color": PALETTE[i - 1]}
        axes.plot(range(len(curve)), curve, marker=".", label=level, **style)
    axes.set_ylim(0, 1.02)
    legend(axes)
    told = ", ".join(f"{level} {curve[2]:.2f}" for level, curve in shown.items())
    return Figure(
        drawing,
        f"Activation sum by {split}: the mass in the square of 2 s + 1 cells around the truth. At A(2): {told}.",
        f"Curves of the activation sum A(s) over s; A(2): {told}.",
    )


def _sigma(result: Mapping[str, Any]) -> Figure:
    histogram = result["sigma_histogram"]
    edges = np.array(histogram["edges"])
    drawing, axes = new_axes("best-matching sigma, cells", "share of the maps")
    medians = []
    for i, (level, counts) in enumerate(histogram["counts"].items()):
        total = sum(counts)
        if total:
            axes.stairs(np.array(counts) / total, edges, color=PALETTE[i], label=level, linewidth=1.6)
            medians.append(f"{level} {result['splits'][histogram['split']][level]['sigma']['median']:.2f}")
    axes.set_xscale("log")
    ticks = [t for t in (0.2, 0.5, 1, 2, 5, 10, 20, 50) if t <= edges[-1]]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    legend(axes)
    told = ", ".join(medians)
    return Figure(
        drawing,
        f"Sigma of the Gaussian that each map looks like most, by {histogram['split']}. Medians: {told} cells.",
        f"Histograms of the best-matching sigma; medians: {told} cells.",
    )


def _border(result: Mapping[str, Any]) -> Figure:
    drawing, axes = new_axes("distance to the border, cells", "error towards the middle, cells")
    words = {"truth": "by the truth's place", "prediction": "by the prediction's place"}
    for colour, (given, word) in zip(PALETTE, words.items(), strict=False):
        bins = result["border"][given]
        middles = [(b["low"] + b["high"]) / 2 for b in bins]
        pulls = [b["pull"] for b in bins]
        axes.plot(middles, pulls, marker="o", markersize=4, color=colour, label=word)
        known = [b for b in bins if b["interval_95"]]
        axes.vlines([(b["low"] + b["high"]) / 2 for b in known], *_ends(known), color=colour, alpha=0.5, linewidth=3)
    axes.axhline(0, color="black", linewidth=0.8)
    legend(axes)
    first = result["border"]["truth"][0]
    return Figure(
        drawing,
        "Mean error towards the middle with 95 % intervals, axis by axis. A doubtful model is pulled given the "
        "truth; a pull given the prediction, too, is a bias.",
        f"Pull towards the middle over the distance to the border; {first['pull']:.2f} cells in the outermost bin.",
    )


def _ends(bins: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    return [b["interval_95"][0] for b in bins], [b["interval_95"][1] for b in bins]


def _gradient(factors: Mapping[str, Any]) -> Figure:
    titles = {"value": "value factor", "location": "location factor", "product": "gradient"}
    drawing, axes = new_axes(size=(9.6, 3.3), columns=3, grid="x")
    for one, (name, title) in zip(axes, titles.items(), strict=True):
        values = np.array(factors[name])
        signed = name != "value"
        limit = float(np.abs(values).max()) or 1.0
        picture = one.imshow(values, cmap="PuOr" if signed else "inferno", vmin=-limit if signed else 0, vmax=limit)
        one.plot(*factors["truth"], marker="x", color="black" if signed else "white", markersize=8, markeredgewidth=2)
        one.set_title(plain(title), fontsize=10)
        one.grid(False)
        one.set_xlabel("")
        drawing.colorbar(picture, ax=one, shrink=0.8)
    return Figure(
        drawing,
        "Eq. 10 on a median case, for an L1 loss on the mean: value factor (the map itself) times location factor (a "
        "plane through the mean). Descent lowers what is positive (purple) and raises what is negative (brown). "
        "Cross: truth.",
        "Three maps: value factor, location factor, and their product, the gradient.",
    )


def _split_table(result: Mapping[str, Any]) -> Table:
    rows = [["", "all", *_figures_of(result["all"])]]
    rows += [
        [split, level, *_figures_of(part)]
        for split, levels in result["splits"].items()
        for level, part in levels.items()
    ]
    columns = [Column("split"), Column("level"), *MEASURES]
    return Table(columns, rows, "All points, and the levels of each split; near, middle and far are thirds by error.")


def _figures_of(part: Mapping[str, Any]) -> list[Any]:
    if not part["n"]:
        return [0, *[None] * 9]
    return [
        part["n"], part["error"]["median"], part["a2"]["value"], part["sigma"]["median"], part["chi_square"],
        part["flat"], part["two"], part["partner"]["share"], part["gradient"]["near_truth"], part["confidence"],
    ]  # fmt: skip


def _decoders(result: Mapping[str, Any]) -> Table:
    errors, gains = result["all"]["errors"], result["gains"]
    words = {
        "error": f"the head's own ({result['head'].get('decoder', 'mean')})",
        "argmax": "highest cell",
        "mean": "mean of the map (Eq. 8)",
        "local": "mean around the peak",
        "expected": "a cell drawn from the map (Eq. 7)",
    }
    rows = [[word, errors[name], *(gains.get(name) or [None] * 3)] for name, word in words.items()]
    columns = [Column("read by"), Column("mean error, cells", ".3f", "low"), Column("saves, cells", ".3f"),
               Column("from", ".3f"), Column("to", ".3f")]  # fmt: skip
    return Table(
        columns, rows, "Mean errors of the same maps; what is saved against the head's own, with 95 % intervals."
    )


def _keypoint_table(result: Mapping[str, Any]) -> Table:
    return Table(
        [Column("keypoint"), *MEASURES], [[row["name"], *_figures_of(row)] for row in result["per_keypoint"]]
    )


def _gallery(result: Mapping[str, Any], folder: Path) -> Iterator[Block]:
    yield Text(
        "Each picture is one instance: four of its keypoints, from its best to its worst. Colour: the heatmap, by "
        "share of its peak. White cross: the truth. Dot: the answer."
    )
    for kind, word in KINDS.items():
        pictures = [_picture(entry, folder) for entry in result["gallery"] if entry["kind"] == kind]
        if pictures:
            yield Gallery(pictures, word)


def _picture(entry: Mapping[str, Any], folder: Path) -> Picture:
    told = ", ".join(f"{name} {error:.2f}" for name, error in zip(entry["keypoints"], entry["errors"], strict=True))
    file = folder / "gallery" / Path(entry["file"]).name
    return Picture(
        file.read_bytes(), f"{entry['image']} {entry['id']}", f"{KINDS[entry['kind']]} case, errors in cells: {told}"
    )


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)
