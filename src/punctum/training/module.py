"""One training step and one validation step, as Lightning calls them."""

from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from punctum.data import Batch
from punctum.heads.base import Target
from punctum.metrics import EPE
from punctum.model import KeypointModel
from punctum.ops import average_loss, transform_points
from punctum.settings import OptimizerSettings
from punctum.training.optimizer import build_optimizer, build_schedule


class TrainingModule(L.LightningModule):
    """A `KeypointModel` and what trains it.

    Args:
        model: the network.
        settings: of the optimizer.
        total_steps: length of the schedule, which is the length of the training.
        row_names: what the rows of the annotations are called, for messages.
    """

    def __init__(
        self, model: KeypointModel, settings: OptimizerSettings, total_steps: int, row_names: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.total_steps = total_steps
        self.row_names = row_names
        self.history: list[dict[str, float]] = []
        self.val_error = EPE()

    def loss_terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Any]:
        """The loss to minimize, each term's average, and the network's outputs."""
        outputs = self.model(batch.images)
        target = Target(batch.coords, batch.visible, batch.absent)
        terms, counts = self.model.losses(outputs, target), self.model.counts(target)
        averages = {name: average_loss(term, counts) for name, term in terms.items()}
        return torch.stack(list(averages.values())).sum(), averages, outputs

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.model.set_progress(self.global_step / self.total_steps)
        loss, terms, _ = self.loss_terms(batch)
        if not torch.isfinite(loss):
            self._refuse(terms, batch)
        self._log_losses("train", loss, terms, batch)
        return loss

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
        points = max(1, int(batch.visible.sum()))
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
        # The order of pictures and their variation follow from (seed, epoch, index); what else draws random
        # numbers (noise in a head, dropout) goes on from here.
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        checkpoint["random_state"] = {"torch": torch.get_rng_state(), "cuda": cuda}
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint["history"])
        self.random_state = checkpoint["random_state"]

    def on_train_start(self) -> None:
        state = getattr(self, "random_state", None)
        if state is not None:
            torch.set_rng_state(state["torch"].cpu())
            if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])

    @property
    def validation_error(self) -> float:
        """Mean validation error in pixels after the last epoch; NaN before the first."""
        return self.history[-1]["val_epe_px_mean"] if self.history else float(np.nan)
