"""OKS-AP: COCO's average precision and recall for keypoints, computed by faster-coco-eval."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from punctum.json_file import read_json
from punctum.metrics.oks import BOX_SHARE, COCO_NAMES, COCO_SIGMAS

NAMES = ("AP", "AP50", "AP75", "AP_M", "AP_L", "AR", "AR50", "AR75", "AR_M", "AR_L")

Row = dict[str, Any]


def average_precision(
    truth: str | Path | Mapping[str, Any],
    results: str | Path | Sequence[Mapping[str, Any]],
    sigmas: Sequence[float] | None = None,
) -> dict[str, float | None]:
    """COCO's keypoint AP and AR: detections matched to people by OKS, averaged over OKS 0.50, 0.55, ..., 0.95.

    All rows of the annotation file count, also those that training leaves out: a detection on a crowd, or on an
    instance without labelled keypoints, is neither right nor wrong, and an instance without a detection is
    missed. _M and _L are of areas from 32^2 to 96^2 and above. At most 20 detections of an image count, the ones
    with the highest scores.

    What a file of one's own may lack is filled in: `iscrowd` is 0, `num_keypoints` is counted, `area` is 0.53 times
    the box, `bbox` is what the labelled points span (it matters where nothing is labelled).

    Args:
        truth: a COCO keypoints JSON, or its content.
        results: a COCO results JSON, or its rows: image_id, category_id, keypoints (3 K numbers; every third is not
            looked at), score, and perhaps bbox.
        sigmas: (K,); None: the category's `sigmas`, or COCO's where the keypoints are COCO's.
    Returns:
        AP, AP50, AP75, AP_M, AP_L, AR, AR50, AR75, AR_M and AR_L, in [0, 1]; None where there is no instance of
        that size.
    Raises:
        ImportError: faster-coco-eval is not installed.
        ValueError: there are no sigmas; a row is broken (it is named), or names an image that is not in the file.
        OSError: a file cannot be read.
    Source:
        Lin et al. 2014, arXiv:1405.0312; https://cocodataset.org/#keypoints-eval.
    Example:
        >>> category = {"id": 1, "name": "pin", "keypoints": ["tip", "end"], "sigmas": [0.05, 0.05]}
        >>> pin = {"image_id": 7, "category_id": 1, "keypoints": [10, 10, 2, 90, 90, 2]}
        >>> truth = {"images": [{"id": 7}], "categories": [category], "annotations": [{**pin, "area": 6400}]}
        >>> average_precision(truth, [{**pin, "score": 0.9}])["AP"]
        1.0
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise ImportError("AP needs faster-coco-eval: pip install 'punctum[coco]'") from error
    content = _load(truth, dict, "an object with images, annotations and categories")
    rows = _load(results, list, "a list of detections")
    category = keypoint_category(content)
    scale = _sigmas(category, sigmas)
    numbers = {row.get("id"): i for i, row in enumerate(content["images"], start=1)}
    reference = COCO(_truth(content, category, numbers))
    found = reference.loadRes(_detections(rows, category, numbers))
    evaluation = COCOeval_faster(reference, found, "keypoints", kpt_oks_sigmas=scale)
    # The evaluator takes only categories that have an annotation; a file may have none.
    evaluation.params.catIds = [1]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {n: None if v < 0 else float(v) for n, v in zip(NAMES, evaluation.stats, strict=True)}


def keypoint_category(content: Mapping[str, Any]) -> Row:
    """The one category with keypoints; where there are several, the one with annotations.

    Raises:
        ValueError: there is none, or more than one.
    """
    able = [row for row in content["categories"] if row.get("keypoints") and "id" in row]
    if len(able) > 1:
        used = {row.get("category_id") for row in content["annotations"]}
        able = [row for row in able if row.get("id") in used]
    if len(able) != 1:
        listed = ", ".join(repr(row.get("name")) for row in content["categories"])
        raise ValueError(f"annotations: there must be one category with keypoints, got: {listed or 'none'}")
    return able[0]


def _load(source: Any, kind: type, meaning: str) -> Any:
    where = "it"
    if isinstance(source, str | Path):
        where = str(source)
        source = read_json(source)
    fits = (
        isinstance(source, Sequence) and not isinstance(source, str) if kind is list else isinstance(source, Mapping)
    )
    if not fits:
        raise ValueError(f"{where}: expected {meaning}")
    if kind is dict:
        missing = [key for key in ("images", "annotations", "categories") if not isinstance(source.get(key), list)]
        if missing:
            raise ValueError(f"{where}: expected {meaning}; {', '.join(missing)} should be a list")
    return source


def _sigmas(category: Row, sigmas: Sequence[float] | None) -> list[float]:
    names = category["keypoints"]
    values = sigmas if sigmas is not None else category.get("sigmas")
    if values is None and tuple(names) == COCO_NAMES:
        values = COCO_SIGMAS
    if values is None:
        raise ValueError(
            "OKS needs a sigma for each keypoint: give them, or put `sigmas` into the category of the annotations"
        )
    if len(values) != len(names) or not all(_is_number(s) and s > 0 for s in values):
        raise ValueError(f"sigmas must be {len(names)} positive numbers, one per keypoint, got {list(values)}")
    return [float(s) for s in values]


def _truth(content: Mapping[str, Any], category: Row, numbers: Mapping[Any, int]) -> Row:
    """The file with what may be missing, and ids from 1: the evaluator takes id 0 for `unmatched`."""
    annotations: list[Row] = []
    for position, row in enumerate(content["annotations"]):
        if row.get("category_id") != category["id"]:
            continue
        where = f"annotation {row.get('id', f'at position {position}')}"
        points = _points(row.get("keypoints") or [0] * (3 * len(category["keypoints"])), category, where)
        labelled = points[points[:, 2] > 0, :2]
        count, box = row.get("num_keypoints"), _box(row, where)
        count = len(labelled) if count is None else int(count)
        ignored = bool(row.get("iscrowd")) or count == 0
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": _image(row, numbers, where),
                "category_id": 1,
                "keypoints": points.flatten().tolist(),
                "num_keypoints": count,
                "iscrowd": int(bool(row.get("iscrowd"))),
                "bbox": box or _span(labelled),
                "area": _area(row, box, where, ignored),
            }
        )
    return {
        "images": [{"id": i} for i in numbers.values()],
        "categories": [{**category, "id": 1}],
        "annotations": annotations,
    }


def _area(row: Row, box: Sequence[float] | None, where: str, ignored: bool) -> float:
    if _is_number(row.get("area")):
        return float(row["area"])
    if box:
        return BOX_SHARE * box[2] * box[3]
    if ignored:
        return 0.0
    raise ValueError(f"{where} has neither an area nor a bbox, and OKS is relative to its size")


def _box(row: Mapping[str, Any], where: str) -> list[float] | None:
    """The row's box, or None where it has none."""
    box = row.get("bbox")
    if not box:
        return None
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(map(_is_number, box)):
        raise ValueError(f"{where}: bbox should be [x, y, width, height], got {box!r}")
    return [float(v) for v in box]


def _span(points: Any) -> list[float]:
    if not len(points):
        return [0.0, 0.0, 0.0, 0.0]
    low, high = points.min(0), points.max(0)
    return [*low.tolist(), *(high - low).tolist()]


def _detections(rows: Sequence[Mapping[str, Any]], category: Row, numbers: Mapping[Any, int]) -> list[Row]:
    detections = []
    for position, row in enumerate(rows):
        where = f"results: row {position}"
        if not isinstance(row, Mapping):
            raise ValueError(f"{where}: expected an object, got {row!r}")
        image, points = _image(row, numbers, where), _points(row.get("keypoints"), category, where)
        box = _box(row, where)
        if not _is_number(row.get("score")):
            raise ValueError(f"{where}: its score {row.get('score')!r} is not a number; AP ranks detections by it")
        if row.get("category_id") == category["id"]:
            detections.append(
                {"image_id": image, "category_id": 1, "keypoints": points.flatten().tolist(), "score": row["score"]}
                | ({"bbox": box} if box else {})
            )
    if rows and not detections:
        raise ValueError(f"results: no row has category_id {category['id']!r}, the category of the annotations")
    # A detection's size is that of its box, else what its points span: of all rows alike.
    if not all("bbox" in row for row in detections):
        for row in detections:
            row.pop("bbox", None)
    return detections


def _image(row: Mapping[str, Any], numbers: Mapping[Any, int], where: str) -> int:
    value = row.get("image_id")
    if not isinstance(value, int | str) or value not in numbers:
        raise ValueError(f"{where}: image_id {value!r} is not among the images of the annotations")
    return numbers[value]


def _points(values: Any, category: Row, where: str) -> Any:
    count = len(category["keypoints"])
    if not isinstance(values, list | tuple) or len(values) != 3 * count or not all(map(_is_number, values)):
        raise ValueError(
            f"{where}: keypoints must be {3 * count} finite numbers, x, y and v of {count} points; "
            f"got {len(values) if isinstance(values, list | tuple) else values!r}"
        )
    return np.array(values, dtype=np.float64).reshape(count, 3)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
