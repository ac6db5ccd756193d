"""Which device, how many workers and threads."""

import os

import pytest
import torch

from punctum.settings import HardwareSettings
from punctum.training.hardware import (
    compiled,
    device_of,
    in_channels_last,
    is_main_process,
    own_cores,
    precision_of,
    worker_count,
)

CPU = HardwareSettings(accelerator="cpu")


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (8, 2), (64, 4)])
def test_loaders_leave_the_cpu_to_training(cores: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert worker_count(CPU) == workers
    before = torch.get_num_threads()
    with own_cores(CPU):
        assert torch.get_num_threads() == max(1, cores - workers)
    assert torch.get_num_threads() == before


def test_what_the_user_says_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_count(HardwareSettings(workers=3)) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    with own_cores(CPU):
        assert torch.get_num_threads() == before


def test_devices_and_precisions() -> None:
    assert device_of(CPU) == torch.device("cpu")
    found = [precision_of(HardwareSettings(accelerator="cpu", precision=p)) for p in ("32", "bf16", "16")]
    assert found == ["32-true", "bf16-mixed", "16-mixed"]
    assert precision_of(CPU) in ("32-true", "bf16-mixed")


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"])
def test_only_the_first_process_writes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_main_process()
    monkeypatch.setenv(name, "0")
    assert is_main_process()
    monkeypatch.setenv(name, "1")
    assert not is_main_process()


def test_channels_last_is_for_gpus_and_images(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_channels_last(CPU, 2)
    with pytest.raises(ValueError, match="channels_last yes is not for the CPU"):
        in_channels_last(HardwareSettings(accelerator="cpu", channels_last="yes"), 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert in_channels_last(HardwareSettings(), 2)
    assert not in_channels_last(HardwareSettings(), 3)
    assert not in_channels_last(HardwareSettings(channels_last="no"), 2)


def test_a_compiled_backbone_keeps_its_names_and_is_itself_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for torch.compile, whose own work is not the question."""
    calls = []

    def compile_(function):
        def run(*args):
            calls.append(len(args))
            return function(*args)

        return run

    monkeypatch.setattr(torch, "compile", compile_)
    backbone = torch.nn.Linear(2, 2)
    names, x = list(backbone.state_dict()), torch.rand(1, 2)
    expected = backbone(x)
    with compiled(backbone, True):
        assert torch.equal(backbone(x), expected)
        assert list(backbone.state_dict()) == names
    backbone(x)
    with compiled(backbone, False):
        backbone(x)
    assert calls == [1]
    assert "forward" not in vars(backbone)
