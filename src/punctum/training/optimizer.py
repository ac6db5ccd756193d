"""Optimizers and learning-rate schedules, from PyTorch's own."""

import torch
from torch import nn
from torch.optim import lr_scheduler

from punctum.settings import OptimizerSettings


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """AdamW, Adam or RMSprop; biases and normalization layers (one axis) are not decayed."""
    weights = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}
    kind = kinds[settings.name]
    return kind(groups, lr=settings.lr)


def build_schedule(
    optimizer: torch.optim.Optimizer, settings: OptimizerSettings, total_steps: int
) -> lr_scheduler.LRScheduler:
    """The schedule, to be stepped after every training step, `total_steps` times in all."""
    if settings.schedule == "one_cycle":
        # One more than the steps: the scheduler counts its construction as a step.
        return lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=total_steps + 1, cycle_momentum=False)
    if settings.schedule == "cosine":
        warmup = max(1, total_steps // 20)
        rise = lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=warmup)
        fall = lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, total_steps - warmup))
        return lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[warmup])
    if settings.schedule == "step":
        steps = [round(part * total_steps) for part in settings.milestones]
        return lr_scheduler.MultiStepLR(optimizer, steps, gamma=0.1)
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)
