"""Schedules against their definitions, and what is decayed."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from punctum.settings import OptimizerSettings
from punctum.training.optimizer import build_optimizer, build_schedule


def rates(schedule: str, steps: int, lr: float = 1.0, **options: Any) -> list[float]:
    settings = OptimizerSettings(schedule=schedule, lr=lr, **options)  # type: ignore[arg-type]
    optimizer = build_optimizer(nn.Linear(2, 2), settings)
    scheduler = build_schedule(optimizer, settings, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_step_is_a_tenth_at_half_and_at_three_quarters() -> None:
    # Nibali et al.: 120 epochs, a tenth at 60 and at 90.
    found = rates("step", 120)
    assert found[:60] == pytest.approx([1.0] * 60)
    assert found[60:90] == pytest.approx([0.1] * 30)
    assert found[90:] == pytest.approx([0.01] * 30)


def test_step_takes_milestones_of_ones_own() -> None:
    # Xiao et al. and Li et al.: 140 epochs, a tenth at 90 and at 120; here with 3 steps an epoch.
    found = rates("step", 420, milestones=[0.642857, 0.857143])
    assert found == pytest.approx([1.0] * 270 + [0.1] * 90 + [0.01] * 60)
    assert rates("step", 10, milestones=[]) == [1.0] * 10


def test_one_cycle_rises_to_the_rate_and_ends_near_zero() -> None:
    found = rates("one_cycle", 100, lr=2e-3)
    assert max(found) == pytest.approx(2e-3, rel=1e-3)
    assert found.index(max(found)) in (29, 30)
    assert found[0] == pytest.approx(2e-3 / 25)
    assert found[-1] < 1e-5


def test_cosine_is_a_cosine_after_its_warm_up() -> None:
    found = rates("cosine", 100)
    assert found[0] == pytest.approx(0.01)
    assert found[5] == pytest.approx(1.0)
    for step in range(5, 100):
        assert found[step] == pytest.approx((1 + math.cos(math.pi * (step - 5) / 95)) / 2, abs=1e-9)


def test_constant() -> None:
    assert rates("constant", 7) == [1.0] * 7


def test_schedules_survive_the_shortest_training() -> None:
    for schedule in ("one_cycle", "cosine", "step", "constant"):
        assert len(rates(schedule, 1)) == 1


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("rmsprop", torch.optim.RMSprop)]
)
def test_only_weights_are_decayed(name: str, kind: type) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = build_optimizer(model, OptimizerSettings(name=name, weight_decay=0.3))  # type: ignore[arg-type]
    assert isinstance(optimizer, kind)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert [decay[id(p)] for p in model.parameters()] == [0.3, 0.0, 0.0, 0.0]


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="lr must be positive"):
        OptimizerSettings(lr=0.0)
    with pytest.raises(ValueError, match="must not be negative"):
        OptimizerSettings(clip=-1.0)
    for milestones in ([0.0, 0.5], [0.5, 1.0], [0.7, 0.5]):
        with pytest.raises(ValueError, match="milestones are ascending parts"):
            OptimizerSettings(milestones=milestones)
