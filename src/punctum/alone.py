"""One process at a time in a folder: two that do the same work there would undo each other's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from punctum.files import unwritten

LOCK = ".lock"

# A lock is held as long as any process has the file open, so that children must not keep it.
_held: set[IO[str]] = set()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder against a second process that would do the same work in it; a killed one lets go by itself.

    Args:
        folder: made where it is not there.
    Raises:
        ValueError: another process is at work there.
        OSError: the folder cannot be made or written to.
    Example:
        >>> import tempfile
        >>> with alone(Path(tempfile.mkdtemp()) / "new"):
        ...     print("at work")
        at work
    """
    try:
        import fcntl
    except ImportError:  # Not on Windows.
        yield
        return
    made, path = not folder.is_dir(), folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = path.open("w")
    except OSError as error:
        raise unwritten(folder, error) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one before may have taken the file away between our opening and locking it.
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                raise BlockingIOError
        except BlockingIOError as error:
            raise ValueError(f"another process is at work in {folder}: wait for it, or end it") from error
        except OSError:  # A file system without locks: Lustre and NFS as many clusters mount them.
            pass
        _held.add(file)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            _held.discard(file)
            if made:
                remove_empty(folder)


def remove_empty(folder: Path) -> None:
    """A folder, if there is nothing in it but a lock."""
    if folder.is_dir() and all(path.name == LOCK for path in folder.iterdir()):
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()


def _let_go() -> None:
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
