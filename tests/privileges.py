"""Root without its privilege to pass over the modes of files, so that tests of them mean the same for every user."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

DAC_OVERRIDE = 1
VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def without_override() -> Iterator[None]:
    """This thread, and those that it starts, obey modes; for others than root on Linux nothing changes."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(VERSION_3, 0), (_Sets * 2)()
    libc.capget(ctypes.byref(header), sets)
    before = sets[0].effective
    sets[0].effective = before & ~(1 << DAC_OVERRIDE)
    libc.capset(ctypes.byref(header), sets)
    try:
        yield
    finally:
        sets[0].effective = before
        libc.capset(ctypes.byref(header), sets)
