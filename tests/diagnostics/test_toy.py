"""The toy cases: gradients against loops, the paper's claims against numbers, every head by itself."""

import importlib
import re
from pathlib import Path

import pytest
import torch

from punctum import heads, ops
from punctum.diagnostics import toy
from punctum.diagnostics.toy_maps import BETA, SIGMA, FreeMap, Loss, NoMapError, free_of, target_at, total

GAMMA = 0.01  # of the claims: the same for both losses
SMALL = (16, 12)
START = {case.name: case for case in toy.cases()}
PAPER = toy.paper_losses()


def gradient(loss: Loss, free: torch.Tensor, truth: tuple[float, float]) -> torch.Tensor:
    """dL/dh of maps (B, H, W), by autograd through the real head."""
    size = (free.shape[1], free.shape[2])
    head = loss.build(size)
    maps = free[:, None].detach().requires_grad_()
    target = target_at(ops.to_normalized(torch.tensor([truth] * len(free), dtype=free.dtype), size))
    value = loss.weight * total(head, maps, target).sum()
    return torch.autograd.grad(value, maps)[0][:, 0]


def run(loss: str, case: str, updates: int, **options) -> toy.Trajectory:
    (found,) = toy.descend(PAPER[loss], [START[case]], [GAMMA], updates, **options)
    return found


class TestGradients:
    truth = (8, 11)

    @pytest.mark.parametrize("case", toy.cases(size=SMALL, truth=truth), ids=lambda case: case.name)
    def test_detection_is_eq_9_cell_by_cell(self, case):
        found = gradient(toy.paper_losses(SMALL)["detection"], case.heights[None], self.truth)[0]
        for y in range(SMALL[0]):
            for x in range(SMALL[1]):
                squared = (x - self.truth[0]) ** 2 + (y - self.truth[1]) ** 2
                wanted = 2 * (
                    float(case.heights[y, x]) - float(torch.tensor(-squared / (2 * SIGMA**2)).double().exp())
                )
                assert float(found[y, x]) == pytest.approx(wanted, abs=1e-7)

    @pytest.mark.parametrize("case", toy.cases(size=SMALL, truth=truth), ids=lambda case: case.name)
    def test_regression_is_eq_10_cell_by_cell(self, case):
        """By Appendix A.6, Eq. V: a double loop over the derivatives of the softmax, in cells per axis."""
        loss = toy.paper_losses(SMALL)["regression"]
        found = gradient(loss, case.heights[None], self.truth)[0]
        powers = (BETA * case.heights).exp()
        p = (powers / powers.sum()).tolist()
        cells = [(y, x) for y in range(SMALL[0]) for x in range(SMALL[1])]
        mean = [sum(p[y][x] * (x, y)[axis] for y, x in cells) for axis in (0, 1)]
        # One cell of an axis of n is 2 / n of the head's units.
        slope = [(1 if mean[a] > self.truth[a] else -1) * 2 / SMALL[1 - a] * loss.weight for a in (0, 1)]
        for y, x in cells[::7]:
            wanted = 0.0
            for v, u in cells:
                change = BETA * (p[y][x] * (1 - p[y][x]) if (u, v) == (x, y) else -p[y][x] * p[v][u])
                wanted += (slope[0] * u + slope[1] * v) * change
            assert float(found[y, x]) == pytest.approx(wanted, rel=1e-9, abs=1e-15)

    @pytest.mark.parametrize("beta", [1.0, 10.0])
    @pytest.mark.parametrize("size", [(7,), (5, 6), (3, 4, 5)])
    def test_factors_multiply_to_autograd(self, beta, size):
        generator = torch.Generator().manual_seed(len(size))
        logits = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64).requires_grad_()
        truth = torch.rand(2, 3, len(size), generator=generator, dtype=torch.float64) * 2 - 1
        head = heads.build("integral", 3, 3, size, prior="none", beta=beta)
        visible = torch.ones(2, 3, dtype=torch.bool)
        (loss,) = head.losses(logits, heads.Target(truth, visible)).values()
        (wanted,) = torch.autograd.grad(loss.sum(), logits)
        value, location = toy.factors(logits.detach(), truth, beta)
        torch.testing.assert_close(value * location, wanted, rtol=1e-10, atol=1e-14)

    def test_autograd_is_the_slope(self):
        """Of the whole, head and all, against differences."""
        for loss in toy.losses().values():
            free = FreeMap(loss, (6, 5))
            free.head.eval()
            tensors = [
                t + 0.3 * torch.rand_like(t)
                for t in free.start(toy.cases(size=(6, 5), truth=(4, 4))[0].heights[None])
            ]
            target = target_at(torch.tensor([[0.51, 0.37]], dtype=torch.float64))
            leaves = [t.requires_grad_() for t in tensors]
            grads = torch.autograd.grad(total(free.head, free.output(leaves), target).sum(), leaves)
            way = [torch.randn(t.shape, generator=torch.Generator().manual_seed(0), dtype=t.dtype) for t in leaves]
            along = sum(float((g * w).sum()) for g, w in zip(grads, way, strict=True))
            with torch.no_grad():
                ends = [
                    float(
                        total(free.head, free.output([t + s * w for t, w in zip(leaves, way, strict=True)]), target)
                    )
                    for s in (1e-6, -1e-6)
                ]
            assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(along, rel=1e-4, abs=1e-8), loss.label


class TestCases:
    def test_starts_are_what_the_paper_says(self):
        assert [case.heights.shape for case in START.values()] == [(64, 48)] * 4
        assert all(0 <= case.heights.min() <= case.heights.max() <= 1 for case in START.values())
        peaks = {name: divmod(int(case.heights.argmax()), 48)[::-1] for name, case in START.items()}
        assert peaks["near"] == toy.TRUTH
        assert peaks["corner"] == (47, 63)
        assert peaks["far"][0] < 23.5
        assert peaks["far"][1] < 31.5
        assert START["near"].heights[45, 36] == pytest.approx(0.6065307, abs=1e-6)  # two cells off: exp(-1/2)
        assert START["corner"].heights[:32].abs().max() == 0
        assert START["corner"].heights[:, :24].abs().max() == 0

    def test_the_corner_is_a_plane(self):
        plane = START["corner"].heights[32:, 24:]
        for axis in (0, 1):
            assert plane.diff(n=2, dim=axis).abs().max() < 1e-12
            assert plane.diff(dim=axis).min() > 0

    def test_the_random_start_is_the_seeds(self):
        assert torch.equal(toy.cases(3)[0].heights, toy.cases(3)[0].heights)
        assert not torch.equal(toy.cases(3)[0].heights, toy.cases(4)[0].heights)

    def test_a_truth_elsewhere_is_refused(self):
        with pytest.raises(ValueError, match=r"truth \(3, 45\) must lie in the lower right quadrant of 48 x 64"):
            toy.cases(truth=(3, 45))


class TestClaims:
    """Section 5.2, case by case, with one step size."""

    def test_1_regression_pushes_mass_to_the_corner_of_the_right_quadrant(self):
        free = START["random"].heights
        push = -gradient(PAPER["regression"], free[None], toy.TRUTH)[0]
        p = torch.softmax(BETA * free.flatten(), 0).reshape(free.shape)
        # "V1 of all pixels are approximately similar"; the plane V2 is what tells them apart.
        assert p.max() / p.min() < 2.72
        plane = push / p
        assert divmod(int(plane.argmax()), 48) == (63, 47)
        quadrants = {
            (y, x): float(push[32 * y : 32 * y + 32, 24 * x : 24 * x + 24].sum()) for y in (0, 1) for x in (0, 1)
        }
        assert max(quadrants, key=quadrants.__getitem__) == (1, 1)
        after = run("regression", "random", 60, kept=[0, 60]).maps
        for corner, grew in [((63, 47), True), ((0, 0), False)]:
            rows, columns = (
                (slice(60, 64) if corner[0] else slice(0, 4)),
                (slice(44, 48) if corner[1] else slice(0, 4)),
            )
            before, then = (float(each[rows, columns].sum()) for each in after)
            assert (then > 5 * before) if grew else (then < before / 3)
        # The coordinate arrives, the map does not: its highest cell is a dozen cells off.
        found = run("regression", "random", 340)
        assert found.arrival() is not None
        assert found.peaks[-1] > 8

    def test_2_far_away_regression_tells_the_true_cell_nothing(self):
        x, y = toy.TRUTH
        free = START["far"].heights
        push = -gradient(PAPER["regression"], free[None], toy.TRUTH)[0]
        size = free.shape
        truth = ops.to_normalized(torch.tensor([[[x, y]]], dtype=torch.float64), size)
        value, location = toy.factors(free[None, None], truth, BETA)
        assert value[0, 0, y, x] < 1e-4 * value.max()
        assert location[0, 0, y, x].abs() > location.abs().mean()  # the location factor is not what vanishes
        assert push[y, x] < 0.02 * push.abs().max()
        # Detection asks the true cell for all of its height at once.
        asked = -gradient(PAPER["detection"], free[None], toy.TRUTH)[0]
        assert asked[y, x] == pytest.approx(2, abs=1e-6)
        assert divmod(int(asked.argmax()), 48) == (y, x)
        slow, fast = run("regression", "far", 200), run("detection", "far", 200)
        assert fast.arrival() < 50 < 100 < slow.arrival()

    def test_2_the_values_within_the_support_fall_until_the_map_is_flat(self):
        found = run("regression", "far", 100, kept=range(0, 101, 10)).maps.flatten(1)
        highest = found.amax(-1)
        assert highest[0] > 0.3
        assert highest[-1] < 0.1 * highest[0]
        entropy = torch.special.entr(found).sum(-1)
        assert entropy[-1] > entropy[0] + 2

    def test_3_from_the_corner_all_moves_along_the_diagonal(self):
        found = run("regression", "corner", 300, kept=[0, 100, 300])
        assert (found.errors.diff() < 1e-9).all()
        corner = found.maps[:, 56:, 40:].sum((1, 2))
        assert corner[0] > 0.2
        assert corner[-1] < 0.1 * corner[0]
        # Both coordinates fall all the way, neither below the truth.
        assert (found.coords.diff(dim=0) < 1e-9).all()
        assert (found.coords > torch.tensor(toy.TRUTH) - 0.1).all()
        assert run("detection", "corner", 300).arrival() < 50
        assert found.arrival() is None

    def test_4_regression_always_raises_the_true_cell_and_the_support_shrinks(self):
        x, y = toy.TRUTH
        found = run("regression", "near", 200, kept=range(0, 201, 20)).maps
        assert (found[:, y, x].diff() > 0).all()
        grid = ops.to_pixels(ops.normalized_grid((64, 48), dtype=found.dtype), (64, 48))
        squared = (grid - torch.tensor(toy.TRUTH)).square().sum(-1)
        within = squared <= 36  # the peak without the softmax's background
        widths = [float(((p * squared)[within].sum() / p[within].sum() / 2).sqrt()) for p in found]
        assert widths[-1] < 0.5 * widths[0]
        # Detection leaves its map, which is right, alone.
        assert run("detection", "near", 50, kept=[0, 50]).maps.diff(dim=0).abs().max() < 1e-12

    @pytest.mark.parametrize("case", START)
    def test_4_the_gradient_at_the_truth_is_never_positive_and_is_eq_12(self, case):
        x, y = toy.TRUTH
        for p in toy.descend(PAPER["regression"], [START[case]], [GAMMA], 60, kept=range(0, 61, 6))[0].maps:
            free = (p.clamp_min(1e-300).log() / BETA)[None]
            found = float(gradient(PAPER["regression"], free, toy.TRUTH)[0, y, x])
            mean = [float((p.sum(axis) * torch.arange(n)).sum()) for axis, n in ((0, 48), (1, 64))]
            away = abs(mean[0] - x) * 2 / 48 + abs(mean[1] - y) * 2 / 64
            assert found <= 0
            assert found == pytest.approx(-BETA * float(p[y, x]) * away * 28, rel=1e-9, abs=1e-18)

    def test_detection_ends_in_the_same_map_whatever_the_start(self):
        found = toy.descend(PAPER["detection"], toy.cases(), [0.1], 120, kept=[120])
        wanted = START["near"].heights
        for each in found:
            torch.testing.assert_close(each.maps[0], wanted, rtol=0, atol=1e-9)
            assert each.errors[-1] == 0


class TestEveryHead:
    def test_every_head_and_what_it_minimizes_is_in_the_table(self):
        table = toy.losses()
        assert {loss.head for loss in table.values()} == set(heads.available())
        assert {"dsnt regularizer=variance", "integral prior=none", "sampling estimator=crps"} <= set(table)
        assert all(label == loss.label for label, loss in table.items())

    @pytest.mark.parametrize("label", toy.losses())
    def test_it_runs_and_its_loss_falls(self, label):
        starts = toy.cases(size=SMALL, truth=(8, 11))
        found = toy.descend(toy.losses()[label], starts, [0.1], updates=3, kept=[0, 3])
        for each in found:
            assert each.maps.shape == (2, *SMALL)
            assert torch.stack([each.errors, each.peaks, each.losses]).isfinite().all()
            if label != "sampling":  # which draws
                assert each.losses[-1] <= each.losses[0] + 1e-9

    @pytest.mark.parametrize(
        ("name", "wanted"),
        [
            ("heatmap", "heights"),
            ("dsnt", "logits"),
            ("density", "logits"),
            ("simcc", "axes"),
            ("rle", "features"),
            ("fully_connected", "features"),
        ],
    )
    def test_what_is_free_is_found_by_trying(self, name, wanted):
        assert free_of(heads.build(name, 1, 1, SMALL), SMALL) == wanted

    def test_a_new_head_shows_up_by_itself(self, tmp_path, monkeypatch):
        page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
        (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        (tmp_path / "soft_label.py").write_text(code, encoding="utf-8")
        monkeypatch.setattr(heads, "__path__", [*heads.__path__, str(tmp_path)])
        importlib.invalidate_caches()
        heads._found.cache_clear()
        try:
            loss = toy.losses()["soft_label"]
            assert free_of(loss.build(SMALL), SMALL) == "logits"
            (found,) = toy.descend(loss, toy.cases(size=SMALL, truth=(8, 11))[:1], [10.0], updates=20)
        finally:
            heads._found.cache_clear()
        assert found.peak_arrival() is not None

    def test_a_head_without_any_map_says_so(self):
        loss = Loss("average", "rle", {"pooling": "average"})
        with pytest.raises(NoMapError, match="head 'rle' has no map: neither is there one in its output, nor"):
            toy.descend(loss, toy.cases(size=SMALL, truth=(8, 11)), [1.0], updates=1)

    @pytest.mark.parametrize("name", heads.available())
    def test_the_start_is_the_case(self, name):
        """Whatever is free, the map that is shown has the case's peak, where there is one in two dimensions."""
        start = toy.cases(size=SMALL, truth=(8, 11))[3]
        (found,) = toy.descend(toy.losses()[name], [start], [1.0], updates=0, kept=[0])
        assert found.peaks[0] == 0
        if FreeMap(toy.losses()[name], SMALL).free in ("logits", "features"):
            ratio = found.maps[0, 11, 8] / found.maps[0, 11, 10]
            assert float(ratio.log()) == pytest.approx(10 * (1 - 0.60653066), rel=1e-5)

    def test_marginals_are_the_start_of_axes(self):
        start = toy.cases(size=SMALL, truth=(8, 11))[3]
        (found,) = toy.descend(toy.losses()["simcc"], [start], [1.0], updates=0, kept=[0])
        p = torch.softmax(BETA * start.heights.flatten(), 0).reshape(SMALL)
        torch.testing.assert_close(found.maps[0], p.sum(1)[:, None] * p.sum(0)[None])


class TestTrajectory:
    def test_arrival_is_for_good(self):
        errors = torch.tensor([9.0, 0.5, 3.0, 1.0, 0.3, 0.2, 0.2])
        assert self.of(errors).arrival() == 3
        assert self.of(errors).arrival(0.3) == 4
        assert self.of(errors).peak_arrival(within=9.5) == 0
        assert self.of(errors[:3]).arrival() is None
        assert self.of(torch.tensor([0.0, torch.nan])).arrival() is None

    def test_an_arrival_at_the_very_end_is_none(self):
        errors = torch.full((101,), 5.0)
        for stays, wanted in ((10, None), (11, 90)):
            errors[-stays:] = 0.5
            assert self.of(errors).arrival() == wanted

    @staticmethod
    def of(errors: torch.Tensor) -> toy.Trajectory:
        none = torch.zeros(0, 4, 4)
        return toy.Trajectory(
            "x", START["near"], 1.0, "logits", (), none, torch.zeros(len(errors), 2), errors, errors, errors
        )

    def test_rows_of_a_run_do_not_meet(self):
        starts = toy.cases(size=SMALL, truth=(8, 11))
        loss = toy.paper_losses(SMALL)["regression"]
        together = toy.descend(loss, starts, [0.01, 0.1], updates=5, kept=[5])
        assert [(run.case.name, run.gamma) for run in together[:3]] == [
            ("random", 0.01),
            ("random", 0.1),
            ("far", 0.01),
        ]
        (alone,) = toy.descend(loss, starts[1:2], [0.1], updates=5, kept=[5])
        torch.testing.assert_close(together[3].maps, alone.maps)
        torch.testing.assert_close(together[3].losses, alone.losses)

    def test_draws_are_the_seeds_and_leave_the_generator_alone(self):
        starts, loss = toy.cases(size=SMALL, truth=(8, 11))[:1], toy.losses()["sampling"]
        torch.manual_seed(5)
        wanted = torch.rand(1)
        torch.manual_seed(5)
        first, again, other = (toy.descend(loss, starts, [1.0], updates=2, seed=seed)[0] for seed in (0, 0, 1))
        assert torch.equal(torch.rand(1), wanted)
        assert torch.equal(first.losses, again.losses)
        assert not torch.equal(first.losses, other.losses)

    def test_best_gamma_of_the_squares_is_known(self):
        """h <- h - gamma 2 (h - G) is there at once with 1/2, never with 1: it jumps between h and 2 G - h."""
        gammas = [0.001, 0.5, 1.0]
        assert toy.best_gamma(PAPER["detection"], list(START.values()), gammas, updates=6) == 0.5
        jumping = toy.descend(PAPER["detection"], [START["far"]], [1.0], updates=6, kept=range(7))[0]
        torch.testing.assert_close(jumping.maps[6], jumping.maps[0])
        assert jumping.arrival() is None

    def test_best_gamma_by_peaks_asks_the_map(self):
        """Coordinates of a softmax arrive with steps at which its peak never does."""
        runs = toy.descend(PAPER["regression"], [START["far"]], [0.01, 0.3], 200)
        by_coords = next(run for run in runs if run.gamma == toy.choose_gamma(runs[:1]))
        assert by_coords.arrival() is not None
        assert by_coords.peak_arrival() is None
        assert toy.choose_gamma(runs, by="peaks") == 0.3

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"gammas": [0.0]}, "gamma must be a positive number"), ({"kept": [9]}, "within 0 and the 3 updates")],
    )
    def test_bad_input_is_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            toy.descend(
                **{"loss": PAPER["detection"], "starts": toy.cases(), "gammas": [1.0], "updates": 3, **options}
            )

    def test_starts_of_several_sizes_are_refused(self):
        starts = [START["near"], toy.cases(size=SMALL, truth=(8, 11))[0]]
        with pytest.raises(ValueError, match=r"of one size, got \[\(16, 12\), \(64, 48\)\]"):
            toy.descend(PAPER["detection"], starts, [1.0])
