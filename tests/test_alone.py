"""One process at a time in a folder, whatever becomes of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from processes import environment
from punctum.alone import LOCK, alone

HOLD = """
import sys, time
from pathlib import Path
from punctum.alone import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_is_told_and_the_folder_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with alone(tmp_path):
        with pytest.raises(ValueError, match=f"another process is at work in {tmp_path}"), alone(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    with alone(tmp_path):
        pass


def test_a_folder_that_stays_empty_goes_away_again(tmp_path: Path) -> None:
    with pytest.raises(KeyError), alone(tmp_path / "a" / "b"):
        raise KeyError
    with alone(tmp_path / "full"):
        (tmp_path / "full" / "x").touch()
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["a", "full", "x"]


def test_a_killed_one_lets_go(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(ValueError, match="another process"), alone(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with alone(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_hold_what_its_parent_held(tmp_path: Path) -> None:
    with alone(tmp_path):
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
    try:
        with alone(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
