"""Where training runs, and in what precision."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from punctum.settings import HardwareSettings


def is_main_process() -> bool:
    """Whether this process prints and writes: the first of those that Lightning, torchrun or SLURM started."""
    ranks = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


def device_of(hardware: HardwareSettings) -> torch.device:
    """The device that this process computes on."""
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


def is_single_device(hardware: HardwareSettings) -> bool:
    """Whether one process on one device does it all."""
    if hardware.devices == "auto":
        count = torch.cuda.device_count() if device_of(hardware).type == "cuda" else 1
    else:
        count = int(hardware.devices)
    return count == 1 and hardware.num_nodes == 1


def worker_count(hardware: HardwareSettings) -> int:
    """Processes that load images: as many as a GPU can use, but few where the CPU has to train as well."""
    if hardware.workers >= 0:
        return hardware.workers
    cores = os.cpu_count() or 1
    return min(4, max(1, cores // 4)) if device_of(hardware).type == "cpu" else min(8, max(1, cores - 1))


def beside_others(hardware: HardwareSettings) -> HardwareSettings:
    """Hardware for one of several trainings side by side: on the CPU each loads its own pictures, since the core that
    a loading process would take is another training's."""
    if hardware.workers < 0 and device_of(hardware).type == "cpu":
        return replace(hardware, workers=0)
    return hardware


@contextmanager
def own_cores(hardware: HardwareSettings) -> Iterator[None]:
    """On the CPU, as many threads as the loading processes leave cores: OpenMP's threads wait by spinning, and on a
    core that they share with a loader they made training ten times slower. OMP_NUM_THREADS has the last word."""
    before = torch.get_num_threads()
    if device_of(hardware).type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - worker_count(hardware)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def precision_of(hardware: HardwareSettings) -> str:
    """Lightning's word for the precision."""
    wanted = hardware.precision
    if wanted == "auto":
        wanted = "bf16" if computes_in_bf16(device_of(hardware)) else "32"
    return {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[wanted]


def autocast_type(hardware: HardwareSettings) -> torch.dtype:
    """What automatic mixed precision computes in."""
    return torch.float16 if hardware.precision == "16" else torch.bfloat16


def in_channels_last(hardware: HardwareSettings, picture_axes: int) -> bool:
    """Whether the weights of a network of images are kept with the channels last."""
    if picture_axes != 2:
        return False
    # Not on the CPU: there, PyTorch 2.13's backward of small strided convolutions writes out of bounds.
    wanted = {"auto": device_of(hardware).type == "cuda", "yes": True, "no": False}[hardware.channels_last]
    if wanted and device_of(hardware).type == "cpu":
        raise ValueError(
            "hardware.channels_last yes is not for the CPU: PyTorch's backward of strided 1 x 1 convolutions writes "
            "out of bounds there; leave it at auto"
        )
    return wanted


@contextmanager
def compiled(backbone: nn.Module, enabled: bool) -> Iterator[None]:
    """The backbone through torch.compile while training; its parameters keep their names, so checkpoints fit both."""
    if not enabled:
        yield
        return
    backbone.forward = torch.compile(backbone.forward)
    try:
        yield
    finally:
        del backbone.forward


@contextmanager
def quiet_libraries() -> Iterator[None]:
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
