"""NumPy files that others wrote: nothing is unpickled, and whatever is wrong with them is one of few exceptions."""

import tokenize
import zipfile
import zlib

# What np.load raises at damaged files, beside OSError and ValueError: at early ends, by zip's checks, at compressions
# and passwords that it does not know, headers that are no Python, shapes beyond any memory.
DAMAGED = (
    EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, tokenize.TokenError, SyntaxError,
    MemoryError, OverflowError, KeyError, TypeError,
)  # fmt: skip
