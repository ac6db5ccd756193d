"""Predictions in the forms that other tools take: a pandas table, COCO results, supervision's KeyPoints."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from punctum.image_prediction import ImagePrediction

AXES = "xyz"


def to_dataframe(predictions: Sequence[ImagePrediction]) -> Any:
    """A table with a row per point: the columns of `punctum predict`'s csv, unrounded, and regions of every level.

    Args:
        predictions: of one model, K points each.
    Returns:
        A pandas DataFrame: image, instance, keypoint, x, y[, z], score, cov_xx, ... in pixels squared, where they are
        known present, radius_95, ellipse_95, area_95 (of each level), the flags as columns of bool, and typical.
    Raises:
        ImportError: pandas is not there.
    Example:
        >>> import numpy as np
        >>> one = ImagePrediction("a.png", "", ("nose",), np.array([[3.0, 4.5]]), np.array([0.9]), None)
        >>> to_dataframe([one])[["image", "keypoint", "x", "y", "score"]].to_dict("records")
        [{'image': 'a.png', 'keypoint': 'nose', 'x': 3.0, 'y': 4.5, 'score': 0.9}]
    """
    try:
        import pandas as pd
    except ImportError:
        raise ImportError("to_dataframe makes a table of pandas: pip install 'punctum[dataframe]'") from None
    rows = [row for prediction in predictions for row in _rows(prediction)]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["image", "instance", "keypoint", "x", "y", "score"])


def _rows(prediction: ImagePrediction) -> list[dict[str, Any]]:
    p, dims = prediction, prediction.keypoints.shape[-1]
    pairs = list(itertools.combinations_with_replacement(range(dims), 2))
    rows = []
    for k, name in enumerate(p.names):
        row: dict[str, Any] = {"image": p.image, "instance": p.instance, "keypoint": name}
        row |= {AXES[a]: float(p.keypoints[k, a]) for a in range(dims)} | {"score": float(p.score[k])}
        for i, j in pairs:
            row[f"cov_{AXES[i]}{AXES[j]}"] = np.nan if p.covariance is None else float(p.covariance[k, i, j])
        if p.present is not None:
            row["present"] = float(p.present[k])
        if p.trust is not None:
            for n, level in enumerate(p.trust.levels):
                sizes = {"radius": p.trust.radius, "ellipse": p.trust.factor, "area": p.trust.area}
                known = {kind: size for kind, size in sizes.items() if size is not None}
                row |= {f"{kind}_{100 * level:g}": float(size[k, n]) for kind, size in known.items()}
            row |= {flag: bool(values[k]) for flag, values in p.trust.flags.items()}
            row["typical"] = float(p.trust.typical)
        rows.append(row)
    return rows


def to_coco(
    predictions: Sequence[ImagePrediction],
    *,
    image_ids: Mapping[str, int] | None = None,
    category_id: int = 1,
) -> list[dict[str, Any]]:
    """COCO keypoint results, as COCO's evaluation takes them and `json.dump` writes them.

    The third number of each point is its score; the instance's score is their mean. Points are in our pixels, which
    are COCO's as punctum reads it.

    Args:
        predictions: of pictures.
        image_ids: COCO's number of each picture, by the path as it was given or by its last part; None: pictures are
            numbered from 1, in their order. `file_name` says which is which.
        category_id: COCO's number of the category.
    Returns:
        An object per instance: image_id, file_name, category_id, keypoints (3 K numbers), score; annotation_id and
        covariance (K, 2, 2) where they are known.
    Raises:
        ValueError: points of volumes; a picture that is not among `image_ids`.
    Example:
        >>> import numpy as np
        >>> one = ImagePrediction("a.png", "", ("nose",), np.array([[3.0, 4.5]]), np.array([0.9]), None)
        >>> to_coco([one])
        [{'image_id': 1, 'file_name': 'a.png', 'category_id': 1, 'keypoints': [3.0, 4.5, 0.9], 'score': 0.9}]
    """
    _check_plane(predictions, "COCO results")
    numbers = {name: i for i, name in enumerate(dict.fromkeys(p.image for p in predictions), 1)}
    results = []
    for p in predictions:
        number = numbers[p.image] if image_ids is None else _known(image_ids, p.image)
        table = np.concatenate([p.keypoints, p.score[:, None]], axis=1)
        result: dict[str, Any] = {"image_id": number, "file_name": p.image, "category_id": category_id}
        result |= {"keypoints": table.ravel().tolist(), "score": float(p.score.mean())}
        if p.instance:
            result["annotation_id"] = int(p.instance) if p.instance.isdecimal() else p.instance
        if p.covariance is not None:
            result["covariance"] = p.covariance.tolist()
        results.append(result)
    return results


def _known(image_ids: Mapping[str, int], image: str) -> int:
    for name in (image, PurePath(image).name):
        if name in image_ids:
            return image_ids[name]
    raise ValueError(f"image_ids has no number for {image!r}, nor for {PurePath(image).name!r}")


def to_supervision(predictions: Sequence[ImagePrediction]) -> Any:
    """supervision's KeyPoints of one picture: its instances, scores as confidences, covariances for its ellipses.

    `VertexEllipseHaloAnnotator` and its like draw `data["covariance"]`, in pixels squared, at so many standard
    deviations; of a calibrated model they are those of its errors.

    Args:
        predictions: the instances of one picture.
    Returns:
        A supervision.KeyPoints: xy (N, K, 2), keypoint_confidence (N, K), detection_confidence (N,) their means,
        class_id (N,) zeros, data["covariance"] (N, K, 2, 2) where it is known, data["instance"] (N,).
    Raises:
        ImportError: supervision is not there.
        ValueError: points of volumes, no prediction, several pictures, or instances of different models.
    """
    try:
        import supervision as sv
    except ImportError:
        raise ImportError(
            "to_supervision makes supervision's KeyPoints: pip install 'punctum[supervision]'"
        ) from None
    _check_plane(predictions, "supervision's KeyPoints")
    pictures = list(dict.fromkeys(p.image for p in predictions))
    if len(pictures) != 1:
        raise ValueError(f"to_supervision takes the instances of one picture, got {len(pictures)} pictures")
    if len({p.names for p in predictions}) > 1:
        raise ValueError("to_supervision takes instances with the same keypoints")
    scores = np.stack([p.score for p in predictions]).astype(np.float32)
    data: dict[str, Any] = {"instance": np.array([p.instance for p in predictions])}
    covariances = [p.covariance for p in predictions if p.covariance is not None]
    if len(covariances) == len(predictions):
        data["covariance"] = np.stack(covariances).astype(np.float32)
    return sv.KeyPoints(
        xy=np.stack([p.keypoints for p in predictions]).astype(np.float32),
        class_id=np.zeros(len(predictions), dtype=int),
        keypoint_confidence=scores,
        detection_confidence=scores.mean(axis=1),
        data=data,
    )


def _check_plane(predictions: Sequence[ImagePrediction], what: str) -> None:
    dims = {p.keypoints.shape[-1] for p in predictions} - {2}
    if dims:
        raise ValueError(f"{what} are points (x, y) in pictures; these have {dims.pop()} coordinates")
