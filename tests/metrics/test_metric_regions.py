"""Coverage and size: against loops, and on data drawn from what was predicted, where every promise must hold."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from punctum.metrics import mean_interval, quantile_interval
from punctum.metrics.calibration import NOMINAL, Outcomes, coverage_and_size, coverage_and_size_interval
from punctum.ops.highest_density import HighestDensity
from punctum.ops.mixture import single_gaussian


def made_up(n: int, k: int, levels: int, seed: int) -> Outcomes:
    rng = np.random.default_rng(seed)
    inside = (rng.random((n, k, levels)) < 0.7).astype(float)
    inside[rng.random((n, k)) < 0.3] = np.nan
    size = np.exp(rng.normal(size=(n, k, levels)))
    size[rng.random(size.shape) < 0.2] = np.inf
    return Outcomes(torch.from_numpy(inside), torch.from_numpy(size))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 7), k=st.integers(1, 4), levels=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_against_loops(n, k, levels, seed):
    regions = made_up(n, k, levels, seed)
    figures = coverage_and_size(regions)
    for level in range(levels):
        for column in [None, *range(k)]:
            points = [
                (float(regions.inside[i, j, level]), float(regions.size[i, j, level]))
                for i in range(n)
                for j in ([column] if column is not None else range(k))
                if not math.isnan(regions.inside[i, j, level])
            ]
            measured = [one.total[level] if column is None else one.per_keypoint[level, column] for one in figures]
            held, sizes = [p[0] for p in points], sorted(p[1] for p in points)
            middle = math.nan
            if sizes:
                low, high = sizes[(len(sizes) - 1) // 2], sizes[len(sizes) // 2]
                middle = (low + high) / 2
            mean = [sum(v) / len(v) if v else math.nan for v in (held, sizes)]
            np.testing.assert_allclose([float(m) for m in measured], [*mean, middle], rtol=1e-12)


def test_intervals_are_those_of_means_and_medians():
    regions = made_up(30, 3, 2, seed=1)
    regions.size[..., 1] = regions.size[..., 1].clamp(max=5)
    ids = torch.arange(30) // 2
    ends = coverage_and_size_interval(regions, ids, n=200, seed=3)
    size = torch.where(regions.inside.isnan(), torch.nan, regions.size)
    for level in range(2):
        options = {"n": 200, "seed": 3}
        held = mean_interval([regions.inside[..., level]], ids, **options)[:, 0]
        torch.testing.assert_close(ends.coverage[:, level], held)
        torch.testing.assert_close(
            ends.median[:, level], quantile_interval(size[..., level], [0.5], ids, **options)[:, 0]
        )
    # Of a mean that is infinite nothing is told; one number is enough for that.
    assert ends.mean[:, 0].isnan().all()
    torch.testing.assert_close(ends.mean[:, 1], mean_interval([size[..., 1]], ids, **options)[:, 0])


def test_whole_instances_have_one_column_of_coverage_and_the_sizes_of_their_points():
    inside = torch.tensor([[[1.0]], [[0.0]], [[torch.nan]]])
    size = torch.tensor([[[2.0], [torch.nan]], [[4.0], [9.0]], [[100.0], [100.0]]])
    figures = coverage_and_size(Outcomes(inside, size))
    assert figures.coverage.total == 0.5
    assert figures.coverage.per_keypoint.shape == (1, 1)
    assert figures.mean.total == 5
    assert figures.mean.per_keypoint.tolist() == [[3, 9]]
    assert figures.median.total == 4


def test_the_promise_on_data_drawn_from_the_prediction():
    """2-D Gaussians of many shapes, truth drawn from each: ellipses of chi-square radius, and highest-density regions
    found by draws, hold what they promise, and have the area pi r^2 sqrt|S| that is worked out by hand."""
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(800, 2, 2, 2, generator=generator, dtype=torch.float64)
    covariance = factor @ factor.mT + 0.1 * torch.eye(2)
    noise = torch.randn(800, 2, 2, 1, generator=generator, dtype=torch.float64)
    truth = (torch.linalg.cholesky(covariance) @ noise)[..., 0]
    distance2 = (truth * torch.linalg.solve(covariance, truth)).sum(-1)
    radius2 = torch.tensor([-2 * math.log(1 - p) for p in NOMINAL], dtype=torch.float64)
    area = math.pi * radius2 * covariance.det().sqrt()[..., None]
    ellipses = Outcomes(distance2[..., None] <= radius2, area)
    density = HighestDensity(single_gaussian(torch.zeros(800, 2, 2).double(), covariance))
    level = density.level(truth)
    volume = torch.stack([density.volume(p) for p in NOMINAL], -1)
    highest = Outcomes(level[..., None] <= torch.tensor(NOMINAL), volume)
    for regions in (ellipses, highest):
        figures = coverage_and_size(regions)
        # 1,600 points: four standard deviations of a share are 0.05 at a half, 0.022 at 0.95.
        for held, promised in zip(figures.coverage.total.tolist(), NOMINAL, strict=True):
            assert abs(held - promised) < 4 * math.sqrt(promised * (1 - promised) / 1600)
    torch.testing.assert_close(volume, area, rtol=0.1, atol=0)
    assert coverage_and_size(highest).median.total.tolist() == pytest.approx(
        coverage_and_size(ellipses).median.total.tolist(), rel=0.05
    )


def test_mistakes():
    size = torch.ones(3, 2, 1)
    with pytest.raises(ValueError, match="2 regions that count have no size"):
        coverage_and_size(
            Outcomes(torch.ones(3, 2, 1), torch.where(torch.arange(3)[:, None, None] == 1, torch.nan, 1.0) * size)
        )
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        coverage_and_size(Outcomes(torch.ones(3, 2, 1), -size))
    for inside in (torch.ones(3, 2), torch.ones(3, 2, 2), torch.ones(2, 2, 1), torch.ones(3, 3, 1)):
        with pytest.raises(ValueError, match=r"inside must be \(N, K, L\)"):
            coverage_and_size(Outcomes(inside, size))
