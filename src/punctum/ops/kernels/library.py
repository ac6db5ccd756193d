"""The compiled CPU kernels: the shared library that setup.py builds, loaded with ctypes at first use."""

import ctypes
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
PATH = Path(__file__).with_name("libpunctum.so")
# What library.cpp's punctum_version() says. Raised with every change of what its functions take.
VERSION = 2
REBUILD = "build it with `python -m pip install -e .` (needs GCC or clang)"


def constant(function: Function) -> Function:
    """To torch.compile its result is a constant. torch.compiler.assume_constant_result does the same, but imports the
    compiler, and Triton with it: two seconds whenever punctum is imported."""
    function.__dict__["_dynamo_marked_constant"] = True
    return function


@functools.cache
def _loaded() -> tuple[ctypes.CDLL | None, str | None]:
    """The library, or why there is none."""
    if sys.platform == "win32":
        return None, "it is written for GCC and clang, and not built on Windows"
    if not PATH.exists():
        return None, f"its library was not built at installation: {REBUILD}"
    try:
        library = ctypes.CDLL(str(PATH))
        library.punctum_version.restype = ctypes.c_int64
        version = library.punctum_version()
    except (OSError, AttributeError) as error:
        return None, f"its library does not load ({error}): {REBUILD}"
    if version != VERSION:
        return None, f"its library was built from other sources (version {version}, not {VERSION}): {REBUILD}"
    return library, None


@constant
def unavailable() -> str | None:
    """Why no call can be served on this machine; None: the library is loaded."""
    return _loaded()[1]


class Operator:
    """A function as PyTorch's operator `punctum::NAME` for CPU tensors, with what `torch.library.custom_op` has.

    That one imports PyTorch's compiler at the first call: 1.5 seconds and 150 MiB.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = f"punctum::{name}"
        schema = torch.library.infer_schema(function, mutates_args=())
        torch.library.define(self.name, schema)
        torch.library.impl(self.name, "cpu", function)
        self.overload = getattr(torch.ops.punctum, name).default

    def __call__(self, *args: Any) -> Any:
        return self.overload(*args)

    def register_fake(self, function: Function) -> Function:
        """What it returns, as shapes and types."""
        return torch.library.register_fake(self.name, function)

    def register_autograd(
        self, backward: Callable[..., Any], *, setup_context: Callable[..., Any] | None = None
    ) -> None:
        """Its gradient."""
        torch.library.register_autograd(self.name, backward, setup_context=setup_context)


def operator(name: str) -> Callable[[Callable[..., Any]], Operator]:
    """Make an `Operator` of a function."""
    return lambda function: Operator(name, function)


def call(name: str, args: ctypes.Structure, count: int, grain: int) -> None:
    """Run a kernel (PUNCTUM_EXPORT in library.cpp) over [0, count), on PyTorch's number of threads.

    Args:
        name: of the kernel.
        args: what it takes; the tensors behind its pointers must outlive the call.
        count: of pieces of work, maps say.
        grain: the fewest of them that a further thread is worth.
    Raises:
        RuntimeError: the library is not there.
        MemoryError: a thread found no memory.
    """
    library, reason = _loaded()
    if library is None:
        raise RuntimeError(f"kernels 'native': {reason}")
    function = library[f"punctum_{name}"]
    function.restype = ctypes.c_int64
    sizes = (ctypes.c_int64(count), ctypes.c_int64(grain), ctypes.c_int64(torch.get_num_threads()))
    if function(ctypes.byref(args), *sizes):
        raise MemoryError(f"kernels 'native': no memory for what {name} needs")


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Address of a contiguous tensor's first element; null for None."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())
