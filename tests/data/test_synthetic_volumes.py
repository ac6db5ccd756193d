"""Synthetic volumes: the truth is where the blobs are."""

from pathlib import Path

import numpy as np
import pytest

from punctum.data import read, synthetic_volumes
from punctum.data.synthetic_volumes import SCHEMA, make_volume, write_volumes


@pytest.mark.parametrize("seed", range(4))
def test_a_blob_s_centroid_is_its_landmark(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without body, waves and noise; found by summing voxels, not by the formula that drew them."""
    monkeypatch.setattr(synthetic_volumes, "_soft", lambda depth: 0.0 * depth)
    monkeypatch.setattr(synthetic_volumes, "_waves", lambda places, rng: 60.0)
    scene = make_volume(seed, size=(48, 64, 64), spacing=(0.8, 0.8, 1.2), noise=0)
    ground = np.median(scene.volume)
    z, y, x = np.indices(scene.volume.shape)
    places = np.stack([x, y, z], axis=-1)
    for k in range(3):  # the hole is clipped at black
        near = np.linalg.norm((places - scene.keypoints[k]) * scene.spacing, axis=-1) < 7
        weight = np.where(near, scene.volume - ground, 0).clip(0)
        centroid = (weight[..., None] * places).sum((0, 1, 2)) / weight.sum()
        assert np.abs(centroid - scene.keypoints[k]).max() < 0.05


def test_left_is_left() -> None:
    """Seen from behind, nose forward, hole up: the left ear is at +x, before the small turn."""
    scene = make_volume(3)
    left, right, nose, hole = scene.keypoints * scene.spacing
    forward, up = nose - (left + right) / 2, hole - (left + right) / 2
    assert np.dot(np.cross(forward, up), left - right) > 0


def test_files(tmp_path: Path) -> None:
    few = write_volumes(tmp_path / "few", 2, seed=5)
    more = write_volumes(tmp_path / "more", 3, seed=5)
    one, other = read(few), read(more)
    assert one.schema == SCHEMA
    assert np.array_equal(one.keypoints, other.keypoints[:2])
    assert one.spacing is not None
    assert one.spacing[0].tolist() == [1.0, 1.0, 1.6]
    assert not np.array_equal(
        read(write_volumes(tmp_path / "test", 2, seed=5, split="test")).keypoints, one.keypoints
    )
    with pytest.raises(ValueError, match="count must be at least 1"):
        write_volumes(tmp_path, 0, seed=0)
    with pytest.raises(ValueError, match="at least 32 mm"):
        make_volume(0, size=(8, 40, 40))
