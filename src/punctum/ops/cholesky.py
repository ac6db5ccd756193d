"""Cholesky factors of small covariances, written out entry by entry.

`torch.linalg.cholesky` walks through a batch one matrix at a time, and raises where one is not positive definite. For
one to three axes the entries are a handful of elementwise operations over the whole batch, with their gradients.
"""

import torch
from torch import Tensor

Factor = list[list[Tensor]]
"""L of covariances (..., D, D), row i as [L_i0, ..., L_ii], each (...)."""


def cholesky(covariances: Tensor) -> Factor:
    """Lower triangular L with L L^T = S.

    A pivot that rounding has made zero or negative counts as the smallest that its row can tell from zero.

    Args:
        covariances: (..., D, D), symmetric, positive definite; D small.
    Returns:
        Rows of entries, each of shape (...).
    Example:
        >>> cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]]))
        [[tensor(2.)], [tensor(1.), tensor(2.)]]
    """
    smallest = torch.finfo(covariances.dtype).eps
    rows: Factor = []
    for i in range(covariances.shape[-1]):
        row: list[Tensor] = []
        for j in range(i):
            known = sum((row[k] * rows[j][k] for k in range(j)), start=torch.zeros_like(covariances[..., 0, 0]))
            row.append((covariances[..., i, j] - known) / rows[j][j])
        pivot = covariances[..., i, i]
        for entry in row:
            pivot = pivot - entry.square()
        rows.append([*row, torch.maximum(pivot, smallest * covariances[..., i, i].detach()).sqrt()])
    return rows


def whiten(factor: Factor, vectors: list[Tensor]) -> list[Tensor]:
    """L^-1 v, by forward substitution: of a vector with covariance S it has covariance one.

    Args:
        factor: from `cholesky`.
        vectors: the D coordinates of v, each broadcastable with the factor's entries.
    Returns:
        The D coordinates of L^-1 v.
    Example:
        >>> whiten(cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]])), [torch.tensor(2.0), torch.tensor(5.0)])
        [tensor(1.), tensor(2.)]
    """
    found: list[Tensor] = []
    for row, vector in zip(factor, vectors, strict=True):
        for entry, earlier in zip(row[:-1], found, strict=True):
            vector = vector - entry * earlier
        found.append(vector / row[-1])
    return found


def log_determinant(factor: Factor) -> Tensor:
    """log |S| = 2 sum_i log L_ii.

    Example:
        >>> log_determinant(cholesky(torch.eye(2) * 3)).exp()
        tensor(9.)
    """
    return 2 * torch.stack([row[-1] for row in factor]).log().sum(0)
