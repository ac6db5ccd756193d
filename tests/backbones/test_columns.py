"""A column of features for each column of the picture, in the right place."""

import pytest
import torch

from punctum.backbones import build


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("size", [(64, 40), (37, 51), (8, 1)])
def test_feature_size_is_what_comes_out(stride: int, size: tuple[int, int]) -> None:
    network = build("columns", output_stride=stride, width=0.125).eval()
    (features,) = network(torch.rand(2, 3, *size))
    assert features.shape == (2 * size[1], network.channels, *network.feature_size(size))


def test_column_w_of_image_b_is_sample_b_w_plus_w() -> None:
    network = build("columns", output_stride=2, width=0.125, depth=2).eval()
    images = torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(0))
    (before,) = network(images)
    changed = images.clone()
    changed[1, :, :, 10] += 1
    (after,) = network(changed)
    moved = (after - before).abs().amax((1, 2)).reshape(2, 24)
    assert (moved[0] == 0).all(), "images do not meet"
    assert moved[1].argmax() in (9, 10, 11)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_bright_row_is_found_in_its_place(stride: int) -> None:
    """What moves down by one stride of rows moves the features by one cell: cells stand where they say."""
    network = build("columns", output_stride=stride, width=0.125, depth=2).double().eval()
    images = torch.zeros(1, 3, 64, 16, dtype=torch.float64)
    images[..., 30, :] = 1
    period = 4  # the deepest level's stride: only whole steps of it move every level alike
    (here,) = network(images)
    (there,) = network(images.roll(period, dims=2))
    cells = period // stride
    middle = slice(20 // stride, 44 // stride)
    torch.testing.assert_close(there[..., cells:][..., middle], here[..., middle])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 3}, "output_stride=3 is no choice"),
        ({"width": 0.0}, "width must be a positive number"),
        ({"depth": 1}, "depth must be a whole number from 2 to 6"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("columns", **options)


def test_another_kind_of_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"size \(H, W\), got \(8, 8, 8\)"):
        build("columns", width=0.125).feature_size((8, 8, 8))
