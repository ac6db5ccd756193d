"""The fully connected head."""

import pytest
import torch

from punctum.heads import Target
from punctum.heads.fully_connected import FullyConnected


def test_starts_at_the_centre_on_flat_maps_and_near_it_on_others() -> None:
    head = FullyConnected(16, 5, (7, 9))
    assert head(torch.zeros(2, 16, 7, 9)).abs().max() < 1e-5
    assert head(torch.randn(64, 16, 7, 9)).abs().mean() < 0.2


def test_every_weight_can_learn_from_the_start() -> None:
    head = FullyConnected(16, 5, (7, 9))
    target = Target(torch.rand(4, 5, 2), torch.ones(4, 5, dtype=torch.bool))
    head.losses(head(torch.randn(4, 16, 7, 9)), target)["euclidean"].sum().backward()
    assert all((parameter.grad != 0).all() for parameter in head.parameters())


def test_coordinates_are_one_linear_map_of_all_softmax_maps() -> None:
    head, features = FullyConnected(4, 2, (2, 3)), torch.randn(1, 4, 2, 3)
    logits = torch.einsum("kc,chw->khw", head.conv.weight[:, :, 0, 0], features[0])
    weights = [value.exp() for value in logits]
    vector = torch.cat([(w / w.sum()).flatten() for w in weights])
    torch.testing.assert_close(head(features)[0].flatten(), head.linear.weight @ vector, rtol=1e-4, atol=1e-5)


def test_refuses_features_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"built for features of size \(7, 9\), got \(8, 9\)"):
        FullyConnected(16, 5, (7, 9))(torch.zeros(1, 16, 8, 9))


def test_has_no_opinion() -> None:
    head = FullyConnected(16, 5, (7, 9))
    prediction = head.decode(head(torch.randn(2, 16, 7, 9)))
    assert (prediction.score == 0.5).all()
    assert prediction.covariance is None
    assert prediction.heatmap is None


def test_loss_is_the_distance() -> None:
    target = Target(torch.tensor([[[0.3, 0.4]]]), torch.tensor([[True]]))
    losses = FullyConnected(1, 1, (2, 2)).losses(torch.zeros(1, 1, 2), target)
    assert losses.keys() == {"euclidean"}
    assert losses["euclidean"].item() == pytest.approx(0.5)
