"""How many epochs fit into a number of minutes, from the speed of a few steps on this machine."""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.utils.data import DataLoader

from punctum.data import Annotations, Windows, dataset_of, develop
from punctum.model import KeypointModel
from punctum.settings import TrainSettings
from punctum.training.callbacks import duration
from punctum.training.hardware import autocast_type, device_of, in_channels_last, is_single_device, precision_of
from punctum.training.loading import build_loader
from punctum.training.module import TrainingModule
from punctum.training.optimizer import build_optimizer


def with_measured_budget(
    settings: TrainSettings,
    model: KeypointModel,
    train_data: Annotations,
    val_data: Annotations,
    console: Console,
    windows: Windows | None = None,
) -> TrainSettings:
    """Settings whose max_epochs fits the budget, from the speed of a few steps on this machine.

    The epochs are fixed before training starts, since a learning-rate schedule must know its end: a machine
    that is slower later overruns the budget, it does not cut the schedule off.
    """
    if settings.budget is None:
        return settings
    if not is_single_device(settings.hardware):
        raise ValueError("a budget is measured on one device: give max_epochs for several devices or nodes")
    step, start = seconds_per_step(settings, model, train_data, windows)
    # Samples, not instances: a scan is one sample of many columns.
    train_samples, val_samples = (len(dataset_of(data, settings.crop)) for data in (train_data, val_data))
    batches = max(1, train_samples // settings.batch_size)
    # A validation picture costs a forward pass: a third of a training step.
    val_seconds = step * math.ceil(val_samples / settings.batch_size) / 3
    seconds = settings.budget * 60 * 0.95 - start
    epochs = max(1, math.floor(seconds / (batches * step + val_seconds)))
    if batches * step > seconds:
        console.print(f"  [yellow]note[/yellow] one epoch takes about {duration(batches * step)}: over the budget")
    console.print(f"budget {settings.budget:g} min: {step * 1000:.0f} ms a step, {epochs} epochs of {batches} steps")
    return replace(settings, max_epochs=epochs)


def seconds_per_step(
    settings: TrainSettings, model: KeypointModel, data: Annotations, windows: Windows | None = None
) -> tuple[float, float]:
    """Mean seconds of a training step, loading included, and seconds until the first batch came."""
    device = device_of(settings.hardware)
    module = TrainingModule(copy.deepcopy(model), settings.optimizer, 1000, data.ids).to(device).train()
    if in_channels_last(settings.hardware, data.picture_axes):
        module.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(module, settings.optimizer)
    batches = _endless(build_loader(data, settings, training=True, windows=windows))
    began = time.perf_counter()
    next(batches)
    start, times = time.perf_counter() - began, []
    for _ in range(24):
        began = time.perf_counter()
        batch = develop(next(batches).to(device), settings.crop.input_size)
        with torch.autocast(
            device.type, autocast_type(settings.hardware), enabled=precision_of(settings.hardware) != "32-true"
        ):
            loss = module.loss_terms(batch)[0]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    # The first steps choose kernels; the loader had filled its queue before them.
    return float(np.mean(times[8:])), start


def _endless(loader: DataLoader) -> Iterator[Any]:
    while True:
        yield from loader
