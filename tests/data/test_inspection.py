"""What only the pixels tell."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from punctum.data import DataError, check_images, inspect, read_coco

Write = Callable[..., Path]


def test_a_good_set(write_coco: Write) -> None:
    annotations = read_coco(write_coco())
    found = inspect(annotations)
    assert found.sizes.tolist() == [[40, 60]] * 3
    assert found.labelled.tolist() == [3, 2, 3]
    assert found.outside.tolist() == [0, 0, 0]
    assert found.notes == annotations.notes
    assert found.suspicious == ()
    assert np.array_equal(check_images(annotations), found.sizes)


def test_points_and_boxes_outside_are_counted_and_named(write_coco: Write) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][0]["keypoints"][:2] = [59.6, 20]
        content["annotations"][0]["keypoints"][3:5] = [59.5, 39.5]  # the very edge is inside
        content["annotations"][1]["keypoints"][0] = -3
        content["annotations"][1]["bbox"] = [100, 5, 10, 10]

    found = inspect(read_coco(write_coco(change)))
    assert found.outside.tolist() == [2, 0, 0]
    assert "2 labelled points outside the image: trained as not visible" in found.notes
    assert "1 instance whose box lies outside the image" in found.notes
    assert found.suspicious == (
        "train.json: 1 (a.png, 60 x 40): nose at (59.6, 20.0) lies outside the image",
        "train.json: 2 (a.png, 60 x 40): its box [100.0, 5.0, 10.0, 10.0] lies outside the image",
        "train.json: 2 (a.png, 60 x 40): nose at (-3.0, 15.0) lies outside the image",
    )


def test_every_unreadable_image_at_once(write_coco: Write, capfd: pytest.CaptureFixture[str]) -> None:
    annotations = read_coco(write_coco())
    annotations.images[0].write_bytes(b"")
    annotations.images[2].write_bytes(b"BM but not a picture")
    for function in (inspect, check_images):
        with pytest.raises(DataError, match=r"2 mistakes") as caught:
            function(annotations)
        assert "a.png: the file is empty" in str(caught.value)
        assert "b.png: not an image" in str(caught.value)
    assert "ERROR" not in capfd.readouterr().err


def test_dark_sixteen_bit_images_are_noted(write_coco: Write) -> None:
    annotations = read_coco(write_coco())
    cv2.imwrite(str(annotations.images[0]), np.full((40, 60), 4095, np.uint16))
    notes = inspect(annotations).notes
    assert "1 16-bit image below an eighth of the full range: intensity 'percentile' stretches them" in notes


def test_float_images_are_checked_before_training(write_coco: Write) -> None:
    annotations = read_coco(write_coco())
    path = annotations.images[0]
    cv2.imwrite(str(path.with_suffix(".tiff")), np.full((40, 60), 7.5, np.float32), [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    path.with_suffix(".tiff").rename(path)
    with pytest.raises(DataError, match=r"a.png: the float image spans \[7.5, 7.5\]"):
        inspect(annotations)
    assert inspect(annotations, "percentile").sizes.tolist() == [[40, 60]] * 3
