"""The cache of decoded windows of a run: found, or filled where it fits."""

import shutil
import time
from pathlib import Path

from rich.console import Console

from punctum.data import Annotations, Inspection, Windows
from punctum.data.window_fill import fill_file, fill_memory, key_of, open_file, planned_bytes
from punctum.progress import count
from punctum.settings import TrainSettings
from punctum.terminal import print_notes

# What stays free beside a cache: room for the run itself.
_SHARE = 0.9
_STALE_SECONDS = 3600


def cached_windows(
    settings: TrainSettings, data: Annotations, inspected: Inspection, console: Console
) -> Windows | None:
    """The training images' windows, decoded now or by an earlier run; None without a cache.

    Args:
        settings: of the run, its crop resolved.
        data: the training annotations.
        inspected: their images.
        console: for what is told, and a bar while the cache fills.
    Raises:
        ValueError: the data are no images, or the cache does not fit.
        OSError: it cannot be written.
    """
    hardware = settings.hardware
    if hardware.cache_dir and hardware.cache != "disk":
        print_notes(["cache_dir is the folder of --cache disk, and without it has no effect"], console)
    if hardware.cache == "none":
        return None
    if data.dims == 1 or data.picture_axes == 3:
        kind = "scans" if data.dims == 1 else "volumes"
        raise ValueError(f"hardware.cache keeps images, and the data are {kind}, which are read whole: leave it out")
    planned = planned_bytes(data, inspected, settings.crop, settings.augmentation)
    if hardware.cache == "ram":
        _check_room(planned, "the memory", _free_memory(), "--cache disk")
        console.print(f"cache: {len(data)} windows, {_gigabytes(planned)} of memory")
        with count(console, "decoding into memory", len(data)) as advance:
            return fill_memory(data, settings.crop, settings.augmentation, planned, advance)
    folder = Path(hardware.cache_dir) if hardware.cache_dir else Path(settings.out) / "cache"
    path = folder / f"windows-{key_of(data, settings.crop, settings.augmentation)}.bin"
    if path.is_file():
        console.print(f"cache: {path}, as it was left by an earlier run")
        return open_file(path)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    _check_room(planned, str(folder), shutil.disk_usage(folder).free, "--cache_dir on a larger disk")
    console.print(f"cache: {len(data)} windows, {_gigabytes(planned)} in {path}")
    with count(console, "decoding to disk", len(data)) as advance:
        return fill_file(path, data, settings.crop, settings.augmentation, advance)


def _check_room(planned: int, where: str, free: int, instead: str) -> None:
    if planned > _SHARE * free:
        raise ValueError(
            f"the cache of decoded images takes {_gigabytes(planned)}, and {where} has {_gigabytes(free)} free: "
            f"choose {instead}, a smaller --input_size, or no cache"
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e7 else f"{count / 1e6:.2f} MB"


def _free_memory() -> int:
    """Bytes that shared memory may still take: of the machine, and of its file system for it where there is one."""
    free = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 1 << 62
    if Path("/proc/meminfo").is_file():
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        known = dict(line.split(":", 1) for line in lines)
        free = min(free, int(known.get("MemAvailable", "0 kB").split()[0]) * 1024)
    return free


def _remove_stale(folder: Path) -> None:
    """What a killed run left half full: whoever fills a cache writes to it all the time."""
    for path in folder.glob(".windows-*.bin"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            path.unlink(missing_ok=True)
