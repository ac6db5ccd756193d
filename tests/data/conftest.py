"""Small data sets on disk."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

NAMES = ["nose", "left_eye", "right_eye"]


def good_coco() -> dict[str, Any]:
    """Two images; two people in the first, one in the second, and a crowd."""
    return {
        "images": [
            {"id": 10, "file_name": "a.png", "width": 60, "height": 40},
            {"id": 11, "file_name": "b.png", "width": 60, "height": 40},
        ],
        "categories": [
            {
                "id": 1,
                "name": "person",
                "keypoints": list(NAMES),
                "skeleton": [[1, 2], [1, 3]],
                "flip_pairs": [[1, 2]],
                "sigmas": [0.026, 0.025, 0.025],
            }
        ],
        "annotations": [
            {
                "id": 1, "image_id": 10, "category_id": 1, "iscrowd": 0, "num_keypoints": 3, "bbox": [5, 6, 20, 10],
                "keypoints": [10.25, 12.5, 2, 8, 9, 1, 14, 9, 2],
            },
            {
                "id": 2, "image_id": 10, "category_id": 1, "bbox": [30, 5, 20, 20],
                "keypoints": [40, 15, 2.0, 0, 0, 0, 44.5, 12, 2],
            },
            {"id": 3, "image_id": 11, "category_id": 1, "keypoints": [20, 20, 2, 18, 17, 2, 22, 17, 2]},
            {"id": 4, "image_id": 11, "category_id": 1, "iscrowd": 1, "keypoints": [0] * 9, "bbox": [0, 0, 9, 9]},
        ],
    }  # fmt: skip


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[..., Path]:
    """Writes the good data set, changed by a function, as `data/train.json` beside `data/images`."""

    def write(change: Callable[[dict[str, Any]], object] = lambda content: None, name: str = "train.json") -> Path:
        folder = tmp_path / "data"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for image in ("a.png", "b.png"):
            cv2.imwrite(str(folder / "images" / image), np.full((40, 60, 3), 128, np.uint8))
        content = good_coco()
        change(content)
        (folder / name).write_text(json.dumps(content))
        return folder / name

    return write


@pytest.fixture
def write_dlc(tmp_path: Path) -> Callable[..., Path]:
    """Writes csv rows as `project/labeled-data/vid/CollectedData.csv` with three images beside it."""

    def write(rows: list[list[str]]) -> Path:
        folder = tmp_path / "project" / "labeled-data" / "vid"
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(3):
            cv2.imwrite(str(folder / f"img{i}.png"), np.full((40, 60), 100, np.uint8))
        path = folder / "CollectedData.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return path

    return write
