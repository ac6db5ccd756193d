"""From annotations to a run folder: the model, its accuracy on held-out images, and all that led there."""

import copy
import logging
import math
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from torch.utils.data import DataLoader

from punctum import backbones, heads
from punctum.data import Annotations, EpochSampler, KeypointDataset, check_images, collate, inspect, read, split
from punctum.data.augment import flip_notes
from punctum.data.places import mean_coords
from punctum.draw import training_curves
from punctum.evaluate import evaluate_model, print_notes
from punctum.files import write_text
from punctum.model import KeypointModel, ModelConfig
from punctum.overlays import write_sheet
from punctum.predict import Predictor
from punctum.registry import options_of
from punctum.settings import HardwareSettings, TrainSettings
from punctum.training.callbacks import build_callbacks, duration
from punctum.training.module import TrainingModule
from punctum.training.optimizer import build_optimizer


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
    run = Path(settings.out)
    _check_run_folder(run, resume)
    with _quiet_libraries():
        L.seed_everything(settings.seed, verbose=False)
    train_data, val_data = load_data(settings, console)
    settings = resolve(settings, train_data)
    model = build_model(settings, train_data)
    settings = with_measured_budget(settings, model, train_data, val_data, console)
    if is_main_process() and not resume:
        save_config(settings, run)

    trainer, module = _fit(settings, model, train_data, val_data, run, resume, console)
    if settings.early_stopping:
        _load_best(module, run)
    if trainer.is_global_zero:
        model.eval().save(run / "model")
        training_curves(_columns(module.history), run / "figures" / "training.png")
    metrics = {}
    if trainer.is_global_zero:
        device = _device(settings.hardware)
        metrics = evaluate_model(model, val_data, out=run, console=console, device=device, per_keypoint=False)
        shown = val_data.subset(range(min(12, len(val_data))))
        predictions = Predictor(model, device).predict_annotations(shown)
        write_sheet(shown, predictions, run / "figures" / "validation.png")
        console.print(f"\nThe run is in [bold]{run}[/bold]: model/, metrics.json, figures/, logs/, config.yaml")
    return TrainResult(run, metrics)


# --- before training ---------------------------------------------------------------------------------------------


def _check_run_folder(run: Path, resume: bool) -> None:
    if not is_main_process():
        return
    exists = (run / "config.yaml").exists()
    if resume and not exists:
        raise FileNotFoundError(f"{run} holds no run to resume: there is no config.yaml in it")
    if not resume and run.exists() and (exists or not run.is_dir() or any(run.iterdir())):
        hint = "add --resume to go on with it, or " if exists else ""
        raise FileExistsError(f"{run} exists and is not empty: {hint}choose another --out")


def save_config(settings: TrainSettings, run: Path) -> Path:
    """Write the resolved settings to `config.yaml`; `--config` reads them back."""
    return write_text(run / "config.yaml", yaml.safe_dump(settings.to_dict(), sort_keys=False))


def load_config(run: Path) -> TrainSettings:
    """The settings that a run was started with."""
    path = run / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TrainSettings.from_dict(values)
    except (yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not the configuration of a run: {error}") from error


def load_data(settings: TrainSettings, console: Console) -> tuple[Annotations, Annotations]:
    """Training and validation annotations, checked; every mistake is found before any training."""
    data = read(settings.data, settings.images)
    if settings.val is None:
        train_data, val_data = split(data, settings.val_fraction, settings.seed)
    else:
        train_data, val_data = data, read(settings.val, settings.val_images)
        if val_data.schema.names != train_data.schema.names:
            raise ValueError(
                f"{settings.val} names other keypoints than {settings.data}: "
                f"{', '.join(val_data.schema.names)} against {', '.join(train_data.schema.names)}"
            )
    for kind, part in (("training", train_data), ("validation", val_data)):
        console.print(f"{kind}: {len(part)} instances on {len(set(part.images))} images, {part.source}")
        print_notes(inspect(part).notes, console)
    if settings.augmentation.flip:
        print_notes(flip_notes(train_data.schema), console)
    return _labelled_only(train_data, console), val_data


def _labelled_only(data: Annotations, console: Console) -> Annotations:
    """Without the instances that have no labelled point: there is nothing to learn from them."""
    labelled = data.labelled.any(1)
    if labelled.all():
        return data
    print_notes([f"{(~labelled).sum()} instances without any labelled point are left out of training"], console)
    return data.subset(np.flatnonzero(labelled))


def resolve(settings: TrainSettings, train_data: Annotations) -> TrainSettings:
    """Settings with every default of the head and backbone written out, and the region that the data allow."""
    head = {**_defaults(heads.available(), settings.head), **settings.head}
    backbone = {**_defaults(backbones.available(), settings.backbone), **settings.backbone}
    crop = settings.crop
    if np.isnan(train_data.boxes).any(1).all():
        crop = replace(crop, region="image")
    return replace(settings, head=head, backbone=backbone, crop=crop)


def _defaults(classes: Mapping[str, type], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The options' own defaults; an unknown name has none, and is refused where the model is built."""
    known = options_of(classes[chosen["name"]]) if chosen["name"] in classes else {}
    return {name: parameter.default for name, parameter in known.items()}


def build_model(settings: TrainSettings, train_data: Annotations) -> KeypointModel:
    """The untrained network, which also learns where each keypoint lies on average."""
    crop = settings.to_dict()["crop"]
    size = crop.pop("input_size")
    places = mean_coords(train_data, check_images(train_data), settings.crop)
    config = ModelConfig(
        schema=train_data.schema,
        input_size=(size[0], size[1]),
        backbone=settings.backbone,
        head=settings.head,
        preprocessing=crop,
        mean_coords=places.tolist(),
    )
    return KeypointModel(config)


# --- loading -----------------------------------------------------------------------------------------------------


def is_main_process() -> bool:
    """Whether this process prints and writes: the first of those that Lightning, torchrun or SLURM started."""
    ranks = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


def build_loader(
    data: Annotations, settings: TrainSettings, *, training: bool, rank: int = 0, world_size: int = 1
) -> DataLoader:
    """Batches of crops: shuffled and varied for training, plain for validation."""
    augmentation = settings.augmentation if training else None
    dataset = KeypointDataset(data, settings.crop, augmentation, seed=settings.seed)
    sampler = EpochSampler(len(dataset), settings.seed, shuffle=training, rank=rank, world_size=world_size)
    workers = settings.hardware.workers
    workers = min(8, (os.cpu_count() or 2) - 1) if workers < 0 else workers
    return DataLoader(
        dataset,
        batch_size=settings.batch_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=workers if training else min(workers, 1),
        persistent_workers=training and workers > 0,
        pin_memory=torch.cuda.is_available(),
        # A last batch of one picture would make batch normalization divide by nothing.
        drop_last=training and len(dataset) // world_size > settings.batch_size,
    )


# --- the budget --------------------------------------------------------------------------------------------------


def with_measured_budget(
    settings: TrainSettings,
    model: KeypointModel,
    train_data: Annotations,
    val_data: Annotations,
    console: Console,
) -> TrainSettings:
    """Settings whose max_epochs fits the budget, from the speed of a few steps on this machine.

    The epochs are fixed before training starts, since a learning-rate schedule must know its end: a machine
    that is slower later overruns the budget, it does not cut the schedule off.
    """
    if settings.budget is None or (settings.out and (Path(settings.out) / "config.yaml").exists()):
        return settings
    if settings.hardware.devices not in ("auto", 1, "1") or settings.hardware.num_nodes != 1:
        raise ValueError("a budget is measured on one device: give max_epochs for several devices or nodes")
    step, start = _seconds_per_step(settings, model, train_data)
    batches = max(1, len(train_data) // settings.batch_size)
    # A validation picture costs a forward pass: a third of a training step.
    val_seconds = step * math.ceil(len(val_data) / settings.batch_size) / 3
    seconds = settings.budget * 60 * 0.95 - start
    epochs = max(1, math.floor(seconds / (batches * step + val_seconds)))
    if batches * step > seconds:
        console.print(f"  [yellow]note[/yellow] one epoch takes about {duration(batches * step)}: over the budget")
    console.print(f"budget {settings.budget:g} min: {step * 1000:.0f} ms a step, {epochs} epochs of {batches} steps")
    return replace(settings, max_epochs=epochs)


def _seconds_per_step(settings: TrainSettings, model: KeypointModel, data: Annotations) -> tuple[float, float]:
    """Median seconds of a training step, loading included, and seconds until the first batch came."""
    device = _device(settings.hardware)
    module = TrainingModule(copy.deepcopy(model), settings.optimizer, 1000, data.ids).to(device).train()
    optimizer = build_optimizer(module, settings.optimizer)
    batches = _endless(build_loader(data, settings, training=True))
    began = time.perf_counter()
    next(batches)
    start, times = time.perf_counter() - began, []
    for _ in range(24):
        began = time.perf_counter()
        batch = next(batches).to(device)
        with torch.autocast(
            device.type, _autocast_type(settings.hardware), enabled=_precision(settings) != "32-true"
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


# --- training ----------------------------------------------------------------------------------------------------


def _fit(
    settings: TrainSettings,
    model: KeypointModel,
    train_data: Annotations,
    val_data: Annotations,
    run: Path,
    resume: bool,
    console: Console,
) -> tuple[L.Trainer, TrainingModule]:
    hardware = settings.hardware
    with _quiet_libraries():
        trainer = L.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.num_nodes,
            strategy=hardware.strategy,
            precision=_precision(settings),  # type: ignore[arg-type]
            sync_batchnorm=hardware.sync_batchnorm,
            max_epochs=settings.max_epochs,
            gradient_clip_val=settings.optimizer.clip or None,
            callbacks=build_callbacks(run, console, settings.early_stopping, progress=console.is_terminal),
            logger=TensorBoardLogger(run, name="logs", version="tensorboard"),
            default_root_dir=run,
            enable_model_summary=False,
            enable_progress_bar=console.is_terminal,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
        )
        ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size}
        train_loader = build_loader(train_data, settings, training=True, **ranks)
        val_loader = build_loader(val_data, settings, training=False, **ranks)
        total_steps = settings.max_epochs * len(train_loader)
        if _device(hardware).type == "cuda":
            # Not on the CPU: there, PyTorch 2.13's backward of small strided convolutions writes out of bounds.
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rows = tuple(f"{name} (id {i})" for name, i in zip(train_data.image_names, train_data.ids, strict=True))
        module = TrainingModule(model, settings.optimizer, total_steps, rows)
        checkpoint = run / "checkpoints" / "last.ckpt"
        if resume:
            state = (
                "after the last finished epoch" if checkpoint.exists() else "from the start: no epoch was finished"
            )
            console.print(f"resuming {run} {state}")
        path = str(checkpoint) if resume and checkpoint.exists() else None
        try:
            trainer.fit(module, train_loader, val_loader, ckpt_path=path, weights_only=True)
        except SystemExit as stop:  # Lightning's answer to Ctrl-C; a caller from Python wants to live on.
            raise KeyboardInterrupt from stop
    return trainer, module


def _load_best(module: TrainingModule, run: Path) -> None:
    best = torch.load(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(best["state_dict"])


def _columns(history: list[dict[str, float]]) -> dict[str, list[float]]:
    wanted = {name: name for name in ("epoch", "train_loss", "val_loss", "lr")} | {"val_epe_px": "val_epe_px_median"}
    return {name: [row.get(key, math.nan) for row in history] for name, key in wanted.items()}


def _device(hardware: HardwareSettings) -> torch.device:
    if hardware.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if hardware.accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself: where it does not, emulation is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return False


def _precision(settings: TrainSettings) -> str:
    wanted = settings.hardware.precision
    if wanted == "auto":
        wanted = "bf16" if computes_in_bf16(_device(settings.hardware)) else "32"
    return {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[wanted]


def _autocast_type(hardware: HardwareSettings) -> torch.dtype:
    return torch.float16 if hardware.precision == "16" else torch.bfloat16


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Without Lightning's hints: they speak of arguments that a user of punctum does not have."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
