"""Pictures finished by the batch are the pictures that are finished one by one."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from smooth import misplaced, pictures

from punctum.data import Augmentation, CropSettings, KeypointDataset, develop
from punctum.data.drafts import warp_windows
from punctum.data.window_fill import fill_memory

# Colour factors would make rounding larger than it is.
SOME = Augmentation(rotation=45, scale=0.3, shift=0.1, colour=0.1)


@pytest.mark.parametrize(("size", "box"), [((96, 128), 300), ((64, 64), 150), ((96, 96), 60)])
def test_the_warp_on_the_device_is_that_of_the_workers(tmp_path: Path, size: tuple[int, int], box: float) -> None:
    annotations, crop = pictures(tmp_path, box=box), CropSettings(size)
    windows = fill_memory(annotations, crop, SOME, planned=0)
    finished = KeypointDataset(annotations, crop, SOME, seed=3)
    drafts = KeypointDataset(annotations, crop, SOME, seed=3, windows=windows, hand_over="windows")
    sides, checked = [], 0
    for epoch in range(8):
        indices = [(epoch, i) for i in range(len(annotations))]
        one, draft = finished.__getitems__(indices), drafts.__getitems__(indices)
        sides.append(draft.side)
        other = develop(draft, size)
        assert draft.images.dtype == torch.uint8
        assert float((one.images - other.images).abs().max()) < 2 / 255
        assert torch.equal(one.coords, other.coords)
        assert not misplaced(other) > 0.05
        checked += misplaced(other) >= 0
    assert checked or box < 200
    assert max(sides) > 1.3 or box == 60


def test_bytes_are_a_quarter_and_colour_comes_by_the_batch(tmp_path: Path) -> None:
    annotations, crop = pictures(tmp_path, box=100), CropSettings((48, 48))
    one = KeypointDataset(annotations, crop, SOME).__getitems__([0, 1, 2])
    draft = KeypointDataset(annotations, crop, SOME, hand_over="bytes").__getitems__([0, 1, 2])
    assert draft.images.nbytes * 4 == one.images.nbytes
    assert float((one.images - develop(draft, (48, 48)).images).abs().max()) < 1.5 / 255
    assert develop(one, (48, 48)) is one
    assert develop(draft.to("cpu"), (48, 48)).images.is_contiguous()
    assert type(draft.to("meta")) is type(draft)


def test_the_blur_of_a_shrinking_warp_has_its_variance() -> None:
    """The spread of a single bright pixel: (side^2 - 1) / 4 and the sixth that interpolation itself has."""
    for side in (1.0, 1.3, 2.0, 3.3):
        size, mass, moment = (64, 64), 0.0, 0.0
        window = torch.zeros(1, 1, 301, 301, dtype=torch.float64)
        window[..., 150, 150] = 1
        # Over all phases of the bright pixel in the crop's grid.
        for phase in (torch.arange(32, dtype=torch.float64) - 15.5) / 32:
            matrix = torch.eye(3, dtype=torch.float64)[None] * (side * 64 / 301)
            matrix[..., 2, 2] = 1
            matrix[0, 0, 2] = phase * side * 2 / 301
            crop = warp_windows(window, matrix, size, side)[0, 0]
            places = (torch.arange(64, dtype=torch.float64) - 31.5 + phase) * side
            mass, moment = mass + float(crop.sum()), moment + float((crop.sum(0) * places**2).sum())
        assert moment / mass == pytest.approx((side**2 - 1) / 4 + 1 / 6, rel=0.03), side


def test_without_shrinking_it_is_plain_interpolation() -> None:
    window = torch.rand(2, 3, 20, 30)
    angle = math.radians(20)
    rotation = [[math.cos(angle), -math.sin(angle), 0.1], [math.sin(angle), math.cos(angle), 0.0], [0, 0, 1]]
    matrix = torch.tensor(rotation).expand(2, 3, 3) * torch.tensor([0.5, 0.5, 1])[:, None]
    grid = F.affine_grid(matrix[:, :2], [2, 3, 40, 40], align_corners=False)
    expected = F.grid_sample(window, grid, align_corners=False)
    assert torch.allclose(warp_windows(window, matrix, (40, 40), 0.5), expected, atol=1e-5)
