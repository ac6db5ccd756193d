"""One affine for pixels and points: where a thing is in the image is where it is found after crop and back."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum.data import CropSettings, crop_image, crop_matrix, read_image, to_image_matrix, warp
from punctum.data.crop import inside
from punctum.ops import dsnt, transform_points

sizes = st.tuples(st.integers(1, 400), st.integers(1, 400))
inputs = st.tuples(st.integers(1, 300), st.integers(1, 300))
floats = st.floats(-2000, 2000)
boxes = st.tuples(floats, floats, st.floats(0.5, 3000), st.floats(0.5, 3000)).map(lambda b: np.array(b))
moves = st.fixed_dictionaries(
    {
        "scale": st.floats(0.3, 3),
        "rotation": st.floats(-180, 180),
        "shift": st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
        "flip": st.booleans(),
    }
)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:2, :2].T + matrix[:2, 2]


@settings(deadline=None)
@given(box=boxes, size=sizes, input_size=inputs, move=moves, point=st.tuples(floats, floats))
def test_there_and_back(box, size, input_size, move, point) -> None:
    crop = CropSettings(input_size=input_size)
    matrix = crop_matrix(box, size, crop, **move)
    there = apply(matrix, np.array([point]))
    height, width = input_size
    normalized = (2 * there + 1) / [width, height] - 1
    back = apply(to_image_matrix(matrix, input_size), normalized)
    assert np.abs(back - point).max() < 1e-6


def test_predictions_in_float32_come_back_within_a_thousandth() -> None:
    """As training does it: float32 coordinates in a batch, a matrix per sample, images up to 4,000 px."""
    rng = np.random.default_rng(0)
    crop = CropSettings(input_size=(96, 128))
    for _ in range(200):
        size = tuple(rng.integers(50, 4000, 2))
        low = rng.uniform(0, 0.7, 2) * size[::-1]
        box = np.array([*low, *(rng.uniform(0.05, 0.3, 2) * size[::-1])])
        move = {"scale": rng.uniform(0.5, 2), "rotation": rng.uniform(-180, 180), "flip": bool(rng.random() < 0.5)}
        matrix = crop_matrix(box, size, crop, **move)
        points = box[:2] + box[2:] * rng.random((5, 2))
        normalized = (2 * apply(matrix, points) + 1) / [128, 96] - 1
        coords = torch.tensor(normalized, dtype=torch.float32)[None]
        back = transform_points(coords, torch.from_numpy(to_image_matrix(matrix, (96, 128)))[None])
        assert np.abs(back[0].numpy() - points).max() < 1e-3


@settings(deadline=None)
@given(box=boxes, input_size=inputs, padding=st.floats(0.5, 2))
def test_the_padded_box_fits_exactly(box, input_size, padding) -> None:
    """Worked by hand: the box's middle in the crop's middle, its padded edges on the crop's on the tighter axis."""
    matrix = crop_matrix(box, (100, 100), CropSettings(input_size=input_size, padding=padding))
    x, y, w, h = box
    middle = np.array([x + w / 2, y + h / 2])
    half = np.array([w, h]) * padding / 2
    height, width = input_size
    low, high = apply(matrix, np.array([middle - half, middle + half]))
    edges = np.array([-0.5, -0.5]), np.array([width - 0.5, height - 0.5])
    tight = np.argmin([width / w, height / h])
    assert low[tight] == pytest.approx(edges[0][tight], abs=1e-6)
    assert high[tight] == pytest.approx(edges[1][tight], abs=1e-6)
    assert (low >= edges[0] - 1e-6).all()
    assert (high <= edges[1] + 1e-6).all()
    assert np.allclose((low + high) / 2, [(width - 1) / 2, (height - 1) / 2], atol=1e-6)


@pytest.mark.parametrize("box", [None, np.full(4, np.nan), np.array([3.0, np.nan, 1, 1])])
def test_the_whole_image_when_there_is_no_box(box) -> None:
    # 200 x 100 in 64 x 64: 0.32 of its size, its height from 16 to 48 between black bars.
    matrix = crop_matrix(box, (100, 200), CropSettings(input_size=(64, 64), padding=1.7))
    assert np.allclose(apply(matrix, np.array([[-0.5, -0.5], [199.5, 99.5]])), [[-0.5, 15.5], [63.5, 47.5]])


def test_region_image_disregards_the_box() -> None:
    crop = CropSettings(input_size=(50, 100), region="image")
    assert np.allclose(crop_matrix(np.array([5.0, 5, 10, 10]), (50, 100), crop), np.eye(3))


def test_what_each_move_does() -> None:
    box, crop = (
        np.array([9.5, 9.5, 20.0, 20.0]),
        CropSettings(input_size=(40, 40), padding=1.0),
    )  # centre (19.5, 19.5)
    right = np.array([[24.5, 19.5]])  # 5 px to the right of the centre, 10 in the crop
    moved = {
        "as it is": ({}, [29.5, 19.5]),
        "mirrored": ({"flip": True}, [9.5, 19.5]),
        "clockwise": ({"rotation": 90}, [19.5, 29.5]),
        "clockwise, then mirrored": ({"rotation": 45, "flip": True}, [19.5 - 50**0.5, 19.5 + 50**0.5]),
        "larger": ({"scale": 1.5}, [34.5, 19.5]),
        "window to the right": ({"shift": (0.1, 0)}, [25.5, 19.5]),
        "window down": ({"shift": (0, 0.1)}, [29.5, 15.5]),
    }
    for what, (move, expected) in moved.items():
        assert np.allclose(apply(crop_matrix(box, (99, 99), crop, **move), right), [expected]), what


@settings(deadline=None)
@given(box=boxes, size=sizes, input_size=inputs, move=moves)
def test_flip_is_an_exact_mirror(box, size, input_size, move) -> None:
    """x becomes W - 1 - x, to the last bit but one; so mirroring twice is the identity."""
    crop = CropSettings(input_size=input_size)
    one, other = (crop_matrix(box, size, crop, **{**move, "flip": flip}) for flip in (False, True))
    width = input_size[1]
    mirror = np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]])
    assert np.allclose(mirror @ one, other, rtol=1e-12, atol=1e-12 * np.abs(one).max())


@pytest.mark.parametrize("size", [(32, 32), (33, 31), (1, 8)])
def test_flipping_an_image_is_exact(size) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    crop = CropSettings(input_size=size)
    flipped = warp(image, crop_matrix(None, size, crop, flip=True), size)
    assert np.array_equal(flipped, image[:, ::-1])
    assert np.array_equal(warp(flipped, crop_matrix(None, size, crop, flip=True), size), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_warp_agrees_with_scipy(dtype: type) -> None:
    """Bilinear interpolation with black beyond, against SciPy's in float64."""
    from scipy.ndimage import affine_transform

    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.random((60, 70, 3)), (0, 0), 2)
    image = (image / image.max() * (1 if dtype == np.float32 else np.iinfo(dtype).max)).astype(dtype)
    matrix = crop_matrix(np.array([10.0, 20, 30, 25]), (60, 70), CropSettings((64, 64)), rotation=25, flip=True)
    inverse = np.linalg.inv(matrix)
    swap = [1, 0]
    expected = np.stack(
        [
            affine_transform(
                image[..., c].astype(float), inverse[:2, :2][swap][:, swap], inverse[:2, 2][swap], (64, 64), order=1
            )
            for c in range(3)
        ],
        axis=-1,
    )
    got = warp(image, matrix, (64, 64))
    assert got.dtype == np.float32
    far = cv2.erode((expected[..., 0] > 0).astype(np.uint8), np.ones((5, 5))) > 0  # SciPy has no half edge
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    assert far.mean() > 0.3
    assert np.abs(got[far] / top - expected[far] / top).max() < 0.01


@pytest.mark.parametrize("factor", [2, 3, 4, 7])
@pytest.mark.parametrize("size", [(84, 84), (87, 90)])
def test_shrinking_by_a_whole_number_averages_blocks(factor: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.random((*size, 3)).astype(np.float32)
    small = (84 // factor, 84 // factor)
    shrink = np.diag([1 / factor, 1 / factor, 1.0])
    shrink[:2, 2] = (1 / factor - 1) / 2  # (x + 1/2) / f - 1/2
    blocks = image[: small[0] * factor, : small[1] * factor]
    expected = blocks.reshape(small[0], factor, small[1], factor, 3).mean((1, 3))
    assert np.abs(warp(image, shrink, small) - expected).max() < 1e-5


def test_no_aliasing() -> None:
    """A one-pixel chequerboard shrunk to a fifth is gray, not a pattern that is not there."""
    board = (np.indices((200, 200)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    small = warp(board, crop_matrix(None, (200, 200), CropSettings((41, 41))), (41, 41))[2:-2, 2:-2]
    assert np.abs(small.astype(int) - 128).max() < 30


@pytest.mark.parametrize("zoom", [0.1, 0.24, 0.9, 1.0, 3.0])
@pytest.mark.parametrize("rotation", [0, 31])
def test_what_lies_around_the_crop_is_not_cut_off_too_early(zoom: float, rotation: float) -> None:
    """Deep inside a white image every pixel of a crop is white, those on its rim too."""
    image = np.ones((700, 720, 3), np.float32)
    box = np.array([340.3, 330.6, 20 / zoom, 20 / zoom]) - [10 / zoom, 10 / zoom, 0, 0]
    matrix = crop_matrix(box, (700, 720), CropSettings((20, 20), padding=1.0), rotation=rotation)
    assert np.abs(warp(image, matrix, (20, 20)) - 1).max() < 1e-5


def test_beyond_the_image_is_black() -> None:
    image = np.full((20, 20, 3), 200, np.uint8)
    assert warp(image, crop_matrix(np.array([500.0, 500, 10, 10]), (20, 20), CropSettings()), (8, 8)).max() == 0
    assert warp(image, crop_matrix(np.array([1e12, 0.0, 10, 10]), (20, 20), CropSettings()), (8, 8)).max() == 0
    crop = warp(
        image, crop_matrix(np.array([-20.0, 0, 39, 39]), (20, 20), CropSettings((40, 40), padding=1)), (40, 40)
    )
    assert crop[5, 30].tolist() == [200] * 3
    assert crop[5, 5].tolist() == [0] * 3
    assert warp(image, crop_matrix(np.array([5.0, 5, 1e5, 1e5]), (20, 20), CropSettings()), (8, 8)).shape == (8, 8, 3)


@settings(deadline=None, max_examples=60)
@given(box=boxes, size=sizes, input_size=st.tuples(st.integers(1, 60), st.integers(1, 60)), move=moves)
def test_any_box_and_size_give_a_finite_crop(box, size, input_size, move) -> None:
    image = np.full((*size, 3), 255, np.uint8)
    crop = CropSettings(input_size=input_size)
    got = crop_image(image, crop_matrix(box, size, crop, **move), crop)
    assert got.shape == (3, *input_size)
    assert got.dtype == np.float32
    assert np.isfinite(got).all()
    assert 0 <= got.min() <= got.max() <= 1


def blob(size: tuple[int, int], centre: tuple[float, float], sigma: float, top: float) -> np.ndarray:
    """A Gaussian spot, evaluated at pixel centres, (0, 0) the first."""
    y, x = np.mgrid[: size[0], : size[1]]
    return top * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))


MARKERS = {
    "box, same scale": (1.0, {}),
    "box, enlarged": (2.7, {}),
    "box, shrunk to a fourth": (0.25, {}),
    "box, shrunk unevenly": (1 / 3.4, {}),
    "rotated": (1.1, {"rotation": 23.0}),
    "rotated and shrunk": (0.3, {"rotation": -71.0, "shift": (0.03, -0.02)}),
    "mirrored": (1.0, {"flip": True}),
    "mirrored and shrunk": (0.25, {"flip": True}),
    "everything": (0.6, {"flip": True, "rotation": 140.0, "scale": 0.8, "shift": (0.05, 0.04)}),
    "whole image": (None, {}),
}


@pytest.mark.parametrize("case", MARKERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("place", [(151.3, 120.8), (150.0, 121.0), (143.77, 127.51)])
def test_a_marker_is_found_through_the_whole_way(tmp_path: Path, case: str, dtype: type, place) -> None:
    """Drawn, written, read, cropped, located by its centre of mass, and brought back: within 0.05 px."""
    zoom, move = MARKERS[case]
    size, input_size = (241, 303), (120, 128)
    spot = blob(size, place, 5.0, np.iinfo(dtype).max * 0.9).round().astype(dtype)
    cv2.imwrite(str(tmp_path / "marker.png"), spot)
    image = read_image(tmp_path / "marker.png")
    crop = CropSettings(input_size, padding=1.0)
    box = None
    if zoom is not None:
        side = np.array([128, 120]) / zoom
        box = np.array([*(np.array([148.2, 122.9]) - side / 2), *side])
    matrix = crop_matrix(box, image.shape[:2], crop, **move)
    pixels = torch.from_numpy(crop_image(image, matrix, crop))
    heatmap = pixels[None, :1].double() / pixels[0].double().sum()
    found = transform_points(dsnt(heatmap), torch.from_numpy(to_image_matrix(matrix, input_size)))
    # OpenCV 4 rounds places to 1/32 of a pixel of the crop or of the image, whichever is larger.
    rounding = 0 if int(cv2.__version__.partition(".")[0]) >= 5 else max(1, (zoom or 0.4) ** -1) / 64
    assert np.abs(found[0, 0].numpy() - place).max() < 0.05 + rounding


def test_inside_includes_the_edges() -> None:
    points = np.array([[-0.5, -0.5], [63.5, 47.5], [63.51, 0], [0, 47.6], [-0.6, 0], [np.nan, 1]])
    assert inside(points, (48, 64)).tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"input_size": (0, 4)}, r"input_size must be two positive numbers"),
        ({"region": "face"}, r"region must be 'box' or 'image', got 'face'"),
        ({"padding": 0.0}, r"padding must be a positive number, got 0.0"),
        ({"padding": float("nan")}, r"padding must be a positive number, got nan"),
        ({"padding": 10**400}, r"padding must be a positive number, got 10000"),
        ({"intensity": "auto"}, r"intensity must be"),
    ],
)
def test_settings_are_checked(values, message) -> None:
    with pytest.raises(ValueError, match=message):
        CropSettings(**values)


def test_maps_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"scale must be positive, got 0"):
        crop_matrix(None, (4, 4), CropSettings(), scale=0)
    with pytest.raises(ValueError, match=r"cannot be inverted"):
        warp(np.zeros((4, 4, 3), np.uint8), np.diag([0.0, 1, 1]), (4, 4))
