"""One step of training: what counts, and what is drawn."""

import pytest
import torch

from punctum.data import Batch
from punctum.model import KeypointModel, ModelConfig
from punctum.schema import Schema
from punctum.settings import OptimizerSettings
from punctum.training.module import TrainingModule, noise_seed


def module_of(head: str, **options: object) -> TrainingModule:
    backbone = {"name": "resnet18", "width": 0.0625}
    config = ModelConfig(Schema(("a", "b")), (32, 32), backbone, {"name": head, **options})
    return TrainingModule(KeypointModel(config), OptimizerSettings(), 10, ("one", "two", "three"))


def batch(visible: list[list[int]], absent: list[list[int]]) -> Batch:
    count = len(visible)
    return Batch(
        images=torch.rand(count, 3, 32, 32),
        coords=torch.zeros(count, 2, 2),
        visible=torch.tensor(visible).bool(),
        absent=torch.tensor(absent).bool(),
        to_image=torch.eye(3).repeat(count, 1, 1),
        ids=torch.arange(count),
    )


@pytest.mark.parametrize(("head", "points"), [("dsnt", 1), ("density", 4)])
def test_an_epochs_average_weighs_a_batch_by_the_points_whose_losses_count(
    head: str, points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that learns from absent points: a batch of little else is no batch of one point."""
    module, weights = module_of(head), []
    monkeypatch.setattr(module, "log_dict", lambda values, *, batch_size, **_: weights.append(batch_size))
    some = batch(visible=[[0, 1], [0, 0], [0, 0]], absent=[[1, 0], [1, 0], [0, 1]])
    module.training_step(some, 0)
    module.eval().validation_step(some, 0)
    assert weights == [points, points]


def test_a_steps_noise_follows_from_the_seed_and_the_step_alone() -> None:
    module, some = module_of("sampling", num_samples=2).train(), batch([[1, 1]] * 3, [[0, 0]] * 3)
    module.log_dict = lambda *_, **__: None
    first = module.training_step(some, 0)
    torch.rand(7)
    assert torch.equal(module.training_step(some, 0), first)
    seeds = {noise_seed(seed, step, rank) for seed in range(3) for step in range(30) for rank in range(3)}
    assert len(seeds) == 3 * 30 * 3
