"""Reading in a process of its own: libraries in C can die of a damaged file, or never come to an end of it."""

import functools
import importlib
import inspect
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from punctum.data.errors import DataError
from punctum.data.limits import max_pixels

P = ParamSpec("P")
R = TypeVar("R")

_CHILD = "import sys; sys.path[:] = sys.argv[1:]; from punctum.data.apart import answer; answer()"
# Bytes that reading may take beside the numbers, and seconds: MPII's MATLAB file, of 12 MB, takes about 15.
_MEMORY, _SECONDS, _BYTES_A_SECOND = 2**32, 12, 50_000


def apart(
    what: str, library: str, *, limited: bool = True
) -> Callable[[Callable[Concatenate[Path, P], R]], Callable[Concatenate[Path, P], R]]:
    """Make a reader run in a new process each time; what it returns or raises comes back.

    Args:
        what: the kind of file, for messages.
        library: which reads it.
        limited: give up after 12 seconds, and one more for every 50 KB of the file.
    Returns:
        A decorator of functions that are at the top of their module, and whose first argument is the file.
    Raises (from the reader):
        DataError: the process has died, or did not come to an end.
    """

    def decorate(function: Callable[Concatenate[Path, P], R]) -> Callable[Concatenate[Path, P], R]:
        @functools.wraps(function)
        def read(source: Path, *args: P.args, **options: P.kwargs) -> R:
            seconds = _SECONDS + source.stat().st_size // _BYTES_A_SECOND if limited else None
            asked = (function.__module__, function.__name__, (source, *args), options, _MEMORY + 8 * max_pixels())
            try:
                done = subprocess.run(
                    [sys.executable, "-c", _CHILD, *sys.path],
                    input=pickle.dumps(asked),
                    capture_output=True,
                    check=False,
                    timeout=seconds,
                )
            except subprocess.TimeoutExpired:
                reason = f"{library}, which reads it, has not come to an end in {seconds} seconds: it is damaged"
                raise DataError([f"{source.name}: {what} cannot be read: {reason}"]) from None
            if done.returncode:
                last = (done.stderr.decode(errors="replace").strip().splitlines() or [""])[-1]
                ended = f"the process that reads it has ended by {done.returncode}: {last}"
                died = f"it is damaged, and brings down {library}, which reads it"
                reason = died if done.returncode < 0 else ended
                raise DataError([f"{source.name}: {what} cannot be read: {reason}"])
            # It comes from our own process a moment ago, not from a file.
            found, error = pickle.loads(done.stdout)
            if error is not None:
                raise error
            result: R = found
            return result

        return read

    return decorate


def answer() -> None:
    """In the new process: call the function that is asked for."""
    # What libraries print must not get between the parent and the answer.
    out = os.dup(1)
    os.dup2(2, 1)
    module, name, args, options, memory = pickle.load(sys.stdin.buffer)
    function = inspect.unwrap(getattr(importlib.import_module(module), name))
    _limit_memory(memory)
    found: tuple[Any, Exception | None]
    try:
        found = function(*args, **options), None
    except Exception as error:
        found = None, error
    with os.fdopen(out, "wb") as file:
        pickle.dump(found, file)


def _limit_memory(size: int) -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    except (ImportError, ValueError, OSError):  # Windows has none, and less may be set already.
        pass
