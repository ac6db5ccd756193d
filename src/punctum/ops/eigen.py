"""Principal axes of small covariances, written out: many at a time, and in a form that ONNX has too."""

import torch
from torch import Tensor


def principal_axes(covariances: Tensor) -> tuple[Tensor, Tensor]:
    """Variances in increasing order, and the axes that they are of.

        S v = s v,     s = (a + d) / 2 -+ r,     r = sqrt(((a - d) / 2)^2 + b^2)     for S = [[a, b], [b, d]]

    Args:
        covariances: (..., D, D), symmetric.
    Returns:
        (..., D) and (..., D, D) with an axis in each column, as `torch.linalg.eigh` has them.
    Example:
        >>> principal_axes(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))[0]
        tensor([1., 4.])
    """
    dims = covariances.shape[-1]
    if dims == 1:
        return covariances[..., 0], torch.ones_like(covariances)
    if dims > 2:
        return torch.linalg.eigh(covariances)
    a, b, d = covariances[..., 0, 0], covariances[..., 0, 1], covariances[..., 1, 1]
    middle, half = (a + d) / 2, (a - d) / 2
    r = (half.square() + b.square()).sqrt()
    larger = middle + r
    # Of the two, the smaller as a quotient: the difference would lose its digits where the other is much larger.
    smaller = torch.where(larger > 0, (a * d - b.square()) / torch.where(larger > 0, larger, 1.0), middle - r)
    # The larger one's axis, by whichever of two expressions adds numbers of one sign.
    x = torch.where(half >= 0, half + r, b)
    y = torch.where(half >= 0, b, r - half)
    length = (x.square() + y.square()).sqrt()
    round_one = length <= torch.finfo(length.dtype).tiny ** 0.5
    x = torch.where(round_one, 1.0, x / torch.where(round_one, 1.0, length))
    y = torch.where(round_one, 0.0, y / torch.where(round_one, 1.0, length))
    axes = torch.stack([torch.stack([-y, x], -1), torch.stack([x, y], -1)], -2)
    return torch.stack([smaller, larger], -1), axes
