"""PCKh by hand: which joints count, what is pooled, what is averaged."""

import pytest
import torch

from punctum.metrics import PCKh, distances, pck, pckh

NAMES = ["pelvis", "right_wrist", "left_wrist", "upper_neck", "head_top", "tail"]
# Lengths 10 and 20; the second person's left wrist and tail are not labelled.
ERRORS = torch.tensor(
    [[90.0, 1.0, 5.0, 5.001, 0.0, 2.0], [90.0, 2.0, torch.nan, 10.0, 20.0, torch.nan]], dtype=torch.float64
)
LENGTHS = torch.tensor([10.0, 20.0], dtype=torch.float64)
# In lengths: wrist 0.1, 0.1 | 0.5 | neck 0.5001, 0.5 | head 0, 1 | tail 0.2


def test_by_hand():
    result = pckh(ERRORS, LENGTHS, NAMES)
    torch.testing.assert_close(result.total, torch.tensor([6 / 8, 3 / 8]).double())
    half, tenth = result.per_keypoint
    torch.testing.assert_close(half, torch.tensor([torch.nan, 1, 1, 0.5, 0.5, 1]).double(), equal_nan=True)
    torch.testing.assert_close(tenth, torch.tensor([torch.nan, 1, 0, 0, 0.5, 0]).double(), equal_nan=True)
    # Of the two wrists' three points two are within 0.1; their shares' mean is a half.
    assert result.groups.keys() == {"head", "wrist"}
    torch.testing.assert_close(result.groups["wrist"], torch.tensor([1, 0.5]).double())
    torch.testing.assert_close(result.groups["head"], torch.tensor([0.5, 0.25]).double())
    # 1 - e / 0.5 at 0.1, 0.1, 0.5, 0.5001, 0.5, 0, 1, 0.2.
    assert result.auc == pytest.approx((0.8 + 0.8 + 0 + 0 + 0 + 1 + 0 + 0.6) / 8)
    assert result.auc_groups["wrist"] == pytest.approx((0.8 + 0) / 2)


def test_the_area_is_the_limit_of_the_benchmarks_grid():
    generator = torch.Generator().manual_seed(0)
    errors, lengths = torch.rand(500, 6, generator=generator) * 10, torch.full((500,), 10.0)
    grid = pck(errors[:, 1:], lengths, [1e-9, *(i / 100 for i in range(1, 51))]).total
    trapezoid = torch.trapezoid(grid, dx=0.01) / 0.5
    assert pckh(errors, lengths, NAMES).auc == pytest.approx(float(trapezoid), abs=2e-4)


def test_other_names_lose_nothing():
    names = list("abcdef")
    result = pckh(ERRORS, LENGTHS, names, [0.5])
    assert result.groups == {}
    assert result.total == pck(ERRORS, LENGTHS, [0.5]).total
    with pytest.raises(ValueError, match="5 names for 6 keypoints"):
        pckh(ERRORS, LENGTHS, names[:5])


def test_the_class_in_two_batches():
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(9, 6, 2, generator=generator) * 50
    preds, visible = (
        target + torch.randn(9, 6, 2, generator=generator) * 6,
        torch.rand(9, 6, generator=generator) < 0.8,
    )
    lengths = torch.rand(9, generator=generator) * 10 + 5
    metric = PCKh(NAMES, [0.2, 0.7], max_threshold=0.7)
    for rows in (slice(0, 4), slice(4, 9)):
        metric.update(preds[rows], target[rows], visible[rows], lengths[rows])
    whole = pckh(distances(preds, target, visible), lengths.double(), NAMES, [0.2, 0.7], 0.7)
    torch.testing.assert_close(metric.compute()._asdict(), whole._asdict(), equal_nan=True)
