"""Layers in scans: the file's rows, and the windows that a network sees."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from punctum.data import Augmentation, CropSettings, DataError, ImageError
from punctum.data.columns import ColumnsDataset, Window, cut, scans_of, window_of
from punctum.data.layers import read_layers
from punctum.data.synthetic_layers import make_scan, write_scans
from punctum.ops import transform_points


def write(folder: Path, content: Any, images: tuple[str, ...] = ("a.png", "b.png"), width: int = 3) -> Path:
    for name in images:
        cv2.imwrite(str(folder / name), np.zeros((50, width, 3), np.uint8))
    path = folder / "layers.json"
    path.write_text(json.dumps(content))
    return path


GOOD = {
    "layers": ["top", "base"],
    "scans": [
        {"image": "a.png", "rows": [[1, 2.5, None], [4, 5, 6]]},
        {"image": "b.png", "rows": [[7, 8, 9], [None, 11, 12]]},
    ],
}


def test_every_column_is_an_instance(tmp_path: Path) -> None:
    found = read_layers(write(tmp_path, GOOD))
    assert found.schema.names == ("top", "base")
    np.testing.assert_array_equal(
        found.keypoints[..., 0], [[1, 4], [2.5, 5], [np.nan, 6], [7, np.nan], [8, 11], [9, 12]]
    )
    assert found.visibility.tolist() == [[2, 2], [2, 2], [0, 2], [2, 0], [2, 2], [2, 2]]
    assert [p.name for p in found.images] == ["a.png"] * 3 + ["b.png"] * 3
    assert found.ids[:3] == ("column 0", "column 1", "column 2")
    assert scans_of(found) == [range(3), range(3, 6)]


def test_scans_without_labels_are_counted(tmp_path: Path) -> None:
    content = {**GOOD, "scans": [*GOOD["scans"][:1], {"image": "b.png", "rows": [[None] * 3, [None] * 3]}]}
    found = read_layers(write(tmp_path, content))
    assert len(found) == 3
    assert found.notes == ("1 scan without a labelled layer left out",)


def test_every_mistake_is_told_with_its_place(tmp_path: Path) -> None:
    content = {
        "layers": ["top", "base"],
        "scans": [
            {"image": "a.png", "rows": [[1, "x", 3], [4, 5, 6]]},
            {"image": "b.png", "rows": [[1, 2, 3]]},
            {"image": "c.png", "rows": [[1, 2], [1, 2]]},
            {"image": "a.png", "rows": [[1, 2, 3], [1, 2]]},
            {"image": "../a.png", "rows": [[1], [2]]},
            {"image": 7, "rows": [[1], [2]]},
            [],
        ],
    }
    with pytest.raises(DataError) as caught:
        read_layers(write(tmp_path, content))
    text = "\n".join(caught.value.mistakes)
    for wanted in (
        "scans[0]: layer 'top', column 1: 'x' is neither a finite number nor null",
        "scans[1]: 1 lists of rows for 2 layers",
        "scans[2]: there is no image",
        "scans[3]: each layer needs a number or null for every column, got [2, 3] of them",
        "scans[4]: image name '../a.png' leads out of the image folder",
        "scans[5]: 'image' should be a file name, got 7",
        "scans[6]: expected an object with 'image' and 'rows'",
    ):
        assert wanted in text
    assert len(caught.value.mistakes) == 7


@pytest.mark.parametrize("content", [[], {}, {"layers": ["a"]}, {"layers": "a", "scans": []}])
def test_other_json_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DataError, match=r"'(layers|scans)' should be a list"):
        read_layers(write(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"layers": ["a", "a"], "scans": []}, "layer name 'a' stands twice"),
        ({"layers": ["a"], "scans": []}, "nothing to learn from"),
        ({"layers": ["a"], "scans": [{"image": "a.png", "rows": [[1]]}] * 2}, "stands in two scans"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_layers(write(tmp_path, content))


def test_a_layer_moves_with_its_pixels(tmp_path: Path) -> None:
    """A bright line of three rows in black: its centre of brightness in the window is where the label is."""
    columns = np.arange(40)
    rows = 50 + 6 * np.sin(columns / 6)
    distance = np.abs(np.arange(120)[:, None] - rows)
    image = np.clip(4 - distance, 0, 1) * 200
    cv2.imwrite(str(tmp_path / "a.png"), np.repeat(np.rint(image)[..., None], 3, -1).astype(np.uint8))
    path = tmp_path / "layers.json"
    path.write_text(json.dumps({"layers": ["line"], "scans": [{"image": "a.png", "rows": [rows.tolist()]}]}))
    annotations = read_layers(path)
    varied = Augmentation(rotation=10, colour=0.0)
    for size in ((120, 40), (60, 30), (200, 50)):
        for augmentation in (None, varied):
            dataset = ColumnsDataset(annotations, CropSettings(size), augmentation, seed=3)
            for epoch in range(4):
                batch = dataset[(epoch, 0)]
                pixels = batch.images[0].mean(0).double().T  # (W, H)
                seen = batch.visible[:, 0]
                place = (torch.arange(size[0]) + 0.5) / size[0] * 2 - 1
                centre = (pixels * place).sum(1) / pixels.sum(1).clamp_min(1e-9)
                off = (centre - batch.coords[:, 0, 0].double())[seen].abs() * size[0] / 2
                assert seen.any()
                assert off.max() < 0.08, f"{off.max():.3f} rows off at {size}"


def test_the_way_back_to_the_scan(tmp_path: Path) -> None:
    annotations = read_layers(write_scans(tmp_path, 3, size=(96, 40)))
    for epoch in range(6):
        batch = ColumnsDataset(annotations, CropSettings((64, 60)), Augmentation(), seed=1)[(epoch, 1)]
        back = transform_points(batch.coords.double(), batch.to_image).numpy()
        truth = annotations.keypoints[batch.ids.numpy()]
        seen = batch.visible.numpy()
        np.testing.assert_allclose(back[seen], truth[seen], atol=1e-4)
        assert not seen[(batch.images.amax((0, 1, 2)) == 0).numpy()].any(), "columns beyond the scan are not visible"


def test_a_sample_is_decided_by_seed_epoch_and_position(tmp_path: Path) -> None:
    annotations = read_layers(write_scans(tmp_path, 2))
    make = lambda: ColumnsDataset(annotations, CropSettings((48, 32)), Augmentation(), seed=5)  # noqa: E731
    first, again, later = make()[(2, 1)], make()[(2, 1)], make()[(3, 1)]
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.coords, again.coords)
    assert not torch.equal(first.images, later.images)


def test_a_window_is_mirrored_about_its_own_middle() -> None:
    plain, mirrored = (window_of((50, 40), (50, 20), place=0.3, flip=flip) for flip in (False, True))
    assert plain.columns(20).tolist() == mirrored.columns(20).tolist()[::-1]
    assert plain.columns(20)[0] == 6


def test_shrinking_averages_rows() -> None:
    image = np.random.default_rng(0).random((60, 5, 3)).astype(np.float32)
    found = cut(image, window_of((60, 5), (20, 5)), (20, 5))
    np.testing.assert_allclose(found, image.reshape(20, 3, 5, 3).mean(1), atol=1e-5)


def test_nothing_changes_where_nothing_is_asked() -> None:
    image = np.random.default_rng(0).random((30, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(cut(image, Window(0, 1, 1.0, 0.0, 0.0), (30, 5)), image, atol=1e-6)


def test_a_scan_of_another_width_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, width=4)
    dataset = ColumnsDataset(read_layers(path), CropSettings((32, 3)))
    with pytest.raises(ImageError, match=r"a\.png: the picture has 4 columns, its layers have 3"):
        dataset[0]


def test_a_broken_order_of_columns_is_refused(tmp_path: Path) -> None:
    annotations = read_layers(write(tmp_path, GOOD))
    for order in ([1, 0, 2], [0, 2], [1, 2], [0, 1, 2, 4, 5]):
        with pytest.raises(ValueError, match="must all be there, in order"):
            scans_of(annotations.subset(order))


def test_synthetic_boundaries_lie_where_their_labels_say() -> None:
    """Over many scans, the brightness averaged about a boundary steps in its middle."""
    profile = np.zeros(9)
    for seed in range(200):
        scan, rows = make_scan(seed, (96, 64))
        for c in range(0, 64, 4):
            row = round(rows[0, c])
            profile += np.interp(rows[0, c] + np.arange(-4, 5), np.arange(96), scan[:, c].astype(float)) * (row > 0)
    low, high = profile[:3].mean(), profile[-3:].mean()
    assert high > 2 * low
    assert abs((profile[4] - low) / (high - low) - 0.5) < 0.05
    np.testing.assert_array_equal(make_scan(7)[0], make_scan(7)[0])
    with pytest.raises(ValueError, match="at least"):
        make_scan(0, (20, 20))
