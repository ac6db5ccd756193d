"""Anyone's predictions, put beside the annotations that they are to be measured by."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.annotations import Annotations
from punctum.data.coco_predictions import coco_points, is_coco_predictions
from punctum.data.errors import DataError, counted
from punctum.data.matching import Places, Predictions, nothing_predicted, unmatched_note
from punctum.data.matrices import is_hdf5, is_matlab, read_hdf5, read_matlab
from punctum.data.mpii import FIRST_PIXEL
from punctum.data.own_predictions import Point, own_points
from punctum.json_file import parse_json


def read_predictions(path: str | Path, annotations: Annotations) -> Predictions:
    """Predictions from a file, each beside its annotated instance.

    punctum's csv, JSON and COCO files are matched by image name, instance and keypoint name; those of layers by image
    name, column and layer. An image name matches if one path ends with the other; an instance may be empty where the
    image has a single labelled one. COCO results are matched by `image_id`, and by `annotation_id` where they have
    it; without it there must be one result and one labelled instance per image. MPII's `preds` (N, K, 2) or (2, K, N)
    are matched row by row, and count pixels from 1 as MPII does: 1 is subtracted. The content decides which of these
    it is.

    Args:
        path: the file.
        annotations: what the predictions are of, best read with `labels_only`, so that every row stands.
    Raises:
        DataError: every mistake of the file at once, each with its row.
        ImportError: a package that reads such a file is not there.
    """
    source = Path(path)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise DataError([f"{source}: cannot be read: {error.strerror or error}"]) from None
    if is_hdf5(content[:1024]):
        return _rows(source, read_hdf5(source), annotations)
    if is_matlab(content[:1024]):
        return _rows(source, read_matlab(source), annotations)
    try:
        text = content.decode("utf-8-sig")
        found = parse_json(content) if text.lstrip()[:1] in ("[", "{") else None
    except ValueError as error:
        raise DataError([f"{source.name}: neither JSON nor csv: {error}"]) from None
    if isinstance(found, list) and found and all(isinstance(row, dict) and "image_id" in row for row in found):
        return _coco_results(source, found, annotations)
    if isinstance(found, dict) and annotations.dims == 2 and is_coco_predictions(found):
        return _match(*coco_points(source, found), annotations)
    return _match(*own_points(source, text, found, annotations), annotations)


def _match(points: list[Point], mistakes: list[str], annotations: Annotations) -> Predictions:
    places = Places(annotations)
    keypoints, score = nothing_predicted(annotations)
    names = {name: k for k, name in enumerate(annotations.schema.names)}
    rows: dict[tuple[str, str], int | str | None] = {}
    told: dict[tuple[int, int], str] = {}
    strange: dict[str, int] = defaultdict(int)
    for point in points:
        key = (point.image, point.instance)
        if key not in rows:
            rows[key] = places.find(*key)
            if isinstance(rows[key], str):
                mistakes.append(f"{point.where}: {rows[key]}")
        n, k = rows[key], names.get(point.keypoint)
        if k is None:
            strange[point.keypoint] += 1
        elif isinstance(n, int):
            if (n, k) in told:
                mistakes.append(f"{point.where}: keypoint {point.keypoint} stands in {told[n, k]} already")
            told[n, k] = point.where
            keypoints[n, k], score[n, k] = point.place, point.score
    if mistakes:
        raise DataError(mistakes)
    notes = [
        f"{counted(n, 'prediction')} of {name!r}, which {annotations.source.name} does not name"
        for name, n in strange.items()
    ]
    unmatched = [f"{image} {instance}".strip() for (image, instance), n in rows.items() if n is None]
    return Predictions(keypoints, score, unmatched=(*notes, *unmatched_note(unmatched, annotations)))


# --- COCO results ------------------------------------------------------------------------------------------------


def _coco_results(source: Path, found: list[dict[str, Any]], annotations: Annotations) -> Predictions:
    images = _coco_images(source, annotations.source)
    places, rows = Places(annotations), {label: n for n, label in enumerate(annotations.ids)}
    keypoints, score = nothing_predicted(annotations)
    mistakes: list[str] = []
    unmatched: list[str] = []
    groups: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for i, result in enumerate(found):
        kind = "annotation_id" if "annotation_id" in result else "image_id"
        groups[kind, str(result[kind])].append((i, result))
    for (kind, label), results in groups.items():
        i, result = results[0]
        where = f"{source.name}: result {i} ({kind} {label})"
        if kind == "image_id":
            known = places.only(images.get(label, ""))
            what = "labelled instances in the image: which is whose, annotation_id would tell"
        else:
            known = [rows[label]] if label in rows else []
            what = "instance"
        if not known:
            unmatched += [f"{kind} {label}"] * len(results)
        elif len(known) > 1 or len(results) > 1:
            mistakes.append(f"{where}: {counted(len(results), 'result')} for {len(known)} {what}")
        else:
            table = _triples(result.get("keypoints"), len(annotations.schema.names))
            if table is None:
                expected = f"3 numbers for each of {len(annotations.schema.names)} keypoints"
                mistakes.append(f"{where}: keypoints should be {expected}, x, y and a score")
            else:
                keypoints[known[0]], score[known[0]] = table[:, :2], table[:, 2]
    if mistakes:
        raise DataError(mistakes)
    return Predictions(keypoints, score, unmatched=unmatched_note(unmatched, annotations))


def _coco_images(source: Path, annotated: Path) -> dict[str, str]:
    """Image name by its id, as a text, from the COCO file that was read as annotations."""
    try:
        content = parse_json(annotated.read_bytes())
        return {str(image["id"]): image["file_name"] for image in content["images"]}
    except (ValueError, TypeError, KeyError):
        raise DataError(
            [f"{source.name}: COCO results name images by number, so the annotations must be COCO JSON: {annotated}"]
        ) from None


def _triples(values: Any, count: int) -> NDArray[np.float64] | None:
    try:
        table = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    return table.reshape(count, 3) if table.shape == (3 * count,) and not np.isinf(table).any() else None


# --- MPII's preds ------------------------------------------------------------------------------------------------


def _rows(source: Path, table: dict[str, Any], annotations: Annotations) -> Predictions:
    if "preds" not in table:
        found = ", ".join(name for name in table if not name.startswith("__")) or "nothing"
        raise DataError([f"{source.name}: no predictions: no preds in it, but {found}"])
    n, k = annotations.visibility.shape
    if annotations.dims != 2:
        raise DataError(
            [f"{source.name}: preds are places (x, y) in pictures; {annotations.source.name} is of others"]
        )
    preds = np.asarray(table["preds"], dtype=np.float64)
    preds = preds[None] if preds.ndim == 2 and n == 1 else preds
    if preds.ndim == 3 and preds.shape[:2] != (n, k):
        preds = preds.transpose(2, 1, 0)  # MATLAB's order of axes
    if preds.ndim != 3 or preds.shape[:2] != (n, k) or preds.shape[2] not in (2, 3):
        raise DataError(
            [
                f"{source.name}: preds are {np.shape(table['preds'])}, but should be {(n, k, 2)}, a row for each of "
                f"the {counted(n, 'instance')} with {counted(k, 'keypoint')} of {annotations.source.name}"
            ]
        )
    if np.isinf(preds).any():
        row, point = np.argwhere(np.isinf(preds))[0, :2].tolist()
        raise DataError([f"{source.name}: row {row}: keypoint {annotations.schema.names[point]} is infinite"])
    notes = ["preds count pixels from 1, as MPII does: 1 px subtracted"]
    if n == preds.shape[2]:
        notes.append(f"preds of that shape might also be {(n, k, n)} in MATLAB's order: taken as a row each")
    zeros = int((preds[..., :2] == 0).all(-1).sum())
    if zeros:
        notes.append(f"{counted(zeros, 'predicted point')} at exactly (0, 0): counted as they stand")
    score = preds[..., 2] if preds.shape[2] == 3 else np.full((n, k), np.nan)
    return Predictions(preds[..., :2] - FIRST_PIXEL, score, tuple(notes))
