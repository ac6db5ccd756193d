"""The network as it predicts: fused, compiled where asked, on its device; and pictures read ahead of it."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import islice
from os import cpu_count
from typing import Any, TypeVar

import torch
from torch import Tensor

from punctum.heads import Prediction
from punctum.model import KeypointModel

# Batches that are read, or waiting, while one is computed: what bounds the memory.
AHEAD = 2
READERS = min(16, max(4, cpu_count() or 1))

T = TypeVar("T")
Batch = TypeVar("Batch")


class Network:
    """Crops to predictions.

    Args:
        model: moved to the device, and put into evaluation mode.
        device: where to compute; None: the GPU where there is one.
        fuse: predict with `model.fuse()`, which finds the same points, faster.
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
    def _forward(self) -> Callable[[Tensor], Any]:
        # Not before something is to be predicted: fusing runs the network once.
        model = self.model.fuse() if self.fuse else self.model
        return torch.compile(model) if self.compile else model

    @torch.inference_mode()
    def __call__(self, crops: Tensor, *, heatmaps: bool = False, size: int = 0) -> Prediction:
        """What the model says of crops (B, C, *input_size), on the CPU, in float64.

        Args:
            crops: from the host's memory, pinned or not.
            heatmaps: keep them too, and everything in its own type; they would else be moved and converted in vain.
            size: where the network is compiled, fill the batch up to this size: another one is compiled again.
        Raises:
            ValueError: the network cannot be compiled here.
        """
        count = len(crops)
        if self.compile and count < size:
            crops = torch.cat([crops, crops[-1:].expand(size - count, *crops.shape[1:])])
        outputs = self._run(crops.to(self.device, non_blocking=True))
        prediction = self.model.decode(outputs)
        if heatmaps:
            return prediction.map(lambda t: t[:count].cpu())
        found = replace(prediction, heatmap=None).map(lambda t: t.cpu().double())
        # Columns of a scan are samples of their own: more of them than crops.
        return found.map(lambda t: t[: len(t) * count // len(crops)])

    def _run(self, crops: Tensor) -> Any:
        if not self.compile or self._compiled_once:
            return self._forward(crops)
        from torch._dynamo.exc import TorchDynamoException

        try:
            outputs = self._forward(crops)
        except TorchDynamoException as error:
            needed = "Triton" if self.device.type == "cuda" else "a C++ compiler (g++, or what CXX names)"
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ValueError(
                f"compile: PyTorch cannot compile the network here, which needs {needed}: install it, or leave "
                f"--compile out, which changes no result ({reason})"
            ) from error
        self._compiled_once = True
        return outputs


def read_ahead(
    load: Callable[[int], T], assemble: Callable[[list[T]], Batch], count: int, batch_size: int
) -> Iterator[Batch]:
    """Batches in order, read by threads while earlier ones are used; at most `AHEAD` of them wait.

    Args:
        load: sample i; called in several threads.
        assemble: a batch of samples in order; called in a thread of its own.
        count: samples in all.
        batch_size: of all batches but the last.
    Raises:
        Exception: whatever `load` raised, at its batch's turn; what was still waiting is not read any more.
    Example:
        >>> list(read_ahead(lambda i: i * i, sum, count=5, batch_size=2))
        [1, 13, 16]
    """

    def gathered(samples: list[Future[T]]) -> Batch:
        return assemble([sample.result() for sample in samples])

    readers, assembler = ThreadPoolExecutor(READERS), ThreadPoolExecutor(1)

    def submitted() -> Iterator[Future[Batch]]:
        for start in range(0, count, batch_size):
            stop = min(start + batch_size, count)
            yield assembler.submit(gathered, [readers.submit(load, i) for i in range(start, stop)])

    batches = submitted()
    try:
        waiting = deque(islice(batches, 1 + AHEAD))
        while waiting:
            batch = waiting.popleft().result()
            waiting.extend(islice(batches, 1))
            yield batch
    finally:
        for pool in (readers, assembler):
            pool.shutdown(cancel_futures=True)
