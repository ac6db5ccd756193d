"""Samples: the points stay on what they mark, through every augmentation, worker and epoch."""

from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from punctum.data import (
    Annotations,
    Augmentation,
    CropSettings,
    EpochSampler,
    ImageError,
    KeypointDataset,
    collate,
    draw_images,
    read,
    split,
)
from punctum.ops import to_pixels, transform_points
from punctum.schema import Schema

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
NONE = Augmentation(flip=0, scale=0, rotation=0, shift=0, colour=0)


def make(folder: Path, count: int = 4, per_image: int = 1, flip_pairs: tuple = ((1, 2),)) -> Annotations:
    """Images with one coloured disc for each keypoint: red nose, green left eye, blue right eye."""
    rng = np.random.default_rng(0)
    images, keypoints = [], []
    for n in range(count):
        image = np.zeros((100, 120, 3), np.uint8)
        corners = np.array([[45, 60], [35, 35], [75, 40]]) + rng.uniform(-5, 5, (3, 2))
        for (x, y), colour in zip(corners, COLOURS, strict=True):
            cv2.circle(image, (round(x * 256), round(y * 256)), 6 * 256, colour[::-1].tolist(), -1, shift=8)
        cv2.imwrite(str(folder / f"{n}.png"), image)
        images += [folder / f"{n}.png"] * per_image
        keypoints += [corners] * per_image
    total = len(images)
    return Annotations(
        schema=Schema(("nose", "left_eye", "right_eye"), flip_pairs=flip_pairs),
        images=tuple(images),
        image_names=tuple(i.name for i in images),
        keypoints=np.array(keypoints),
        visibility=np.full((total, 3), 2, np.int8),
        boxes=np.tile([20.0, 20.0, 70.0, 60.0], (total, 1)),
        ids=tuple(map(str, range(total))),
        source=folder / "labels.json",
    )


def colour_under(sample, k: int) -> np.ndarray:
    x, y = to_pixels(sample.coords[0, k], sample.images.shape[-2:]).round().long().tolist()
    return sample.images[0, :, y, x].numpy()


def same(one, other) -> bool:
    return all(torch.equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))


def test_a_sample_is_a_batch_of_one(tmp_path: Path) -> None:
    annotations = make(tmp_path)
    sample = KeypointDataset(annotations, CropSettings((48, 64)))[2]
    assert sample.images.shape == (1, 3, 48, 64)
    assert (sample.images.dtype, sample.coords.dtype, sample.to_image.dtype) == (
        torch.float32, torch.float32, torch.float64,
    )  # fmt: skip
    assert 0 <= sample.images.min() < sample.images.max() <= 1
    assert sample.visible.tolist() == [[True] * 3]
    assert sample.ids.tolist() == [2]
    back = transform_points(sample.coords, sample.to_image)[0].numpy()
    assert np.abs(back - annotations.keypoints[2]).max() < 1e-4


def test_points_stay_on_their_discs(tmp_path: Path) -> None:
    """Without a mirror, each point lies on its own colour, wherever augmentation takes it."""
    dataset = KeypointDataset(make(tmp_path), CropSettings(), replace(Augmentation(colour=0), flip=0.0))
    for epoch in range(20):
        sample = dataset[epoch, epoch % 4]
        for k in np.flatnonzero(sample.visible[0]):
            assert np.allclose(colour_under(sample, k) * 255, COLOURS[k], atol=3)


def test_a_mirror_swaps_the_names_of_left_and_right(tmp_path: Path) -> None:
    """In a mirrored picture the green left eye is where a right eye would be, and is called so."""
    annotations = make(tmp_path)
    dataset = KeypointDataset(annotations, CropSettings((100, 120), "image"), replace(NONE, flip=1.0))
    sample = dataset[0]
    for k, colour in ((0, COLOURS[0]), (1, COLOURS[2]), (2, COLOURS[1])):
        assert np.allclose(colour_under(sample, k) * 255, colour, atol=3)
    expected = annotations.keypoints[0][[0, 2, 1]] * [-1, 1] + [119, 0]  # x becomes W - 1 - x
    assert np.abs(to_pixels(sample.coords, (100, 120))[0].numpy() - expected).max() < 1e-4
    back = transform_points(sample.coords, sample.to_image)[0].numpy()
    assert np.abs(back - annotations.keypoints[0][[0, 2, 1]]).max() < 1e-4


def test_visibility_is_swapped_too(tmp_path: Path) -> None:
    annotations = make(tmp_path)
    annotations.visibility[0] = [2, 0, 1]
    annotations.keypoints[0, 1] = np.nan
    sample = KeypointDataset(annotations, CropSettings(), replace(NONE, flip=1.0))[0]
    assert sample.visible.tolist() == [[True, True, False]]
    assert torch.isfinite(sample.coords[sample.visible]).all()


def test_without_flip_pairs_nothing_is_mirrored_and_that_is_said(tmp_path: Path) -> None:
    annotations = make(tmp_path, flip_pairs=())
    mirrored = KeypointDataset(annotations, CropSettings(), replace(NONE, flip=1.0))
    assert mirrored.notes == ("there are no flip_pairs, so images are never mirrored in training",)
    assert same(mirrored[0], KeypointDataset(annotations, CropSettings(), NONE)[0])
    assert KeypointDataset(annotations, CropSettings(), NONE).notes == ()
    assert KeypointDataset(annotations, CropSettings()).notes == ()


def test_wrong_flip_pairs_are_noticed(tmp_path: Path) -> None:
    dataset = KeypointDataset(make(tmp_path, flip_pairs=((0, 1),)), CropSettings(), Augmentation())
    assert "'left_eye' is paired with 'nose' in flip_pairs, but by its name belongs to 'right_eye'" in dataset.notes
    for wrong in (((1, 3),), ((1, 2), (2, 0)), ((1, 1),)):
        with pytest.raises(ValueError, match=r"flip pair"):
            make(tmp_path, flip_pairs=wrong)


def test_visible_means_labelled_in_the_image_and_in_the_crop(tmp_path: Path) -> None:
    annotations = make(tmp_path)
    annotations.visibility[0] = [0, 1, 2]
    annotations.keypoints[0] = [[np.nan, np.nan], [-0.5, 99.5], [60, 99.6]]  # the last in the black bar
    whole = KeypointDataset(annotations, CropSettings(region="image"))[0]
    assert whole.visible.tolist() == [[False, True, False]]
    assert whole.absent.tolist() == [[False, False, True]], "an unlabelled point may be anywhere"
    annotations.visibility[0] = 2
    annotations.keypoints[0] = [[20, 20], [90, 80], [19, 20]]  # the box is 20 to 90, 20 to 80
    boxed = KeypointDataset(annotations, CropSettings((60, 70), padding=1.0))[0]
    assert boxed.visible.tolist() == [[True, True, False]]


def test_colour_factors_and_their_limit(tmp_path: Path) -> None:
    annotations = make(tmp_path, count=1)
    flat = np.full((100, 120, 3), (30, 60, 90), np.uint8)
    cv2.imwrite(str(annotations.images[0]), flat[..., ::-1])
    dataset = KeypointDataset(annotations, CropSettings((8, 8), padding=0.2), replace(NONE, colour=0.4))
    seen = np.array([dataset[e, 0].images[0, :, 4, 4].numpy() for e in range(400)]) * 255 / [30, 60, 90]
    assert np.allclose(seen.min(0), 0.6, atol=0.02)
    assert np.allclose(seen.max(0), 1.4, atol=0.02)
    assert np.abs(np.corrcoef(seen.T) - np.eye(3)).max() < 0.2  # each channel by itself
    cv2.imwrite(str(annotations.images[0]), np.full((100, 120, 3), 250, np.uint8))
    assert max(float(dataset[e, 0].images.max()) for e in range(20)) == 1.0


def test_epochs_seeds_and_samples_differ_and_repeat(tmp_path: Path) -> None:
    annotations = make(tmp_path)
    dataset = KeypointDataset(annotations, CropSettings(), Augmentation(), seed=1)
    first = dataset[3, 1]
    assert same(first, KeypointDataset(annotations, CropSettings(), Augmentation(), seed=1)[3, 1])
    assert same(dataset[0, 1], dataset[1])
    assert same(dataset[-1], dataset[3])
    assert not same(first, dataset[4, 1])
    assert not torch.equal(first.to_image, dataset[3, 2].to_image)
    other = KeypointDataset(annotations, CropSettings(), Augmentation(), seed=2)
    assert not torch.equal(first.to_image, other[3, 1].to_image)
    with pytest.raises(IndexError):
        dataset[4]


def epochs(annotations: Annotations, workers: int, which: range) -> list:
    dataset = KeypointDataset(annotations, CropSettings((32, 32)), Augmentation(), seed=5)
    sampler = EpochSampler(len(dataset), seed=5)
    loader = DataLoader(
        dataset,
        batch_size=3,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate,
    )
    batches = []
    for epoch in which:
        sampler.set_epoch(epoch)
        batches.append(list(loader))
    return batches


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_the_same_for_any_number_of_workers_and_any_start(tmp_path: Path) -> None:
    annotations = make(tmp_path, count=7)
    alone, together, resumed = (
        epochs(annotations, workers, which) for workers, which in ((0, range(3)), (2, range(3)), (2, range(2, 3)))
    )
    for one, other in zip(alone, together, strict=True):
        assert [len(b.ids) for b in one] == [3, 3, 1]
        assert all(same(a, b) for a, b in zip(one, other, strict=True))
    assert all(same(a, b) for a, b in zip(alone[2], resumed[0], strict=True))
    orders = [tuple(torch.cat([b.ids for b in epoch]).tolist()) for epoch in alone]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len(set(orders)) == 3


def test_the_sampler_deals_to_every_process() -> None:
    shares = [EpochSampler(10, seed=1, rank=r, world_size=4) for r in range(4)]
    dealt = [[i for _, i in share] for share in shares]
    assert {len(share) for share in shares} == {3}
    assert {len(d) for d in dealt} == {3}
    assert {i for d in dealt for i in d} == set(range(10))
    assert len(list(EpochSampler(0))) == 0
    with pytest.raises(ValueError, match=r"rank 4 below world_size 4"):
        EpochSampler(10, rank=4, world_size=4)


def test_batches_travel_with_lightning(tmp_path: Path) -> None:
    from lightning.fabric.utilities.apply_func import move_data_to_device

    dataset = KeypointDataset(make(tmp_path), CropSettings((16, 16)))
    batch = collate([dataset[i] for i in range(3)])
    assert batch.ids.tolist() == [0, 1, 2]
    assert same(move_data_to_device(batch, torch.device("cpu")), batch)
    meta = batch.to("meta")
    assert {getattr(meta, f.name).device.type for f in fields(meta)} == {"meta"}


def test_a_float_image_that_cannot_be_scaled_is_named(tmp_path: Path) -> None:
    annotations = make(tmp_path, count=1)
    path = tmp_path / "photons.tiff"
    cv2.imwrite(str(path), np.full((100, 120), 812.5, np.float32), [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    annotations = replace(annotations, images=(path,))
    with pytest.raises(ImageError, match=r"photons.tiff: the float image spans .*: use intensity 'percentile'"):
        KeypointDataset(annotations, CropSettings())[0]
    assert KeypointDataset(annotations, CropSettings(intensity="percentile"))[0].images.isfinite().all()


def test_split_keeps_images_together(tmp_path: Path) -> None:
    annotations = make(tmp_path, count=10, per_image=3)
    train, val = split(annotations, 0.2, seed=4)
    assert (len(train), len(val)) == (24, 6)
    assert not set(train.images) & set(val.images)
    assert sorted(train.ids + val.ids, key=int) == list(annotations.ids)
    assert list(train.ids) == sorted(train.ids, key=int)
    again = split(annotations, 0.2, seed=4)
    assert again[1].ids == val.ids
    assert {split(annotations, 0.2, seed=s)[1].ids for s in range(8)} != {val.ids}


@pytest.mark.parametrize(("fraction", "held_out"), [(0.001, 1), (0.999, 9), (0.5, 5)])
def test_split_leaves_an_image_on_each_side(tmp_path: Path, fraction: float, held_out: int) -> None:
    assert len(split(make(tmp_path, count=10), fraction)[1]) == held_out


def test_splits_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"labels.json: a split .* needs two images or more, there is 1"):
        split(make(tmp_path, count=1, per_image=5), 0.5)
    for fraction in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"fraction must be above 0 and below 1"):
            split(make(tmp_path, count=2), fraction)


def test_images_are_drawn_whole_and_small_draws_lie_in_large_ones(scenes: Path) -> None:
    data = read(scenes / "train.json")
    few, more = (draw_images(data, n, seed=3) for n in (5, 9))
    assert len(set(few.images)) == 5
    assert set(few.images) < set(more.images)
    assert "5 of 24 images" in few.notes[-1]
    assert few.images == tuple(image for image in data.images if image in set(few.images))
    assert draw_images(data, 0) is data is draw_images(data, 24)
    assert set(draw_images(data, 5, seed=4).images) != set(few.images)
