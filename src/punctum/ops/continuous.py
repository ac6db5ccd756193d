"""A head's output as a continuous density: the heatmap's cells, the head's own coordinate, and a background.

    p(y) = sum_i (1 - w - e) q_i N(y; x_i, h^2 c^2)       the cells, tempered: q = p^(1/T) / sum
           + w N(y; mu, a S + b c^2)                      the head's coordinate and its covariance
           + e N(y; 0, I)                                 anywhere in the crop, or near it

c is the size of a cell on each axis, so h is in heatmap pixels, and b in their squares. x_i is where the mass around
cell i stands, the mean of p over the 3^D cells about it: a point that a network splits over neighbouring cells
is one place then, and the density may be narrower than a cell.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from punctum.ops.coords import Size, as_float, normalized_grid, spatial_size, to_normalized, to_pixels
from punctum.ops.mixture import GaussianMixture
from punctum.ops.recording import is_exporting
from punctum.ops.sampling import basis_covariance

Parameter = float | Tensor


@dataclass(frozen=True)
class MixtureFamily:
    """All mixtures that one head's output can become: what does not depend on the parameters, computed once.

    Args:
        log_mass: (B, K, N), log p of the cells, -inf where there is none; the heaviest first if they do not all stand
            on their own. None without a map.
        places: (B, K, N, D), where their mass stands, normalized.
        centre: (B, K, D), the head's coordinate, normalized; zero where it is not finite.
        covariance: (B, K, D, D) of the head, normalized; zero where there is none.
        has_centre: (B, K) bool: the coordinate is finite.
        size: S of the map.
        kept: how many of the cells are components of their own.
    """

    log_mass: Tensor | None
    places: Tensor | None
    centre: Tensor
    covariance: Tensor
    has_centre: Tensor
    size: tuple[int, ...]
    kept: int

    @classmethod
    def of(
        cls,
        heatmaps: Tensor | None,
        coords: Tensor,
        covariance: Tensor | None,
        size: Size,
        *,
        max_components: int = 256,
    ) -> "MixtureFamily":
        """From a head's output, as in `heatmap_mixture`."""
        coords, size = as_float(coords), tuple(size)
        _check_shapes(heatmaps, coords, covariance, size, max_components)
        spread = coords.new_zeros(*coords.shape, coords.shape[-1]) if covariance is None else as_float(covariance)
        usable = coords.isfinite().all(-1) & spread.isfinite().flatten(-2).all(-1)
        coords = torch.where(usable[..., None], coords, 0.0)
        spread = torch.where(usable[..., None, None], spread, 0.0)
        if heatmaps is None:
            return cls(None, None, coords, spread, usable, size, 0)
        log_mass, places = cell_places(heatmaps)
        log_mass, places = log_mass.to(coords.dtype), places.to(coords.dtype)
        cells = log_mass.shape[-1]
        if cells > max_components:
            # ONNX has but one way to sort, and that is stable.
            sort = log_mass.sort if is_exporting() else partial(log_mass.sort, stable=True)
            log_mass, order = sort(dim=-1, descending=True)
            places = places.gather(-2, order[..., None].expand_as(places))
        # Plane by plane, which is how densities read them.
        places = places.movedim(-1, 0).contiguous().movedim(0, -1)
        return cls(log_mass, places, coords, spread, usable, size, min(cells, max_components))

    def mixture(
        self,
        *,
        temperature: Parameter = 1.0,
        bandwidth: Parameter = 0.5,
        centre_weight: Parameter = 0.0,
        spread_scale: Parameter = 1.0,
        spread_floor: Parameter = 0.25,
        background: Parameter = 1e-3,
        shape: Tensor | None = None,
        offset: Tensor | None = None,
    ) -> GaussianMixture:
        """The mixture of these parameters, as in `heatmap_mixture`; differentiable in all of them.

        `shape` (K, D, D) is what stands for the unit matrix in h^2 and b, in heatmap pixels: where labels scatter
        further one way than another. `offset` (K, D), in heatmap pixels, is added to the places of cells and
        coordinate: where labels lie to one side of what the head finds.
        """
        values = (temperature, bandwidth, centre_weight, spread_scale, spread_floor, background)
        t, h, w, a, b, e = (torch.as_tensor(v, dtype=self.centre.dtype, device=self.centre.device) for v in values)
        if not is_exporting():
            _check_parameters(t, h, w, a, b, e)
        cell = basis_covariance(self.size, "gaussian").to(self.centre)
        cell_side = cell.diagonal().sqrt()
        if shape is not None:
            cell = cell_side[:, None] * shape.to(cell) * cell_side
        has_cells = self._has_cells()
        logs = _shares(w, e, has_cells, self.has_centre)
        centre_spread = a[..., None, None] * self.covariance + b[..., None, None] * cell
        everywhere = torch.eye(len(self.size), dtype=cell.dtype, device=cell.device).expand_as(centre_spread)
        parts = [
            *self._cells(t, h[..., None, None].square() * cell, logs[0]),
            ("centre", logs[1][..., None], self.centre.unsqueeze(-2), centre_spread),
            ("background", logs[2][..., None], torch.zeros_like(self.centre).unsqueeze(-2), everywhere),
        ]
        moved = torch.zeros_like(self.centre) if offset is None else offset.to(cell) * cell_side
        planes = [(m if name == "background" else m + moved.unsqueeze(-2)).movedim(-1, 0) for name, _, m, _ in parts]
        return GaussianMixture(
            torch.cat([weights for _, weights, _, _ in parts], -1),
            torch.cat(planes, -1).movedim(0, -1),
            torch.stack([spread.expand_as(centre_spread) for *_, spread in parts], -3),
            {name: weights.shape[-1] for name, weights, _, _ in parts},
        )

    def _has_cells(self) -> Tensor:
        if self.log_mass is None:
            return torch.zeros_like(self.has_centre)
        return (self.log_mass > -torch.inf).any(-1)

    def _cells(self, t: Tensor, spread: Tensor, log_share: Tensor) -> list[tuple[str, Tensor, Tensor, Tensor]]:
        """The components of the map: its cells, and what is left of them as one more."""
        if self.log_mass is None or self.places is None:
            return []
        there = self.log_mass > -torch.inf
        # Zero instead of -inf under the division: its gradient would be infinity times zero.
        tempered = torch.where(there, self.log_mass, 0.0) / t[..., None]
        # A map without mass has no share; any weights that are not NaN will do.
        there = there | ~there.any(-1, keepdim=True)
        log_q = tempered.masked_fill(~there, -torch.inf).log_softmax(-1) + log_share[..., None]
        cells = ("cells", log_q[..., : self.kept], self.places[..., : self.kept, :], spread)
        if self.kept == log_q.shape[-1]:
            return [cells]
        log_weight, mean, own = _together(log_q[..., self.kept :], self.places[..., self.kept :, :])
        return [cells, ("rest", log_weight[..., None], mean.unsqueeze(-2), own + spread)]


def heatmap_mixture(
    heatmaps: Tensor | None,
    coords: Tensor,
    covariance: Tensor | None,
    size: Size,
    *,
    temperature: Parameter = 1.0,
    bandwidth: Parameter = 0.5,
    centre_weight: Parameter = 0.0,
    spread_scale: Parameter = 1.0,
    spread_floor: Parameter = 0.25,
    background: Parameter = 1e-3,
    max_components: int = 256,
) -> GaussianMixture:
    """A head's output as one mixture of Gaussians for each point, in normalized coordinates.

        p(y) = sum_i (1 - w - e) q_i N(y; x_i, h^2 c^2) + w N(y; mu, a S + b c^2) + e N(y; 0, I)

    Where the map has no mass, or is NaN, its share goes to the head's coordinate; where that is not finite, its share
    goes to the cells; where there is neither, the background is all there is.

    Of a larger map the heaviest `max_components` cells are components of their own. The others become one more, with
    their mass, their mean and their covariance, so that the moments of the whole stay what they are.

    Each parameter is a number, or a tensor that broadcasts with (B, K), such as one of (K,).

    Args:
        heatmaps: (B, K, *S), non-negative up to noise: negative values count as zero; any sum. None without a map.
        coords: (B, K, D), the head's coordinate mu, normalized.
        covariance: (B, K, D, D), of the head, normalized; None for none.
        size: S; what heatmap pixels are where there is no map.
        temperature: T, positive.
        bandwidth: h, in heatmap pixels, positive.
        centre_weight: w.
        spread_scale: a, not negative.
        spread_floor: b, in heatmap pixels squared, positive.
        background: e.
        max_components: cells that are components of their own.
    Returns:
        Groups "cells" (and "rest"), "centre", "background"; differentiable in every parameter.
    Raises:
        ValueError: shapes do not fit; a parameter is outside its range; the weights w and e exceed one.
    Example:
        >>> heatmaps = torch.tensor([[[0.0, 0.5, 0.5, 0.0]]])
        >>> mixture = heatmap_mixture(heatmaps, torch.zeros(1, 1, 1), None, (4,))
        >>> mixture.groups, mixture.means[0, 0, 1:3, 0]  # both cells find the mass at its middle
        ({'cells': 4, 'centre': 1, 'background': 1}, tensor([0., 0.]))
    """
    family = MixtureFamily.of(heatmaps, coords, covariance, size, max_components=max_components)
    return family.mixture(
        temperature=temperature,
        bandwidth=bandwidth,
        centre_weight=centre_weight,
        spread_scale=spread_scale,
        spread_floor=spread_floor,
        background=background,
    )


def cell_places(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Each cell's log mass, and where the mass about it stands.

        x_i = i + sum_j p_(i+j) j / sum_j p_(i+j),     j over the 3^D offsets -1, 0, 1 on each axis

    Args:
        heatmaps: (B, K, *S); negative values count as zero, and a map with a NaN or infinity as empty.
    Returns:
        log p (B, K, N) over the N cells, not normalized, -inf where there is no mass; and the places (B, K, N, D),
        normalized: the cell's own centre where there is no mass about it. At least float32.
    Example:
        >>> log_mass, places = cell_places(torch.tensor([[[0.0, 0.75, 0.25, 0.0]]]))
        >>> to_pixels(places, (4,)).flatten()
        tensor([1.0000, 1.2500, 1.2500, 2.0000])
    """
    size = spatial_size(heatmaps)
    values = as_float(heatmaps)
    finite = values.flatten(2).isfinite().all(-1).reshape(*values.shape[:2], *([1] * len(size)))
    mass = torch.where(finite, values, 0.0).clamp_min(0)
    peak = mass.flatten(2).amax(-1).reshape(finite.shape)
    # Relative to the peak: sums of numbers near the smallest there is would be wrong in their first digit.
    mass = mass / torch.where(peak > 0, peak, 1.0)
    around = _neighbourhood_sum(mass, None)
    has_mass = around > torch.finfo(mass.dtype).tiny * 1e6
    offsets = [
        torch.where(has_mass, _neighbourhood_sum(mass, axis) / torch.where(has_mass, around, 1.0), 0.0)
        for axis in range(-1, -1 - len(size), -1)
    ]
    cells = to_pixels(normalized_grid(size, dtype=mass.dtype, device=mass.device), size)
    places = to_normalized(cells + torch.stack(offsets, -1).clamp(-1, 1), size).flatten(2, -2)
    positive = (mass > 0).flatten(2)
    return torch.where(positive, torch.where(positive, mass.flatten(2), 1.0).log(), -torch.inf), places


def _neighbourhood_sum(mass: Tensor, weighted: int | None) -> Tensor:
    """Sums over the 3^D cells about each cell; along the axis `weighted`, of mass times offset."""
    for axis in range(-1, 1 - mass.ndim, -1):
        n = mass.shape[axis]
        padded = F.pad(mass, [0, 0] * (-1 - axis) + [1, 1])
        below, above = padded.narrow(axis, 0, n), padded.narrow(axis, 2, n)
        mass = above - below if axis == weighted else below + mass + above
    return mass


def _together(log_q: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Many cells as one: log of their mass (B, K), their mean (B, K, D) and their covariance (B, K, D, D)."""
    any_mass = (log_q > -torch.inf).any(-1)
    # Without any mass the mean of all places, of no weight: the softmax of nothing is NaN, and so is its gradient.
    logs = torch.where(any_mass[..., None], log_q, 0.0)
    shares = logs.softmax(-1)[..., None]
    mean = (shares * places).sum(-2)
    offset = places - mean[..., None, :]
    rows = [(shares * offset[..., i, None] * offset).sum(-2) for i in range(mean.shape[-1])]
    return torch.where(any_mass, logs.logsumexp(-1), -torch.inf), mean, torch.stack(rows, -2)


def _shares(w: Tensor, e: Tensor, has_cells: Tensor, has_centre: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log weights (B, K) of cells, centre and background, where not every map has all of them."""
    neither = ~has_cells & ~has_centre
    none = torch.full_like(e, -torch.inf)
    both = _log(1 - e)
    cells = torch.where(has_cells, torch.where(has_centre, _log(1 - w - e), both), none)
    centre = torch.where(has_centre, torch.where(has_cells, _log(w), both), none)
    return cells, centre, torch.where(neither, torch.zeros_like(e), _log(e))


def _log(value: Tensor) -> Tensor:
    """log, and -inf without a gradient of infinity at zero."""
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1.0).log(), -torch.inf)


def _check_shapes(
    heatmaps: Tensor | None, coords: Tensor, covariance: Tensor | None, size: tuple[int, ...], max_components: int
) -> None:
    if coords.ndim != 3 or coords.shape[-1] != len(size):
        raise ValueError(f"coords must be (B, K, {len(size)}) for size {size}, got shape {tuple(coords.shape)}")
    if heatmaps is not None and tuple(heatmaps.shape) != (*coords.shape[:2], *size):
        raise ValueError(f"heatmaps must be {(*coords.shape[:2], *size)}, got shape {tuple(heatmaps.shape)}")
    if covariance is not None and covariance.shape != (*coords.shape, coords.shape[-1]):
        raise ValueError(f"covariance must be {(*coords.shape, len(size))}, got shape {tuple(covariance.shape)}")
    if max_components < 1:
        raise ValueError(f"max_components must be at least 1, got {max_components}")


def _check_parameters(t: Tensor, h: Tensor, w: Tensor, a: Tensor, b: Tensor, e: Tensor) -> None:
    slack = 1 + 8 * torch.finfo(w.dtype).eps
    for name, fine, wanted in (
        ("temperature", (t > 0) & t.isfinite(), "positive"),
        ("bandwidth", (h > 0) & h.isfinite(), "positive"),
        ("centre_weight", w >= 0, "not negative"),
        ("spread_scale", (a >= 0) & a.isfinite(), "not negative"),
        ("spread_floor", (b > 0) & b.isfinite(), "positive"),
        ("background", e >= 0, "not negative"),
        ("centre_weight + background", w + e <= slack, "at most 1"),
    ):
        if not bool(fine.all()):
            raise ValueError(f"{name} must be {wanted} everywhere")
