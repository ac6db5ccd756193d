"""Reading off: the mean, and the mean around the peak."""

import pytest
import torch

from punctum import heads, ops
from punctum.heads.decoding import read_off


@pytest.mark.parametrize("size", [(15,), (15, 17), (11, 13, 12)])
def test_a_far_candidate_moves_the_mean_and_not_the_local_mean(size: tuple[int, ...]) -> None:
    dims = len(size)
    near, far = torch.full((1, 1, dims), -0.31), torch.full((1, 1, dims), 0.62)
    one = ops.render_gaussian(near, 0.6, size)
    two = 0.7 * one + 0.3 * ops.render_gaussian(far, 0.6, size)
    cell = 2 / torch.tensor(size[::-1])
    # The Gaussian's own mean is at the truth; what is 3 sigma away is cut off by the window.
    assert ((read_off(two, "local") - near) / cell).abs().max() < 0.02
    torch.testing.assert_close(read_off(two, "mean"), 0.7 * ops.dsnt(one) + 0.3 * ops.dsnt((two - 0.7 * one) / 0.3))
    assert ((read_off(two, "mean") - near) / cell).abs().min() > 1


def test_two_cells_by_hand() -> None:
    heatmaps = torch.tensor([[[0.0, 0.3, 0.4, 0.0, 0.0, 0.0, 0.0, 0.3]]])
    centres = [(2 * i + 1) / 8 - 1 for i in range(8)]
    wanted = (0.3 * centres[1] + 0.4 * centres[2]) / 0.7
    assert read_off(heatmaps, "local").item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("name", ["dsnt", "integral", "sampling", "density"])
def test_the_switch_changes_the_coordinate_and_nothing_of_training(name: str) -> None:
    torch.manual_seed(0)
    mean, local = (heads.build(name, 4, 2, (9, 11), decoder=decoder).eval() for decoder in ("mean", "local"))
    local.load_state_dict(mean.state_dict())
    features = 3 * torch.randn(3, 4, 9, 11)
    target = heads.Target(torch.rand(3, 2, 2) - 0.5, torch.ones(3, 2, dtype=torch.bool))
    for term, value in mean.losses(mean(features), target).items():
        assert torch.equal(value, local.losses(local(features), target)[term])
    a, b = mean.decode(mean(features)), local.decode(local(features))
    assert not torch.allclose(a.coords, b.coords)
    torch.testing.assert_close(a.covariance, b.covariance)
    torch.testing.assert_close(b.coords, read_off(b.heatmap, "local"))


def test_debias_is_for_the_mean() -> None:
    with pytest.raises(ValueError, match="debias mends the mean"):
        heads.build("integral", 4, 2, (9, 11), debias=True, decoder="local")
