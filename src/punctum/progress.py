"""A progress bar for long work, where there is a terminal to show it; now and then a line where there is none."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

# Seconds between lines in a log.
QUIET = 60.0


class RateColumn(ProgressColumn):
    """How fast it goes, in units of what is counted."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """For instance 12.3 images/s."""
        return Text("" if task.speed is None else f"{_rate(task.speed)} {self.unit}/s", style="progress.data.speed")


@contextmanager
def count(
    console: Console, what: str, total: int | None, *, unit: str = "", done: int = 0, log: float | None = None
) -> Iterator[Callable[[int], None]]:
    """A bar that is gone when the work is; the function that is given moves it on.

    Args:
        console: where; nothing is shown where it is no terminal, unless `log` says so.
        what: is done.
        total: how much of it there is; None where nobody knows.
        unit: shows the speed in these, "images" say.
        done: so much was done before, in no time.
        log: where there is no terminal, print a line every so many seconds.
    Example:
        >>> with count(Console(quiet=True), "reading", total=3) as advance:
        ...     advance(3)
    """
    if log is not None and not console.is_terminal:
        yield _Log(console, what, total, unit, done, log)
        return
    rate = (RateColumn(unit),) if unit else ()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *rate, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total, completed=done)
        yield lambda n: progress.advance(task, n)


class _Log:
    """The same as lines."""

    def __init__(self, console: Console, what: str, total: int | None, unit: str, done: int, every: float) -> None:
        self.console, self.what, self.total, self.unit, self.every = console, what, total, unit, every
        self.start, self.before, self.done = time.monotonic(), done, done
        self.last = self.start

    def __call__(self, n: int) -> None:
        self.done += n
        now = time.monotonic()
        if now - self.last < self.every:
            return
        self.last = now
        speed = (self.done - self.before) / (now - self.start)
        words = f"{self.what}: {self.done:,}"
        if self.total is not None:
            words += f" of {self.total:,}"
        words += f" {self.unit}, {_rate(speed)} {self.unit}/s"
        if self.total is not None and speed > 0:
            words += f", {timedelta(seconds=max(0, round((self.total - self.done) / speed)))} left"
        self.console.print(words, highlight=False)


def _rate(speed: float) -> str:
    return f"{speed:.1f}" if speed < 100 else f"{speed:,.0f}"
