"""What happens beside the steps: one line per epoch, the history, the checkpoints."""

import csv
import io
import time
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from rich.console import Console

from punctum.files import write_text
from punctum.training.clock import StepClock, shares_line
from punctum.training.module import TrainingModule


class EpochLog(Callback):
    """Prints a line per epoch, and keeps `logs/metrics.csv` as the whole history, resumed or not."""

    def __init__(self, run: Path, console: Console, clock: StepClock | None = None) -> None:
        self.path = run / "logs" / "metrics.csv"
        self.console = console
        self.clock = clock

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not isinstance(pl_module, TrainingModule):
            return
        seconds = time.monotonic() - self.started
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        parts = self.clock.seconds if self.clock else {}
        times = {f"seconds_{part}": round(value, 3) for part, value in parts.items()}
        row = {"epoch": trainer.current_epoch + 1, "lr": rate, "seconds": round(seconds, 3), **values, **times}
        pl_module.history.append(row)
        if trainer.is_global_zero:
            write_text(self.path, history_csv(pl_module.history))
            self.console.print(self._line(row, trainer.max_epochs or 0, seconds), highlight=False)
            if parts:
                self.console.print(f"  [dim]{sum(parts.values()):.1f} s: {shares_line(parts)}[/dim]", highlight=False)

    def _line(self, row: dict[str, float], epochs: int, seconds: float) -> str:
        left = (epochs - row["epoch"]) * seconds
        return (
            f"epoch {row['epoch']:>3}/{epochs}  train loss {row['train_loss']:.4f}  val loss {row['val_loss']:.4f}  "
            f"val error {row['val_epe_px_median']:.2f} px median, {row['val_epe_px_mean']:.2f} mean  "
            f"[dim]{seconds:.1f} s, {duration(left)} left[/dim]"
        )


def duration(seconds: float) -> str:
    """A time a person can read.

    Example:
        >>> duration(75), duration(7300)
        ('1:15 min', '2:01 h')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


def history_csv(history: list[dict[str, float]]) -> str:
    """The history as csv text, one row per epoch."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


def build_callbacks(
    run: Path, console: Console, early_stopping: int, device: torch.device, progress: bool
) -> list[Callback]:
    """In this order: the clock, whose seconds the log writes; the log, so that a checkpoint holds the row of its own
    epoch."""
    folder, clock = run / "checkpoints", StepClock(device)
    callbacks: list[Callback] = [
        clock,
        EpochLog(run, console, clock),
        ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    if early_stopping:
        callbacks += [
            ModelCheckpoint(
                folder,
                filename="best",
                monitor="val_epe_px_mean",
                save_on_train_epoch_end=True,
                enable_version_counter=False,
            ),
            EarlyStopping("val_epe_px_mean", patience=early_stopping, check_on_train_epoch_end=True),
        ]
    if progress:
        callbacks.append(RichProgressBar(leave=False))
    return callbacks
