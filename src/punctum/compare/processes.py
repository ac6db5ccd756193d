"""Work in processes of its own: a folder says what to do, and none takes another down with it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

Process = subprocess.Popen[bytes]
SOURCE = Path(__file__).parents[2]


def job_count() -> int:
    """Processes that fit side by side: one a GPU, else one a core."""
    gpus = _gpus()
    return len(gpus) if gpus else len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def run_workers(module: str, folders: Sequence[Path], jobs: int = 0) -> Iterator[tuple[Path, str]]:
    """Run `python -m module FOLDER` for each folder, so many at a time; what each prints goes to FOLDER/log.txt.

    No process outlives the iteration, however that ends.

    Args:
        module: with a `main` that calls `end_with_parent`, and returns 0 where all went well.
        folders: what to do, most wanted first.
        jobs: at a time; 0: as many as fit. On the CPU each has one thread, unless OMP_NUM_THREADS says more; GPUs are
            dealt out in turn.
    Yields:
        (folder, what went wrong, or nothing), as they end.
    """
    jobs, gpus = jobs or job_count(), _gpus()
    processes: list[Process] = []
    stopped = threading.Event()
    places: SimpleQueue[int] = SimpleQueue()
    for place in range(jobs):
        places.put(place)

    def run(folder: Path) -> str:
        if stopped.is_set():
            return "not started"
        place = places.get()
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        # The same punctum as this one's, wherever it was imported from.
        environment["PYTHONPATH"] = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
        try:
            return _run(module, folder, environment, processes, stopped)
        finally:
            places.put(place)

    with _ended(processes), ThreadPoolExecutor(jobs) as pool:
        started = {pool.submit(run, folder): folder for folder in folders}
        try:
            for future in as_completed(started):
                yield started[future], future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            _end(processes)
            raise


def end_with_parent() -> None:
    """Called by a worker at its start: it ends when the process that started it does, even if that was killed."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    # The parent holds the other end of standard input. Not sys.stdin: a thread that waits in it holds its lock, and
    # Python's own end would stumble over that.
    while os.read(0, 1024):
        pass
    os._exit(3)


def _gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES can be set to, one word a GPU."""
    import torch

    if not torch.cuda.is_available():
        return []
    named = [word for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word]
    return named or [str(i) for i in range(torch.cuda.device_count())]


def _run(
    module: str, folder: Path, environment: dict[str, str], processes: list[Process], stopped: threading.Event
) -> str:
    """One process; returns what went wrong, or nothing."""
    path = folder / "log.txt"
    with path.open("ab") as log:
        # The child reads its standard input, which ends when this process does, however it ends.
        command = [sys.executable, "-m", module, str(folder)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment
        ) as process:
            processes.append(process)
            if stopped.is_set():  # While it started, all the others were ended.
                process.terminate()
            code = process.wait()
            processes.remove(process)
    if code == 0:
        return ""
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{how}: {_last_line(path)}"


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"{lines[-1].strip() if lines else 'it said nothing'} ({path})"


@contextmanager
def _ended(processes: list[Process]) -> Iterator[None]:
    try:
        yield
    finally:
        _end(processes)


def _end(processes: list[Process]) -> None:
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + 5
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
