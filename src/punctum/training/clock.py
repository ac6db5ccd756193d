"""Where the time of an epoch goes: each step's parts, timed as they are left."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.hooks import RemovableHandle

PARTS = ("data", "transfer", "forward", "head", "backward", "optimizer", "validation", "rest")
_PENDING = 512


class Clock:
    """Seconds by part. `mark(part)` says that all since the last mark was this part.

    On CUDA each mark is an event in the stream, read when it has long passed: nothing waits, and what is counted is
    the GPU's own time; "data" and "rest" are then the time that it stood still for them.

    Args:
        cuda: time the current CUDA stream instead of this process.
    Example:
        >>> clock = Clock()
        >>> clock.start()
        >>> clock.mark("forward")
        >>> list(clock.stop()) == ["forward"]
        True
    """

    def __init__(self, cuda: bool = False) -> None:
        self._cuda = cuda
        self._running = False
        self._seconds: dict[str, float] = {}
        self._last: Any = None
        self._events: deque[tuple[str, Any]] = deque()

    def start(self) -> None:
        """Forget what was, and begin."""
        self._seconds, self._running = {}, True
        self._events.clear()
        self._last = self._event() if self._cuda else time.perf_counter()

    def mark(self, part: str) -> None:
        """Since the last mark it was this part; without effect while the clock does not run."""
        if not self._running:
            return
        if self._cuda:
            self._events.append((part, self._event()))
            while len(self._events) > _PENDING and self._events[0][1].query():
                self._read()
            return
        now = time.perf_counter()
        self._add(part, now - self._last)
        self._last = now

    def pause(self) -> None:
        """Marks have no effect until `resume`."""
        self._running = False

    def resume(self) -> None:
        """Go on after `pause`; the pause belongs to the part of the next mark."""
        self._running = True

    def stop(self) -> dict[str, float]:
        """Seconds by part, in the order of `PARTS`."""
        self._running = False
        if self._events:
            self._events[-1][1].synchronize()
        while self._events:
            self._read()
        return {part: self._seconds[part] for part in PARTS if part in self._seconds}

    def _event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _read(self) -> None:
        part, event = self._events.popleft()
        self._add(part, self._last.elapsed_time(event) / 1000)
        self._last = event

    def _add(self, part: str, seconds: float) -> None:
        self._seconds[part] = self._seconds.get(part, 0.0) + seconds


class StepClock(Callback):
    """Marks the parts of each training step, and keeps the last epoch's seconds in `seconds`.

    Args:
        device: that trains.
    """

    def __init__(self, device: torch.device) -> None:
        self.clock = Clock(device.type == "cuda")
        self.seconds: dict[str, float] = {}
        self._hooks: list[RemovableHandle] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # What lies between these marks is the backbone's: the module's own methods say the rest.
        backbone: Any = getattr(pl_module.model, "backbone")  # noqa: B009
        self._hooks = [
            backbone.register_forward_pre_hook(self._marks("rest")),
            backbone.register_forward_hook(self._marks("forward")),
        ]
        pl_module.clock = self.clock  # type: ignore[assignment]

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        for hook in self._hooks:
            hook.remove()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.clock.start()

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Any) -> None:
        self.clock.mark("rest")

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.clock.mark("backward")

    def on_train_batch_end(self, *_: Any) -> None:
        self.clock.mark("optimizer")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Before this, its loader was started: with processes that takes longer than a small epoch.
        self.clock.mark("validation")
        self.clock.pause()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.clock.resume()
        self.clock.mark("validation")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.clock.mark("rest")
        self.seconds = self.clock.stop()

    def _marks(self, part: str) -> Callable[..., None]:
        def mark(*_: Any) -> None:
            self.clock.mark(part)

        return mark


def shares_line(seconds: dict[str, float]) -> str:
    """What an epoch's seconds were spent on, in whole percentages that sum to 100.

    Example:
        >>> shares_line({"data": 1.0, "forward": 3.0, "backward": 6.0})
        'data 10 %, forward 30 %, backward 60 %'
    """
    total = sum(seconds.values()) or 1.0
    shares = {part: 100 * value / total for part, value in seconds.items()}
    whole = {part: int(share) for part, share in shares.items()}
    # What rounding down has left over goes to those that lost most by it.
    lost = sorted(shares, key=lambda part: whole[part] - shares[part])
    for part in lost[: round(sum(shares.values())) - sum(whole.values())]:
        whole[part] += 1
    return ", ".join(f"{part} {percent} %" for part, percent in whole.items())
