"""AP after rescoring: the same points in another order, that of what they are worth by a better score."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from punctum.metrics.average_precision import average_precision

Row = dict[str, Any]


def rescored(results: Sequence[Mapping[str, Any]], score: Tensor, boxes: Tensor | None = None) -> list[Row]:
    """Detections with another score: the mean of their keypoints' scores, times that of the box where it is given.

        s[n] = b[n] 1/K sum_k score[n, k]

    Args:
        results: N rows of COCO's results.
        score: (N, K) in the rows' order: recalibrated probabilities, or expected OKS. NaN is left out of the mean; a
            row of nothing but NaN gets 0.
        boxes: (N,), how sure a detector was of each box.
    Returns:
        N new rows; those given stay as they are.
    Raises:
        ValueError: there are not as many scores as rows.
    Example:
        >>> import torch
        >>> [row["score"] for row in rescored([{"score": 1}, {"score": 1}], torch.tensor([[0.5, 1.0], [0.25, 0.25]]))]
        [0.75, 0.25]
    """
    if score.ndim != 2 or len(score) != len(results) or (boxes is not None and boxes.shape != score.shape[:1]):
        raise ValueError(
            f"{len(results)} detections need scores ({len(results)}, K), got {tuple(score.shape)}"
            + ("" if boxes is None else f", and scores of boxes ({len(results)},), got {tuple(boxes.shape)}")
        )
    means = score.double().nanmean(1).nan_to_num(nan=0.0)
    means = means if boxes is None else means * boxes.double()
    return [{**row, "score": value} for row, value in zip(results, means.tolist(), strict=True)]


def rescored_average_precision(
    truth: str | Path | Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    score: Tensor,
    *,
    boxes: Tensor | None = None,
    sigmas: Sequence[float] | None = None,
) -> dict[str, dict[str, float | None]]:
    """COCO's AP and AR of detections as they are, and after they have been rescored.

    AP depends on scores by their order alone, over all pictures: by how well the score tells good instances from bad.

    Args:
        truth: a COCO keypoints JSON, or its content.
        results: N rows of COCO's results, with their own score.
        score: (N, K), see `rescored`.
        boxes: (N,), see `rescored`.
        sigmas: see `average_precision`.
    Returns:
        "as_given" and "rescored", each what `average_precision` returns.
    Raises:
        ImportError: faster-coco-eval is not installed.
        ValueError: what `rescored` and `average_precision` raise.
    Source:
        Gu et al. 2024, arXiv:2311.17105: scores of instances that follow their expected OKS.
    """
    return {
        "as_given": average_precision(truth, results, sigmas),
        "rescored": average_precision(truth, rescored(results, score, boxes), sigmas),
    }
