"""Cholesky factors and inverses of small covariances, written out entry by entry.

`torch.linalg` walks through a batch one matrix at a time, and raises where one is not positive definite. For one to
three axes the entries are a handful of elementwise operations over the whole batch, with their gradients.
"""

import torch
from torch import Tensor

Rows = list[list[Tensor]]
"""A lower triangle of matrices (..., D, D): row i is [entry i0, ..., entry ii], each of shape (...)."""


def cholesky(covariances: Tensor) -> Rows:
    """Lower triangular L with L L^T = S.

    A pivot that rounding has made zero or negative counts as the smallest that its row can tell from zero.

    Args:
        covariances: (..., D, D), symmetric, positive definite.
    Returns:
        The rows of L.
    Example:
        >>> cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]]))
        [[tensor(2.)], [tensor(1.), tensor(2.)]]
    """
    smallest = torch.finfo(covariances.dtype).eps
    rows: Rows = []
    for i in range(covariances.shape[-1]):
        row: list[Tensor] = []
        for j in range(i):
            entry = covariances[..., i, j]
            for a, b in zip(row, rows[j], strict=False):
                entry = entry - a * b
            row.append(entry / rows[j][j])
        pivot = covariances[..., i, i]
        for entry in row:
            pivot = pivot - entry.square()
        rows.append([*row, torch.maximum(pivot, smallest * covariances[..., i, i].detach()).sqrt()])
    return rows


def solve_lower(factor: Rows, vectors: list[Tensor]) -> list[Tensor]:
    """L^-1 v, by forward substitution.

    Example:
        >>> solve_lower(cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]])), [torch.tensor(2.0), torch.tensor(5.0)])
        [tensor(1.), tensor(2.)]
    """
    found: list[Tensor] = []
    for row, vector in zip(factor, vectors, strict=True):
        for entry, earlier in zip(row[:-1], found, strict=True):
            vector = vector - entry * earlier
        found.append(vector / row[-1])
    return found


def solve(factor: Rows, vector: Tensor) -> Tensor:
    """S^-1 v of vectors (..., D), S = L L^T.

    Example:
        >>> solve(cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]])), torch.tensor([6.0, 7.0]))
        tensor([1., 1.])
    """
    rest, found = solve_lower(factor, list(vector.unbind(-1))), []
    for i in reversed(range(len(factor))):
        value = rest[i] / factor[i][i]
        found.append(value)
        rest = [r - factor[i][j] * value for j, r in enumerate(rest[:i])]
    return torch.stack(found[::-1], -1)


def precision(factor: Rows) -> Rows:
    """The lower triangle of S^-1 = L^-T L^-1.

    Example:
        >>> precision(cholesky(torch.tensor([[4.0, 0.0], [0.0, 2.0]])))
        [[tensor(0.2500)], [tensor(0.), tensor(0.5000)]]
    """
    one, dims = torch.ones_like(factor[0][0]), len(factor)
    zero = torch.zeros_like(one)
    columns = [solve_lower(factor, [one if i == j else zero for i in range(dims)]) for j in range(dims)]
    # L^-1 is lower triangular too: above its diagonal there is nothing to add up.
    return [
        [torch.stack([columns[i][k] * columns[j][k] for k in range(i, dims)]).sum(0) for j in range(i + 1)]
        for i in range(dims)
    ]


def log_determinant(factor: Rows) -> Tensor:
    """log |S| = 2 sum_i log L_ii.

    Example:
        >>> log_determinant(cholesky(torch.eye(2) * 3)).exp()
        tensor(9.)
    """
    return 2 * torch.stack([row[-1] for row in factor]).log().sum(0)
