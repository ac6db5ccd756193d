"""The written-out algebra of small matrices is NumPy's."""

import numpy as np
import pytest
import torch

from ops.mixtures import some
from punctum.ops.cholesky import Rows, cholesky, log_determinant, precision, solve, solve_lower


def lower(rows: Rows) -> np.ndarray:
    dims = len(rows)
    matrix = np.zeros((*rows[0][0].shape, dims, dims))
    for i, row in enumerate(rows):
        for j, entry in enumerate(row):
            matrix[..., i, j] = entry.numpy()
    return matrix


@pytest.mark.parametrize("dims", [1, 2, 3, 4])
def test_all_of_it_is_numpys(dims: int) -> None:
    root, vector = some(0, 5, dims, dims), some(1, 5, dims)
    covariance = root @ root.mT + 0.1 * torch.eye(dims, dtype=torch.float64)
    factor, inverse = cholesky(covariance), np.linalg.inv(covariance.numpy())
    np.testing.assert_allclose(lower(factor), np.linalg.cholesky(covariance.numpy()))
    np.testing.assert_allclose(lower(precision(factor)), np.tril(inverse), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(log_determinant(factor), np.linalg.slogdet(covariance.numpy())[1])
    np.testing.assert_allclose(solve(factor, vector), (inverse @ vector.numpy()[..., None])[..., 0], rtol=1e-9)
    white = torch.stack(solve_lower(factor, list(vector.unbind(-1))), -1)
    np.testing.assert_allclose((white**2).sum(-1), (solve(factor, vector) * vector).sum(-1))


def test_a_covariance_of_rank_one_has_a_factor() -> None:
    line = torch.tensor([[0.1, 0.3], [0.3, 0.9]])
    assert cholesky(line)[1][1] < 1e-3
    assert precision(cholesky(line))[1][1].isfinite()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_gradients_are_right(dims: int) -> None:
    def of(root: torch.Tensor) -> torch.Tensor:
        factor = cholesky(root @ root.mT + torch.eye(dims, dtype=torch.float64))
        return log_determinant(factor) + torch.stack([p for row in precision(factor) for p in row]).sum(0)

    assert torch.autograd.gradcheck(of, some(2, 3, dims, dims).requires_grad_())
