"""What is wrong with a model's heatmaps, on annotated images: `punctum diagnose`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from rich.console import Console

from punctum.data import Annotations, inspect, read
from punctum.diagnostics.border import border_bias
from punctum.diagnostics.findings import NEAR_BORDER, Case, find
from punctum.diagnostics.gallery import write_gallery
from punctum.diagnostics.measured import Measured, as_distribution, measure_heatmaps
from punctum.diagnostics.places import true_places
from punctum.diagnostics.summary import Mask, gain, splits, summarize_maps, thirds
from punctum.evaluate import check_kind_and_names
from punctum.files import write_text
from punctum.judging import image_numbers
from punctum.metrics import difficulty
from punctum.metrics.difficulty import LEVELS, Criterion
from punctum.model import KeypointModel
from punctum.predict import Predictor, load_model
from punctum.progress import count
from punctum.registry import options_of
from punctum.terminal_diagnosis import print_diagnosis

NAME = "diagnosis.json"

LEAST = 10
"""Instances that a level of difficulty must hold, two levels at least, for its criterion to be taken unasked."""


def diagnose(
    run: str | Path,
    data: str | Path,
    *,
    images: str | Path | None = None,
    out: str | Path | None = None,
    by: Criterion | None = None,
    console: Console | None = None,
    device: str | torch.device | None = None,
    batch_size: int = 32,
) -> dict[str, Any]:
    """Look inside a model's heatmaps: how wide, how sure, how biased, and what to do about it.

    Args:
        run: the run folder.
        data: annotations, in any readable format.
        images: their folder, where it cannot be told.
        out: folder for diagnosis.json, the pictures and report.html; None: `diagnosis` in the run folder.
        by: what makes an instance easy or hard: joints, occlusion or size. None: the first of them of which two
            levels hold 10 instances; where there is none, points are told apart by their errors alone.
        console: where to report; None is silent.
        device: where to compute.
        batch_size: pictures at a time; no more heatmaps than theirs are held.
    Returns:
        What diagnosis.json holds.
    Raises:
        ValueError: the head has no heatmap; the data are of another kind, or name other keypoints; no point has its
            true place in its crop.
        OSError: a file cannot be read or written.
    """
    model = load_model(run)
    annotations = read(data, images)
    console = console or Console(quiet=True)
    folder = Path(out) if out is not None else Path(run) / "diagnosis"
    if model.dims == 1:
        raise ValueError(
            "diagnose looks at points in images and volumes; layers in scans it cannot draw or split yet"
        )
    check_kind_and_names(model, annotations)
    if by is not None:
        difficulty(annotations, by)  # Unknown words are refused before anything is computed.
    notes = list(inspect(annotations, Predictor(model, "cpu").crop.intensity).notes)
    predictor = Predictor(model, device, batch_size)
    measured, normalized, cell = _measure(predictor, annotations, console)
    if not measured.counted.any():
        raise ValueError(f"{annotations.source}: no labelled point lies in its crop, so there is nothing to measure")
    result = {
        "run": str(run),
        "data": str(annotations.source),
        "notes": notes,
        "head": head_options(model),
        "normalization": _normalization(model, normalized),
        "cell_px": cell,
        **diagnosis_of(measured, annotations, model, by),
    }
    result["gallery"] = write_gallery(folder, predictor, annotations, measured)
    path = write_text(folder / NAME, json.dumps(result, indent=1, allow_nan=False) + "\n")
    from punctum.report.diagnosis import diagnosis_page, write_figures
    from punctum.report.page import write_page

    write_figures(folder, result)
    write_page(folder / "report.html", diagnosis_page(folder))
    print_diagnosis(result, console)
    console.print(f"diagnosis: {path}, report: {folder / 'report.html'}")
    return result


def diagnosis_of(
    measured: Measured, annotations: Annotations, model: KeypointModel, by: Criterion | None = None
) -> dict[str, Any]:
    """The figures and findings of what was measured."""
    ids = image_numbers(annotations.images)
    levels: dict[str, Mapping[str, Mask]] = {}
    criterion = by or default_criterion(annotations)
    if criterion is not None:
        classes = difficulty(annotations, criterion)[:, None]
        levels[criterion] = {level: measured.counted & (classes == level) for level in LEVELS}
    levels["error"] = thirds(measured)
    parts = splits(measured, ids, levels)
    summary = summarize_maps(measured, measured.counted, ids)
    names = annotations.schema.names
    per_keypoint = [
        {"name": name, **summarize_maps(measured, measured.counted & (np.arange(len(names)) == k), ids)}
        for k, name in enumerate(names)
    ]
    places, guesses = torch.from_numpy(measured.truth), torch.from_numpy(measured.predicted)
    images = torch.from_numpy(ids)
    bias = {g: border_bias(guesses, places, measured.size, images, given=g) for g in ("truth", "prediction")}
    gains = {name: saved for name in ("argmax", "mean", "local") if (saved := gain(measured, name, ids)) is not None}
    stride = float(np.mean(np.array(model.config.input_size) / np.array(measured.size)))
    case = Case(
        head=head_options(model),
        size=measured.size,
        summary=summary,
        splits=parts,
        border={
            g: border_bias(guesses, places, measured.size, images, given=g, edges=(0.0, NEAR_BORDER))
            for g in ("truth", "prediction")
        },
        gains=gains,
        worst={share: _worst(per_keypoint, share) for share in ("flat", "two")},
        stride=stride,
    )
    plain: dict[str, Any] = {
        "n": summary["n"],
        "n_instances": len(annotations),
        "heatmap_size": list(measured.size),
        "stride": stride,
        "all": summary,
        "splits": parts,
        "per_keypoint": per_keypoint,
        "border": {given: [asdict(b) for b in bins] for given, bins in bias.items()},
        "gains": {name: list(saved) for name, saved in gains.items()},
        "sigma_histogram": _histogram(measured, levels),
        "findings": [asdict(finding) for finding in find(case)],
    }
    # As JSON gives it back: tuples are lists.
    return json.loads(json.dumps(plain, allow_nan=False))


def head_options(model: KeypointModel) -> dict[str, Any]:
    """The head's name and all its options, with the defaults of those that the model was saved without."""
    defaults = {name: option.default for name, option in options_of(type(model.heads[-1])).items()}
    return {"name": model.config.head["name"], **defaults, **model.config.head}


def default_criterion(annotations: Annotations) -> Criterion | None:
    """The first criterion by which at least two levels hold 10 instances, or None."""
    for criterion in get_args(Criterion):
        levels = difficulty(annotations, criterion)
        if sum((levels == level).sum() >= LEAST for level in LEVELS) > 1:
            return criterion
    return None


def _measure(predictor: Predictor, annotations: Annotations, console: Console) -> tuple[Measured, bool, float]:
    """The table of all instances; whether the head's maps summed to one; a cell's side in the pictures' pixels."""
    schema, parts, cells, start, normalized = annotations.schema, [], [], 0, True
    with count(console, "looking at heatmaps", len(annotations)) as advance:
        for crops, prediction, to_image in predictor.heatmaps(annotations):
            if prediction.heatmap is None:
                name = predictor.model.config.head["name"]
                raise ValueError(
                    f"head {name!r} has no heatmap to look into. What can be diagnosed are heads with one, such as "
                    "dsnt, integral, sampling, density, heatmap, oks and simcc; `punctum evaluate` measures this one"
                )
            rows = slice(start, start + len(crops))
            start += len(crops)
            truth, visible = true_places(annotations, rows, to_image, predictor.crop.input_size)
            heatmaps, already = as_distribution(prediction.heatmap)
            normalized = normalized and already
            size, dims = tuple(heatmaps.shape[2:]), to_image.shape[-1] - 1
            scale = torch.linalg.det(to_image[:, :-1, :-1]).abs() * 2**dims / np.prod(size)
            cells.append(scale ** (1 / dims))
            parts.append(
                measure_heatmaps(
                    heatmaps,
                    prediction.coords,
                    truth,
                    visible,
                    covariances=prediction.covariance,
                    flip_order=schema.flip_order if schema.flip_pairs else None,
                    beta=float(head_options(predictor.model).get("beta", 1.0)),
                )
            )
            advance(len(crops))
    return Measured.joined(parts), normalized, float(torch.cat(cells).median())


def _normalization(model: KeypointModel, already: bool) -> str:
    if not already:
        return (
            "the head's maps are not normalized: negative values count as zero, and each map is divided by its sum, "
            "so that a faint background over many cells has a share in A(s), in the entropy and in the mean"
        )
    activation = head_options(model).get("activation", "softmax")
    return f"the head's own ({activation}); they sum to one"


def _worst(rows: list[dict[str, Any]], share: str) -> str:
    """The three keypoints that have most of it, in words."""
    known = sorted((row for row in rows if row["n"] and row[share]), key=lambda row: -row[share])
    return "most of " + ", ".join(f"{row['name']} {row[share]:.0%}" for row in known[:3]) if known else "none"


def _histogram(measured: Measured, levels: Mapping[str, Mapping[str, Mask]]) -> dict[str, Any]:
    """Counts of best sigmas in bins of equal ratio, by the levels of the first split."""
    edges = np.geomspace(0.2, max(measured.size), 25)
    split, masks = next(iter(levels.items()))
    counts = {
        level: np.histogram(measured.sigma[mask].clip(0.2, None), edges)[0].tolist() for level, mask in masks.items()
    }
    return {"split": split, "edges": edges.tolist(), "counts": counts}
