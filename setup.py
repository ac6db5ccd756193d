"""The CPU kernels: a small shared library, built where there is a compiler. All else is in pyproject.toml.

Without a compiler the install goes on without them; PUNCTUM_NO_EXTENSION=1 skips them.

    python setup.py build_ext --inplace      build them again, next to the sources
"""

import os
import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = Path("src/punctum/ops/kernels/csrc")
# No -ffast-math: older GCC then switches subnormal numbers off for the whole process.
# GCC's notes on how wide vectors are passed (psabi) are about calls that are all inlined.
FLAGS = (
    *("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fPIC", "-g0"),
    "-Wno-psabi",
)
# Each kernel is compiled for each of these, and the machine's best is taken when it runs.
LEVELS = {
    "base": (),
    "avx2": ("-mavx2", "-mfma"),
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"),
}


class BuildKernels(build_ext):
    """One library with a fixed name; it is loaded with ctypes, and no module of Python's."""

    def get_ext_filename(self, fullname: str) -> str:
        """Where it goes: the same name whatever the Python."""
        return os.path.join(*fullname.split(".")) + ".so"

    def build_extension(self, ext: Extension) -> None:
        """Compile each source for each instruction set, and link."""
        several = platform.machine() in ("x86_64", "AMD64") and sys.platform.startswith("linux")
        flags = [*FLAGS, *(["-DPUNCTUM_LEVELS"] if several else [])]
        objects = []
        for level, extra in LEVELS.items() if several else [("base", ())]:
            sources = [source for source in ext.sources if level == "base" or not source.endswith("library.cpp")]
            objects += self.compiler.compile(
                sources,
                output_dir=os.path.join(self.build_temp, level),
                depends=ext.depends,
                extra_postargs=[*flags, f"-DPUNCTUM_LEVEL={level}", *extra],
            )
        path = self.get_ext_fullpath(ext.name)
        self.compiler.link_shared_object(
            objects,
            path,
            extra_postargs=["-pthread", *(["-ldl"] if sys.platform.startswith("linux") else [])],
            build_temp=self.build_temp,
            target_lang="c++",
        )


def extensions() -> list[Extension]:
    """The library, or nothing where it is not wanted, or where the compiler is neither GCC nor clang."""
    if os.environ.get("PUNCTUM_NO_EXTENSION", "") not in ("", "0") or sys.platform == "win32":
        return []
    return [
        Extension(
            "punctum.ops.kernels.libpunctum",
            sources=sorted(path.as_posix() for path in SOURCES.glob("*.cpp")),
            depends=sorted(path.as_posix() for path in SOURCES.glob("*.h")),
            optional=True,
        )
    ]


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildKernels})
