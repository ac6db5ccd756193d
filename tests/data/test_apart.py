"""Readers in a process of their own: what they return or raise comes back, and their death is a message."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from punctum.data import apart as module
from punctum.data.apart import apart
from punctum.data.errors import DataError


@apart("the file", "lib")
def behave(source: Path, how: str, *, count: int = 1) -> object:
    """What a reader may do."""
    print("a word that must not get between")
    if how == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "hang":
        time.sleep(60)
    while how == "spin":
        pass
    if how == "leave":
        os._exit(3)
    if how == "grow":
        return bytearray(10**12)
    if how == "complain":
        raise DataError([f"{source.name}: {n}" for n in range(count)])
    return {"process": os.getpid(), "size": source.stat().st_size, "numbers": np.full(count, np.pi)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a.h5").write_bytes(b"1234")
    return tmp_path / "a.h5"


def test_results_and_errors_come_back(file: Path) -> None:
    found = behave(file, "read", count=3)
    assert isinstance(found, dict)
    assert found["process"] != os.getpid()
    assert found["size"] == 4
    assert found["numbers"].tolist() == [np.pi] * 3
    with pytest.raises(DataError) as caught:
        behave(file, "complain", count=2)
    assert caught.value.mistakes == ("a.h5: 0", "a.h5: 1")
    with pytest.raises(MemoryError):
        behave(file, "grow")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("die", "a.h5: the file cannot be read: it is damaged, and brings down lib, which reads it"),
        ("leave", "a.h5: the file cannot be read: the process that reads it has ended by 3"),
        ("hang", "a.h5: the file cannot be read: lib, which reads it, has not come to an end in 1 seconds"),
        ("spin", "a.h5: the file cannot be read: lib, which reads it, has not come to an end in 1 seconds"),
    ],
)
def test_its_death_is_a_message(how: str, words: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 1 if how in ("hang", "spin") else 10)
    monkeypatch.setattr(module, "_PATIENCE", 2 if how == "hang" else 30)
    with pytest.raises(DataError, match=words):
        behave(file, how)
