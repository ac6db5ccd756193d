"""Pure functions between logits, heatmaps and coordinates, for 1, 2 or 3 spatial axes. They import torch only.

Heatmaps and logits are (B, K, *S); coordinates are (B, K, D), normalized, (x, y[, z]); losses are (B, K).
"""

from punctum.ops.continuous import MixtureFamily, cell_places, heatmap_mixture
from punctum.ops.coords import (
    as_float,
    axis_centres,
    normalized_grid,
    pixels_matrix,
    spatial_size,
    to_normalized,
    to_pixels,
    transform_covariance,
    transform_points,
)
from punctum.ops.debias import debias
from punctum.ops.decisions import (
    decode,
    expected_oks_at,
    expected_pck_at,
    geometric_median,
    heaviest_disk,
)
from punctum.ops.density import expected_oks, multilinear_weights
from punctum.ops.dsnt_losses import dsnt_losses, dsnt_terms
from punctum.ops.expected import crps_losses, expected_l1_losses, grid_l1_losses
from punctum.ops.gaussian import js_losses, kl_losses, log_gaussian, render_gaussian, variance_losses
from punctum.ops.highest_density import HighestDensity
from punctum.ops.local import local_soft_argmax, peak_covariance
from punctum.ops.losses import average_loss, euclidean_losses, l1_losses, mse_losses
from punctum.ops.mixture import GaussianMixture, single_gaussian
from punctum.ops.modes import ascend, mode, modes
from punctum.ops.moments import covariance, dsnt, marginals, moments, soft_argmax
from punctum.ops.normalize import check_heatmaps, normalize
from punctum.ops.peak import argmax, dark, peak_index, quarter_shift
from punctum.ops.sampling import Noise, draw_noise, mixture_moments, relaxed_samples, sample_coords

__all__ = [
    "GaussianMixture",
    "HighestDensity",
    "MixtureFamily",
    "Noise",
    "argmax",
    "as_float",
    "ascend",
    "average_loss",
    "axis_centres",
    "cell_places",
    "check_heatmaps",
    "covariance",
    "crps_losses",
    "dark",
    "debias",
    "decode",
    "draw_noise",
    "dsnt",
    "dsnt_losses",
    "dsnt_terms",
    "euclidean_losses",
    "expected_l1_losses",
    "expected_oks",
    "expected_oks_at",
    "expected_pck_at",
    "geometric_median",
    "grid_l1_losses",
    "heatmap_mixture",
    "heaviest_disk",
    "js_losses",
    "kl_losses",
    "l1_losses",
    "local_soft_argmax",
    "log_gaussian",
    "marginals",
    "mixture_moments",
    "mode",
    "modes",
    "moments",
    "mse_losses",
    "multilinear_weights",
    "normalize",
    "normalized_grid",
    "peak_covariance",
    "peak_index",
    "pixels_matrix",
    "quarter_shift",
    "relaxed_samples",
    "render_gaussian",
    "sample_coords",
    "single_gaussian",
    "soft_argmax",
    "spatial_size",
    "to_normalized",
    "to_pixels",
    "transform_covariance",
    "transform_points",
    "variance_losses",
]
