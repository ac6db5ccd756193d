"""`punctum score --metric oks`: the mean OKS of instances, and COCO's AP where the annotations are COCO's."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from punctum.data import Annotations, Predictions
from punctum.data.errors import DataError
from punctum.json_file import read_json
from punctum.metrics import average_precision, instance_areas, keypoint_similarity, mean_interval, sigmas_of
from punctum.metrics.average_precision import keypoint_category
from punctum.schema import Schema
from punctum.score_points import RESAMPLING, Figures, Points, Request

Row = dict[str, Any]

NORMALIZER = "the keypoint's sigma times the square root of the area (the file's, else 0.53 of the box)"


def oks_figures(request: Request) -> Figures:
    """Mean OKS in total and per keypoint, and AP as the fact `ap` where the annotations are COCO JSON.

    COCO results that name no instances (`annotation_id`), in pictures with several, have AP alone.
    """
    annotations = request.annotations
    if annotations.dims != 2:
        raise ValueError(f"oks is of points in pictures; {annotations.source.name} is of others: take --metric epe")
    sigmas = sigmas_given(request.sigmas, annotations.schema)
    content = coco_content(annotations.source)
    rows = None if content is None else coco_results(request.predictions)
    if content is not None and rows is not None and are_detections(rows, content):
        return _detections(request, content, rows, sigmas)
    points, areas = Points(request, "pixels"), instance_areas(annotations)
    points.lengths = areas.sqrt()
    similarity = keypoint_similarity(points.pixels, areas, sigmas)
    per_instance = similarity.nanmean(1)
    figures = points.figures("share")
    figures.facts |= {"normalizer": NORMALIZER, "sigmas": list(sigmas)}
    if figures.facts["left_out"]["why_without_length"]:
        figures.facts["left_out"]["why_without_length"] = "it has neither an area nor a box"
    interval = mean_interval([per_instance[:, None]], points.image_ids, **RESAMPLING)
    figures.add("oks", per_instance.nanmean(), similarity.nanmean(0), interval[:, 0])
    if content is not None and request.keep is None:
        _add_precision(figures, content, rows or as_results(points.predictions, annotations, content), sigmas)
    return figures


def _detections(request: Request, content: Row, rows: list[Row], sigmas: Sequence[float]) -> Figures:
    """AP alone: whose points these are, only a threshold of OKS can say."""
    if request.keep is not None:
        raise ValueError("these results name no instances, and pictures have several: AP is of all of them together")
    annotations, labelled = request.annotations, torch.from_numpy(request.annotations.labelled)
    facts: Row = {
        "n": int(labelled.sum()),
        "n_instances": int(labelled.any(1).sum()),
        "n_images": len(set(annotations.images)),
        "normalizer": NORMALIZER,
        "left_out": {
            "keypoints": [],
            "instances_without_labelled_point": int((~labelled.any(1)).sum()),
            "instances_without_length": 0,
            "points_without_length": 0,
            "why_without_length": None,
        },
        "missing": {"points": 0, "instances": 0},
        "sigmas": list(sigmas),
        "notes": [*annotations.notes, "the results name no instances, and pictures have several: AP alone"],
    }
    figures = Figures("share", annotations.schema.names, labelled.sum(0), facts)
    _add_precision(figures, content, rows, sigmas)
    return figures


def _add_precision(figures: Figures, content: Row, rows: Sequence[Row], sigmas: Sequence[float]) -> None:
    """AP where its package is there, else a note that it is not."""
    figures.facts["ap"] = None
    try:
        figures.facts["ap"] = average_precision(content, rows, sigmas)
    except ImportError as error:
        figures.facts["notes"].append(str(error))


def sigmas_given(given: str | Path | Sequence[float] | None, schema: Schema) -> tuple[float, ...]:
    """The sigmas to score by: numbers, the file that `punctum sigmas` wrote, or None for the annotations' own.

    Args:
        given: (K,) numbers, or as a text with commas, or the path of a JSON with `keypoints` and `sigmas`.
        schema: of the annotations.
    Raises:
        ValueError: there are none, or not one positive number for each keypoint.
        OSError: the file cannot be read.
    Example:
        >>> sigmas_given("0.05,0.1", Schema(("tip", "end")))
        (0.05, 0.1)
    """
    found: Any = given
    if given is None:
        found = sigmas_of(schema)
        if found is None:
            raise ValueError(
                "OKS needs a sigma for each keypoint: give --sigmas, or `sigmas` in the category of the annotations"
            )
    elif isinstance(given, str | Path) and str(given).endswith(".json"):
        found = _from_file(Path(given), schema)
    elif isinstance(given, str):
        found = given.split(",")
    try:
        sigmas = tuple(float(s) for s in found)
    except (TypeError, ValueError):
        sigmas = ()
    if len(sigmas) != len(schema.names) or not all(0 < s < float("inf") for s in sigmas):
        raise ValueError(f"sigmas should be {len(schema.names)} positive numbers, one for each keypoint, got {found}")
    return sigmas


def _from_file(path: Path, schema: Schema) -> Any:
    content = read_json(path)
    if not isinstance(content, dict) or content.get("keypoints") != list(schema.names):
        raise ValueError(f"{path}: its keypoints are not those of the annotations: {', '.join(schema.names)}")
    lacking = [name for name, s in zip(schema.names, content.get("sigmas") or (), strict=False) if s is None]
    if lacking:
        raise ValueError(f"{path}: there is no sigma of {', '.join(lacking)}: nobody labelled it twice")
    return content.get("sigmas")


def coco_content(path: Path) -> Row | None:
    """The annotation file, where it is COCO JSON."""
    content = _json(path)
    keys = ("images", "annotations", "categories")
    return content if isinstance(content, dict) and all(isinstance(content.get(k), list) for k in keys) else None


def coco_results(path: Path) -> list[Row] | None:
    """The predictions, where they are COCO results."""
    rows = _json(path)
    if not isinstance(rows, list) or not rows:
        return None
    return rows if all(isinstance(row, dict) and "image_id" in row for row in rows) else None


def _json(path: Path) -> Any:
    # Only what looks like JSON: predictions may be a large HDF5 file.
    with path.open("rb") as file:
        if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
            return None
    try:
        return read_json(path)
    except ValueError as error:
        raise DataError([str(error)]) from None


def are_detections(rows: Sequence[Row], content: Row) -> bool:
    """Whether results name no instances and some picture has several, found or labelled: then only AP is defined."""
    results = Counter(row["image_id"] for row in rows if "annotation_id" not in row)
    people = Counter(
        row.get("image_id")
        for row in content["annotations"]
        if not row.get("iscrowd") and any(v > 0 for v in (row.get("keypoints") or ())[2::3])
    )
    return any(n > 1 or people[image] > 1 for image, n in results.items())


def as_results(predictions: Predictions, annotations: Annotations, content: Row) -> list[Row]:
    """Predictions of annotated instances as COCO results, scored by the mean of their points' scores.

    A point without a prediction gets an absurd place, so that it counts as wrong; an instance without any is left
    out; without scores all are 1.
    """
    images = {str(row.get("id")): row["image_id"] for row in content["annotations"]}
    category = keypoint_category(content)["id"]
    results = []
    for i, name in enumerate(annotations.ids):
        points, scores = predictions.keypoints[i], predictions.score[i]
        there = np.isfinite(points).all(1)
        if there.any():
            placed = np.column_stack([np.where(there[:, None], points, -1e6), there])
            score = float(np.mean(scores[np.isfinite(scores)])) if np.isfinite(scores).any() else 1.0
            low, high = points[there].min(0), points[there].max(0)
            results.append(
                {
                    "image_id": images[name],
                    "category_id": category,
                    "keypoints": placed.flatten().tolist(),
                    "score": score,
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                }
            )
    return results
