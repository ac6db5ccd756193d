"""A run with a cache: it is the run without one; it is found again; what does not fit is refused."""

import os
import time
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from punctum.cli_train import parse_train
from punctum.data import inspect, read
from punctum.settings import HardwareSettings, TrainSettings
from punctum.train import train
from punctum.train_settings import load_config
from punctum.training import caching
from punctum.training.caching import cached_windows
from punctum.training.callbacks import EpochLog


def settings_of(scenes: Path, out: Path, tiny: list[str], *words: str) -> TrainSettings:
    return parse_train([str(scenes / "train.json"), "--out", str(out), "--max-epochs", "2", *tiny, *words])[0]


def open_cache(settings: TrainSettings) -> tuple[str, object]:
    data, console = read(settings.data), Console(record=True, width=300, quiet=False, file=None)
    with console.capture() as said:
        windows = cached_windows(settings, data, inspect(data), console)
    return said.get(), windows


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


@pytest.mark.parametrize("words", [["--cache", "disk"], ["--cache", "ram"]])
def test_a_run_with_a_cache_is_the_run_without(
    scenes: Path, tiny: list[str], tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenes of 64 px into 64 px: nothing shrinks in the cache, so not a bit changes, not even when the run with the
    cache is interrupted and resumed."""

    def stop(log: EpochLog, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        start(log, trainer, module)

    small = ["--max_images", "8", "--val", str(scenes / "test.json"), *words]
    plain = train(settings_of(scenes, tmp_path / "plain", tiny, *small, "--cache", "none")).run
    start = EpochLog.on_train_epoch_start
    monkeypatch.setattr(EpochLog, "on_train_epoch_start", stop)
    cached = settings_of(scenes, tmp_path / "cached", tiny, *small)
    with pytest.raises(KeyboardInterrupt):
        train(cached)
    monkeypatch.undo()
    train(load_config(tmp_path / "cached"), resume=True)
    one = weights(plain)
    assert all(torch.equal(value, one[name]) for name, value in weights(tmp_path / "cached").items())
    assert (tmp_path / "cached" / "cache").exists() is ("disk" in words)
    assert not (plain / "cache").exists()


def test_the_warp_on_the_device_learns_the_same(scenes: Path, tiny: list[str], tmp_path: Path) -> None:
    words = ["--cache", "ram", "--warp", "device"]
    result = train(settings_of(scenes, tmp_path / "run", tiny, *words, "--max-epochs", "1"))
    assert np.isfinite(result.metrics["epe_px"]["mean"])


def test_a_disk_cache_is_used_again(scenes: Path, tiny: list[str], tmp_path: Path) -> None:
    settings = settings_of(scenes, tmp_path / "run", tiny, "--cache", "disk", "--cache_dir", str(tmp_path / "c"))
    stale, fresh = tmp_path / "c" / ".windows-a.bin", tmp_path / "c" / ".windows-b.bin"
    stale.parent.mkdir()
    for path in (stale, fresh):
        path.write_bytes(b"half")
    os.utime(stale, (time.time() - 7200,) * 2)
    first, windows = open_cache(settings)
    assert "24 windows" in first
    assert not stale.exists()
    assert fresh.exists(), "another run may be filling it"
    again, found = open_cache(settings)
    assert "as it was left by an earlier run" in again
    assert np.array_equal(windows.rows, found.rows)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_what_does_not_fit_is_refused(
    scenes: Path, tiny: list[str], tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "_free_memory", lambda: 1000)
    monkeypatch.setattr(caching.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(ValueError, match=r"takes 0\.\d\d MB, and .* has 0\.00 MB free: choose --cache"):
        open_cache(settings_of(scenes, tmp_path / "run", tiny, "--cache", kind))


def test_a_folder_without_a_disk_cache_is_said(scenes: Path, tiny: list[str], tmp_path: Path) -> None:
    said, windows = open_cache(settings_of(scenes, tmp_path / "run", tiny, "--cache_dir", str(tmp_path / "c")))
    assert "cache_dir is the folder of --cache disk" in said
    assert windows is None


def test_memory_is_known() -> None:
    assert caching._free_memory() > 1e6


def test_volumes_are_read_whole(tmp_path: Path) -> None:
    from punctum.data.synthetic_volumes import write_volumes

    write_volumes(tmp_path, 2, seed=0, split="train")
    data = read(tmp_path / "train.json")
    settings = TrainSettings("", "", hardware=HardwareSettings(cache="ram"))
    with pytest.raises(ValueError, match="the data are volumes, which are read whole"):
        cached_windows(settings, data, inspect(data), Console(quiet=True))


def test_the_device_warps_cached_windows_only() -> None:
    with pytest.raises(ValueError, match="add --cache ram or --cache disk"):
        HardwareSettings(warp="device")
