"""The page of one evaluation: how far off, where, how sure, and what it looks like."""

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from punctum.data.errors import counted
from punctum.data.json_text import read_json
from punctum.environment import environment
from punctum.evaluation import NAME as EVALUATION
from punctum.evaluation import Evaluation
from punctum.report.blocks import Block, Cell, Code, Column, Page, Section, Table, Text
from punctum.report.calibrated import calibrated_blocks
from punctum.report.examples import ELLIPSES, galleries, shown_things
from punctum.report.run_charts import accuracy_charts, training_charts, trust_blocks
from punctum.report.run_tables import difficulty_table, facts, keypoint_table, verdict, worst_table
from punctum.schema import Schema
from punctum.yaml_file import parse_yaml

METRICS = "metrics.json"
# Without these there is nothing to show.
NEEDED = ("n", "n_instances", "n_images", "normalizer", "epe_px", "pck", "per_keypoint")
UNITS = {1: "rows", 2: "px", 3: "voxels"}


@dataclass(frozen=True)
class Measured:
    """What an evaluation and its run left behind; what is not there is None or empty."""

    folder: Path
    run: Path
    metrics: dict[str, Any]
    evaluation: Evaluation | None
    config: dict[str, Any]
    config_text: str
    schema: Schema
    unit: str


def run_page(folder: str | Path) -> Page:
    """A page from what `punctum evaluate` wrote, and what the run beside it holds.

    metrics.json gives the numbers, evaluation.npz the curves and pictures, config.yaml, logs/ and model/ the rest.
    Only the first must be there; what else is missing, or no longer where it was, the page says.

    Args:
        folder: with metrics.json: a run folder, or what `evaluate --out` named.
    Raises:
        FileNotFoundError: there is no metrics.json.
        ValueError: it, or a file beside it, is broken.
    """
    measured = _gather(Path(folder))
    sections = [
        _numbers(measured),
        _accuracy(measured),
        _examples(measured),
        Section("Keypoints", [keypoint_table(measured.metrics, measured.unit)]),
        _by_difficulty(measured),
        _trust(measured),
        _training(measured),
        _worst(measured),
        *_background(measured),
    ]
    return Page(_title(measured), _lead(measured), [section for section in sections if section is not None])


def _gather(folder: Path) -> Measured:
    path = folder / METRICS
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: `punctum evaluate` writes it")
    metrics = read_json(path)
    if not isinstance(metrics, dict) or not metrics.keys() >= set(NEEDED):
        raise ValueError(f"{path} is not what `punctum evaluate` writes: it needs {', '.join(NEEDED)}")
    evaluation = Evaluation.load(folder) if (folder / EVALUATION).is_file() else None
    # What was measured elsewhere names its run.
    run = folder if (folder / "config.yaml").is_file() else Path(metrics.get("run") or folder)
    text = _text(run / "config.yaml")
    names = tuple(row["name"] for row in metrics["per_keypoint"])
    unit = "px" if evaluation is None else UNITS[evaluation.keypoints.shape[-1]]
    return Measured(folder, run, metrics, evaluation, _config(text), text, _schema(run, names), unit)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _config(text: str) -> dict[str, Any]:
    """Settings for the title; a file that is no YAML is shown as it is."""
    try:
        values = parse_yaml(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _schema(run: Path, names: tuple[str, ...]) -> Schema:
    """The model's keypoints, with skeleton and colours; of a model that is gone, the names alone."""
    path = run / "model" / "model.json"
    if path.is_file():
        found = Schema.from_dict(read_json(path)["config"]["schema"])
        if found.names == names:
            return found
    return Schema(names)


# --- the sections --------------------------------------------------------------------------------------------------


def _title(measured: Measured) -> str:
    head, backbone = (_named(measured.config.get(part)) for part in ("head", "backbone"))
    model = f"{head} on {backbone}" if head and backbone else measured.run.resolve().name
    data = str(measured.metrics.get("data", "")).replace("\\", "/").rsplit("/", 1)[-1]
    return f"{model}, measured on {data}" if data else model


def _named(part: Any) -> str:
    return str(part.get("name", "")) if isinstance(part, dict) else ""


def _lead(measured: Measured) -> str:
    metrics = measured.metrics
    when = time.strftime("%Y-%m-%d", time.localtime((measured.folder / METRICS).stat().st_mtime))
    counts = ", ".join(
        counted(metrics[key], noun)
        for key, noun in (("n", "labelled point"), ("n_instances", "instance"), ("n_images", "image"))
    )
    flip = " Predictions are averaged with those of the mirrored pictures." if metrics.get("flip_test") else ""
    return f"{counts}, measured {when}. Every error is a distance in the original picture.{flip}"


def _numbers(measured: Measured) -> Section:
    blocks: list[Block] = [facts(measured.metrics, measured.unit)]
    blocks += verdict(measured.metrics)
    notes = left_out(measured.metrics)
    if notes:
        blocks.append(Text(" ".join(notes)))
    if note := measured.metrics.get("intervals", {}).get("note"):
        blocks.append(Text(f"Intervals: {note}.", "warning"))
    return Section("Numbers", blocks)


def left_out(metrics: dict[str, Any]) -> list[str]:
    """What the evaluation counted rather than refused, one sentence each.

    Example:
        >>> left_out({"notes": ["2 crowds skipped"], "left_out": {"instances_without_visible_point": 1}})
        ['2 crowds skipped.', '1 instance has no labelled point and counts nowhere.']
    """
    counts = metrics.get("left_out") or {}
    notes = [f"{str(note).rstrip('.')}." for note in metrics.get("notes") or []]
    if number := counts.get("instances_without_visible_point"):
        notes.append(
            f"{counted(number, 'instance')} {'has' if number == 1 else 'have'} no labelled point and counts nowhere."
        )
    if number := counts.get("instances_without_length"):
        why = counts.get("why_without_length")
        notes.append(
            f"{counted(number, 'instance')} without a usable length ({why}), with "
            f"{counted(counts.get('points_without_length', 0), 'point')}, left out of PCK and NME."
        )
    return notes


def _accuracy(measured: Measured) -> Section:
    if measured.evaluation is None:
        gone = f"{EVALUATION} is not beside {METRICS}: curves, pictures and the look at scores need it. "
        return Section("Errors", [Text(f"{gone}`punctum evaluate` of this version writes it.", "warning")])
    return Section("Errors", accuracy_charts(measured.evaluation, measured.metrics, measured.unit))


def _by_difficulty(measured: Measured) -> Section | None:
    by = measured.metrics.get("by_difficulty")
    return None if not by else Section("Easy, medium and hard", difficulty_table(by, measured.unit))


def _examples(measured: Measured) -> Section | None:
    if measured.evaluation is None:
        return None
    pictures, failures = galleries(measured.evaluation, measured.schema, measured.unit)
    blocks: list[Block] = [Text(_legend(measured.evaluation)), *pictures] if pictures else []
    if failures:
        blocks.append(Text(_not_shown(failures), "warning"))
    return Section("Worst, median and best", blocks) if blocks else None


def _trust(measured: Measured) -> Section | None:
    if trust := measured.metrics.get("trust"):
        return Section("How far to trust a point", calibrated_blocks(measured.evaluation, trust, measured.unit))
    if measured.evaluation is None:
        return None
    return Section("Does the score know?", trust_blocks(measured.evaluation, measured.metrics, measured.unit))


def _worst(measured: Measured) -> Section | None:
    if measured.evaluation is None:
        return None
    table = worst_table(measured.evaluation, shown_things(measured.evaluation), measured.unit)
    return Section("The worst in numbers", [table], folded=True)


def _legend(evaluation: Evaluation) -> str:
    if evaluation.keypoints.shape[-1] == 1:
        return "Coloured lines are the predicted layers, white lines the labelled ones."
    text = "Dots are predicted, white crosses labelled; a thin line joins the two."
    if evaluation.keypoints.shape[-1] == 3:
        text += " Each picture shows three slices through the landmark that is furthest off."
    if evaluation.covariance is not None:
        text += (
            f" Ellipses are the predicted spread at two sigma, of the {ELLIPSES} points that are furthest off; "
            "whether it can be believed stands below."
        )
    return text


def _not_shown(failures: Sequence[str]) -> str:
    return f"{counted(len(failures), 'picture')} could not be shown; the first: {failures[0]}"


def _training(measured: Measured) -> Section | None:
    path = measured.run / "logs" / "metrics.csv"
    try:
        rows = list(csv.DictReader(io.StringIO(_text(path))))
    except csv.Error as error:
        raise ValueError(f"{path}: not a csv file: {error}") from None
    charts = training_charts(rows, measured.unit) if rows else []
    return Section("Training", charts) if charts else None


def _background(measured: Measured) -> list[Section]:
    sections = []
    if measured.config_text:
        settings = Code(measured.config_text, str(measured.run / "config.yaml"))
        sections.append(Section("Configuration", [settings], folded=True))
    intervals = measured.metrics.get("intervals") or {}
    places = {"data": measured.metrics.get("data"), "run": measured.run, "measured": measured.folder / METRICS}
    rows: list[list[Cell]] = [[key, str(value)] for key, value in places.items() if value is not None]
    rows += [[key, value] for key, value in environment().items()]
    rows += [[f"intervals: {key}", str(value)] for key, value in intervals.items() if value is not None]
    caption = (
        "Versions and devices are those of the computer that made this page, which need not be the one that trained."
    )
    sections.append(Section("Environment", [Table([Column("what"), Column("which")], rows, caption)], folded=True))
    return sections
