"""What the surroundings of a peak tell: a sub-pixel place from a window, and a spread from the height."""

import torch
from torch import Tensor

from punctum.ops.coords import as_float, spatial_size, to_normalized, to_pixels
from punctum.ops.gaussian import check_sigma
from punctum.ops.moments import dsnt
from punctum.ops.normalize import normalize
from punctum.ops.peak import peak_index

# Steps of Newton's method, and of a fixed point that gains a digit or so with each.
_NEWTON, _STEPS = 5, 8

# The variance of a uniform distribution over [-1, 1]: what is known of a point that is somewhere in the map.
_UNIFORM = 1 / 3


def local_soft_argmax(logits: Tensor, radius: int, beta: float = 1.0, sigma: float | None = None) -> Tensor:
    """Soft-argmax over the cells around the peak alone, so that nothing far away has a say.

        mu = sum_(i in W) p_i x_i,     p = softmax over W of beta z,     W = {i: |i - peak| <= radius on each axis}

    For heatmaps that are Gaussians themselves pass their logarithm: the weights are then h_i^beta. The window
    stands on a cell's centre, and the map's border cuts it off, so the mean is drawn towards the window's middle.
    `sigma` undoes that: it gives the m for which a Gaussian of that sigma at m has this mean over these very
    cells, which is exact where exp(z) is such a Gaussian.

    Args:
        logits: (B, K, *S).
        radius: cells on either side of the peak.
        beta: inverse temperature.
        sigma: of the Gaussian that exp(z) is, in heatmap pixels; None leaves the mean as it is.
    Returns:
        (B, K, D) normalized; at least float32. Differentiable while the peak stays in its cell. With `sigma` at
        most one cell from the peak on each axis, and in the map.
    Raises:
        ValueError: radius is negative; sigma is not positive; there is no spatial axis.
    Source:
        Sun et al. 2018, arXiv:1711.08229, for the mean; matching the mean of a cut-off Gaussian is our own.
    Example:
        >>> from punctum.ops import log_gaussian
        >>> logits = log_gaussian(torch.tensor([[[0.93]]]), sigma=2.0, size=(16,))
        >>> local_soft_argmax(logits, radius=4), local_soft_argmax(logits, radius=4, sigma=2.0)
        (tensor([[[0.7819]]]), tensor([[[0.9300]]]))
    """
    if radius < 0:
        raise ValueError(f"radius must be at least 0 cells, got {radius}")
    size, dims = spatial_size(logits), logits.ndim - 2
    values = as_float(logits).clamp_min(-1e30)  # -inf all over the window would leave nothing to average
    index = peak_index(values)
    inside = torch.ones_like(values, dtype=torch.bool)
    offsets = [torch.arange(n, device=index.device) - index[..., a, None] for a, n in enumerate(reversed(size))]
    for axis, offset in enumerate(offsets):
        shape = [*offset.shape[:2], *([1] * dims)]
        shape[-1 - axis] = offset.shape[-1]
        inside = inside & (offset.abs() <= radius).reshape(shape)
    mean = dsnt(normalize(values.masked_fill(~inside, -torch.inf), "softmax", beta))
    if sigma is None:
        return mean
    check_sigma(sigma)
    shift = to_pixels(mean, size) - index
    steps = [_matching_mean(shift[..., a], offset, radius, sigma / beta**0.5) for a, offset in enumerate(offsets)]
    last = torch.tensor(size[::-1], device=index.device) - 1
    return to_normalized(torch.minimum((index + torch.stack(steps, dim=-1)).clamp_min(-0.5), last + 0.5), size)


def _matching_mean(mean: Tensor, offset: Tensor, radius: int, sigma: float) -> Tensor:
    """Where a Gaussian must stand to have this mean over the cells of the window, on one axis.

    Args:
        mean: (B, K), in cells from the peak.
        offset: (B, K, n), each cell's distance from the peak.
        radius: of the window.
        sigma: of the Gaussian, in cells.
    """
    cells, place = offset.to(mean.dtype), mean.clamp(-1, 1)
    for _ in range(_NEWTON):
        logs = -0.5 * ((cells - place[..., None]) / sigma) ** 2
        p = logs.masked_fill(offset.abs() > radius, -torch.inf).softmax(-1)
        found = (p * cells).sum(-1)
        variance = (p * (cells - found[..., None]) ** 2).sum(-1)
        # d found / d place = variance / sigma^2. A window of one cell has no variance: it says nothing.
        step = (mean - found) * sigma**2 / variance.clamp_min(1e-6)
        place = (place + torch.where(variance > 1e-6, step, -place)).clamp(-1, 1)
    return place


def peak_covariance(heatmaps: Tensor, sigma: float, coords: Tensor | None = None) -> Tensor:
    """How uncertain a network is that was trained to draw Gaussians of height one, from the height of its peak.

        sigma_e^2 = sigma^2 (s^(-2/D) - 1),     s = height of the peak

    Under a squared error the best map is the mean of all Gaussians that the truth may ask for. If the truth is
    spread by sigma_e around a place, that mean is a Gaussian of variance sigma^2 + sigma_e^2 with this height. The
    highest *cell* is lower than the peak, by exp(-d^2 / (2 (sigma^2 + sigma_e^2))) at a distance d; `coords` says
    where the peak is, and makes up for it.

    Args:
        heatmaps: (B, K, *S), trained towards Gaussians of height one.
        sigma: of those Gaussians, in heatmap pixels.
        coords: (B, K, D), where the peaks are, normalized; None takes them to be at the centres of their cells.
    Returns:
        (B, K, D, D), isotropic in pixels, in normalized units squared; zero where the peak is one or higher, and
        on no axis more than 1/3, a uniform distribution's over the map. At least float32.
    Raises:
        ValueError: sigma is not positive; there is no spatial axis.
    Source:
        CCNet, ICML 2024, in two dimensions and for a peak on a cell; other D and places are our own.
    Example:
        >>> heatmap = torch.zeros(1, 1, 8, 8)
        >>> heatmap[0, 0, 3, 4] = 0.2
        >>> peak_covariance(heatmap, sigma=1.0) * (8 / 2) ** 2
        tensor([[[[4., 0.],
                  [0., 4.]]]])
    """
    check_sigma(sigma)
    size, dims = spatial_size(heatmaps), heatmaps.ndim - 2
    values = as_float(heatmaps)
    log_height = values.flatten(2).amax(-1).clamp(1e-6, 1.0).log()
    distance2 = torch.zeros_like(log_height)
    if coords is not None:
        # Farther than half a cell the peak would be in another cell; a decoder's jump is no reason for confidence.
        distance2 = (to_pixels(coords, size) - peak_index(values)).clamp(-0.5, 0.5).square().sum(-1)
    # log h = D/2 log(sigma^2 / v) - d^2 / (2 v), for the total variance v; from v = sigma^2 a fixed point rises.
    excess = torch.zeros_like(log_height)
    for _ in range(_STEPS):
        log_peak = (log_height + distance2 / (2 * (sigma**2 + excess))).clamp_max(0)
        excess = sigma**2 * torch.expm1(-2 / dims * log_peak)
    cell = 2 / torch.tensor(size[::-1], dtype=values.dtype, device=values.device)
    return torch.diag_embed((excess[..., None] * cell**2).clamp_max(_UNIFORM))
