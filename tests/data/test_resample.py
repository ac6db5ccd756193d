"""Volumes under one affine map: against SciPy's interpolation, and averages and distances worked by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from punctum.data.crop import CropSettings, crop_image, crop_matrix, inside, to_image_matrix, warp
from punctum.data.resample import area_weights
from punctum.ops import dsnt, transform_points

SPACING = np.array([0.8, 0.9, 2.5])


def blob(size: tuple[int, int, int], centre: list[float], sigma: float, spacing: np.ndarray) -> np.ndarray:
    """A Gaussian as wide in millimetres on every axis, drawn from its formula; (D, H, W, 1) float32."""
    z, y, x = np.indices(size)
    offsets = (np.stack([x, y, z], axis=-1) - centre) * spacing
    return np.exp(-(offsets**2).sum(-1) / (2 * sigma**2)).astype(np.float32)[..., None]


def random_matrix(rng: np.random.Generator, zoom: float) -> np.ndarray:
    """A rotation times a zoom, and a shift of some voxels."""
    matrix = np.eye(4)
    matrix[:3, :3] = zoom * np.linalg.qr(rng.normal(size=(3, 3)))[0]
    matrix[:3, 3] = rng.uniform(-3, 6, 3)
    return matrix


@pytest.mark.parametrize("zoom", [1.0, 1.3, 2.2])
def test_without_shrinking_it_is_linear_interpolation(zoom: float) -> None:
    rng = np.random.default_rng(0)
    volume = rng.uniform(0, 100, (9, 12, 14, 1)).astype(np.float32)
    matrix = random_matrix(rng, zoom)
    matrix[:3, 3] += 8
    result = warp(volume, matrix, (16, 15, 17))[..., 0]
    # SciPy maps array indices (z, y, x) of the result to those of the volume.
    back = np.linalg.inv(matrix)[[2, 1, 0, 3]][:, [2, 1, 0, 3]]
    padded = np.pad(volume[..., 0], 1).astype(np.float64)  # so that its border fades to 0 as ours does
    shifted = back[:3, 3] + 1
    wanted = ndimage.affine_transform(padded, back[:3, :3], shifted, (16, 15, 17), order=1, cval=0.0)
    assert np.abs(wanted).max() > 10
    assert np.allclose(result, wanted, atol=2e-3)


def test_a_shift_by_whole_voxels_moves_them() -> None:
    volume = np.random.default_rng(0).integers(0, 255, (5, 6, 7, 1)).astype(np.uint8)
    matrix = np.eye(4)
    matrix[:3, 3] = 2, -1, 1  # x, y, z
    result = warp(volume, matrix, (5, 6, 7))
    wanted = np.zeros((5, 6, 7, 1))
    wanted[1:, :5, 2:] = volume[:4, 1:, :5]
    assert np.allclose(result, wanted, atol=1e-3)


@pytest.mark.parametrize("factors", [(2, 2, 2), (3, 1, 2), (1, 4, 1)])
def test_shrinking_by_whole_numbers_averages_blocks(factors: tuple[int, int, int]) -> None:
    """Every axis by its own: thick slices are not averaged because the others are shrunk."""
    fx, fy, fz = factors
    volume = np.random.default_rng(1).integers(0, 60000, (4 * fz, 5 * fy, 6 * fx, 1)).astype(np.uint16)
    matrix = np.diag([1 / fx, 1 / fy, 1 / fz, 1])
    matrix[:3, 3] = [(1 / f - 1) / 2 for f in factors]  # edge to edge
    wanted = volume.reshape(4, fz, 5, fy, 6, fx).mean((1, 3, 5))
    assert np.allclose(warp(volume, matrix, (4, 5, 6))[..., 0], wanted, rtol=1e-4, atol=1)


@given(n=st.integers(1, 40), side=st.floats(1, 40))
def test_area_weights_share_out_every_voxel(n: int, side: float) -> None:
    side = min(side, float(n))
    weights = area_weights(n, side).astype(np.float64) * side
    assert np.allclose(weights.sum(0), 1, atol=1e-4)  # each voxel is counted once
    assert np.allclose(weights.sum(1)[:-1], side, atol=1e-4)  # each run but the last is full


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_crop_is_a_similarity_in_millimetres(seed: int) -> None:
    """Angles and ratios of millimetres are kept, whatever is drawn: rotated voxels would be sheared."""
    rng = np.random.default_rng(seed)
    spacing, axis = rng.uniform(0.3, 5, 3), rng.normal(size=3)
    moves = {"scale": rng.uniform(0.5, 2), "rotation": rng.uniform(-180, 180), "flip": bool(rng.integers(2))}
    matrix = crop_matrix(
        None, (30, 40, 50), CropSettings((24, 32, 40)), axis=axis / np.linalg.norm(axis), spacing=spacing, **moves
    )
    linear = matrix[:3, :3] / spacing  # millimetres to crop voxels
    zoom = np.cbrt(abs(np.linalg.det(linear)))
    assert np.allclose(linear @ linear.T, zoom**2 * np.eye(3), atol=1e-9)
    assert (np.linalg.det(linear) < 0) == moves["flip"]
    # As large as it fits: crop voxels over millimetres on the tightest axis.
    assert zoom == pytest.approx(moves["scale"] * min(np.array([40, 32, 24]) / (np.array([50, 40, 30]) * spacing)))
    points = rng.uniform(-5, 60, (7, 3))
    there = transform_points(torch.from_numpy(points), torch.from_numpy(matrix))
    normalized = (2 * there + 1) / torch.tensor([40, 32, 24]) - 1
    back = transform_points(normalized, torch.from_numpy(to_image_matrix(matrix, (24, 32, 40))))
    assert np.allclose(back, points, atol=1e-8)


def test_about_z_a_volume_turns_as_its_slices_do() -> None:
    flat = crop_matrix(None, (40, 50), CropSettings((32, 32)), rotation=20, scale=1.3, shift=(0.1, -0.2), flip=True)
    deep = crop_matrix(
        None, (50, 40, 50), CropSettings((32, 32, 32)), rotation=20, scale=1.3, shift=(0.1, -0.2, 0), flip=True
    )
    assert np.allclose(deep[:2, [0, 1, 3]], flat[:2], atol=1e-12)
    assert np.allclose(deep[2, :2], 0)


def test_the_box_of_a_volume_fills_the_crop() -> None:
    box = np.array([10.0, 20, 5, 16, 12, 4])  # 12.8 x 10.8 x 10 mm: its x decides
    matrix = crop_matrix(box, (40, 60, 60), CropSettings((20, 20, 20), padding=1.25), spacing=SPACING)
    centre = matrix @ [18, 26, 7, 1]
    assert np.allclose(centre[:3], 9.5)
    assert matrix[0, 0] == pytest.approx(20 / (16 * 1.25))
    assert matrix[2, 2] / SPACING[2] == pytest.approx(matrix[0, 0] / SPACING[0])
    with pytest.raises(ValueError, match="a box here is 6 numbers"):
        crop_matrix(box[:4], (40, 60, 60), CropSettings((20, 20, 20)))
    with pytest.raises(ValueError, match="cannot become an input"):
        crop_matrix(None, (60, 60), CropSettings((20, 20, 20)))


@pytest.mark.parametrize("rotation", [0.0, 25.0, -140.0])
@pytest.mark.parametrize("size", [(24, 24, 24), (40, 48, 56)])
def test_a_blob_comes_back_to_its_voxel(size: tuple[int, int, int], rotation: float) -> None:
    """Through averaging, interpolation and the way back, off by less than a tenth of the coarsest step."""
    centre = [22.3, 26.8, 9.6]
    volume = blob((20, 52, 50), centre, 4.0, SPACING)
    crop = CropSettings(size)
    axis = np.array([1.0, -2.0, 0.5]) / np.linalg.norm([1.0, -2.0, 0.5])
    matrix = crop_matrix(None, volume.shape[:3], crop, rotation=rotation, axis=axis, spacing=SPACING, flip=True)
    pixels = torch.from_numpy(crop_image(volume, matrix, crop)).double()[None]
    found = dsnt(pixels / pixels.sum())
    back = transform_points(found, torch.from_numpy(to_image_matrix(matrix, size)))[0, 0].numpy()
    assert np.abs((back - centre) * SPACING).max() < 0.1


def test_beyond_the_volume_is_nothing() -> None:
    volume = np.full((8, 8, 8, 1), 200, np.uint8)
    matrix = np.eye(4)
    matrix[:3, 3] = 100
    assert not warp(volume, matrix, (6, 6, 6)).any()
    with pytest.raises(ValueError, match="cannot be inverted"):
        warp(volume, np.diag([1.0, 1, 0, 1]), (6, 6, 6))
    points = np.array([[0.0, 0, 7.5], [0, 0, 7.6], [np.nan, 0, 0]])
    assert inside(points, (8, 9, 9)).tolist() == [True, False, False]
