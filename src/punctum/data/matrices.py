"""Arrays out of HDF5 and MATLAB files, by the packages that read them: `pip install 'punctum[mpii]'`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.apart import apart
from punctum.data.errors import DataError
from punctum.data.limits import max_pixels
from punctum.one_line import told

HDF5 = ("the HDF5 file", "HDF5")


def is_hdf5(start: bytes) -> bool:
    """Whether a file that begins so is HDF5; MATLAB's version 7.3 files are, after a header of 512 bytes."""
    return start.startswith(b"\x89HDF\r\n\x1a\n") or start[512:520] == b"\x89HDF\r\n\x1a\n"


def is_matlab(start: bytes) -> bool:
    """Whether a file that begins so is MATLAB's, of version 5 (what `save` writes up to `-v7`)."""
    return start.startswith(b"MATLAB 5.0")


@contextmanager
def opened_hdf5(source: Path) -> Iterator[Any]:
    """An HDF5 file, as h5py has it, for functions that run `apart`; what goes wrong is told with the file's name.

    Raises:
        DataError: the file cannot be read.
    """
    import h5py

    try:
        with h5py.File(source, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise DataError([f"{source.name}: the HDF5 file cannot be read: {error}"]) from None


def read_hdf5(source: Path) -> dict[str, NDArray[Any]]:
    """The arrays at the top of an HDF5 file.

    Raises:
        ImportError: h5py is not there; the message says how to get it.
        DataError: the file cannot be read.
    """
    need_h5py(source)
    return _arrays(source)


def need_h5py(source: Path) -> None:
    """Raise an ImportError that says how to get h5py, where it is not there."""
    try:
        import h5py  # noqa: F401
    except ImportError:
        raise ImportError(f"{source.name} is an HDF5 file, which h5py reads: pip install 'punctum[mpii]'") from None


@apart(*HDF5)
def _arrays(source: Path) -> dict[str, NDArray[Any]]:
    with opened_hdf5(source) as file:
        held = {name: file[name] for name in file if is_held(file, name)}
        return {name: _array(item, name) for name, item in held.items() if hasattr(item, "shape")}


def _array(item: Any, name: str) -> NDArray[Any]:
    """A dataset whose numbers stand in the file itself, and fit into memory."""
    if item.external or item.is_virtual:
        raise ValueError(f"the numbers of {name!r} stand in other files, which are not read")
    if item.size is not None and item.nbytes > 8 * max_pixels():
        raise ValueError(f"{name!r} unpacks to {item.nbytes:,} bytes, more than the {8 * max_pixels():,} allowed")
    return np.asarray(item)


def is_held(group: Any, name: str) -> bool:
    """Whether an item is in the HDF5 file itself; h5py would follow a link to any other file."""
    return type(group.get(name, getlink=True)).__name__ == "HardLink"


def names_in_hdf5(source: Path) -> set[str]:
    """Names of what an HDF5 file holds, two levels deep: which tool wrote it. Links are not followed.

    Raises:
        ImportError, DataError: as `read_hdf5`.
    """
    need_h5py(source)
    return _names(source)


@apart(*HDF5)
def _names(source: Path) -> set[str]:
    with opened_hdf5(source) as file:
        names = set(file)
        for name in list(names):
            # A group, unlike a dataset, has names in it.
            if is_held(file, name) and hasattr(file[name], "keys"):
                names |= {f"{name}/{inner}" for inner in file[name]}
        return names


def read_matlab(source: Path) -> dict[str, Any]:
    """The variables of a MATLAB file; structs are objects with their fields as attributes, axes of 1 are gone.

    Raises:
        ImportError: SciPy is not there; the message says how to get it.
        DataError: the file cannot be read.
    """
    try:
        import scipy.io  # noqa: F401
    except ImportError:
        raise ImportError(f"{source.name} is a MATLAB file, which SciPy reads: pip install 'punctum[mpii]'") from None
    return _load_matlab(source)


@apart("the MATLAB file", "SciPy")
def _load_matlab(source: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        content: dict[str, Any] = loadmat(str(source), struct_as_record=False, squeeze_me=True)
    except Exception as error:  # Whatever a reader that is not ours trips over in a damaged file.
        reason = told(error)
        raise DataError([f"{source.name}: the MATLAB file cannot be read: {reason}"]) from None
    return content
