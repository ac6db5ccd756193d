"""Drawings, measured in their pixels."""

import cv2
import matplotlib.pyplot
import numpy as np
import pytest

from punctum.draw import contact_sheet, draw_points, keypoint_colours, training_curves, write_png
from punctum.schema import Schema

TIP = Schema(("tip",))
FACE = Schema(
    ("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    skeleton=((0, 1), (0, 2)),
    flip_pairs=((1, 2), (3, 4)),
)


def drawn(image, keypoints, schema=TIP, **options):
    """Where the overlay changed the enlarged image, by how much; (H', W')."""
    count = len(schema.names)
    without = draw_points(image, np.full((count, 2), np.nan), schema, scale=options.get("scale"))
    with_points = draw_points(image, keypoints, schema, **options)
    return np.abs(with_points.astype(float) - without).sum(-1)


def centroid(weights):
    y, x = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


GRAY = np.full((48, 64), 128, np.uint8)


@pytest.mark.parametrize("scale", [1, 4, 9, 10])
@pytest.mark.parametrize("pixel", [(20, 20), (41, 30), (20.25, 30.5)])
def test_the_centre_of_a_pixel_is_drawn_in_the_centre_of_the_enlarged_pixel(pixel, scale):
    weights = drawn(GRAY, [pixel], scale=scale)
    # Pixel i of the small image covers [i s, (i + 1) s) of the large one: the middle of it is i s + (s - 1) / 2.
    expected = np.array(pixel) * scale + (scale - 1) / 2
    assert centroid(weights) == pytest.approx(expected, abs=0.1)


def test_a_shrunk_image_keeps_the_point_in_place():
    image = np.full((400, 600), 128, np.uint8)
    assert centroid(drawn(image, [(201.0, 101.0)], scale=0.5)) == pytest.approx([100.25, 50.25], abs=0.1)


def test_the_drawn_dot_meets_the_enlarged_picture():
    """The bright pixel of the image itself and the dot over it have one centre."""
    image = np.zeros((40, 40), np.uint8)
    image[17, 23] = 255
    enlarged = draw_points(image, [[np.nan, np.nan]], TIP).astype(float).sum(-1)
    assert centroid(enlarged**2) == pytest.approx(centroid(drawn(np.full_like(image, 99), [(23, 17)])), abs=0.1)


@pytest.mark.parametrize(
    ("size", "expected"), [((128, 128), 512), ((48, 64), 512), ((480, 100), 480), ((900, 600), 900)]
)
def test_small_images_become_legible_and_large_ones_stay(size, expected):
    picture = draw_points(np.zeros(size, np.uint8), [[1, 1]], TIP)
    assert max(picture.shape) == expected
    assert picture.shape[0] * size[1] == picture.shape[1] * size[0]


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 1), (48, 64, 3), (48, 64, 4)])
def test_gray_rgb_and_rgba_are_taken_and_left_alone(shape):
    image = np.full(shape, 128, np.uint8)
    before = image.copy()
    assert draw_points(image, [[5, 5]], TIP, scale=1).shape == (48, 64, 3)
    np.testing.assert_array_equal(image, before)


def test_colours_are_rgb_and_those_of_the_schema():
    keypoints = np.array([[32, 8], [10, 24], [54, 24], [10, 40], [54, 40]], dtype=float)
    picture = draw_points(GRAY, keypoints, FACE, scale=9)
    for (x, y), colour in zip((keypoints * 9 + 4).astype(int), keypoint_colours(FACE), strict=True):
        np.testing.assert_array_equal(picture[y, x], colour)


def test_left_is_warm_and_right_is_cool():
    colours = keypoint_colours(FACE).astype(int)
    assert (colours[[1, 3], 0] > colours[[1, 3], 2] + 100).all()
    assert (colours[[2, 4], 2] > colours[[2, 4], 0] + 100).all()


@pytest.mark.parametrize("schema", [FACE, Schema(tuple(f"p{i}" for i in range(194)))])
def test_colours_are_distinct(schema):
    assert len(np.unique(keypoint_colours(schema), axis=0)) == len(schema.names)


def test_hidden_is_hollow_and_unlabelled_is_absent():
    assert drawn(GRAY, [(20, 20)], visibility=[2], scale=9)[184, 184] > 0
    hollow = drawn(GRAY, [(20, 20)], visibility=[1], scale=9)
    assert hollow[184, 184] == 0
    assert hollow.sum() > 0
    assert centroid(hollow) == pytest.approx([184, 184], abs=0.1)
    assert drawn(GRAY, [(20, 20)], visibility=[0]).sum() == 0


def test_edges_join_their_points_and_go_when_one_is_missing():
    keypoints = np.array([[20, 10], [20, 40], [np.nan, 5], [1, 1], [1, 1]], dtype=float)
    both = drawn(GRAY, keypoints, FACE, scale=8)
    assert both[25 * 8 + 3, 20 * 8 + 3] > 0  # half way from nose to left eye
    missing = drawn(GRAY, keypoints, FACE, scale=8, visibility=[2, 0, 0, 0, 0])
    assert missing[25 * 8 + 3, 20 * 8 + 3] == 0


def test_colour_fades_with_the_score():
    sure, unsure = (draw_points(GRAY, [(20, 20)], TIP, score=[s], scale=9)[184, 184].astype(int) for s in (1, 0))
    np.testing.assert_array_equal(sure, keypoint_colours(TIP)[0])
    assert np.ptp(unsure) == 0


def test_the_ellipse_has_two_sigmas_and_the_right_slope():
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    covariance = turn @ np.diag([6.0**2, 2.0**2]) @ turn.T
    ring = drawn(GRAY, [(32, 24)], covariance=[covariance], scale=10) - drawn(GRAY, [(32, 24)], scale=10)
    y, x = np.nonzero(np.abs(ring) > 100)
    points = np.stack([x - 324.5, y - 244.5]) / 10  # from the ellipse's centre, in image pixels
    along, across = turn.T @ points
    assert np.abs(along).max() == pytest.approx(12, abs=0.4)
    assert np.abs(across).max() == pytest.approx(4, abs=0.4)
    radii = np.sqrt(np.einsum("in,ij,jn->n", points, np.linalg.inv(covariance), points))
    assert np.median(radii) == pytest.approx(2, abs=0.05)


def test_covariances_that_cannot_be_drawn_are_left_out():
    plain = draw_points(GRAY, [(20, 20)], TIP)
    np.testing.assert_array_equal(draw_points(GRAY, [(20, 20)], TIP, covariance=np.full((1, 2, 2), np.nan)), plain)
    draw_points(GRAY, [(20, 20)], TIP, covariance=-np.eye(2)[None])  # no ellipse is that small: a dot


def test_truth_is_a_cross_tied_to_its_point():
    weights = drawn(GRAY, [(10, 20)], truth=[(50, 20)], scale=9)
    assert weights[181:188, 451:458].min() > 0  # the cross's middle, at 50 * 9 + 4
    assert weights[184, 30 * 9] > 0  # the tie
    alone = drawn(GRAY, [(np.nan, np.nan)], truth=[(50, 20)], scale=9)
    assert centroid(alone) == pytest.approx([454, 184], abs=0.1)


def test_points_far_outside_draw_no_nonsense():
    for far in ([1e12, 1e12], [-1e30, 5.0], [np.inf, 0.0]):
        assert drawn(GRAY, [far]).sum() == 0


@pytest.mark.parametrize(
    ("image", "keypoints", "options", "words"),
    [
        (np.zeros((4, 4)), [[1, 1]], {}, "uint8"),
        (np.zeros((4, 4, 2), np.uint8), [[1, 1]], {}, r"got uint8 \(4, 4, 2\)"),
        (np.zeros((0, 4), np.uint8), [[1, 1]], {}, "got uint8"),
        (GRAY, [[1, 1], [2, 2]], {}, r"keypoints must have shape \(1, 2\)"),
        (GRAY, [[1, 1]], {"score": [1, 1]}, r"score must have shape \(1,\)"),
        (GRAY, [[1, 1]], {"covariance": np.eye(2)}, "covariance must have shape"),
        (GRAY, [[1, 1]], {"scale": 0}, "scale must be positive"),
    ],
)
def test_what_does_not_fit_is_named(image, keypoints, options, words):
    with pytest.raises(ValueError, match=words):
        draw_points(image, keypoints, TIP, **options)


def test_a_sheet_holds_each_image_in_its_place():
    images = [np.full((10 + i, 20 - i, 3), 40 * i, np.uint8) for i in range(5)]
    sheet = contact_sheet(images, columns=2)
    height, width = 14 + 4, 20 + 4  # the largest, and a gap
    assert sheet.shape == (3 * height + 4, 2 * width + 4, 3)
    for i, image in enumerate(images):
        top, left = 4 + i // 2 * height, 4 + i % 2 * width
        np.testing.assert_array_equal(sheet[top : top + image.shape[0], left : left + image.shape[1]], image)
    assert (sheet[-height:-4, width + 4 :] == 255).all()  # no sixth image


@pytest.mark.parametrize(
    "title", ["plain", "Übung_日本.png", "tab\tand\nline", "", "a name that is much too long " * 9]
)
def test_titles_never_fail_nor_leave_their_strip(title):
    black = np.zeros((30, 60), np.uint8)
    sheet = contact_sheet([black, black], columns=2, titles=["", title])
    assert (sheet[:, :68] == contact_sheet([black, black], columns=2, titles=["", ""])[:, :68]).all()
    assert (sheet[22:52, 68:128] == 0).all()
    assert (sheet[4:22, 68:128] < 128).any() == bool(title)


def test_sheets_refuse_nothing_and_wrong_titles():
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet([], columns=2)
    with pytest.raises(ValueError, match="one column"):
        contact_sheet([GRAY], columns=0)
    with pytest.raises(ValueError, match="2 titles for 1 images"):
        contact_sheet([GRAY], columns=1, titles=["a", "b"])


def test_png_keeps_every_value_and_the_channel_order(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    path = tmp_path / "new" / "größe.png"
    write_png(path, image)
    write_png(path, image)  # over an older one
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], image)
    assert [p.name for p in path.parent.iterdir()] == ["größe.png"]
    write_png(tmp_path / "gray.png", image[..., 0])
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "gray.png"))[..., 1], image[..., 0])
    with pytest.raises(ValueError, match="uint8"):
        write_png(tmp_path / "bad.png", image / 255)


NAN = float("nan")


@pytest.mark.parametrize(
    "columns",
    [
        {
            "epoch": [0, 1, 2, 3],
            "train_loss": [9.0, 1.0, 0.5, 0.1],
            "val_loss": [None, 1.2, None, 0.4],
            "val_epe_px": [NAN, 30.0, NAN, 1.0],
            "lr": [1e-3, 1e-3, 1e-4, 1e-5],
        },
        {"epoch": [0], "train_loss": [1.0]},
        {"epoch": [0, 1], "train_loss": [-1.0, -2.0], "val_epe_px": [0.0, 0.0]},
        {"epoch": [0, 1], "train_loss": [None, NAN]},
        {"epoch": []},
    ],
)
def test_training_curves_of_whatever_was_measured(tmp_path, columns):
    path = tmp_path / "figures" / "training.png"
    training_curves(columns, path)
    picture = cv2.imread(str(path))
    assert picture.shape == (504, 1200, 3)
    assert picture.min() < 60  # axes and letters
    assert matplotlib.pyplot.get_fignums() == []


def test_training_curves_draw_both_losses_and_the_error(tmp_path):
    path = tmp_path / "training.png"
    training_curves(
        {"epoch": [0, 1], "train_loss": [2.0, 1.0], "val_loss": [3.0, 2.0], "val_epe_px": [4.0, 3.0]}, path
    )
    picture = cv2.imread(str(path))[..., ::-1].astype(int)

    def amount(colour, half):
        return (np.abs(half - np.array(colour)).max(-1) < 20).sum()

    left, right = picture[:, :600], picture[:, 600:]
    assert amount((213, 94, 0), left) > 200
    assert amount((0, 114, 178), left) > 200
    assert amount((0, 114, 178), right) > 200


def test_training_curves_name_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="need the column 'epoch'; there are: lr"):
        training_curves({"lr": [1.0]}, tmp_path / "a.png")
    with pytest.raises(ValueError, match="'lr' has 1 values, 'epoch' has 2"):
        training_curves({"epoch": [0, 1], "lr": [1.0]}, tmp_path / "a.png")
