"""One training step and one validation step, as Lightning calls them."""

from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from punctum.data import Batch, develop
from punctum.heads.base import Target
from punctum.metrics import EPE
from punctum.model import KeypointModel
from punctum.ops import average_loss, transform_points
from punctum.settings import OptimizerSettings
from punctum.training.clock import Clock
from punctum.training.optimizer import build_optimizer, build_schedule


class TrainingModule(L.LightningModule):
    """A `KeypointModel` and what trains it.

    Args:
        model: the network.
        settings: of the optimizer.
        total_steps: length of the schedule, which is the length of the training.
        row_names: what the rows of the annotations are called, for messages.
        seed: of what is drawn in the network: noise in a head, dropout.
    """

    def __init__(
        self,
        model: KeypointModel,
        settings: OptimizerSettings,
        total_steps: int,
        row_names: tuple[str, ...],
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.total_steps = total_steps
        self.row_names = row_names
        self.seed = seed
        self.history: list[dict[str, float]] = []
        self.val_error = EPE()
        self.clock = Clock()  # Of `StepClock`, where there is one.

    def loss_terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Any]:
        """The loss to minimize, each term's average, and the network's outputs."""
        outputs = self.model(batch.images)
        target = _target(batch)
        terms, counts = self.model.losses(outputs, target), self.model.counts(target)
        averages = {name: average_loss(term, counts) for name, term in terms.items()}
        return torch.stack(list(averages.values())).sum(), averages, outputs

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """The batch has come."""
        self.clock.mark("data")
        return batch

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """What loaders leave to be done for a whole batch, on the device."""
        batch = develop(batch, self.model.config.input_size)
        self.clock.mark("transfer")
        return batch

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.model.set_progress(self.global_step / self.total_steps)
        torch.manual_seed(noise_seed(self.seed, self.global_step, self.global_rank))
        loss, terms, _ = self.loss_terms(batch)
        self.clock.mark("head")
        if not torch.isfinite(loss):
            self._refuse(terms, batch)
        self._log_losses("train", loss, terms, batch)
        return loss * self._weight(batch)

    def _weight(self, batch: Batch) -> Tensor | float:
        """What this process's loss counts: its share of the points, so that several processes, whose gradients are
        averaged, take the step that one process takes on the same pictures."""
        if not (dist.is_available() and dist.is_initialized()):
            return 1.0
        points = self.model.counts(_target(batch)).sum().to(torch.float32)
        total = points.clone()
        dist.all_reduce(total)
        return points * dist.get_world_size() / total.clamp_min(1)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss, terms, outputs = self.loss_terms(batch)
        self._log_losses("val", loss, terms, batch)
        coords = self.model.decode(outputs).coords
        truth = Target(batch.coords, batch.visible).coords
        self.val_error.update(
            transform_points(coords, batch.to_image), transform_points(truth, batch.to_image), batch.visible
        )

    def on_validation_epoch_end(self) -> None:
        error = self.val_error.compute()
        self.val_error.reset()
        self.log("val_epe_px_mean", float(error["mean"].total))
        self.log("val_epe_px_median", float(error["median"].total))

    def _log_losses(self, stage: str, loss: Tensor, terms: dict[str, Tensor], batch: Batch) -> None:
        values = {f"{stage}_loss": loss.detach()}
        if len(terms) > 1:
            values |= {f"{stage}_{name}": term.detach() for name, term in terms.items()}
        # An average over an epoch weighs each batch by the points that count in it.
        points = max(1, int(self.model.counts(_target(batch)).sum()))
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=points, sync_dist=True)

    def _refuse(self, terms: dict[str, Tensor], batch: Batch) -> None:
        values = ", ".join(f"{name} {term.item():.4g}" for name, term in terms.items())
        rows = ", ".join(self.row_names[i] for i in batch.ids.tolist()[:8])
        raise ValueError(
            f"the loss is not a number at step {self.global_step} ({values}); the batch holds {rows}, ... "
            "A lower optimizer.lr, or hardware.precision 32, usually mends this; the last checkpoint is kept"
        )

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.model, self.settings)
        schedule = build_schedule(optimizer, self.settings, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint["history"])

    @property
    def validation_error(self) -> float:
        """Mean validation error in pixels after the last epoch; NaN before the first."""
        return self.history[-1]["val_epe_px_mean"] if self.history else float(np.nan)


def noise_seed(seed: int, step: int, rank: int) -> int:
    """Seed of what one step draws in one process: as the pictures and their variation, it follows from the seed and
    the step alone, whatever was drawn before, in a measured budget, by loaders, by a run that was interrupted.

    Example:
        >>> noise_seed(0, 7, 0) == noise_seed(0, 7, 0), noise_seed(0, 7, 0) == noise_seed(0, 7, 1)
        (True, False)
    """
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0])


def _target(batch: Batch) -> Target:
    return Target(batch.coords, batch.visible, batch.absent)
