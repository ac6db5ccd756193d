"""What the argmax would err by if it were drawn from the heatmap, and what the mean errs by."""

from typing import NamedTuple

import torch
from torch import Tensor

from punctum.diagnostics.activation import check_places
from punctum.ops.coords import as_float, normalized_grid, spatial_size, to_pixels
from punctum.ops.moments import dsnt


class ExpectedErrors(NamedTuple):
    """Expected error of the argmax (Eq. 7) and error of the mean (Eq. 8), both (B, K) in cells."""

    argmax: Tensor
    mean: Tensor


def expected_errors(heatmaps: Tensor, coords: Tensor) -> ExpectedErrors:
    """Expected error of a cell that is drawn from the heatmap, against the error of the heatmap's mean.

        E_de = sum_p w_p |J - p|,     E_re = |J - mu|,     mu = sum_p w_p p

    In the paper w_p is the probability that p becomes the highest cell of a map, of which one map tells nothing. Here
    w is the heatmap itself: the argmax of a map that is as sure of its place as this one claims to be. By the
    triangle inequality E_de >= E_re, whatever w: the paper's Appendix A.2 without its assumption of symmetry. The
    difference is what the mean can win, and it shrinks with the map's support.

    Args:
        heatmaps: (B, K, *S), summing to one.
        coords: (B, K, D), normalized: the true places J.
    Returns:
        argmax and mean, (B, K) each, in cells; at least float32.
    Raises:
        ValueError: coords are not (B, K, D).
    Source:
        Gu et al. 2022 (ICLR), Eqs. 7 and 8, Appendix A.2.
    Example:
        >>> expected_errors(torch.tensor([[[0.5, 0.0, 0.5]]]), torch.zeros(1, 1, 1))
        ExpectedErrors(argmax=tensor([[1.]]), mean=tensor([[0.]]))
    """
    size = spatial_size(heatmaps)
    check_places(heatmaps, coords)
    values = as_float(heatmaps)
    truth = to_pixels(coords.to(values.dtype), size)
    cells = to_pixels(normalized_grid(size, dtype=values.dtype, device=values.device), size).flatten(0, -2)
    # Squares axis by axis: (B, K, cells, D) at once would be D times the map.
    squares = torch.zeros_like(values.flatten(2))
    for axis in range(len(size)):
        squares = squares + (cells[:, axis] - truth[..., axis, None]) ** 2
    mean = to_pixels(dsnt(values), size)
    return ExpectedErrors((values.flatten(2) * squares.sqrt()).sum(-1), (mean - truth).norm(dim=-1))
