"""A progress bar for long work, where there is a terminal to show it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def count(console: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar that is gone when the work is; the function that is given moves it on.

    Example:
        >>> with count(Console(quiet=True), "reading", total=3) as advance:
        ...     advance(3)
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda n: progress.advance(task, n)
