"""The normalizer: what each word means, what it refuses, what it leaves out."""

import math

import pytest
import torch

from punctum.metrics import Normalizer
from punctum.schema import Schema

SCHEMA = Schema(("hip", "neck", "head_top"))
TARGET = torch.tensor(
    [
        [[0.0, 0.0], [10.0, 20.0], [13.0, 24.0]],
        [[0.0, 0.0], [10.0, 20.0], [torch.nan, torch.nan]],
        [[0.0, 0.0], [5.0, 5.0], [5.0, 5.0]],
    ]
)
VISIBLE = ~TARGET.isnan().any(-1)


def test_keypoints():
    normalizer = Normalizer.parse(" keypoints: neck , head_top", SCHEMA)
    lengths = normalizer.lengths(TARGET, VISIBLE)
    assert lengths.dtype == torch.float64
    assert lengths[0] == 5
    assert lengths[1:].isnan().all()
    assert str(normalizer) == "keypoints:neck,head_top (distance of neck and head_top)"
    assert normalizer.why_unusable == "neck or head_top is not labelled, or the length is zero"


def test_keypoints_with_a_place_that_does_not_count():
    hidden = VISIBLE.clone()
    hidden[0, 1] = False
    assert Normalizer.parse("keypoints:neck,head_top", SCHEMA).lengths(TARGET, hidden).isnan().all()


def test_bbox_is_the_longer_side():
    boxes = torch.tensor([[5.0, 5.0, 30.0, 40.0], [math.nan] * 4, [5.0, 5.0, 0.0, 0.0]])
    normalizer = Normalizer.parse("bbox", SCHEMA)
    assert normalizer.lengths(TARGET, VISIBLE, boxes=boxes)[0] == 40
    assert normalizer.lengths(TARGET, VISIBLE, boxes=boxes)[1:].isnan().all()
    assert str(normalizer) == "bbox (longer side of the bounding box)"


def test_image_is_the_longer_side_and_pixels_are_pixels():
    sizes = torch.tensor([[48, 64], [100, 20], [7, 7]])
    assert Normalizer.parse("image", SCHEMA).lengths(TARGET, VISIBLE, image_sizes=sizes).tolist() == [64, 100, 7]
    assert Normalizer.parse("pixels", SCHEMA).lengths(TARGET, VISIBLE).tolist() == [1, 1, 1]


def test_a_minimum_leaves_short_lengths_out_and_says_so():
    normalizer = Normalizer.parse("image", SCHEMA, minimum=64)
    lengths = normalizer.lengths(TARGET, VISIBLE, image_sizes=torch.tensor([[48, 64], [100, 20], [7, 7]]))
    assert lengths[:2].tolist() == [64, 100]
    assert lengths[2].isnan()
    assert "under 64 px" in normalizer.why_unusable
    assert str(normalizer) == "image (longer side of the image, at least 64 px)"


@pytest.mark.parametrize("text", ["keypoints:neck,chin", "keypoints:neck", "keypoints", "keypoints:neck,neck"])
def test_wrong_keypoints_are_told_which_there_are(text):
    with pytest.raises(ValueError, match="there are: hip, neck, head_top"):
        Normalizer.parse(text, SCHEMA)


@pytest.mark.parametrize(("text", "message"), [("box", "unknown normalizer 'box'"), ("bbox:neck", "takes names")])
def test_wrong_words(text, message):
    with pytest.raises(ValueError, match=message):
        Normalizer.parse(text, SCHEMA)


def test_missing_or_misshapen_tables():
    with pytest.raises(ValueError, match=r"needs boxes, \(3, 4\)"):
        Normalizer.parse("bbox", SCHEMA).lengths(TARGET, VISIBLE)
    with pytest.raises(ValueError, match=r"image_sizes must be \(3, 2\)"):
        Normalizer.parse("image", SCHEMA).lengths(TARGET, VISIBLE, image_sizes=torch.ones(2, 2))
    with pytest.raises(ValueError, match="too few"):
        Normalizer.parse("keypoints:neck,head_top", SCHEMA).lengths(TARGET[:, :2], VISIBLE[:, :2])
    with pytest.raises(ValueError, match="does not fit"):
        Normalizer.parse("pixels", SCHEMA).lengths(TARGET, VISIBLE[:2])
    with pytest.raises(ValueError, match="minimum"):
        Normalizer.parse("pixels", SCHEMA, minimum=-1)
    with pytest.raises(ValueError, match=r"Normalizer\.parse"):
        Normalizer("keypoints")
