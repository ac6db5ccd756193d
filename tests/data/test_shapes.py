"""Shapes against a brute-force picture of them, and discs against their own centroid."""

import numpy as np
import pytest

from punctum.data.shapes import Capsule, Part, Polygon, disc

WHITE, BLACK = np.full(3, 255.0), np.zeros(3)


def painted(shape, size=25, **options):
    canvas = np.zeros((size, size, 4), dtype=np.float32)
    Part(shape, WHITE, options.pop("edge_colour", BLACK), **options).paint(canvas, 1.0)
    return canvas.astype(np.float64)


def centroid(weights):
    y, x = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


@pytest.mark.parametrize("radius", [0.7, 0.9, 1.2, 2.0, 3.3])
def test_a_discs_centroid_is_its_place_at_any_sub_pixel_offset(radius):
    for dx in np.arange(10) / 10:
        for dy in np.arange(10) / 10:
            centre = np.array([11 + dx, 12 + dy])
            assert centroid(painted(disc(centre, radius))[..., 0]) == pytest.approx(centre, abs=0.015)


def test_a_marked_joint_keeps_its_place_under_an_edge_of_another_colour():
    for offset in np.random.default_rng(0).uniform(0, 1, (40, 2)):
        canvas = painted(disc(11 + offset, 1.6), edge=0.5, edge_colour=np.full(3, 90.0))
        assert centroid(canvas[..., 0]) == pytest.approx(11 + offset, abs=0.015)


def test_distance_of_a_capsule_of_one_width_is_that_to_the_nearest_of_many_discs():
    a, b = np.array([4.0, 5.0]), np.array([10.0, 8.0])
    middles = a + np.linspace(0, 1, 20001)[:, None] * (b - a)
    for point in np.random.default_rng(0).uniform(-2, 15, (50, 2)):
        nearest = np.hypot(*(point - middles).T).min() - 2.0
        assert Capsule(a, b, 2.0, 2.0).distance(*point) == pytest.approx(nearest, abs=1e-6)


def test_a_capsule_narrows_from_one_end_to_the_other():
    shape = Capsule(np.array([0.0, 0.0]), np.array([10.0, 0.0]), 3.0, 1.0)
    assert shape.distance(0.0, 5.0) == pytest.approx(2.0)  # 5 away, radius 3
    assert shape.distance(5.0, 5.0) == pytest.approx(3.0)  # half way: radius 2
    assert shape.distance(14.0, 0.0) == pytest.approx(3.0)  # beyond the end: radius 1
    assert np.array(shape.extent()) == pytest.approx(np.array([[-3.0, -3.0], [11.0, 3.0]]))


def test_distance_of_a_polygon():
    square = Polygon(np.array([[2.0, 2.0], [8.0, 2.0], [8.0, 8.0], [2.0, 8.0]]))
    assert square.distance(5.0, 5.0) == pytest.approx(-3.0)
    assert square.distance(3.0, 6.0) == pytest.approx(-1.0)
    assert square.distance(10.5, 5.0) == pytest.approx(2.5)
    assert square.distance(2.0, 4.0) == pytest.approx(0.0)


@pytest.mark.parametrize(
    "shape",
    [
        Capsule(np.array([8.3, 7.1]), np.array([16.2, 15.9]), 3.0, 3.0),
        Polygon(np.array([[6.2, 5.1], [18.4, 7.3], [16.1, 19.2], [5.5, 16.6]])),
        disc(np.array([12.4, 12.1]), 6.0),
    ],
)
def test_area_is_that_of_a_fine_grid(shape):
    y, x = np.mgrid[0:25:0.05, 0:25:0.05]
    area = (shape.distance(x, y) < 0).sum() * 0.05**2
    assert painted(shape)[..., 3].sum() == pytest.approx(area, rel=0.02)


def test_parts_outside_the_canvas_or_across_its_edge():
    assert painted(disc(np.array([-9.0, 5.0]), 3.0)).sum() == 0
    assert painted(disc(np.array([5.0, 90.0]), 3.0)).sum() == 0
    whole, cut = painted(disc(np.array([12.0, 12.0]), 3.0)), painted(disc(np.array([0.0, 12.0]), 3.0))
    np.testing.assert_allclose(cut[:, :13], whole[:, 12:])
