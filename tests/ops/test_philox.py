"""The noise of a seed: against the published vectors, SciPy's distributions, and a definition in plain integers."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from punctum import ops
from punctum.ops import philox
from reference import mixtures

# Random123's known answers: counter, key, words.
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def integers(text):
    return [int(word, 16) for word in text.split()]


def philox_by_hand(counter, key):
    """Ten rounds in Python's own integers."""
    (a, b, c, d), (k, l) = counter, key  # noqa: E741
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (second >> 32) ^ b ^ k, second % 2**32, (first >> 32) ^ d ^ l, first % 2**32
        k, l = (k + 0x9E3779B9) % 2**32, (l + 0xBB67AE85) % 2**32  # noqa: E741
    return a, b, c, d


def uniform(seed, index, sample, number, stream):
    words = philox_by_hand((index, sample // 4, number, stream), (seed % 2**32, seed >> 32))
    return ((words[sample % 4] >> 9) + 0.5) / 2**23


@pytest.mark.parametrize(("counter", "key", "words"), VECTORS)
def test_the_published_vectors(counter, key, words):
    found = philox.philox(
        tuple(torch.tensor(word) for word in integers(counter)), tuple(torch.tensor(word) for word in integers(key))
    )
    assert [word.item() for word in found] == integers(words)
    assert list(philox_by_hand(integers(counter), integers(key))) == integers(words)


@pytest.mark.parametrize("basis", ["uniform", "triangular", "gaussian"])
def test_each_number_is_that_of_its_seed_sample_map_and_cell(basis):
    seed, size = 0x123456789ABCDEF0, (3, 4)
    noise = ops.draw_noise((2, 3, *size), 6, basis, dtype=torch.float64, seed=seed)
    for batch, keypoint, sample, row, column in [(0, 0, 0, 0, 0), (1, 2, 5, 2, 3), (0, 1, 4, 1, 0), (1, 0, 3, 0, 2)]:
        m = 3 * batch + keypoint
        u = uniform(seed, 4 * row + column, sample, m, 0)
        assert noise.gumbel[batch, keypoint, sample, row, column].item() == pytest.approx(-math.log(-math.log(u)))
        for axis, (index, n) in enumerate([(column, 4), (row, 3)]):
            one, two = (uniform(seed, index, sample, m, stream + axis) for stream in (1, 4))
            cells = {
                "uniform": one - 0.5,
                "triangular": one + two - 1,
                "gaussian": math.sqrt(-2 * math.log(one)) * math.cos(2 * math.pi * two),
            }[basis]
            found = noise.offsets[axis][batch, keypoint, sample, index].item()
            assert found == pytest.approx(cells * 2 / n, abs=1e-12)


def test_a_seed_may_be_a_number_or_a_tensor_and_the_type_changes_only_the_rounding():
    shape, seed = (2, 2, 5, 40), 2**40 + 17
    double = ops.draw_noise(shape, 5, "gaussian", dtype=torch.float64, seed=torch.tensor(seed))
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.bfloat16, 1e-2)):
        single = ops.draw_noise(shape, 5, "gaussian", dtype=dtype, seed=seed)
        assert single.gumbel.dtype == dtype
        torch.testing.assert_close(single.gumbel.double(), double.gumbel, rtol=tolerance, atol=tolerance)
        for one, other in zip(single.offsets, double.offsets, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance)


def test_a_map_has_its_noise_whatever_stands_beside_it():
    """Blocks of maps and groups of samples are how it is computed, and leave no trace."""
    many = ops.draw_noise((1, 40, 30, 50), 7, seed=3)  # several blocks
    few = ops.draw_noise((1, 2, 30, 50), 2, seed=3)
    assert torch.equal(many.gumbel[:, :2, :2], few.gumbel)
    assert torch.equal(many.offsets[1][:, :2, :2], few.offsets[1])


def test_uniform_numbers_are_uniform_and_all_else_is_independent():
    gumbel = ops.draw_noise((1, 4, 5000), 6, dtype=torch.float64, seed=9).gumbel[0]
    u = torch.exp(-torch.exp(-gumbel)).numpy()
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    # Maps, samples, cells beside each other, another seed: correlations of zero within 4.5 standard errors.
    other = torch.exp(-torch.exp(-ops.draw_noise((1, 4, 5000), 6, dtype=torch.float64, seed=10).gumbel[0])).numpy()
    rows = np.concatenate([u.reshape(24, 5000), np.roll(u.reshape(24, 5000), 1, axis=1), other.reshape(24, 5000)])
    correlations = np.corrcoef(rows)[np.triu_indices(72, 1)]
    assert np.abs(correlations).max() < 4.5 / 5000**0.5


@pytest.mark.parametrize("basis", ["uniform", "triangular", "gaussian"])
def test_offsets_follow_the_basis_and_axes_are_independent(basis):
    noise = ops.draw_noise((1, 1, 50, 50), 400, basis, seed=4)
    x, y = (offset.flatten().numpy() * 50 for offset in noise.offsets)
    middle = mixtures.parts(1, basis)[0]
    assert stats.kstest(x, middle.cdf).pvalue > 1e-3
    assert stats.kstest(y, middle.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(x, y)[0, 1]) < 4.5 / x.size**0.5


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        ops.draw_noise((1, 1, 4), 1, seed=-1)
