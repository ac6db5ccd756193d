"""One place to say, when a density is known: what each rule of judging makes the best answer.

mean     least expected squared distance
mode     the densest place
median   least expected distance
oks      highest expected object keypoint similarity
pck      most probability within a distance
"""

import math
from functools import lru_cache
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from punctum.ops.coords import as_float
from punctum.ops.eigen import principal_axes
from punctum.ops.mixture import GaussianMixture
from punctum.ops.mixture_terms import in_parts
from punctum.ops.modes import ascend, mode, spaced_starts
from punctum.ops.recording import is_exporting

Rule = Literal["mean", "mode", "median", "oks", "pck"]

# Draws and steps of the geometric median.
_DRAWS, _STEPS = 1024, 40
# Nodes of each piece of a quadrature, and deviations beyond which a Gaussian has next to nothing.
_NODES, _REACH = 12, 4.5
# Of the heaviest disk: components of a group that are looked at, starts, and refinements.
_HEAVY, _DISKS, _REFINEMENTS = 48, 3, 4


def decode(
    mixture: GaussianMixture,
    rule: Rule = "mean",
    *,
    length: float | Tensor | None = None,
    radius: float | Tensor | None = None,
) -> Tensor:
    """The best place to say under a rule, for each mixture.

    "mean" is that of the mixture without its background: a label that may be anywhere says nothing of where, yet
    would draw the mean towards the middle of the crop. The others count it in, and hardly notice.

    Args:
        mixture: B x K densities.
        rule: how an answer is judged.
        length: s k of the OKS, in the mixture's unit, for "oks"; a number or a tensor that broadcasts with (B, K).
        radius: of the disk, in the mixture's unit, for "pck"; likewise.
    Returns:
        (B, K, D); differentiable for "mean" alone.
    Raises:
        ValueError: an unknown rule, or one without its length or radius.
    Example:
        >>> mixture = GaussianMixture(
        ...     torch.tensor([[[0.6, 0.4]]]).log(), torch.tensor([[[[0.0], [1.0]]]]),
        ...     torch.full((1, 1, 1, 1, 1), 0.01), {"cells": 2},
        ... )
        >>> decode(mixture), decode(mixture, "mode"), decode(mixture, "oks", length=1.0)
        (tensor([[[0.4000]]]), tensor([[[0.]]]), tensor([[[0.3694]]]))
    """
    if rule not in get_args(Rule):
        raise ValueError(f"unknown rule {rule!r}: choose one of {', '.join(get_args(Rule))}")
    if rule == "mean":
        return mixture.without("background").moments()[0]
    if rule == "mode":
        return mode(mixture)
    if rule == "median":
        return geometric_median(mixture)
    if rule == "oks":
        return mode(mixture.widen(_given(mixture, "length", length, rule).square()))
    return heaviest_disk(mixture, _given(mixture, "radius", radius, rule))


def expected_oks_at(mixture: GaussianMixture, points: Tensor, length: float | Tensor) -> Tensor:
    """Expected object keypoint similarity of saying a point, when the truth is drawn from the mixture.

        E exp(-|y - Y|^2 / (2 l^2)) = sum_m w_m |I + S_m / l^2|^(-1/2) exp(-d_m^T (S_m + l^2 I)^-1 d_m / 2)

    with d_m = y - mu_m. It is (2 pi l^2)^(D/2) times the density of the mixture widened by l.

    Args:
        mixture: B x K densities.
        points: (B, K, D), or (B, K, N, D).
        length: l = s k of the OKS, in the mixture's unit; a number or a tensor that broadcasts with (B, K).
    Returns:
        (B, K) or (B, K, N), in [0, 1]; differentiable.
    Raises:
        ValueError: length is not positive; points do not fit.
    Source:
        COCO's OKS; its expectation under a heatmap: Purkrabek and Matas 2025, arXiv:2412.02254.
    Example:
        >>> from punctum.ops import single_gaussian
        >>> origin = torch.zeros(1, 1, 2)
        >>> expected_oks_at(single_gaussian(origin, torch.eye(2)[None, None]), origin, length=1.0)
        tensor([[0.5000]])
    """
    variance = _given(mixture, "length", length, "oks").square()
    log_volume = mixture.means.shape[-1] / 2 * (2 * math.pi * variance).log()
    log_volume = log_volume if points.ndim == 3 else log_volume.unsqueeze(-1)
    return (mixture.widen(variance).log_prob(points) + log_volume).exp()


def expected_pck_at(mixture: GaussianMixture, points: Tensor, radius: float | Tensor) -> Tensor:
    """Probability that the truth, drawn from the mixture, lies within a distance of a point.

        P(|Y - y| <= r) = sum_m w_m integral over the ball of N(y + u; mu_m, S_m) du

    Along the principal axes of S_m the integral over the last axis is a difference of normal distribution functions;
    the others are Gauss-Legendre quadratures in the angle, piece by piece over the ball where the Gaussian is.

    Args:
        mixture: B x K densities.
        points: (B, K, D), or (B, K, N, D).
        radius: r, in the mixture's unit; a number or a tensor that broadcasts with (B, K).
    Returns:
        (B, K) or (B, K, N), in [0, 1], to 2e-4.
    Raises:
        ValueError: radius is not positive; points do not fit.
    Example:
        >>> from punctum.ops import single_gaussian
        >>> origin = torch.zeros(1, 1, 2)
        >>> expected_pck_at(single_gaussian(origin, torch.eye(2)[None, None]), origin, radius=1.0)
        tensor([[0.3935]])
    """
    dims = mixture.means.shape[-1]
    if points.shape[:2] != mixture.means.shape[:2] or points.shape[-1] != dims or points.ndim not in (3, 4):
        raise ValueError(f"points {tuple(points.shape)} do not fit a mixture with means {tuple(mixture.means.shape)}")
    places = as_float(points).to(mixture.means.dtype)
    places = places.unsqueeze(2) if points.ndim == 3 else places
    terms = places.shape[2] * mixture.log_weights.shape[-1] * (3 * _NODES) ** (dims - 1)
    mass = in_parts(_ball_mass, mixture, places, _given(mixture, "radius", radius, "pck"), terms=terms)
    return mass.reshape(points.shape[:-1])


def _ball_mass(mixture: GaussianMixture, points: Tensor, radius: Tensor) -> Tensor:
    """(B, K, N) for points (B, K, N, D) and radii (B, K)."""
    counts = list(mixture.groups.values())
    variances, axes = principal_axes(mixture.covariances)
    deviations = variances.clamp_min(torch.finfo(variances.dtype).tiny).sqrt()
    total = torch.zeros_like(points[..., 0])
    groups = zip(mixture.log_weights.split(counts, -1), mixture.means.split(counts, -2), strict=True)
    for g, (log_weights, means) in enumerate(groups):
        offsets = means.unsqueeze(2) - points.unsqueeze(3)
        turned = (offsets.unsqueeze(-1) * axes[:, :, g, None, None]).sum(-2)
        # The narrowest axis comes first: along the others everything is smooth then.
        spread = [s[..., None, None] for s in deviations[:, :, g].unbind(-1)]
        mass = _in_ball(list(turned.unbind(-1)), spread, radius[..., None, None])
        total = total + (log_weights.exp().unsqueeze(2) * mass).sum(-1)
    return total.clamp(0, 1)


def _in_ball(means: list[Tensor], deviations: list[Tensor], radius: Tensor) -> Tensor:
    """Mass of axis-parallel Gaussians in a ball about the origin, one axis after another."""
    mean, deviation = means[0], deviations[0]
    if len(means) == 1:
        return torch.special.ndtr((radius - mean) / deviation) - torch.special.ndtr((-radius - mean) / deviation)
    low, high = ((mean + side * _REACH * deviation) / radius for side in (-1, 1))
    # Where the surface meets the other axes' mean: a narrow Gaussian is inside on one side, outside on the other.
    other = torch.stack([m.square() for m in means[1:]]).sum(0)
    edge = (1 - other / radius.square()).clamp(0, 1).sqrt()
    bounds = [x.clamp(-1, 1).asin() for x in (low, torch.clamp(-edge, low, high), torch.clamp(edge, low, high), high)]
    nodes, weights = (x.to(mean) for x in _gauss_legendre(_NODES))
    pieces = [((start + end)[..., None] / 2, (end - start)[..., None] / 2) for start, end in pairwise(bounds)]
    angle = torch.cat([middle + half * nodes for middle, half in pieces], -1)
    share = torch.cat([half * weights for _, half in pieces], -1)
    density = torch.exp(-0.5 * ((radius[..., None] * angle.sin() - mean[..., None]) / deviation[..., None]).square())
    inner = radius[..., None] * angle.cos()
    mass = _in_ball([m[..., None] for m in means[1:]], [s[..., None] for s in deviations[1:]], inner)
    return (share * density * inner * mass).sum(-1) / (math.sqrt(2 * math.pi) * deviation)


@lru_cache(maxsize=2)
def _gauss_legendre(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [-1, 1]: eigenvalues of Legendre's recurrence (Golub and Welsch 1969)."""
    k = torch.arange(1, n, dtype=torch.float64)
    beside = k / (4 * k.square() - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return nodes, 2 * vectors[0].square()


def geometric_median(mixture: GaussianMixture) -> Tensor:
    """The place of least expected distance to the truth, by Weiszfeld's steps on draws; the median on one axis.

        x <- x + c sum_j (Y_j - x) / |Y_j - x| / sum_j 1 / |Y_j - x|,     c = 1.5

    The background is counted in: a median hardly moves for a few draws, wherever they are.

    Args:
        mixture: B x K densities.
    Returns:
        (B, K, D), not differentiable.
    Source:
        Weiszfeld 1937; Ostresh 1978 for steps longer than one, which keep descending up to two.
    Example:
        >>> from punctum.ops import single_gaussian
        >>> geometric_median(single_gaussian(torch.ones(1, 1, 2), torch.eye(2)[None, None])).round(decimals=2)
        tensor([[[1., 1.]]])
    """

    def of_part(part: GaussianMixture) -> Tensor:
        # One plane for each coordinate: numbers that lie side by side are read several times faster.
        draws = part.draw(_DRAWS).movedim(-1, 0).contiguous()
        x = draws.median(-1, keepdim=True).values
        smallest = torch.finfo(x.dtype).eps * (draws - x).abs().amax(dim=(0, -1)).clamp_min(1e-30)
        for _ in range(_STEPS if len(draws) > 1 else 0):
            offset = draws - x
            pull = 1 / torch.maximum(offset.square().sum(0).sqrt(), smallest[..., None])
            x = x + 1.5 * ((offset * pull).sum(-1) / pull.sum(-1))[..., None]
        return x.squeeze(-1).movedim(0, -1)

    with torch.no_grad():
        return in_parts(of_part, mixture, terms=_DRAWS * mixture.means.shape[-1])


def heaviest_disk(mixture: GaussianMixture, radius: float | Tensor) -> Tensor:
    """The place with most probability within a distance of it.

    Of the modes of the mixture widened by the disk's own variance r^2 / (D + 2), and by r^2, which joins hills that
    one disk can hold, the heaviest; then parabolas through the mass a step to each side lead on where it grows. The
    48 heaviest components of each group have a say.

    Args:
        mixture: B x K densities.
        radius: r, in the mixture's unit; a number or a tensor that broadcasts with (B, K).
    Returns:
        (B, K, D), not differentiable.
    Raises:
        ValueError: radius is not positive.
    Example:
        >>> mixture = GaussianMixture(
        ...     torch.tensor([[[0.2, 0.35, 0.45]]]).log(), torch.tensor([[[[0.0], [1.0], [9.0]]]]),
        ...     torch.full((1, 1, 1, 1, 1), 0.01), {"cells": 3},
        ... )
        >>> heaviest_disk(mixture, 1.0).round(decimals=1)
        tensor([[[0.5000]]])
    """

    def of_part(part: GaussianMixture, radius: Tensor) -> Tensor:
        part = _heaviest(part)
        variance = radius.square()
        wide = (part.widen(v) for v in (variance / (part.means.shape[-1] + 2), variance))
        places = torch.cat([ascend(w, spaced_starts(w, _DISKS)[0]) for w in wide], 2)
        place, step = _best(places, expected_pck_at(part, places, radius))[0], radius / 4
        for _ in range(_REFINEMENTS):
            place, step = _heavier(part, place, radius, step)
        return place.squeeze(2)

    with torch.no_grad():
        terms = 2 * _DISKS * mixture.log_weights.shape[-1]
        return in_parts(of_part, mixture, _given(mixture, "radius", radius, "pck"), terms=terms)


def _heaviest(mixture: GaussianMixture) -> GaussianMixture:
    """The heaviest components of each group, with the weights that they have."""
    counts = list(mixture.groups.values())
    weights, means = [], []
    for w, m in zip(mixture.log_weights.split(counts, -1), mixture.means.split(counts, -2), strict=True):
        top = w.topk(min(_HEAVY, w.shape[-1]), dim=-1)
        weights.append(top.values)
        means.append(m.gather(-2, top.indices[..., None].expand(*top.indices.shape, m.shape[-1])))
    groups = {name: w.shape[-1] for name, w in zip(mixture.groups, weights, strict=True)}
    return GaussianMixture(torch.cat(weights, -1), torch.cat(means, -2), mixture.covariances, groups)


def _heavier(mixture: GaussianMixture, place: Tensor, radius: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """The heaviest of a place (B, K, 1, D), those a step to its sides, and a parabola's top; and the next step."""
    sides = torch.eye(place.shape[-1], dtype=place.dtype, device=place.device)
    places = place + torch.cat([torch.zeros_like(sides[:1]), sides, -sides]) * step[..., None, None]
    mass = expected_pck_at(mixture, places, radius)
    here, ahead, behind = mass.split([1, len(sides), len(sides)], -1)
    bend = 2 * here - ahead - behind
    top = torch.where(bend > 0, (ahead - behind) / (2 * bend.clamp_min(1e-30)), 0.0).clamp(-1, 1)
    places = torch.cat([places, place + (top * step[..., None]).unsqueeze(2)], 2)
    mass = torch.cat([mass, expected_pck_at(mixture, places[:, :, -1:], radius)], -1)
    place, best = _best(places, mass)
    aside = (best > 0) & (best < places.shape[2] - 1)
    return place, torch.where(aside, step, step / 2)


def _best(places: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    """The heaviest of places (B, K, N, D), as (B, K, 1, D), and which it is, (B, K)."""
    best = mass.argmax(-1)
    return places.gather(2, best[..., None, None].expand(*best.shape, 1, places.shape[-1])), best


def _given(mixture: GaussianMixture, name: str, value: float | Tensor | None, rule: str) -> Tensor:
    """A length for each map, (B, K)."""
    if value is None:
        raise ValueError(f'rule "{rule}" needs a {name}, in the unit of the mixture\'s places')
    found = torch.as_tensor(value, dtype=mixture.means.dtype, device=mixture.means.device)
    if not is_exporting() and not bool((found > 0).all()):
        raise ValueError(f"{name} must be positive everywhere, got {value}")
    return found.expand(mixture.log_weights.shape[:2])
