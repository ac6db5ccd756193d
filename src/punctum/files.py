"""Files are written whole or not at all: to a temporary name beside them, then renamed."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_through(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file, then give it its name; on failure nothing is left behind.

    Args:
        path: where the file shall stand; its folder is made.
        write: called with the temporary path, which has the same ending.
    Returns:
        The path.
    Raises:
        OSError: the folder cannot be made or written to.
    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = write_through(folder / "new" / "a.txt", lambda p: p.write_text("hi"))
        >>> (folder / "new" / "a.txt").read_text(), len(list((folder / "new").iterdir()))
        ('hi', 1)
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise unwritten(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        # mkstemp makes files that only their owner can read; give them what the user's umask allows.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise unwritten(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def unwritten(path: Path, error: OSError) -> OSError:
    """What users are told: the file that they asked for, not the temporary one, which many errors do not name."""
    blocked = isinstance(error, (FileExistsError, NotADirectoryError))
    reason = "a file stands in the place of its folder" if blocked else error.strerror or error
    return type(error)(f"{path} cannot be written: {reason}")


def write_text(path: str | Path, text: str) -> Path:
    """Write text (UTF-8, newlines as they are) to a file, whole or not at all."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)

    return write_through(path, write)


def write_again(path: str | Path, write: Callable[[Path], object]) -> Path:
    """`write_through` for long work: the temporary name is always the same, so that what a kill leaves behind is
    overwritten by the next attempt; it is on the disk before it gets its own name.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_again(folder / "a.txt", lambda p: p.write_text("hi")).read_text()
        'hi'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
