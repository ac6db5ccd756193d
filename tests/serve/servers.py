"""A real server in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import environment


@dataclass
class Running:
    """A server: its address and its process."""

    address: str
    process: "subprocess.Popen[str]"


@contextmanager
def serving(model: Path, words: Sequence[str] = ()) -> Iterator[Running]:
    """`punctum serve MODEL --port 0 ...`, until the block ends."""
    command = [sys.executable, "-m", "punctum.cli", "serve", str(model), "--port", "0", "--threads", "1", *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    )
    try:
        said = []
        for line in process.stdout or ():
            said.append(line)
            if line.startswith("page: "):
                yield Running(line.split()[1].rstrip("/"), process)
                return
        raise RuntimeError("".join(said))
    finally:
        process.terminate()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()
