"""Each finding fires on a set of maps that was made for it, and none on a healthy one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from punctum.diagnostics.border import border_bias
from punctum.diagnostics.findings import NEAR_BORDER, Case, Finding, find
from punctum.diagnostics.measured import Measured, measure_heatmaps
from punctum.diagnostics.summary import gain, splits, summarize_maps, thirds
from punctum.ops import covariance, dsnt, render_gaussian, to_normalized

SIZE = (48, 48)
N, K = 80, 2
FLIP = [1, 0]
Maps = torch.Tensor


def truths(low: float = 12, high: float = 36) -> torch.Tensor:
    """Left points in the left half, right ones in the right half, far from the border unless told."""
    cells = low + (high - low) * torch.rand(N, K, 2, generator=torch.Generator().manual_seed(3))
    cells[:, 0, 0] = low + (cells[:, 0, 0] - low) * 0.3
    cells[:, 1, 0] = high - (high - cells[:, 1, 0]) * 0.3
    return cells


def gaussians(cells: torch.Tensor, sigma: float | torch.Tensor = 2.0) -> Maps:
    return render_gaussian(to_normalized(cells, SIZE), sigma, SIZE)


def found(
    maps: Maps, cells: torch.Tensor, head: dict[str, Any] | None = None, predicted: torch.Tensor | None = None
) -> list[Finding]:
    coords = dsnt(maps) if predicted is None else to_normalized(predicted, SIZE)
    seen = torch.ones(N, K, dtype=torch.bool)
    table = measure_heatmaps(
        maps, coords, to_normalized(cells, SIZE), seen, covariances=covariance(maps, dsnt(maps)), flip_order=FLIP
    )
    return find(case_of(table, head or {"name": "integral", "prior": "none", "decoder": "mean"}))


def case_of(table: Measured, head: dict[str, Any]) -> Case:
    ids = np.arange(N)
    guesses, places = torch.from_numpy(table.predicted), torch.from_numpy(table.truth)
    return Case(
        head=head,
        size=SIZE,
        summary=summarize_maps(table, table.counted, ids),
        splits=splits(table, ids, {"error": thirds(table)}),
        border={
            g: border_bias(guesses, places, SIZE, torch.from_numpy(ids), given=g, edges=(0.0, NEAR_BORDER))
            for g in ("truth", "prediction")
        },
        gains={name: saved for name in ("argmax", "mean", "local") if (saved := gain(table, name, ids))},
        worst={"flat": "most of it", "two": "most of it"},
        stride=4.0,
    )


def noise(scale: float) -> torch.Tensor:
    return scale * torch.randn(N, K, 2, generator=torch.Generator().manual_seed(4))


def healthy() -> list[Finding]:
    """Gaussians of sigma 2 that miss the truth by as much as they say."""
    cells = truths()
    return found(gaussians(cells + noise(2.0)), cells)


def flat() -> list[Finding]:
    cells = truths()
    maps = gaussians(cells + noise(2.0))
    maps[:30] = 1 / maps[0, 0].numel()
    return found(maps, cells)


def two_candidates() -> list[Finding]:
    cells = truths()
    other = cells + torch.tensor([0.0, 9.0])
    return found(0.55 * gaussians(cells + noise(2.0)) + 0.45 * gaussians(other), cells)


def left_right() -> list[Finding]:
    cells = truths()
    maps = gaussians(cells + noise(1.0))
    maps[:20] = maps[:20].flip(1)
    return found(maps, cells)


def shrunk() -> list[Finding]:
    """Narrow where it is well found, wide where it is not."""
    cells, off = truths(), noise(1.5)
    width = 0.5 + 0.5 * (off.norm(dim=-1) > 1.8)
    return found(gaussians(cells + off, width), cells)


def starved() -> list[Finding]:
    cells = truths()
    off = noise(1.0)
    off[:50] += 8
    return found(gaussians(cells + off, 1.0), cells)


def better_decoder() -> list[Finding]:
    """A true hill, and a small one far away, which the mean follows."""
    cells = truths()
    far = torch.full_like(cells, 44.0)
    return found(0.9 * gaussians(cells + noise(1.0)) + 0.1 * gaussians(far), cells)


def border_bias_of_the_decoder() -> list[Finding]:
    """Everything within two cells of the border is placed a cell too far inwards, and never in doubt."""
    cells = truths(-0.4, 47.4)
    middle = 23.5
    near = 24 - (cells - middle).abs() < 2
    predicted = cells + near * 0.6 * (middle - cells).sign()
    return found(gaussians(cells), cells, predicted=predicted)


def overconfident() -> list[Finding]:
    cells = truths()
    return found(gaussians(cells + noise(4.0), 1.0), cells)


def underconfident() -> list[Finding]:
    cells = truths()
    return found(gaussians(cells + noise(0.8), 3.0), cells)


def coarse() -> list[Finding]:
    cells = truths()
    return found(gaussians(cells + noise(0.2), 1.0), cells)


def test_a_healthy_set_has_no_findings() -> None:
    assert healthy() == []


@pytest.mark.parametrize(
    ("made", "name", "word"),
    [
        (flat, "flat maps", "punctum check"),
        (two_candidates, "two candidates", "--head.decoder local"),
        (left_right, "left and right confused", "flip_pairs"),
        (shrunk, "support shrinks", "--head integral --head.prior kl --head.sigma 2"),
        (starved, "gradient starves", "--head.prior kl"),
        (better_decoder, "a better decoder", "--head.decoder local"),
        (border_bias_of_the_decoder, "border pull", "so this is a bias: --head.decoder local"),
        (overconfident, "overconfident", "never draw a region"),
        (underconfident, "underconfident", "promises too little"),
        (coarse, "map too coarse", "a larger --crop.input_size"),
    ],
)
def test_a_finding_fires_on_what_was_made_for_it(made: Callable[[], list[Finding]], name: str, word: str) -> None:
    by_name = {finding.name: finding for finding in made()}
    assert name in by_name, f"found instead: {sorted(by_name)}"
    assert word in by_name[name].advice
    assert all(np.isfinite(value) for value in by_name[name].values.values())


def test_doubt_at_the_border_is_no_bias() -> None:
    """The mean of what may be, of a place seen with noise: pulled given the truth, and honest given itself."""
    cells = truths(-0.5, 47.5)
    seen = cells + 4 * torch.randn(N, K, 2, generator=torch.Generator().manual_seed(5))
    grid = torch.arange(48.0)
    weights = torch.exp(-0.5 * ((grid - seen[..., None]) / 4) ** 2)
    guess = (weights * grid).sum(-1) / weights.sum(-1)
    by_name = {f.name: f for f in found(gaussians(guess, 3.0), cells, predicted=guess)}
    assert "this is doubt" in by_name["border pull"].advice


@pytest.mark.parametrize(
    ("head", "word"),
    [
        ({"name": "dsnt", "regularizer": "none"}, "--head.regularizer js --head.sigma 2"),
        ({"name": "dsnt", "regularizer": "js", "sigma": 1.5}, "--head.sigma 3"),
        ({"name": "integral", "prior": "kl", "sigma": 0.5}, "--head.prior kl --head.sigma 2"),
        ({"name": "sampling", "estimator": "sample"}, "--head.estimator crps"),
        ({"name": "sampling", "estimator": "crps"}, "--head integral --head.prior kl"),
    ],
)
def test_advice_fits_the_head(head: dict[str, Any], word: str) -> None:
    cells = truths()
    by_name = {f.name: f for f in found(gaussians(cells + noise(1.5), 0.5), cells, head)}
    assert word in by_name["support shrinks"].advice


def test_heads_that_are_told_their_width_are_not_called_shrunk() -> None:
    cells = truths()
    names = {f.name for f in found(gaussians(cells + noise(1.5), 0.5), cells, {"name": "density", "decoder": "mean"})}
    assert "support shrinks" not in names


def test_narrow_maps_that_miss_by_cells_are_not_called_coarse() -> None:
    cells = truths()
    far, near = (found(gaussians(cells + noise(scale), 0.4), cells) for scale in (3.0, 0.6))
    assert "map too coarse" not in {f.name for f in far}
    assert "the best sigma is 0." in {f.name: f for f in near}["map too coarse"].advice


def test_few_points_say_nothing() -> None:
    cells = truths()
    table = measure_heatmaps(
        gaussians(cells)[:5], to_normalized(cells, SIZE)[:5], to_normalized(cells, SIZE)[:5], torch.ones(5, K).bool()
    )
    assert summarize_maps(table, table.counted, np.arange(5))["n"] == 10
    case = Case({"name": "dsnt"}, SIZE, {"n": 10}, {}, {}, {}, {}, 4.0)
    assert find(case) == []
