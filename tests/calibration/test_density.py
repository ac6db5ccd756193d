"""The fitted density: its likelihood against SciPy's, and whether what it says of places is so."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from calibration.cases import SIZES, maps
from punctum.calibration import fit
from punctum.calibration.density import COMPONENTS, RANGES, Density
from punctum.calibration.likelihood import Likelihood
from punctum.ops import transform_points
from punctum.ops.continuous import MixtureFamily, cell_places
from punctum.ops.highest_density import HighestDensity


def some_parameters(rng, keypoints, dims):
    """Within their ranges, with shapes that are not round."""
    root = rng.normal(size=(keypoints, dims, dims)) + 2 * np.eye(dims)
    shape = root @ root.swapaxes(-1, -2)
    background = rng.uniform(0.001, 0.1, keypoints)
    values = {
        "temperature": rng.uniform(0.3, 3, keypoints),
        "bandwidth": rng.uniform(0.3, 2, keypoints),
        "spread_scale": rng.uniform(0.1, 2, keypoints),
        "spread_floor": rng.uniform(0.1, 2, keypoints),
        "background": background,
        "centre_weight": rng.uniform(0.1, 0.9, keypoints) * (1 - background),
        "shape": shape / shape.diagonal(axis1=-2, axis2=-1).mean(-1)[:, None, None],
        "offset": rng.normal(size=(keypoints, dims)),
    }
    return {name: torch.from_numpy(value) for name, value in values.items()}


def normalized_truth(data):
    return transform_points(data.keypoints, torch.linalg.inv(data.to_image))


def scipy_log_density(y, cells, places, centre, own, size, k, p):
    """One point's density, component by component, in normalized coordinates."""
    side = np.diag(2 / np.array(size[::-1]))
    shape = side @ p["shape"][k].numpy() @ side
    t, h, w, a, b, e = (
        float(p[name][k])
        for name in ("temperature", "bandwidth", "centre_weight", "spread_scale", "spread_floor", "background")
    )
    moved = side @ p["offset"][k].numpy()
    q = np.exp((cells - cells.max()) / t)
    kernel = stats.multivariate_normal(np.zeros(len(y)), h**2 * shape)
    total = (1 - w - e) * (q / q.sum() * kernel.pdf(y - places - moved)).sum()
    total += w * stats.multivariate_normal(centre + moved, a * own + b * shape).pdf(y)
    return np.log(total + e * stats.multivariate_normal(np.zeros(len(y)), np.eye(len(y))).pdf(y))


@pytest.mark.parametrize("dims", [1, 2])
def test_the_mixture_of_shapes_and_offsets_is_scipys(dims):
    rng = np.random.default_rng(dims)
    data = maps(4, 2, dims, dtype=torch.float64)
    family = MixtureFamily.of(*_parts(data))
    p = some_parameters(rng, 2, dims)
    found = family.mixture(**p).log_prob(normalized_truth(data))
    log_mass, places = cell_places(data.prediction.heatmap)
    for n in range(4):
        for k in range(2):
            wanted = scipy_log_density(
                normalized_truth(data)[n, k].numpy(),
                log_mass[n, k].numpy(),
                places[n, k].numpy(),
                data.prediction.coords[n, k].numpy(),
                data.prediction.covariance[n, k].numpy(),
                SIZES[dims],
                k,
                p,
            )
            assert found[n, k] == pytest.approx(wanted, abs=1e-6)


def _parts(data, size=None):
    p = data.prediction
    return p.heatmap, p.coords, p.covariance, size or data.size


@given(st.integers(1, 3), st.booleans(), st.booleans(), st.integers(1, 4), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_the_fast_likelihood_is_that_of_the_mixture(dims, heatmap, covariance, keypoints, seed):
    data = maps(5, keypoints, dims, seed, heatmap=heatmap, covariance=covariance, hidden=0.2, dtype=torch.float64)
    p = some_parameters(np.random.default_rng(seed), keypoints, dims)
    family = MixtureFamily.of(*_parts(data), max_components=512)
    fast = Likelihood.of(data, family, p["shape"])
    whitened = torch.linalg.solve(torch.linalg.cholesky(p["shape"]), p["offset"][..., None])[..., 0]
    rest = {name: value for name, value in p.items() if name not in ("shape", "offset")}
    per_cell = torch.tensor([2 / n for n in data.size], dtype=torch.float64).log().sum()
    found = family.mixture(**p).log_prob(torch.where(data.visible[..., None], normalized_truth(data), 0.0))
    torch.testing.assert_close(fast.log_prob(**rest, offset=whitened), found[data.visible] + per_cell)


def test_of_a_large_map_the_heaviest_cells_do():
    data = maps(40, 2, 3, 1, dtype=torch.float64)
    assert data.prediction.heatmap[0, 0].numel() > 2 * COMPONENTS
    density = fit(data).density
    few = density.mixture(data.prediction).log_prob(normalized_truth(data))
    p = {name: getattr(density, name) for name in (*RANGES, "centre_weight", "shape", "offset")}
    all_cells = MixtureFamily.of(*_parts(data), max_components=512).mixture(**p).log_prob(normalized_truth(data))
    assert abs(few.mean() - all_cells.mean()) < 0.02


def test_levels_of_new_places_are_uniform():
    """What the density says of new places is so: 'how many places are denser' takes every value alike."""
    data = maps(500, 4, 2, 2, shared=0.0)
    old, new = data.split(250, seed=0)
    mixture = fit(old).density.mixture(new.prediction)
    levels = HighestDensity(mixture, 256).level(normalized_truth(new).float())
    assert stats.kstest(levels.flatten().numpy().clip(0, 1), "uniform").statistic < 0.06


def test_a_map_that_is_too_sure_is_made_as_unsure_as_its_errors_are():
    """The map was raised to the fourth power: the temperature takes it back, and the likelihood is what it was."""
    data = maps(400, 2, 2, 3, covariance=False, shared=0.0, dtype=torch.float64)
    old, new = data.split(200, seed=0)

    def surprise(power):
        def sharpen(part):
            heat = part.prediction.heatmap**power
            heat = heat / heat.sum((-2, -1), keepdim=True)
            return type(part)(
                type(part.prediction)(part.prediction.coords, part.prediction.score, None, heat),
                *(getattr(part, f) for f in ("to_image", "keypoints", "visible", "images", "lengths")),
            )

        density = fit(sharpen(old)).density
        prediction = sharpen(new).prediction
        return -density.mixture(prediction).log_prob(normalized_truth(new)).mean(), density

    as_it_is, _ = surprise(1)
    sharpened, density = surprise(4)
    assert abs(as_it_is - sharpened) < 0.05
    assert (density.temperature[density.centre_weight < 0.5] > 2).all()


def test_labels_that_lie_to_one_side_are_found_there():
    data = maps(300, 2, 2, 4, shared=0.0, dtype=torch.float64)
    side = 2 / torch.tensor(data.size[::-1], dtype=torch.float64)
    moved = torch.tensor([[0.8, 0.0], [0.0, -0.5]], dtype=torch.float64)
    linear = data.to_image[:, None, :2, :2] @ (moved * side)[None, ..., None]
    shifted = type(data)(
        data.prediction, data.to_image, data.keypoints + linear[..., 0], data.visible, data.images, data.lengths
    )
    found = fit(shifted).density.offset - fit(data).density.offset
    assert (found - moved).abs().max() < 0.15


def test_parameters_stay_in_their_ranges_and_the_same_data_give_the_same_numbers():
    data = maps(12, 3, 2, 5, hidden=0.3)
    one, two = fit(data).density, fit(data).density
    for name, (low, high) in RANGES.items():
        value = getattr(one, name)
        assert torch.equal(value, getattr(two, name))
        assert ((value >= 0.999 * low) & (value <= 1.001 * high)).all()
    assert (one.centre_weight + one.background <= 1).all()


@pytest.mark.parametrize("broken", ["heatmap", "coords", "covariance", "all"])
def test_maps_of_nan_or_nothing_do_no_harm(broken):
    data = maps(30, 2, 2, 6)
    for name in ("heatmap", "coords", "covariance"):
        if broken in (name, "all"):
            getattr(data.prediction, name)[0] = torch.nan
    data.prediction.heatmap[1] = 0
    density = fit(data).density
    assert all(getattr(density, name).isfinite().all() for name in RANGES)
    assert density.mixture(data.prediction).log_prob(normalized_truth(data).float()).isfinite().all()


def test_no_visible_point_is_an_error():
    data = maps(5, 2, hidden=1.0)
    with pytest.raises(ValueError, match="no point is visible"):
        fit(data)
    with pytest.raises(ValueError, match="no point is visible"):
        Density.fit(data, torch.eye(2, dtype=torch.float64).expand(2, 2, 2))
