"""The pictures of the toy cases: they show what was measured."""

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from punctum.diagnostics import toy, toy_figures

KEPT = [0, 2, 5]


@pytest.fixture(scope="module")
def runs():
    starts = toy.cases(size=(16, 12), truth=(8, 11))
    losses = toy.paper_losses((16, 12))
    return {name: toy.descend(loss, starts, [0.05], 5, KEPT) for name, loss in losses.items()}


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


def test_every_kept_map_is_shown_with_truth_and_coordinate(runs):
    shown = panels(toy_figures.progress_figure(runs))
    assert len(shown) == 2 * 4 * len(KEPT)
    axes, run = shown[4 * len(KEPT) + 3 + 2], runs["regression"][1]  # second group, second case, after 5 updates
    np.testing.assert_allclose(axes.images[0].get_array(), run.maps[2])
    assert tuple(axes.lines[0].get_xydata()[0]) == (8, 11)
    np.testing.assert_allclose(axes.lines[1].get_xydata()[0], run.coords[5])


def test_kinds_of_maps_have_one_scale_each(runs):
    norms = [axes.images[0].norm for axes in panels(toy_figures.progress_figure(runs))]
    assert {id(norm) for norm in norms} == {id(toy_figures.HEIGHT), id(toy_figures.PROBABILITY)}


def test_a_coordinate_beyond_the_map_is_shown_at_its_edge(runs):
    run = runs["regression"][0]
    away = replace(run, coords=torch.full_like(run.coords, 99.0))
    figure = toy_figures.progress_figure({"away": [away]})
    assert tuple(panels(figure)[0].lines[1].get_xydata()[0]) == (11, 15)


def test_the_gradient_figure_shows_minus_the_gradients():
    case = toy.cases(size=(16, 12), truth=(8, 11))[1]
    columns = [np.asarray(axes.images[0].get_array()) for axes in panels(toy_figures.gradient_figure([case]))]
    assert len(columns) == 4
    value, location, regression, detection = columns
    np.testing.assert_allclose(regression, -7 * 10 * value * location)  # (16 + 12) / 4, beta
    assert detection[11, 8] == pytest.approx(2, abs=0.1)
    start = toy.descend(toy.paper_losses((16, 12))["regression"], [case], [1.0], 1, [0, 1])[0].maps
    before, after = (np.log(each.numpy()) for each in start)
    moved = 10 * regression
    np.testing.assert_allclose(after - before - (after - before).mean(), moved - moved.mean(), atol=1e-9)


def test_a_line_goes_below_one_cell_when_the_coordinate_arrives(runs):
    errors = torch.tensor([9.0, 0.5, 3.0, 1.0, 0.2, 0.1])
    figure = toy_figures.error_figure({"a": [replace(run, errors=errors) for run in runs["detection"]]})
    line = next(axes.lines[0] for axes in figure.axes if axes.lines)
    heights = line.get_ydata()
    np.testing.assert_allclose(heights, [9, 3, 3, 1, 0.2, 0.1], rtol=1e-6)
    assert list(heights <= 1).index(True) == replace(runs["detection"][0], errors=errors).arrival()


def test_the_animation_has_a_frame_for_each_map(runs):
    found = Image.open(io.BytesIO(toy_figures.animation(runs, milliseconds=50)))
    assert found.format == "GIF"
    assert found.n_frames == len(KEPT)
    assert found.info["loop"] == 0
    frames = []
    for i in range(found.n_frames):
        found.seek(i)
        frames.append(np.asarray(found.convert("RGB")))
    assert all((first != second).any() for first, second in itertools.pairwise(frames))


def test_a_png_is_one(runs):
    found = Image.open(io.BytesIO(toy_figures.png(toy_figures.error_figure(runs), dpi=50)))
    assert (found.format, found.size) == ("PNG", (520, 320))
