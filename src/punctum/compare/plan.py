"""How many epochs fit: pure functions of measured speeds and counted pictures, decided before anything is trained."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from heapq import heapreplace

TUNING_PART = 3
"""Tuning trains for a third of the steps."""

TUNING_RUNS = 5
"""Three rates, one more where the best lies on the edge, and the other schedule: what a head's tuning may take."""

LEAST_PASSES = 3
"""Epochs of a trial, where the grid has as many."""

SETUP_SECONDS = 4.0
"""Of a training, beside what is measured: making the network, saving it, drawing its figures."""

EPOCH_SECONDS = 0.3
"""Of an epoch, beside its steps: its line, its checkpoint."""

COST_SECONDS = 8.0
"""For measuring what a trained head costs, beside the start of a process."""


@dataclass(frozen=True)
class Speed:
    """What was measured of one head on this machine, as many side by side as there will be.

    Args:
        start: seconds until a process is ready.
        step: seconds of a training step.
        picture: seconds to read a picture.
    """

    start: float
    step: float
    picture: float


@dataclass(frozen=True)
class Load:
    """What one cell has to do.

    Args:
        train, val, test: samples.
        train_pictures, val_pictures, test_pictures: the pictures they are on.
        batch: samples a step.
    """

    train: int
    val: int
    test: int
    train_pictures: int
    val_pictures: int
    test_pictures: int
    batch: int

    @property
    def steps_per_epoch(self) -> int:
        """As the loader deals them out: an incomplete last batch is left out, unless it is the only one."""
        return max(1, self.train // self.batch)


def cell_seconds(speed: Speed, load: Load, epochs: int) -> float:
    """Seconds of one cell: start, every picture looked at, the steps, validation, and two evaluations at the end.

    A forward pass costs a third of a step.

    Example:
        >>> load = Load(320, 32, 64, 320, 32, 64, batch=32)
        >>> round(cell_seconds(Speed(start=6, step=0.5, picture=0.01), load, epochs=10), 1)
        70.3
    """
    forward = speed.step / 3
    look = speed.picture * (load.train_pictures + 2 * load.val_pictures + 2 * load.test_pictures)
    judge = forward * (math.ceil(load.val / load.batch) + math.ceil(load.test / load.batch))
    epoch = speed.step * load.steps_per_epoch + forward * math.ceil(load.val / load.batch) + EPOCH_SECONDS
    return speed.start + SETUP_SECONDS + look + judge + epochs * epoch


def epochs_for(steps: int, load: Load) -> int:
    """Epochs that come closest to so many steps: smaller training sets get more of them.

    Example:
        >>> epochs_for(400, Load(128, 8, 8, 128, 8, 8, batch=32))
        100
    """
    return max(1, round(steps / load.steps_per_epoch))


def tuning_size(epochs: int, images: int) -> tuple[int, int]:
    """Epochs of a trial, and the images it sees (0: all): a third of the steps.

    In three epochs at least, where the grid has as many: of one epoch nobody learns which rate is best, and a part of
    the images serves as well for these steps.

    Example:
        >>> tuning_size(30, 900), tuning_size(6, 900), tuning_size(1, 900)
        ((10, 0), (3, 600), (1, 300))
    """
    passes = min(epochs, max(LEAST_PASSES, round(epochs / TUNING_PART)))
    seen = math.ceil(images * epochs / (TUNING_PART * passes))
    return passes, 0 if seen >= images else seen


def tuning_seconds(speed: Speed, load: Load, epochs: int) -> float:
    """Seconds of one trial, where the grid has so many epochs; `load` is of all the tuning's images."""
    passes, images = tuning_size(epochs, load.train_pictures)
    if images:
        share = images / load.train_pictures
        load = replace(load, train=max(1, round(load.train * share)), train_pictures=images)
    return cell_seconds(speed, load, passes)


def makespan(seconds: Sequence[float], jobs: int) -> float:
    """How long tasks take, each given in this order to whoever is free first.

    Example:
        >>> makespan([3, 3, 2, 2, 2], jobs=2)
        7.0
    """
    busy = [0.0] * jobs
    for task in seconds:
        heapreplace(busy, busy[0] + task)
    return max(busy)


def most_epochs(seconds_of: Callable[[int], float], available: float) -> int:
    """The largest number of epochs whose seconds are available; one where not even that fits.

    Example:
        >>> most_epochs(lambda epochs: 10 + 3 * epochs, available=100)
        30
    """
    high = 1
    while seconds_of(2 * high) <= available and high < 2**20:
        high *= 2
    low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if seconds_of(middle) <= available else (low, middle)
    return low
