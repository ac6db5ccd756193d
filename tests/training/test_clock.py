"""Where the time goes: what is slow is what the clock says is slow."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from punctum.data import Batch, collate
from punctum.model import KeypointModel, ModelConfig
from punctum.schema import Schema
from punctum.settings import OptimizerSettings
from punctum.training import clock as clocks
from punctum.training.clock import PARTS, Clock, StepClock
from punctum.training.hardware import quiet_libraries
from punctum.training.module import TrainingModule

SLOW = 1.0


class Samples(Dataset[Batch]):
    def __init__(self, wait: Callable[[], None]) -> None:
        self.wait = wait

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Batch:
        self.wait()
        return Batch(
            images=torch.rand(1, 3, 32, 32),
            coords=torch.zeros(1, 1, 2),
            visible=torch.ones(1, 1).bool(),
            absent=torch.zeros(1, 1).bool(),
            to_image=torch.eye(3)[None],
            ids=torch.tensor([i]),
        )


def seconds(slow: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, float]:
    """An epoch of two steps, in which time passes in one part alone, by a clock of the test's own."""
    now = [0.0]
    monkeypatch.setattr(clocks, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def pass_time() -> None:
        now[0] += SLOW

    config = ModelConfig(Schema(("a",)), (32, 32), {"name": "resnet18", "width": 0.0625}, {"name": "dsnt"})
    module = TrainingModule(KeypointModel(config), OptimizerSettings(), 10, ("row",) * 4)

    def slowly(object_, name: str) -> None:
        before = getattr(object_, name)

        def after(*args, **options):
            result = before(*args, **options)
            pass_time()
            return result

        monkeypatch.setattr(object_, name, after)

    class Slowly(DataLoader[Batch]):
        def __iter__(self):  # As one that starts processes.
            pass_time()
            return super().__iter__()

    if slow == "forward":
        slowly(module.model.backbone, "forward")
    elif slow == "head":
        slowly(module.model, "losses")
    elif slow == "optimizer":
        slowly(torch.optim.AdamW, "step")
    elif slow == "backward":
        slowly(torch.Tensor, "backward")
    elif slow == "validation":
        monkeypatch.setattr(module, "validation_step", lambda *_: None)
        monkeypatch.setattr(module, "on_validation_epoch_end", lambda: None)
    elif slow == "transfer":
        slowly(Batch, "to")
    callback = StepClock(torch.device("cpu"))
    data = Samples(pass_time if slow == "data" else lambda: None)
    with quiet_libraries():
        trainer = L.Trainer(
            max_epochs=1, accelerator="cpu", callbacks=[callback], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path, num_sanity_val_steps=0,
        )  # fmt: skip
        loader = DataLoader(data, batch_size=2, collate_fn=collate)
        trainer.fit(module, loader, Slowly(data, collate_fn=collate) if slow == "validation" else None)
    return callback.seconds


@pytest.mark.parametrize("slow", ["data", "transfer", "forward", "head", "backward", "optimizer", "validation"])
def test_what_is_slow_is_found(slow: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parts = seconds(slow, monkeypatch, tmp_path)
    assert set(parts) <= set(PARTS)
    # Four samples, two steps, one start of validation's loader.
    assert parts[slow] == {"data": 4, "validation": 1}.get(slow, 2) * SLOW
    assert sum(parts.values()) == parts[slow]


def test_marks_add_up_and_a_pause_belongs_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    times: Iterator[float] = iter([0.0, 1.0, 3.0, 10.0])
    monkeypatch.setattr(clocks, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    clock = Clock()
    clock.mark("data")  # Not running yet.
    clock.start()
    clock.mark("forward")
    clock.mark("data")
    clock.pause()
    clock.mark("data")
    clock.resume()
    clock.mark("forward")
    assert clock.stop() == {"data": 2.0, "forward": 8.0}


@pytest.mark.parametrize("values", [(1, 1, 1), (1, 1, 1, 1, 1, 1, 1), (0.004, 0.004, 1), (0, 0), (5, 0)])
def test_shares_sum_to_a_hundred(values: tuple[float, ...]) -> None:
    said = clocks.shares_line(dict(zip(PARTS, values, strict=False)))
    shares = [int(word) for word in said.split() if word.isdigit()]
    assert sum(shares) == (100 if any(values) else 0)
    exact = [100 * value / (sum(values) or 1) for value in values]
    assert all(abs(a - b) < 1 for a, b in zip(shares, exact, strict=True))


def test_on_cuda_events_are_read_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for CUDA's events: they are queried, and waited for once, at the end of the epoch."""
    waited, now = [], iter(range(1000, 10_000_000, 5))

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = next(now)

        def query(self) -> bool:
            return True

        def synchronize(self) -> None:
            waited.append(self)

        def elapsed_time(self, later: "Event") -> float:
            return later.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    clock = Clock(cuda=True)
    clock.start()
    for _ in range(1000):
        clock.mark("forward")
        clock.mark("backward")
        assert not waited
        assert len(clock._events) <= 512
    assert clock.stop() == pytest.approx({"forward": 5.0, "backward": 5.0})
    assert len(waited) == 1
