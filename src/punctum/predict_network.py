"""The network as it predicts: fused, compiled where asked, on its device."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from punctum.heads import Prediction
from punctum.model import KeypointModel


class Network:
    """Crops to predictions.

    Args:
        model: moved to the device, and put into evaluation mode.
        device: where to compute; None: the GPU where there is one.
        fuse: predict with `model.fuse()`, which finds the same points, faster; the weights are those of the first
            call.
        compile: predict through `torch.compile`: the first batch takes as long as compiling does, and batches are
            filled up to one size.
    """

    def __init__(
        self,
        model: KeypointModel,
        device: str | torch.device | None = None,
        *,
        fuse: bool = True,
        compile: bool = False,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.to(self.device).eval()
        self.fuse, self.compile = fuse, compile
        self._compiled_once = False

    @cached_property
    def forward(self) -> Callable[[Tensor], Any]:
        """What is called with crops; not made before something is to be predicted, since fusing runs the network."""
        model = self.model.fuse() if self.fuse else self.model
        return torch.compile(model) if self.compile else model

    @torch.inference_mode()
    def __call__(self, crops: Tensor, *, mirrored: bool = False, heatmaps: bool = False, size: int = 0) -> Prediction:
        """What the model says of crops (B, C, *input_size), on the CPU, in float64.

        Args:
            crops: from the host's memory, pinned or not.
            mirrored: predict their mirror images too, in the same batch, behind them.
            heatmaps: keep them too, and everything in its own type; they would else be moved and converted in vain.
            size: where the network is compiled, fill the batch up to this size: another one is compiled again.
        Raises:
            ValueError: the network cannot be compiled here.
        """
        crops = crops.to(self.device, non_blocking=True)
        if mirrored:
            # The last axis is x: mirrored exactly, with no pixel to spare, since [-1, 1] spans edges.
            crops = torch.cat([crops, crops.flip(-1)])
        count = len(crops)
        if self.compile and count < size:
            crops = torch.cat([crops, crops[-1:].expand(size - count, *crops.shape[1:])])
        prediction = self.model.decode(self._run(crops))
        if heatmaps:
            found = prediction.map(lambda t: t.cpu())
        else:
            found = replace(prediction, heatmap=None).map(lambda t: t.cpu().double())
        # Columns of a scan are samples of their own: more of them than crops.
        return found.map(lambda t: t[: len(t) * count // len(crops)])

    def _run(self, crops: Tensor) -> Any:
        if not self.compile or self._compiled_once:
            return self.forward(crops)
        from torch._dynamo.exc import TorchDynamoException

        try:
            outputs = self.forward(crops)
        except TorchDynamoException as error:
            needed = "Triton" if self.device.type == "cuda" else "a C++ compiler (g++, or what CXX names)"
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ValueError(
                f"compile: PyTorch cannot compile the network here, which needs {needed}: install it, or leave "
                f"--compile out, which changes no result ({reason})"
            ) from error
        self._compiled_once = True
        return outputs


def say_compiling(console: Console, compile: bool) -> None:
    """Tell why nothing moves for a while."""
    if compile:
        console.print("compiling the network: the first batch takes a minute or more")
