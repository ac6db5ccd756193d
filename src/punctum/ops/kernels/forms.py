"""Closed forms of what is made of a map's softmax, and their gradients: functions of tensors, without autograd.

With p = softmax(beta z) the gradient of a function of p is beta p_i (c_i - sum_j p_j c_j), c_i its derivative by p_i.
What depends on a cell's place alone is a sum over axes: the mean's part of c, the variance's, the Gaussian's log.

Maps are flat here, (N, cells), and so are coordinates: (N, D).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from punctum.ops.coords import Size, axis_centres
from punctum.ops.gaussian_axes import log_gaussian_axes

LEAST = -200.0  # a logarithm below this is of nothing: 0 log 0 = 0


class Options(NamedTuple):
    """What a function of the maps needs to know besides them."""

    size: Size
    beta: float
    distance: str = "euclidean"
    regularizer: str = "none"
    sigma: float = 1.0
    units: str = "normalized"


def log_softmax(flat: Tensor, beta: float) -> Tensor:
    """log softmax(beta z) in float32; a map of nothing but -inf is uniform."""
    values = flat.to(torch.float32)
    values = values if beta == 1 else values * beta
    return torch.log_softmax(values.clamp(min=torch.finfo(torch.float32).min), dim=-1)


def counts(flat: Tensor, p: Tensor) -> Tensor:
    """(N,): False for a map of nothing but -inf, which has no gradient: then even the first cell, -inf, has mass."""
    return ~((flat[:, 0] == -torch.inf) & (p[:, 0] > 0))


def centres(size: Size, like: Tensor) -> list[Tensor]:
    """Centres of the cells of each axis, x first."""
    return [axis_centres(n, dtype=like.dtype, device=like.device) for n in reversed(size)]


def rows_of(maps: Tensor, size: Size) -> Tensor:
    """(N, rows, W)."""
    return maps.reshape(maps.shape[0], -1, size[-1])


def axis_sums(maps: Tensor, size: Size) -> list[Tensor]:
    """Sums along all axes but one, for each, x first: two reads of the maps."""
    rows = rows_of(maps, size)
    sums = [rows.sum(1)]
    if len(size) > 1:
        others = rows.sum(2).reshape(maps.shape[0], *size[:-1])
        sums += [others] if len(size) == 2 else [others.sum(1), others.sum(2)]
    return sums


def outer_sum(terms: list[Tensor], size: Size) -> Tensor:
    """Sum over axes of terms (N, n), x first, as maps (N, rows, W)."""
    rows = terms[0].new_zeros(()) if len(terms) == 1 else terms[1]
    if len(terms) == 3:
        rows = (terms[2][:, :, None] + terms[1][:, None, :]).flatten(1)
    return terms[0][:, None, :] + (rows[:, :, None] if len(terms) > 1 else rows)


def outer_product(factors: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Factors (N, n) of each axis, x first, as (N, rows, 1) and (N, 1, W)."""
    rows = torch.ones_like(factors[0][:, :1]) if len(factors) == 1 else factors[1]
    if len(factors) == 3:
        rows = (factors[2][:, :, None] * factors[1][:, None, :]).flatten(1)
    return rows[:, :, None], factors[0][:, None, :]


def means(sums: list[Tensor], places: list[Tensor]) -> Tensor:
    """(N, D)."""
    return torch.stack([(total * place).sum(-1) for total, place in zip(sums, places, strict=True)], dim=-1)


def crossed_sums(factors: list[Tensor], terms: list[Tensor]) -> Tensor:
    """(N,): for each axis the sum of a product, all added up."""
    return torch.stack([(factor * term).sum(-1) for factor, term in zip(factors, terms, strict=True)]).sum(0)


def moments_forward(flat: Tensor, options: Options, spread: bool) -> tuple[Tensor, ...]:
    """mean, covariance (or nothing of it), p, and which maps count."""
    size = options.size
    p = log_softmax(flat, options.beta).exp_()
    sums, places = axis_sums(p, size), centres(size, p)
    mean = means(sums, places)
    covariance = mean.new_zeros(0)
    if spread:
        offsets = [place - mean[:, axis, None] for axis, place in enumerate(places)]
        covariance = _covariance(rows_of(p, size), sums, offsets, size)
    return mean, covariance, p, counts(flat, p)


def _covariance(rows: Tensor, sums: list[Tensor], offsets: list[Tensor], size: Size) -> Tensor:
    dims = len(size)
    entries = {(a, a): (sums[a] * offsets[a].square()).sum(-1) for a in range(dims)}
    if dims > 1:
        along_x = (rows * offsets[0][:, None, :]).sum(-1).reshape(-1, *size[:-1])
        entries[0, 1] = ((along_x.sum(1) if dims == 3 else along_x) * offsets[1]).sum(-1)
    if dims == 3:
        entries[0, 2] = (along_x.sum(2) * offsets[2]).sum(-1)
        plane = rows.sum(-1).reshape(-1, *size[:-1]) * offsets[1][:, None, :]
        entries[1, 2] = (plane.sum(-1) * offsets[2]).sum(-1)
    lines = [torch.stack([entries[min(i, j), max(i, j)] for j in range(dims)], -1) for i in range(dims)]
    return torch.stack(lines, dim=-2)


def moments_backward(
    p: Tensor,
    mean: Tensor,
    covariance: Tensor,
    counted: Tensor,
    up_mean: Tensor,
    up_covariance: Tensor | None,
    options: Options,
) -> Tensor:
    """Gradient by the logits."""
    size, scale = options.size, options.beta * counted[:, None]
    offsets = [place - mean[:, axis, None] for axis, place in enumerate(centres(size, p))]
    terms = [offset * (up_mean[:, axis, None] * scale) for axis, offset in enumerate(offsets)]
    if up_covariance is None:
        return outer_sum(terms, size).mul_(rows_of(p, size)).flatten(1)
    quadratic = up_covariance * scale[..., None]
    terms = [term + quadratic[:, a, a, None] * offsets[a].square() for a, term in enumerate(terms)]
    terms[0] = terms[0] - (quadratic * covariance).sum((-2, -1))[:, None]
    both = quadratic + quadratic.transpose(-2, -1)
    slope = outer_sum(terms, size)
    if len(size) > 1:
        # What x has to do with the other axes: x times a sum over them.
        across = outer_sum([both[:, 0, a, None] * offsets[a] for a in range(1, len(size))], size).flatten(1)
        slope.addcmul_(across[:, :, None], offsets[0][:, None, :])
    if len(size) == 3:
        plane = both[:, 1, 2, None, None] * offsets[2][:, :, None] * offsets[1][:, None, :]
        slope.add_(plane.flatten(1)[:, :, None])
    return slope.mul_(rows_of(p, size)).flatten(1)


def terms_forward(flat: Tensor, target: Tensor, options: Options) -> tuple[Tensor, ...]:
    """distance, shape, p, p c of the shape where it is no sum over axes, its sum, mean, variances, which count."""
    size = options.size
    log_p = log_softmax(flat, options.beta)
    p = log_p.exp()
    sums, places = axis_sums(p, size), centres(size, p)
    mean = means(sums, places)
    apart = mean - target
    distance = apart.abs().sum(-1) if options.distance == "l1" else torch.linalg.vector_norm(apart, dim=-1)
    counted = counts(flat, p)
    variances, slopes, expected = mean.new_zeros(0), mean.new_zeros(0), mean.new_zeros(0)
    if options.regularizer == "variance":
        offsets = [place - mean[:, axis, None] for axis, place in enumerate(places)]
        variances = torch.stack([(s * o.square()).sum(-1) for s, o in zip(sums, offsets, strict=True)], dim=-1)
        shape = _off_wanted(variances, options).square().sum(-1)
    elif options.regularizer == "none":
        shape = torch.zeros_like(distance)
    else:
        log_g = log_gaussian_axes(target, options.sigma, size)
        if options.regularizer == "kl_from_gaussian":
            log_p.masked_fill_((flat == -torch.inf) & counted[:, None], -torch.inf)
        shape, expected, slopes = DIVERGENCES[options.regularizer](log_p, p, log_g, sums, size)
    return distance, shape, p, slopes, expected, mean, variances, counted


def _widths(options: Options, like: Tensor) -> Tensor:
    """How many units of comparison a normalized unit is, for each axis."""
    size = torch.tensor(list(reversed(options.size)), dtype=like.dtype, device=like.device)
    return size / 2 if options.units == "pixels" else torch.ones_like(size)


def _off_wanted(variances: Tensor, options: Options) -> Tensor:
    widths = _widths(options, variances)
    sizes = torch.tensor(list(reversed(options.size)), dtype=widths.dtype, device=widths.device)
    return variances * widths**2 - (options.sigma * widths * 2 / sizes) ** 2


def _js(log_p: Tensor, p: Tensor, log_g: list[Tensor], sums: list[Tensor], size: Size) -> tuple[Tensor, ...]:
    """sum p (log p - log(p + G)) / 2 + sum G (log G - log(p + G)) / 2 + log 2; sum p c; p c."""
    tiny = torch.finfo(p.dtype).tiny
    factors = [log.exp() for log in log_g]
    along_rows, along_x = outer_product(factors)
    log_sum = torch.addcmul(rows_of(p, size), along_rows, along_x).clamp_min_(tiny).log_()
    slopes = log_p.clamp_min_(LEAST).sub_(log_sum.flatten(1)).mul_(p).mul_(0.5)
    entropy = crossed_sums(factors, log_g)
    crossed = (log_sum.mul_(along_x).sum(-1) * along_rows[..., 0]).sum(-1)
    expected = slopes.sum(-1)
    return expected + 0.5 * (entropy - crossed) + math.log(2), expected, slopes


def _kl(log_p: Tensor, p: Tensor, log_g: list[Tensor], sums: list[Tensor], size: Size) -> tuple[Tensor, ...]:
    """sum p log p - sum p log G, the second from the sums along axes; the same; p log p."""
    slopes = log_p.clamp_min_(LEAST).mul_(p)
    crossed = crossed_sums(sums, log_g)
    divergence = slopes.sum(-1) - crossed
    # A copy: of two outputs of one function that are the same tensor, both would be without gradient.
    return divergence, divergence.clone(), slopes


def _kl_from_gaussian(
    log_p: Tensor, p: Tensor, log_g: list[Tensor], sums: list[Tensor], size: Size
) -> tuple[Tensor, ...]:
    """sum G log G - sum G log p; -1, the sum of what follows; -G."""
    factors = [log.exp() for log in log_g]
    along_rows, along_x = outer_product(factors)
    g = (along_rows * along_x).flatten(1)
    entropy = crossed_sums(factors, log_g)
    crossed = torch.where(g > 0, g * log_p, 0.0).sum(-1)
    return entropy - crossed, -torch.ones_like(entropy), g.neg_()


DIVERGENCES = {"js": _js, "kl": _kl, "kl_from_gaussian": _kl_from_gaussian}


def terms_backward(
    p: Tensor,
    slopes: Tensor,
    expected: Tensor,
    target: Tensor,
    mean: Tensor,
    variances: Tensor,
    counted: Tensor,
    up_distance: Tensor,
    up_shape: Tensor,
    options: Options,
) -> Tensor:
    """Gradient by the logits: p (sum over axes) + p c of the shape."""
    size, regularizer = options.size, options.regularizer
    up_distance, up_shape = (up * options.beta * counted for up in (up_distance, up_shape))
    linear = _distance_slope(mean - target, options) * up_distance[:, None]
    offsets = [place - mean[:, axis, None] for axis, place in enumerate(centres(size, p))]
    terms = [linear[:, axis, None] * offset for axis, offset in enumerate(offsets)]
    if regularizer == "variance":
        widths = 2 * _widths(options, mean) ** 2 * _off_wanted(variances, options) * up_shape[:, None]
        terms = [
            term + widths[:, a, None] * (offsets[a].square() - variances[:, a, None]) for a, term in enumerate(terms)
        ]
    elif regularizer == "kl":
        log_g = log_gaussian_axes(target, options.sigma, size)
        terms = [term - up_shape[:, None] * log for term, log in zip(terms, log_g, strict=True)]
    if expected.numel():
        terms[0] = terms[0] - (up_shape * expected)[:, None]
    gradient = outer_sum(terms, size).mul_(rows_of(p, size)).flatten(1)
    return gradient.addcmul_(slopes, up_shape[:, None]) if slopes.numel() else gradient


def _distance_slope(apart: Tensor, options: Options) -> Tensor:
    """Gradient of the distance by the mean; zero at zero distance."""
    if options.distance == "l1":
        return apart.sign()
    norm = torch.linalg.vector_norm(apart, dim=-1, keepdim=True)
    return apart / torch.where(norm == 0, 1.0, norm)
