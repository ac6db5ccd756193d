"""A Ray cluster to work on: one of this machine's own, or one that is there; quiet, and without telemetry."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

# For the local cluster: all that goes through it are names of files.
STORE_BYTES = 200 * 2**20
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Its C++ part tells of every worker that has arguments; what goes wrong, Python says.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Workers of a cluster of one's own are as important as the command itself; Ray would let all else go first.
    "RAY_worker_niceness": "0",
    # What workers without a GPU shall see of GPUs: nothing is changed, and nothing said about it.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class Places:
    """Where work is done.

    Args:
        device: cpu, cuda, ...
        workers: how many.
        free: how many of them the cluster has room for now.
    """

    device: str
    workers: int
    free: int


def needs_ray() -> Any:
    """The package ray, with its data.

    Raises:
        ImportError: it is not installed.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(f"--engine ray needs Ray: pip install 'punctum[ray]' ({error})") from error
    return ray


@contextmanager
def joined(address: str | None, workers: int | None) -> Iterator[Any]:
    """Ray, with a cluster behind it; one that was started here ends with the block.

    Args:
        address: `local` for a cluster of this machine's own, `auto` or HOST:PORT for one that is there; None: what
            RAY_ADDRESS says, else local. Where this process has joined one already, that one.
        workers: of a cluster of this machine's own; None: as many as it has cores.
    Raises:
        ImportError: Ray is missing.
        ConnectionError: there is no cluster.
    """
    ray = needs_ray()
    if ray.is_initialized():
        with _quiet(ray):
            yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    cores = {"num_cpus": workers or _cores(), "object_store_memory": STORE_BYTES, "include_dashboard": False}
    ray.init(
        address=address,
        logging_level=logging.ERROR,
        log_to_driver=False,
        **(cores if address == "local" else {}),
    )
    try:
        with _quiet(ray):
            yield ray
    finally:
        ray.shutdown()


def where_to_work(ray: Any, device: str | torch.device | None, workers: int | None) -> Places:
    """On what to work: all GPUs of the cluster, if it has some, else all cores.

    Args:
        ray: with a cluster behind it.
        device: cpu or cuda, where that is decided; of the cluster's GPUs each worker gets one.
        workers: how many; None: as many as there is room for.
    Raises:
        ValueError: there is no worker to be had.
    """
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    kind = torch.device(device or ("cuda" if gpus else "cpu")).type
    room = gpus if kind == "cuda" else int(resources.get("CPU", 0))
    wanted = room if workers is None else workers
    if wanted < 1:
        raise ValueError(f"workers must be at least 1, got {wanted} (the cluster has {room} for {kind})")
    return Places(kind, wanted, min(room, wanted))


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Ray Data without bars and lines of its own; as it was, afterwards."""
    context = ray.data.DataContext.get_current()
    settings = {"enable_progress_bars": False, "print_on_execution_start": False}
    before = {name: getattr(context, name) for name in settings if hasattr(context, name)}
    logger = logging.getLogger("ray.data")
    level = logger.level
    try:
        for name in before:
            setattr(context, name, settings[name])
        logger.setLevel(logging.ERROR)
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        logger.setLevel(level)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
