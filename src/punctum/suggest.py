"""`punctum suggest`: which pictures to label next, by what a model is unsure of and has not seen the like of."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from punctum.data import Annotations
from punctum.data.errors import counted
from punctum.draw import contact_sheet, write_png
from punctum.files import write_text
from punctum.image_prediction import ImagePrediction
from punctum.layer_overlays import view_scan
from punctum.model import KeypointModel
from punctum.model_density import density_of
from punctum.overlays import view_prediction
from punctum.predict import Predictor, check_kind, load_model
from punctum.predict_layers import LayerPredictor
from punctum.progress import count
from punctum.schema import Schema
from punctum.stream.gather import gather_stills
from punctum.suggest_choose import Choice, choose
from punctum.suggest_looks import Looks, look, unlabelled
from punctum.terminal import print_notes

LISTED, CELLS, COLUMNS = 20, 24, 6


def suggest(
    run: str | Path,
    images: Sequence[str | Path],
    n: int = 50,
    *,
    labelled: str | Path | None = None,
    out: str | Path = "suggest.csv",
    console: Console | None = None,
    device: str | torch.device | None = None,
    batch_size: int = 32,
) -> list[Path]:
    """Choose the pictures whose labels would tell a model most.

    Args:
        run: the run folder of a model that was trained on what is labelled by now.
        images: pictures (or volumes, or scans), folders of them, or annotation files, whose pictures and boxes are
            taken.
        n: how many to choose, or all there are.
        labelled: annotations of pictures that are labelled already: these are left out, and what looks like them
            comes late.
        out: .csv, a row for each chosen picture; beside it, as .png, a sheet of the first 24 with predicted points.
        console: where to report; None is silent.
        device: where to compute.
        batch_size: pictures at a time.
    Returns:
        The chosen pictures, in order.
    Raises:
        ValueError: nothing to choose from, unreadable pictures (named), or n is no positive number.
        OSError: a file is missing or cannot be written.
    """
    console, out = console or Console(quiet=True), Path(out)
    if n < 1 or batch_size < 1:
        raise ValueError(f"n and batch_size must be at least 1, got {n} and {batch_size}")
    if out.suffix != ".csv":
        raise ValueError(f"{out}: suggestions are written as .csv, not {out.suffix or 'without ending'}")
    model = load_model(run)
    sources = _sources(images, model)
    known = [] if labelled is None else _sources([labelled], model)
    density = density_of(run, model)
    predictor = LayerPredictor(model, device) if model.dims == 1 else Predictor(model, device, batch_size)
    with count(console, "looking", sum(map(len, [*sources, *known]))) as advance:
        looks, seen = ([look(predictor, s, density, on_batch=advance) for s in x] for x in (sources, known))
    before = Looks.joined(seen)
    pool, left_out = _pool(looks, before)
    if not pool.images:
        raise ValueError(f"all of {counted(left_out, 'picture')} are labelled already: there is none to choose from")
    choice = choose(pool.doubt, pool.features, min(n, len(pool.images)), before.features)
    _print(pool, before, choice, left_out, console)
    write_text(out, _csv_text(pool, before, choice))
    write_png(out.with_suffix(".png"), _sheet(pool, choice, model))
    console.print(f"list: {out}, picture: {out.with_suffix('.png')}")
    return [pool.images[i] for i in choice.order]


def _sources(given: Sequence[str | Path], model: KeypointModel) -> list[list[Path] | Annotations]:
    pictures, annotated = gather_stills(given)
    for annotations in annotated:
        check_kind(model, annotations)
    return [*([list(dict.fromkeys(pictures))] if pictures else []), *annotated]


def _pool(looks: Sequence[Looks], known: Looks) -> tuple[Looks, int]:
    """The pictures to choose from, each once, and how many were left out because they are labelled."""
    together, labelled = Looks.joined(looks), {path.resolve() for path in known.images}
    rows = {path.resolve(): i for i, path in reversed(list(enumerate(together.images)))}
    kept = sorted(i for path, i in rows.items() if path not in labelled)
    return together.subset(kept), len(rows) - len(kept)


def _why(pool: Looks, known: Looks, choice: Choice) -> list[tuple[str, str, str, str, str]]:
    """Of each chosen picture: path, spread in % of the crop, novelty, what is nearest, how many are alike."""
    rows = []
    for i, novelty, nearest, similar in zip(
        choice.order, choice.novelty, choice.nearest, choice.similar, strict=True
    ):
        spread = f"{100 * math.sqrt(pool.doubt[i]):.2f}"
        if np.isnan(novelty):
            rows.append((str(pool.images[i]), spread, "", "", str(similar)))
            continue
        other = pool.images[nearest] if nearest >= 0 else known.images[-1 - nearest]
        rows.append((str(pool.images[i]), spread, f"{novelty:.2f}", str(other), str(similar)))
    return rows


def _csv_text(pool: Looks, known: Looks, choice: Choice) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "image", "spread_percent", "novelty", "nearest", "similar"])
    writer.writerows([n, *row] for n, row in enumerate(_why(pool, known, choice), 1))
    return text.getvalue()


def _print(pool: Looks, known: Looks, choice: Choice, left_out: int, console: Console) -> None:
    console.print(f"{len(choice.order)} of {counted(len(pool.images), 'picture')} chosen")
    notes = [f"{counted(left_out, 'picture')} left out: labelled already"] if left_out else []
    usual = 100 * math.sqrt(float(np.median(pool.doubt)))
    print_notes(
        [*notes, f"the model's points are spread over {usual:.2f} % of the crop in the median picture"], console
    )
    table = Table("", "picture", "spread, %", "novelty", "nearest known", "stands for")
    for n, (image, spread, novelty, nearest, similar) in enumerate(_why(pool, known, choice)[:LISTED], 1):
        table.add_row(str(n), Text(Path(image).name), spread, novelty, Text(Path(nearest).name), similar)
    console.print(table)
    if len(choice.order) > LISTED:
        console.print(f"  ... and {len(choice.order) - LISTED} more")


def _sheet(pool: Looks, choice: Choice, model: KeypointModel) -> NDArray[np.uint8]:
    """The first pictures, with their predicted points."""
    shown = choice.order[:CELLS]
    schema, axes = model.config.schema, len(model.config.input_size)
    titles = [f"{n}. {pool.images[i].name}: {100 * math.sqrt(pool.doubt[i]):.1f} %" for n, i in enumerate(shown, 1)]
    if model.dims == 1:
        cells = [view_scan(pool.images[i], pool.keypoints[i], schema) for i in shown]
        return contact_sheet(cells, 3, titles)
    views = replace(
        unlabelled([pool.images[i] for i in shown], schema, axes), boxes=np.array([pool.boxes[i] for i in shown])
    )
    cells = [view_prediction(views, n, _prediction(pool, i, schema)) for n, i in enumerate(shown)]
    return contact_sheet(cells, COLUMNS if axes == 2 else 1, titles)


def _prediction(pool: Looks, i: int, schema: Schema) -> ImagePrediction:
    points = pool.keypoints[i]
    return ImagePrediction(str(pool.images[i]), "", schema.names, points, np.ones(len(points)), None)
