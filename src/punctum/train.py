"""From annotations to a run folder: the model, its accuracy on held-out images, and all that led there."""

import math
import pickle
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from rich.console import Console
from torch.utils.data import DataLoader

from punctum.alone import LOCK, alone
from punctum.data import Annotations, EpochSampler, Inspection, Windows, inspect
from punctum.data.augment import flip_notes
from punctum.data.columns import scans_of
from punctum.data.places import mean_coords
from punctum.draw import training_curves
from punctum.evaluate import evaluate_model
from punctum.held_out import parts_of
from punctum.layer_overlays import write_layer_sheet
from punctum.model import KeypointModel, ModelConfig
from punctum.overlays import write_sheet
from punctum.predict import Predictor
from punctum.predict_layers import LayerPredictor
from punctum.settings import TrainSettings
from punctum.terminal import print_notes
from punctum.train_settings import resolve, save_config
from punctum.training.budget import with_measured_budget
from punctum.training.caching import cached_windows
from punctum.training.callbacks import build_callbacks
from punctum.training.hardware import (
    compiled,
    device_of,
    in_channels_last,
    is_main_process,
    own_cores,
    precision_of,
    quiet_libraries,
)
from punctum.training.loading import build_loader
from punctum.training.module import TrainingModule

SHOWN_SCANS = 6


@dataclass(frozen=True)
class TrainResult:
    """What a training run left behind: its folder, and its metrics on the validation images."""

    run: Path
    metrics: dict[str, Any]


def train(settings: TrainSettings, *, resume: bool = False, console: Console | None = None) -> TrainResult:
    """Train a model and measure it on held-out images.

    Args:
        settings: the run, data and output folder included.
        resume: go on after the last finished epoch of the run in `settings.out`. The result is the one that an
            uninterrupted run reaches, to the last bit on the CPU.
        console: where to report; None is silent.
    Returns:
        The run folder (config.yaml, metrics.json, model/, checkpoints/, logs/, figures/) and its metrics.
    Raises:
        ValueError: the data or the settings are wrong; nothing has been trained or overwritten then.
        OSError: the run folder exists already, or a file cannot be read or written.
    Example:
        >>> settings = TrainSettings("train.json", out="runs/first", max_epochs=20)
        >>> train(settings)  # doctest: +SKIP
        TrainResult(run=PosixPath('runs/first'), metrics={...})
    """
    console = console if console and is_main_process() else Console(quiet=True)
    _check_run_folder(Path(settings.out), resume)
    with own_cores(settings.hardware):
        return _train(settings, resume, console)


def _train(settings: TrainSettings, resume: bool, console: Console) -> TrainResult:
    run = Path(settings.out)
    with quiet_libraries():
        L.seed_everything(settings.seed, verbose=False)
    train_data, val_data, inspected = load_data(settings, console)
    settings = resolve(settings, train_data)
    if train_data.picture_axes == 3:
        size = " x ".join(map(str, settings.crop.input_size))
        console.print(f"volumes: backbone {settings.backbone['name']}, input {size} voxels (depth, height, width)")
    model = build_model(settings, train_data, inspected.sizes, pretrained=not resume)
    windows = cached_windows(settings, train_data, inspected, console)
    if settings.budget is not None and not resume:
        settings = with_measured_budget(settings, model, train_data, val_data, console, windows)
    with alone(run) if is_main_process() else nullcontext():
        return _trained(settings, model, (train_data, val_data), resume, console, windows)


def _trained(
    settings: TrainSettings,
    model: KeypointModel,
    data: tuple[Annotations, Annotations],
    resume: bool,
    console: Console,
    windows: Windows | None,
) -> TrainResult:
    """In the run folder, which is this process's alone."""
    run, (train_data, val_data) = Path(settings.out), data
    _check_run_folder(run, resume)
    if is_main_process() and not resume:
        save_config(settings, run)
    with compiled(model.backbone, settings.hardware.compile):
        trainer, module = _fit(settings, model, train_data, val_data, run, resume, console, windows)
    if settings.early_stopping:
        _load_best(module, run)
    if trainer.is_global_zero:
        model.eval().save(run / "model")
        training_curves(_columns(module.history), run / "figures" / "training.png")
    metrics = {}
    if trainer.is_global_zero:
        device = device_of(settings.hardware)
        metrics = evaluate_model(model, val_data, out=run, console=console, device=device, per_keypoint=False)
        _draw_sheet(model, val_data, device, run / "figures" / "validation.png")
        console.print(f"\nThe run is in [bold]{run}[/bold]: model/, metrics.json, figures/, logs/, config.yaml")
    return TrainResult(run, metrics)


def _draw_sheet(model: KeypointModel, data: Annotations, device: torch.device, path: Path) -> None:
    if data.dims == 1:
        paths = [data.images[scan.start] for scan in scans_of(data)[:SHOWN_SCANS]]
        write_layer_sheet(data, LayerPredictor(model, device).predict(paths), path)
        return
    shown = data.subset(range(min(12, len(data))))
    write_sheet(shown, Predictor(model, device).predict_annotations(shown), path)


def _check_run_folder(run: Path, resume: bool) -> None:
    if not is_main_process():
        return
    exists = (run / "config.yaml").exists()
    if resume and not exists:
        raise FileNotFoundError(f"{run} holds no run to resume: there is no config.yaml in it")
    if not resume and run.exists() and (exists or not run.is_dir() or _others(run)):
        hint = "add --resume to go on with it, or " if exists else ""
        raise FileExistsError(f"{run} exists and is not empty: {hint}choose another --out")


def _others(run: Path) -> bool:
    """Whether there is anything in a folder that no training begins by making."""
    return any(path.name not in ("cache", LOCK) for path in run.iterdir())


def load_data(settings: TrainSettings, console: Console) -> tuple[Annotations, Annotations, Inspection]:
    """Training and validation annotations, checked, and what was found in the training images.

    Every image is decoded once here, so that every mistake is found before any training.
    """
    train_data, val_data = parts_of(settings)
    parts = {"training": train_data, "validation": val_data}
    found = {part: inspect(data, settings.crop.intensity) for part, data in parts.items()}
    for part, inspection in found.items():
        data = parts[part]
        console.print(f"{part}: {len(data)} instances on {len(set(data.images))} images, {data.source}")
        print_notes(inspection.notes, console)
    if settings.augmentation.flip and train_data.dims > 1:
        print_notes(flip_notes(train_data.schema), console)
    return train_data, val_data, found["training"]


def build_model(
    settings: TrainSettings, train_data: Annotations, sizes: NDArray[np.int64], *, pretrained: bool = True
) -> KeypointModel:
    """The untrained network, which also learns where each keypoint lies on average."""
    crop = settings.to_dict()["crop"]
    size = crop.pop("input_size")
    places = mean_coords(train_data, sizes, settings.crop)
    config = ModelConfig(
        schema=train_data.schema,
        input_size=tuple(size),
        backbone=settings.backbone,
        head=settings.head,
        preprocessing=crop,
        mean_coords=places.tolist(),
    )
    return KeypointModel(config, pretrained=pretrained)


def _fit(
    settings: TrainSettings,
    model: KeypointModel,
    train_data: Annotations,
    val_data: Annotations,
    run: Path,
    resume: bool,
    console: Console,
    windows: Windows | None,
) -> tuple[L.Trainer, TrainingModule]:
    hardware, device = settings.hardware, device_of(settings.hardware)
    with quiet_libraries():
        trainer = L.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.num_nodes,
            strategy=hardware.strategy,
            precision=precision_of(hardware),  # type: ignore[arg-type]
            sync_batchnorm=hardware.sync_batchnorm,
            max_epochs=settings.max_epochs,
            gradient_clip_val=settings.optimizer.clip or None,
            callbacks=build_callbacks(run, console, settings.early_stopping, device, progress=console.is_terminal),
            logger=TensorBoardLogger(run, name="logs", version="tensorboard"),
            default_root_dir=run,
            enable_model_summary=False,
            enable_progress_bar=console.is_terminal,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
        )
        rank, world_size = trainer.global_rank, trainer.world_size
        train_loader = build_loader(
            train_data, settings, training=True, windows=windows, rank=rank, world_size=world_size
        )
        val_loader = build_loader(val_data, settings, training=False, rank=rank, world_size=world_size)
        total_steps = settings.max_epochs * len(train_loader)
        if in_channels_last(hardware, train_data.picture_axes):
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rows = tuple(f"{name} (id {i})" for name, i in zip(train_data.image_names, train_data.ids, strict=True))
        module = TrainingModule(model, settings.optimizer, total_steps, rows, settings.seed)
        checkpoint = run / "checkpoints" / "last.ckpt"
        if resume:
            state = (
                "after the last finished epoch" if checkpoint.exists() else "from the start: no epoch was finished"
            )
            console.print(f"resuming {run} {state}")
        found = checkpoint if resume and checkpoint.exists() else None
        if found:
            _go_on_after(found, train_loader)
        try:
            trainer.fit(module, train_loader, val_loader, ckpt_path=found, weights_only=True)
        except SystemExit as stop:  # Lightning's answer to Ctrl-C; a caller from Python wants to live on.
            raise KeyboardInterrupt from stop
    return trainer, module


def _go_on_after(checkpoint: Path, loader: DataLoader) -> None:
    """Workers fetch ahead, before Lightning says which epoch it is: they would fetch the first one's pictures."""
    finished = _read_checkpoint(checkpoint)["epoch"]
    if isinstance(loader.sampler, EpochSampler):
        loader.sampler.set_epoch(finished + 1)


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """What Lightning wrote: tensors and plain values, nothing else is unpickled."""
    try:
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
        if {"epoch", "state_dict"} <= content.keys():
            return dict(content)
        reason = "it has no epoch or no weights"
    # PyTorch's own words are long, and recommend what must not be done with a file of others.
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, TypeError, AttributeError, KeyError):
        reason = "it is damaged, or holds more than tensors and plain values"
    raise ValueError(f"{path} is no checkpoint that training can go on from: {reason}; delete it to start again")


def _load_best(module: TrainingModule, run: Path) -> None:
    best = _read_checkpoint(run / "checkpoints" / "best.ckpt")
    module.load_state_dict(best["state_dict"])


def _columns(history: list[dict[str, float]]) -> dict[str, list[float]]:
    wanted = {name: name for name in ("epoch", "train_loss", "val_loss", "lr")} | {"val_epe_px": "val_epe_px_median"}
    return {name: [row.get(key, math.nan) for row in history] for name, key in wanted.items()}
