"""The coordinate contract: where a pixel is, and every map between pixels and normalized coordinates.

- Pixels: (0, 0) is the *centre* of the first pixel, so n pixels span [-0.5, n - 0.5].
- Normalized: [-1, 1] spans the same extent, edge to edge; cell i of n has its centre at (2 i + 1) / n - 1.
- Coordinates are (x, y[, z]) on the last axis; sizes are (H, W) or (D, H, W), the other way round.

No other file does coordinate arithmetic: resolution changes are affine maps made here.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Size = Sequence[int]


def as_float(tensor: Tensor) -> Tensor:
    """The tensor in a type that sums and coordinates survive: half precision and integers become float32.

    bfloat16 has 8 significant bits: it cannot tell neighbouring pixels of a 512 px image apart, so no
    operation here accumulates in it or returns coordinates in it.

    Example:
        >>> as_float(torch.ones(1, dtype=torch.bfloat16)).dtype, as_float(torch.ones(1).double()).dtype
        (torch.float32, torch.float64)
    """
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.to(torch.float32)


def spatial_size(heatmaps: Tensor) -> tuple[int, ...]:
    """The spatial size S of heatmaps (B, K, *S).

    Raises:
        ValueError: not 1, 2 or 3 spatial axes, or an empty one.

    Example:
        >>> spatial_size(torch.zeros(2, 5, 48, 64))
        (48, 64)
    """
    size = tuple(heatmaps.shape[2:])
    if not 1 <= len(size) <= 3 or min(size) < 1:
        raise ValueError(
            f"heatmaps must be (B, K, *S) with 1, 2 or 3 non-empty spatial axes, got shape {tuple(heatmaps.shape)}"
        )
    return size


def axis_centres(n: int, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
    """Normalized centres (2 i + 1) / n - 1 of n cells along one axis.

    Example:
        >>> axis_centres(4)
        tensor([-0.7500, -0.2500,  0.2500,  0.7500])
    """
    return (2 * torch.arange(n, dtype=dtype, device=device) + 1) / n - 1


def normalized_grid(size: Size, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
    """Normalized coordinates of every cell centre.

    Args:
        size: (W,), (H, W) or (D, H, W).
    Returns:
        (*size, D) with (x, y[, z]) on the last axis.
    Source:
        Nibali et al. 2018, Section 4 (the matrices X and Y, there 1-based).
    Example:
        >>> normalized_grid((1, 2))
        tensor([[[-0.5000,  0.0000],
                 [ 0.5000,  0.0000]]])
    """
    axes = [axis_centres(n, dtype=dtype, device=device) for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)


def _extent(size: Size, like: Tensor) -> Tensor:
    if like.shape[-1] != len(size):
        raise ValueError(f"size {tuple(size)} has {len(size)} axes, but the points have {like.shape[-1]} coordinates")
    return torch.tensor(list(size)[::-1], dtype=like.dtype, device=like.device)


def to_normalized(pixels: Tensor, size: Size) -> Tensor:
    """Pixels to normalized coordinates: (2 x + 1) / n - 1 per axis.

    Args:
        pixels: (..., D) as (x, y[, z]); (0, 0) is the centre of the first pixel.
        size: (H, W) or (D, H, W) of the image that the pixels are counted in.
    Returns:
        (..., D); [-1, 1] is the image from edge to edge. float32 for half precision input.
    Raises:
        ValueError: size and points differ in the number of axes.
    Example:
        >>> to_normalized(torch.tensor([[-0.5, 0.0], [63.5, 47.5]]), size=(48, 64))
        tensor([[-1.0000, -0.9792],
                [ 1.0000,  1.0000]])
    """
    pixels = as_float(pixels)
    return (2 * pixels + 1) / _extent(size, pixels) - 1


def to_pixels(coords: Tensor, size: Size) -> Tensor:
    """Normalized coordinates to pixels: ((c + 1) n - 1) / 2 per axis, the inverse of `to_normalized`.

    Args:
        coords: (..., D) as (x, y[, z]), normalized.
        size: (H, W) or (D, H, W) of the image to count pixels in.
    Returns:
        (..., D). float32 for half precision input.
    Raises:
        ValueError: size and points differ in the number of axes.
    Example:
        >>> to_pixels(torch.tensor([-1.0, 0.0]), size=(48, 64))
        tensor([-0.5000, 23.5000])
    """
    coords = as_float(coords)
    return ((coords + 1) * _extent(size, coords) - 1) / 2


def pixels_matrix(size: Size, *, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """`to_pixels` as a homogeneous (D + 1, D + 1) matrix, to be composed with crops; its inverse normalizes.

    Example:
        >>> pixels_matrix((48, 64))
        tensor([[32.0000,  0.0000, 31.5000],
                [ 0.0000, 24.0000, 23.5000],
                [ 0.0000,  0.0000,  1.0000]], dtype=torch.float64)
    """
    extent = torch.tensor([*list(size)[::-1], 2], dtype=dtype, device=device)
    matrix = torch.diag(extent / 2)
    matrix[:-1, -1] = (extent[:-1] - 1) / 2
    return matrix


def normalized_matrix(
    size: Size, *, dtype: torch.dtype = torch.float64, device: torch.device | None = None
) -> Tensor:
    """`to_normalized` as a homogeneous (D + 1, D + 1) matrix, the inverse of `pixels_matrix`.

    Example:
        >>> normalized_matrix((48, 64)) @ torch.tensor([-0.5, 23.5, 1.0], dtype=torch.float64)
        tensor([-1.,  0.,  1.], dtype=torch.float64)
    """
    extent = torch.tensor([*list(size)[::-1], 2], dtype=dtype, device=device)
    matrix = torch.diag(2 / extent)
    matrix[:-1, -1] = 1 / extent[:-1] - 1
    return matrix


def cells_matrix(side: float, first: Sequence[float] = (0.0, 0.0), *, dtype: torch.dtype = torch.float64) -> Tensor:
    """From cells that are squares of `side` pixels to pixels: x = side i + (side - 1) / 2 + first.

    An image that was averaged over squares, or decoded from a JPEG at a part of its size, is such a grid.

    Args:
        side: pixels along a cell's edge; need not be whole.
        first: (x, y[, z]) of the pixel that the first cell starts with.
    Returns:
        (D + 1, D + 1) homogeneous.
    Example:
        >>> cells_matrix(2, (10, 20)) @ torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
        tensor([10.5000, 22.5000,  1.0000], dtype=torch.float64)
    """
    rows = [[*(side if i == j else 0.0 for j in range(len(first))), x + (side - 1) / 2] for i, x in enumerate(first)]
    return torch.tensor([*rows, [*[0.0] * len(first), 1.0]], dtype=dtype)


def transform_points(points: Tensor, matrix: Tensor) -> Tensor:
    """Points under an affine map, A x + t.

    Args:
        points: (..., D).
        matrix: (D + 1, D + 1) homogeneous, or (B, D + 1, D + 1) for points (B, ..., D).
    Returns:
        (..., D).
    Example:
        >>> shift = torch.tensor([[1.0, 0.0, 5.0], [0.0, 1.0, -2.0], [0.0, 0.0, 1.0]])
        >>> transform_points(torch.tensor([[1.0, 1.0]]), shift)
        tensor([[ 6., -1.]])
    """
    points, matrix = as_float(points), _align(matrix, points.ndim - 1)
    # A product and a sum, not a matmul: autocast would run a matmul in bfloat16.
    return (matrix[..., :-1, :-1] * points.unsqueeze(-2)).sum(-1) + matrix[..., :-1, -1]


def transform_covariance(covariance: Tensor, matrix: Tensor) -> Tensor:
    """Covariances under an affine map, A S A^T.

    Args:
        covariance: (..., D, D).
        matrix: (D + 1, D + 1) homogeneous, or (B, D + 1, D + 1) for covariances (B, ..., D, D).
    Returns:
        (..., D, D).
    Example:
        >>> transform_covariance(torch.eye(2), torch.diag(torch.tensor([2.0, 3.0, 1.0])))
        tensor([[4., 0.],
                [0., 9.]])
    """
    covariance = as_float(covariance)
    linear = _align(matrix, covariance.ndim - 2)[..., :-1, :-1]
    half = (linear.unsqueeze(-1) * covariance.unsqueeze(-3)).sum(-2)
    return (half.unsqueeze(-2) * linear.unsqueeze(-3)).sum(-1)


def _align(matrix: Tensor, leading: int) -> Tensor:
    """A per-sample matrix (B, n, n) with axes of one put in, so that it meets points with `leading` axes."""
    if matrix.ndim == 2:
        return matrix
    return matrix.reshape(matrix.shape[0], *([1] * (leading - 1)), *matrix.shape[-2:])
