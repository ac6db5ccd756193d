"""Reading in a process of its own: libraries in C can die of a damaged file, or never come to an end of it."""

import functools
import importlib
import inspect
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from punctum.data.errors import DataError
from punctum.data.limits import max_pixels

# The signal that comes at the limit of a process's time; Windows has none.
OUT_OF_TIME = getattr(signal, "SIGXCPU", 0)

P = ParamSpec("P")
R = TypeVar("R")

_CHILD = "import sys; sys.path[:] = sys.argv[1:]; from punctum.data.apart import answer; answer()"
# Bytes that reading may take beside the numbers, and seconds of a core: MPII's MATLAB file, of 12 MB, takes about 15.
_MEMORY, _SECONDS, _BYTES_A_SECOND = 2**32, 10, 50_000
# Threads of a BLAS, which reading does not need, would count as memory: of many cores, as more than is allowed.
_ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# By the clock it may take so many times longer, on a machine that is busy otherwise.
_PATIENCE = 10


def apart(
    what: str, library: str, *, limited: bool = True
) -> Callable[[Callable[Concatenate[Path, P], R]], Callable[Concatenate[Path, P], R]]:
    """Make a reader run in a new process each time; what it returns or raises comes back.

    Args:
        what: the kind of file, for messages.
        library: which reads it.
        limited: give up after 10 seconds of a core, and one more for every 50 KB of the file.
    Returns:
        A decorator of functions that are at the top of their module, and whose first argument is the file.
    Raises (from the reader):
        DataError: the process has died, or did not come to an end.
    """

    def decorate(function: Callable[Concatenate[Path, P], R]) -> Callable[Concatenate[Path, P], R]:
        @functools.wraps(function)
        def read(source: Path, *args: P.args, **options: P.kwargs) -> R:
            seconds = _SECONDS + source.stat().st_size // _BYTES_A_SECOND if limited else None
            limits = _MEMORY + 8 * max_pixels(), seconds
            asked = (function.__module__, function.__name__, (source, *args), options, limits)
            endless = f"{library}, which reads it, has not come to an end in {seconds} seconds: it is damaged"
            try:
                done = subprocess.run(
                    [sys.executable, "-c", _CHILD, *sys.path],
                    input=pickle.dumps(asked),
                    capture_output=True,
                    check=False,
                    env={**os.environ, **_ALONE},
                    timeout=None if seconds is None else _PATIENCE * seconds,
                )
            except subprocess.TimeoutExpired:
                raise DataError([f"{source.name}: {what} cannot be read: {endless}"]) from None
            if done.returncode:
                reason = endless if done.returncode == -OUT_OF_TIME else _why(done, library)
                raise DataError([f"{source.name}: {what} cannot be read: {reason}"])
            # It comes from our own process a moment ago, not from a file.
            found, error = pickle.loads(done.stdout)
            if error is not None:
                raise error
            result: R = found
            return result

        return read

    return decorate


def _why(done: "subprocess.CompletedProcess[bytes]", library: str) -> str:
    if done.returncode < 0:
        return f"it is damaged, and brings down {library}, which reads it"
    last = (done.stderr.decode(errors="replace").strip().splitlines() or [""])[-1]
    return f"the process that reads it has ended by {done.returncode}: {last}"


def answer() -> None:
    """In the new process: call the function that is asked for."""
    # What libraries print must not get between the parent and the answer.
    out = os.dup(1)
    os.dup2(2, 1)
    module, name, args, options, limits = pickle.load(sys.stdin.buffer)
    function = inspect.unwrap(getattr(importlib.import_module(module), name))
    _limit(*limits)
    found: tuple[Any, Exception | None]
    try:
        found = function(*args, **options), None
    except Exception as error:
        found = None, error
    with os.fdopen(out, "wb") as file:
        pickle.dump(found, file)


def _limit(memory: int, seconds: int | None) -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        if seconds is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    except (ImportError, ValueError, OSError):  # Windows has none, and less may be set already.
        pass
