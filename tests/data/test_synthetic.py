"""Scenes: the truth they come with, tested against their pixels."""

import json
import time

import cv2
import numpy as np
import pytest

from punctum.data import synthetic
from punctum.data.shapes import Part, disc
from punctum.data.synthetic import SCHEMA, make_scene, marker_scene, write_scenes


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(seed) for seed in range(150)]


def test_the_same_seed_gives_the_same_scene():
    a, b = make_scene(3), make_scene(np.random.default_rng(3))
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.keypoints, b.keypoints)
    assert not np.array_equal(a.image, make_scene(4).image)


@pytest.mark.parametrize("size", [32, 97, 256])
def test_shapes_and_types(size):
    scene = make_scene(0, size)
    count = len(SCHEMA.names)
    assert (scene.image.shape, scene.image.dtype) == ((size, size, 3), np.uint8)
    assert (scene.keypoints.shape, scene.keypoints.dtype) == ((count, 2), np.float64)
    assert (scene.visibility.shape, scene.visibility.dtype) == ((count,), np.int8)
    assert scene.box.shape == (4,)
    assert 0 < scene.area < scene.box[2] * scene.box[3]


def test_a_size_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="at least 32 px"):
        make_scene(0, 16)


def test_marks_lie_where_the_labels_say(scenes):
    """End to end, on finished pictures: pixels that look like a joint's centre lie evenly around it.

    One joint's surroundings are not even, so the mean over 1500 of them is taken: half a pixel, or the
    quarter that a sloppy supersampling is off by, would stand out.
    """
    steps = np.arange(-3, 3.01, 0.25)
    y, x = np.meshgrid(steps, steps, indexing="ij")
    window = np.hypot(x, y) <= 3
    offsets = []
    for scene in scenes:
        for px, py in scene.keypoints[scene.visibility == 2]:
            patch = cv2.remap(
                scene.image, (px + x).astype(np.float32), (py + y).astype(np.float32), cv2.INTER_LINEAR
            ).astype(np.float64)
            likeness = np.exp(-((patch - patch[12, 12]) ** 2).sum(-1) / (2 * 60**2)) * window
            offsets.append([(likeness * x).sum() / likeness.sum(), (likeness * y).sum() / likeness.sum()])
    assert len(offsets) > 1500
    assert np.mean(offsets, axis=0) == pytest.approx([0, 0], abs=0.03)


def test_visible_joints_show_their_mark_and_hidden_ones_do_not(monkeypatch):
    """With marks of one colour that nothing else has, the picture itself says which joints are seen."""
    monkeypatch.setattr(synthetic, "_photograph", lambda canvas, rng: np.rint(canvas).astype(np.uint8))
    palette = synthetic._palette
    mark = np.array([255.0, 0.0, 255.0])
    monkeypatch.setattr(synthetic, "_palette", lambda rng: [*palette(rng)[:3], np.zeros(3), mark])
    likeness = {0: [], 1: [], 2: []}
    for seed in range(40):
        scene = make_scene(seed, 512)  # large marks: their middle is pure colour
        for (x, y), seen in zip(np.rint(scene.keypoints).astype(int), scene.visibility, strict=True):
            inside = 0 <= x < 512 and 0 <= y < 512
            assert inside == (seen > 0)
            if inside:
                likeness[int(seen)].append(np.abs(scene.image[y, x] - mark).max() < 60)
    assert len(likeness[1]) > 10
    assert np.mean(likeness[2]) > 0.99  # a mark may be cut by something that ends just beside its centre
    assert np.mean(likeness[1]) < 0.15  # what hides it may be a thin edge, or a mark itself


def test_visibility_by_hand():
    def part(x, radius, joint=None):
        return Part(disc(np.array([x, 5.0]), radius), np.zeros(3), np.zeros(3), joint=joint)

    keypoints = np.array([[5.0, 5.0], [9.0, 5.0], [20.0, 5.0], [-0.6, 5.0], [40.4, 5.0]])
    marks = [part(x, 1.0, joint) for joint, (x, _) in enumerate(keypoints)]
    parts = [part(5.0, 3.0), *marks[:2], part(9.0, 2.0), *marks[2:], part(18.5, 1.4)]
    # 0: covers only what is under it; 1: covered later; 2: its centre is just not covered; 3, 4: the edges
    assert synthetic._visibility(keypoints, parts, size=41).tolist() == [2, 1, 2, 0, 2]


def test_most_joints_are_visible_some_hidden_few_outside(scenes):
    seen = np.stack([scene.visibility for scene in scenes])
    shares = [(seen == kind).mean() for kind in (0, 1, 2)]
    assert 0.002 < shares[0] < 0.04
    assert 0.02 < shares[1] < 0.15
    assert ((seen == 2).mean(axis=0) > 0.75).all()  # no joint is a lottery


def test_the_figure_faces_the_viewer_upright(scenes):
    keypoints = np.stack([scene.keypoints for scene in scenes])
    at = {name: keypoints[:, i] for i, name in enumerate(SCHEMA.names)}
    spine = at["neck"] - (at["left_hip"] + at["right_hip"]) / 2
    lean = np.degrees(np.arctan2(spine[:, 0], -spine[:, 1]))
    assert np.abs(lean).max() < 35
    assert lean.std() > 8
    for joint in ("shoulder", "hip"):  # its left is at the viewer's right
        assert (at[f"left_{joint}"][:, 0] > at[f"right_{joint}"][:, 0]).all()
    height = np.ptp(keypoints[..., 1], axis=1) / 128
    assert height.min() > 0.35
    assert height.max() < 0.9 + 1e-9


def test_a_mirrored_scene_with_swapped_labels_is_as_plausible(scenes):
    """Places and colours have the same distribution: augmentation by mirroring adds true examples."""
    keypoints = np.stack([make_scene(seed, 32).keypoints for seed in range(600)]) / 32
    mirrored = keypoints[:, SCHEMA.flip_order].copy()
    mirrored[..., 0] = 31 / 32 - mirrored[..., 0]
    spread = keypoints.std(axis=0) / np.sqrt(len(keypoints))
    # The two means share their scenes, so 4 standard errors of a difference are a wide gate but a true one.
    assert (np.abs(keypoints.mean(axis=0) - mirrored.mean(axis=0)) < 4 * np.sqrt(2) * spread).all()
    for name in ("elbow", "knee"):
        left, right = SCHEMA.index(f"left_{name}"), SCHEMA.index(f"right_{name}")
        for seed in range(20):
            rng = np.random.default_rng(seed)
            parts = synthetic._figure(synthetic._place(synthetic._pose(rng), rng, 128), rng)
            marks = {part.joint: part for part in parts}
            assert marks[left].colour is marks[right].colour
            assert marks[left].shape.ra == marks[right].shape.ra


def test_the_box_holds_the_drawn_figure(monkeypatch):
    """Against the pixels: the figure in white on black, no occluders."""
    monkeypatch.setattr(synthetic, "_photograph", lambda canvas, rng: np.rint(canvas).astype(np.uint8))
    monkeypatch.setattr(synthetic, "_palette", lambda rng: [np.full(3, 255.0)] * 5)
    monkeypatch.setattr(synthetic, "_clutter", lambda rng, size: np.zeros((size, size, 3), np.float32))
    monkeypatch.setattr(synthetic, "_occluders", lambda *args: [])
    for seed in range(20):
        scene = make_scene(seed, 256)
        rows, columns = np.nonzero(scene.image[..., 0] > 127)
        drawn = [columns.min() - 0.5, rows.min() - 0.5, np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert scene.box == pytest.approx(drawn, abs=2.1)
        assert scene.area == pytest.approx((scene.image[..., 0] > 127).sum(), rel=0.05)
        x, y, width, height = scene.box
        assert x >= -0.5
        assert y >= -0.5
        assert x + width <= 255.5
        assert y + height <= 255.5


def test_a_scene_takes_a_few_milliseconds():
    make_scene(0)
    times = []
    for seed in range(30):
        start = time.process_time()
        make_scene(seed)
        times.append(time.process_time() - start)
    assert np.min(times) < 0.015  # about 4 ms; the gate is wide, for slower machines


@pytest.mark.parametrize("sigma", [1.0, 1.5, 3.0])
def test_a_blobs_centroid_is_its_place(sigma):
    for offset in np.random.default_rng(0).uniform(0, 1, (50, 2)):
        place = np.array([30, 20]) + offset
        image = marker_scene([place], size=(41, 61), sigma=sigma)
        weights = image[..., 0].astype(np.float64) - 16
        y, x = np.mgrid[:41, :61]
        found = np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()
        assert found == pytest.approx(place, abs=0.01)


def test_blobs_do_not_add_up():
    image = marker_scene([[4.0, 4.0], [5.0, 4.0], [4.0, 5.0]], size=9, sigma=3.0)
    assert image.max() == 240
    assert image.min() >= 16
    with pytest.raises(ValueError, match="sigma"):
        marker_scene([[1.0, 1.0]], size=4, sigma=0.0)


def test_written_scenes_are_coco(tmp_path):
    path = write_scenes(tmp_path / "new" / "données", count=25, seed=1, split="val")
    assert path == tmp_path / "new" / "données" / "val.json"
    data = json.loads(path.read_text())
    assert len(data["images"]) == len(data["annotations"]) == 25
    (category,) = data["categories"]
    assert category["keypoints"] == list(SCHEMA.names)
    assert np.min(category["skeleton"]) == 1
    assert np.max(category["skeleton"]) == len(SCHEMA.names)
    assert [tuple(pair) for pair in category["flip_pairs"]] == list(SCHEMA.flip_pairs)
    hidden = outside = 0
    for record, label in zip(data["images"], data["annotations"], strict=True):
        image = cv2.imread(str(path.parent / record["file_name"]), cv2.IMREAD_COLOR)
        assert image.shape == (record["height"], record["width"], 3)
        assert label["image_id"] == record["id"]
        points = np.reshape(label["keypoints"], (-1, 3))
        assert label["num_keypoints"] == (points[:, 2] > 0).sum()
        assert (points[points[:, 2] == 0] == 0).all()
        hidden += (points[:, 2] == 1).sum()
        outside += (points[:, 2] == 0).sum()
        x, y, width, height = label["bbox"]
        known = points[points[:, 2] > 0]
        assert ((known[:, :2] >= [x, y]) & (known[:, :2] <= [x + width, y + height])).all()
        assert 0 < label["area"] < width * height
    assert hidden > 0
    assert outside > 0
    assert sorted(p.name for p in path.parent.iterdir()) == ["images", "val.json"]  # nothing temporary is left


def test_written_pictures_hold_the_scene_in_rgb(tmp_path):
    path = write_scenes(tmp_path, count=1, seed=5)
    stored = cv2.cvtColor(cv2.imread(str(tmp_path / "images" / "train_00000.png")), cv2.COLOR_BGR2RGB)
    label = json.loads(path.read_text())["annotations"][0]
    entropy = [5, synthetic.zlib.crc32(b"train"), 0]
    scene = make_scene(np.random.default_rng(entropy))
    np.testing.assert_array_equal(stored, scene.image)
    seen = scene.visibility > 0
    np.testing.assert_array_equal(np.reshape(label["keypoints"], (-1, 3))[seen, :2], scene.keypoints[seen])


def test_same_seed_same_bytes_and_splits_differ(tmp_path):
    first = write_scenes(tmp_path / "a", count=3, seed=9, size=48)
    again = write_scenes(tmp_path / "b", count=3, seed=9, size=48)
    longer = write_scenes(tmp_path / "c", count=4, seed=9, size=48)
    other = write_scenes(tmp_path / "a", count=3, seed=9, size=48, split="val")
    assert first.read_bytes() == again.read_bytes()
    for i in range(3):
        name = f"images/train_{i:05d}.png"
        picture = (first.parent / name).read_bytes()
        assert picture == (again.parent / name).read_bytes()
        assert picture == (longer.parent / name).read_bytes()
        assert picture != (other.parent / name.replace("train", "val")).read_bytes()


@pytest.mark.parametrize(("count", "seed"), [(0, 1), (2, -1)])
def test_bad_counts_and_seeds_are_refused(tmp_path, count, seed):
    with pytest.raises(ValueError, match=r"count .* seed"):
        write_scenes(tmp_path, count, seed)
    assert not list(tmp_path.iterdir())
