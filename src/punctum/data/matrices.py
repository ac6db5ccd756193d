"""Arrays out of HDF5 and MATLAB files, by the packages that read them: `pip install 'punctum[mpii]'`."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from punctum.data.errors import DataError


def is_hdf5(start: bytes) -> bool:
    """Whether a file that begins so is HDF5; MATLAB's version 7.3 files are, after a header of 512 bytes."""
    return start.startswith(b"\x89HDF\r\n\x1a\n") or start[512:520] == b"\x89HDF\r\n\x1a\n"


def is_matlab(start: bytes) -> bool:
    """Whether a file that begins so is MATLAB's, of version 5 (what `save` writes up to `-v7`)."""
    return start.startswith(b"MATLAB 5.0")


def read_hdf5(source: Path) -> dict[str, NDArray[Any]]:
    """The arrays at the top of an HDF5 file.

    Raises:
        ImportError: h5py is not there; the message says how to get it.
        DataError: the file cannot be read.
    """
    try:
        import h5py
    except ImportError:
        raise ImportError(f"{source.name} is an HDF5 file, which h5py reads: pip install 'punctum[mpii]'") from None
    try:
        with h5py.File(source, "r") as file:
            held = {name: file[name] for name in file if is_held(file, name)}
            return {name: np.asarray(item) for name, item in held.items() if isinstance(item, h5py.Dataset)}
    except OSError as error:
        raise DataError([f"{source.name}: the HDF5 file cannot be read: {error}"]) from None


def is_held(group: Any, name: str) -> bool:
    """Whether an item is in the HDF5 file itself; h5py would follow a link to any other file."""
    return type(group.get(name, getlink=True)).__name__ == "HardLink"


def names_in_hdf5(source: Path) -> set[str]:
    """Names of what an HDF5 file holds, two levels deep: which tool wrote it. Links are not followed.

    Raises:
        ImportError: h5py is not there; the message says how to get it.
        DataError: the file cannot be read.
    """
    try:
        import h5py
    except ImportError:
        raise ImportError(f"{source.name} is an HDF5 file, which h5py reads: pip install 'punctum[mpii]'") from None
    try:
        with h5py.File(source, "r") as file:
            names = set(file)
            for name in list(names):
                if is_held(file, name) and isinstance(file[name], h5py.Group):
                    names |= {f"{name}/{inner}" for inner in file[name]}
            return names
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise DataError([f"{source.name}: the HDF5 file cannot be read: {error}"]) from None


def read_matlab(source: Path) -> dict[str, Any]:
    """The variables of a MATLAB file; structs are objects with their fields as attributes, axes of 1 are gone.

    Raises:
        ImportError: SciPy is not there; the message says how to get it.
        DataError: the file cannot be read.
    """
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise ImportError(f"{source.name} is a MATLAB file, which SciPy reads: pip install 'punctum[mpii]'") from None
    try:
        return loadmat(source, struct_as_record=False, squeeze_me=True)
    except (MatReadError, OSError, ValueError, TypeError, zlib.error) as error:
        raise DataError([f"{source.name}: the MATLAB file cannot be read: {error}"]) from None
