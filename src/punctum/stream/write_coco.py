"""Predictions as a COCO keypoints file: images, one category, and an annotation with scores for each instance."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from punctum.schema import Schema
from punctum.stream.results import Results

CATEGORY = 1


def write_coco(results: Results, path: Path) -> None:
    """A file that stands on its own: labelling tools open it, and `punctum.data.read` reads it.

    Every point has visibility 2; `keypoint_scores` says how sure it is, `score` is their mean. A box is that of the
    crop where there was one, else that of the points.
    """
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"categories": [{json.dumps(_category(results.schema))}],\n"images": [')
        _write_rows(file, _images(results))
        file.write('],\n"annotations": [')
        _write_rows(file, _annotations(results))
        file.write("]}\n")


def _write_rows(file: Any, rows: Iterator[dict[str, Any]]) -> None:
    before = "\n"
    for row in rows:
        file.write(before + json.dumps(row))
        before = ",\n"


def _category(schema: Schema) -> dict[str, Any]:
    category: dict[str, Any] = {"id": CATEGORY, "name": "instance", "keypoints": list(schema.names)}
    category["skeleton"] = [[i + 1, j + 1] for i, j in schema.skeleton]
    category["flip_pairs"] = [list(pair) for pair in schema.flip_pairs]
    if schema.sigmas is not None:
        category["sigmas"] = list(schema.sigmas)
    return category


class _Numbers:
    """Images numbered from 1 in the order in which they come; frames need not be remembered to be told apart."""

    def __init__(self) -> None:
        self.count, self._last, self._known = 0, "", dict[str, int]()

    def of(self, image: str, frame: int | None) -> tuple[int, bool]:
        """The number, and whether it is new."""
        if image == self._last or image in self._known:
            return self._known.get(image, self.count), False
        self.count, self._last = self.count + 1, image
        if frame is None:
            self._known[image] = self.count
        return self.count, True


def _images(results: Results) -> Iterator[dict[str, Any]]:
    numbers = _Numbers()
    for piece in results.pieces():
        sizes = iter([] if piece.points is None else piece.points.image_sizes.tolist())
        for entry in piece.entries:
            size = next(sizes) if entry.found else None
            number, new = numbers.of(entry.image, entry.frame)
            if not new or entry.error:
                continue
            row: dict[str, Any] = {"id": number, "file_name": entry.image}
            if size is not None:
                row |= {"width": size[1], "height": size[0]}
            yield row if entry.frame is None else {**row, "frame": entry.frame, "time": entry.time}


def _annotations(results: Results) -> Iterator[dict[str, Any]]:
    numbers, n = _Numbers(), 0
    for piece in results.pieces():
        predictions = iter(piece.predictions(results.schema))
        for entry in piece.entries:
            image, _ = numbers.of(entry.image, entry.frame)
            if not entry.found:
                continue
            p, n = next(predictions), n + 1
            low, high = p.keypoints.min(0), p.keypoints.max(0)
            given = entry.box is not None and np.isfinite(entry.box).all()
            box = np.asarray(entry.box) if given else np.concatenate([low, high - low])
            yield {
                "id": n,
                "image_id": image,
                "category_id": CATEGORY,
                "keypoints": [v for x, y in p.keypoints.tolist() for v in (round(x, 4), round(y, 4), 2)],
                "num_keypoints": len(p.names),
                "keypoint_scores": p.score.round(6).tolist(),
                "score": round(float(p.score.mean()), 6),
                "bbox": box.round(4).tolist(),
                "area": round(float(box[2] * box[3]), 4),
                "iscrowd": 0,
                "instance": p.instance,
            }
