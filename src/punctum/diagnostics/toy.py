"""Gu et al.'s toy cases: one free heatmap, four starts, and the loss of any head that pushes it about.

    h <- h - gamma dL/dh                                                   (Eq. 11)

There is no image and no network: what happens to the map is the loss's doing alone. The losses are the heads' own
(`heads.build(...).losses`), of every head that there is, and the gradients are autograd's.

The paper gives neither gamma, nor the number of updates, nor beta, nor where the truth is; those here are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from punctum import ops
from punctum.diagnostics.toy_maps import (
    SIGMA,
    SIZE,
    Free,
    FreeMap,
    Loss,
    Size,
    losses,
    paper_losses,
    target_at,
    total,
)
from punctum.registry import check_positive

__all__ = [
    "GAMMAS",
    "Case",
    "Loss",
    "Trajectory",
    "best_gamma",
    "cases",
    "choose_gamma",
    "descend",
    "factors",
    "losses",
    "paper_losses",
]

By = Literal["coords", "peaks"]

TRUTH = (34, 45)

GAMMAS = tuple(10 ** (power / 2) for power in range(-4, 11))
"""Step sizes that `best_gamma` tries: 0.01 to 100 000, two to the decade."""


@dataclass(frozen=True)
class Case:
    """A start.

    Args:
        name: a word.
        title: what it stands for.
        heights: (H, W), within [0, 1].
        truth: (x, y), in cells.
    """

    name: str
    title: str
    heights: Tensor
    truth: tuple[float, float]


def cases(seed: int = 0, size: Size = SIZE, truth: tuple[float, float] = TRUTH) -> tuple[Case, ...]:
    """The paper's four starts, with the truth in the lower right quadrant.

        1 random   every cell uniform in [0, 0.1]: all alike, as in a network that has learnt nothing
        2 far      a Gaussian of sigma 2 in the upper left quadrant
        3 corner   a plane that rises over the lower right quadrant to its corner, zero elsewhere
        4 near     a Gaussian of sigma 2 at the truth

    Args:
        seed: of the random start.
        size: (H, W).
        truth: (x, y), in cells.
    Raises:
        ValueError: the truth is not in the lower right quadrant, of which the cases speak.
    Source:
        Gu et al. 2022, "Dive Deeper Into Integral Pose Regression" (ICLR), Sections 5.2 and 5.3.
    Example:
        >>> [(case.name, tuple(case.heights.shape)) for case in cases()][:2]
        [('random', (64, 48)), ('far', (64, 48))]
    """
    height, width = size
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    end = torch.tensor([width - 1, height - 1], dtype=torch.float64)
    place = torch.tensor(truth, dtype=torch.float64)
    if not bool(((place > middle) & (place <= end)).all()):
        raise ValueError(f"truth {truth} must lie in the lower right quadrant of {width} x {height} cells")
    noise = torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    grid = ops.to_pixels(ops.normalized_grid(size, dtype=torch.float64), size)
    rise = (grid - middle) / (end - middle)
    plane = torch.where((rise > 0).all(-1), rise.mean(-1), 0.0)
    return (
        Case("random", "1  random start", 0.1 * noise, truth),
        Case("far", "2  narrow, far away", _gaussian((middle / 2).round(), size), truth),
        Case("corner", "3  narrow, in the corner", plane, truth),
        Case("near", "4  narrow, at the truth", _gaussian(place, size), truth),
    )


def _gaussian(place: Tensor, size: Size) -> Tensor:
    mean = ops.to_normalized(place, size)[None, None]
    return ops.render_gaussian(mean, SIGMA, size, normalize=False)[0, 0]


@dataclass(frozen=True)
class Trajectory:
    """What became of one start under one loss.

    Args:
        loss, case, gamma: what was run.
        free: what of the head was free, as `free_of` says.
        kept: the updates after which the map was kept, ascending.
        maps: (len(kept), H, W), the heatmaps; where the head has none, the softmax of the free map.
        coords: (N + 1, 2), what the head reads off before the first update and after each, in cells.
        errors: (N + 1,), their distance from the truth, in cells.
        peaks: (N + 1,), the distance of the map's highest cell from the truth, in cells.
        losses: (N + 1,).
    """

    loss: str
    case: Case
    gamma: float
    free: Free
    kept: tuple[int, ...]
    maps: Tensor
    coords: Tensor
    errors: Tensor
    peaks: Tensor
    losses: Tensor

    def arrival(self, within: float = 1.0) -> int | None:
        """Updates until the coordinate is, and stays to the end, within so many cells of the truth; None: never.

        Neither is an arrival in the last tenth of the updates one: something that goes to and fro ends somewhere.
        """
        return _arrival(self.errors, within)

    def peak_arrival(self, within: float = 1.0) -> int | None:
        """The same of the map's highest cell: a coordinate can be right where the map is not."""
        return _arrival(self.peaks, within)


def _arrival(distances: Tensor, within: float) -> int | None:
    # A NaN, of a step size too large, is away; a neighbouring cell is within one, whatever the rounding.
    away = (~(distances <= within + 1e-6)).nonzero()
    first = int(away[-1]) + 1 if len(away) else 0
    return first if first <= 0.9 * (len(distances) - 1) else None


def descend(
    loss: Loss,
    starts: Sequence[Case],
    gammas: Sequence[float],
    updates: int = 300,
    kept: Sequence[int] = (),
    seed: int = 0,
) -> list[Trajectory]:
    """Update a map from every start with every step size.

        h <- h - gamma dL/dh

    The head is told its progress, n / updates, and is in training mode: what it draws, it draws from this seed.

    Args:
        loss: of `losses()` or `paper_losses()`, or another one.
        starts: of `cases()`.
        gammas: positive.
        updates: N.
        kept: updates after which the map is kept; 0 is the start.
        seed: of a head's draws.
    Returns:
        One for each start and gamma, gammas of a start side by side.
    Raises:
        ValueError: a gamma is not positive; `kept` is beyond the updates; the starts are of several sizes.
        NoMapError: the head has no map.
    Source:
        Gu et al. 2022, Eq. 11.
    Example:
        >>> detection = paper_losses()["detection"]
        >>> [run.arrival() for run in descend(detection, cases(), [0.25], updates=4)]
        [1, 2, 1, 0]
    """
    kept = tuple(sorted(set(kept)))
    for gamma in gammas:
        check_positive("gamma", gamma)
    if kept and not 0 <= kept[0] <= kept[-1] <= updates:
        raise ValueError(f"kept must lie within 0 and the {updates} updates, got {kept}")
    sizes = {tuple(case.heights.shape) for case in starts}
    if len(sizes) != 1:
        raise ValueError(f"the starts must be of one size, got {sorted(sizes)}")
    rows = [(case, gamma) for case in starts for gamma in gammas]
    size: Size = (rows[0][0].heights.shape[0], rows[0][0].heights.shape[1])
    free_map = FreeMap(loss, size)
    coords, peaks, values, maps = _run(free_map, rows, updates, kept, seed)
    found = []
    for row, (case, gamma) in enumerate(rows):
        truth = torch.tensor(case.truth, dtype=coords.dtype)
        errors, away = ((places[:, row] - truth).norm(dim=-1) for places in (coords, peaks))
        found.append(
            Trajectory(
                loss.label,
                case,
                gamma,
                free_map.free,
                kept,
                maps[:, row],
                coords[:, row],
                errors,
                away,
                values[:, row],
            )
        )
    return found


def _run(
    free: FreeMap, rows: Sequence[tuple[Case, float]], updates: int, kept: Sequence[int], seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All rows at once: coords and peaks (N + 1, R, 2) in cells, losses (N + 1, R), maps (len(kept), R, H, W)."""
    heights = torch.stack([case.heights for case, _ in rows])
    size, loss = free.size, free.loss
    target = target_at(ops.to_normalized(torch.tensor([case.truth for case, _ in rows], dtype=heights.dtype), size))
    gammas = torch.tensor([gamma for _, gamma in rows], dtype=heights.dtype)
    tensors = free.start(heights)
    coords, peaks, values, maps = [], [], [], [heights[None, :0].reshape(0, *heights.shape)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for n in range(updates + 1):
            free.head.set_progress(n / max(updates, 1))
            tensors = [tensor.detach().requires_grad_() for tensor in tensors]
            output = free.output(tensors)
            value = loss.weight * total(free.head, output, target)
            gradients = torch.autograd.grad(value.sum(), tensors)
            with torch.no_grad():
                prediction = free.head.decode(output)
                shown = free.shown(tensors, prediction)
            coords.append(ops.to_pixels(prediction.coords[:, 0].detach(), size))
            peaks.append(ops.to_pixels(ops.argmax(shown)[:, 0], size))
            values.append(value.detach())
            if n in kept:
                maps.append(shown[None, :, 0].detach())
            tensors = [
                tensor - gammas.reshape(-1, *([1] * (tensor.ndim - 1))) * gradient
                for tensor, gradient in zip(tensors, gradients, strict=True)
            ]
    return torch.stack(coords), torch.stack(peaks), torch.stack(values), torch.cat(maps)


def best_gamma(
    loss: Loss,
    starts: Sequence[Case],
    gammas: Sequence[float] = GAMMAS,
    updates: int = 300,
    seed: int = 0,
    by: By = "coords",
) -> float:
    """The step size with which the starts arrive within a cell in the fewest updates, taken together.

    One for all starts, as a training has one for all images. A start that never arrives counts as twice the updates.
    Of equals the one with the smaller errors on the way.

    Args:
        loss, starts, gammas, updates, seed: as `descend` takes them.
        by: what shall arrive: the coordinate that the head reads off, or the map's highest cell ("peaks").
    Returns:
        One of the gammas.
    Example:
        >>> best_gamma(paper_losses()["detection"], cases(), gammas=[0.1, 0.5, 5.0], updates=4)
        0.5
    """
    return choose_gamma(descend(loss, starts, gammas, updates, seed=seed), by)


def choose_gamma(runs: Sequence[Trajectory], by: By = "coords") -> float:
    """`best_gamma` of trajectories that there are already, one for each start and gamma."""
    cost: dict[float, tuple[int, float]] = {}
    for run in runs:
        arrived = run.arrival() if by == "coords" else run.peak_arrival()
        errors = run.errors if by == "coords" else run.peaks
        before = cost.get(run.gamma, (0, 0.0))
        updates = 2 * (len(errors) - 1) if arrived is None else arrived
        cost[run.gamma] = (before[0] + updates, before[1] + float(errors.nan_to_num(nan=1e6).mean()))
    return min(cost, key=lambda gamma: cost[gamma])


def factors(logits: Tensor, truth: Tensor, beta: float = 1.0) -> tuple[Tensor, Tensor]:
    """The two factors of the integral loss' gradient, whose product it is.

        dL/dz_p = beta h_p * sum_a sign(J_a - t_a) (p_a - J_a),     h = softmax(beta z),     J = sum_p h_p p

    The first, the value factor, vanishes where the heatmap does. The second, the location factor, is a plane: zero
    along a line through J, largest in the corners.

    Args:
        logits: (B, K, *S).
        truth: (B, K, D), normalized.
        beta: inverse temperature.
    Returns:
        Value factor and location factor, each (B, K, *S), for the L1 distance in normalized units.
    Source:
        Gu et al. 2022, Eq. 10.
    Example:
        >>> value, location = factors(torch.zeros(1, 1, 4), torch.full((1, 1, 1), 0.5))
        >>> value, location
        (tensor([[[0.2500, 0.2500, 0.2500, 0.2500]]]), tensor([[[ 0.7500,  0.2500, -0.2500, -0.7500]]]))
    """
    heatmaps = ops.normalize(ops.as_float(logits), beta=beta)
    size = ops.spatial_size(heatmaps)
    mean = ops.dsnt(heatmaps)
    grid = ops.normalized_grid(size, dtype=heatmaps.dtype, device=heatmaps.device)
    around = (*mean.shape[:2], *([1] * len(size)), len(size))
    location = ((mean - truth).sign().reshape(around) * (grid - mean.reshape(around))).sum(-1)
    return beta * heatmaps, location
