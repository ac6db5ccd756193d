"""Which page a folder gets: by what it holds."""

from importlib import import_module
from pathlib import Path

from punctum.one_line import told
from punctum.report.page import write_page

NAME = "report.html"
# file: (module, its function from folder to page, what makes the file); the most comprehensive first.
KINDS = {
    "comparison.json": ("punctum.report.comparison", "comparison_page", "punctum compare"),
    "diagnosis.json": ("punctum.report.diagnosis", "diagnosis_page", "punctum diagnose"),
    "metrics.json": ("punctum.report.run", "run_page", "punctum evaluate"),
}

# What it comes to when an entry is of another kind than the page expects. A StopIteration within a generator is a
# RuntimeError.
_MALFORMED = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, ZeroDivisionError, StopIteration,
    RuntimeError,
)  # fmt: skip


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of what a folder holds: a comparison, a diagnosis, or an evaluation.

    Args:
        folder: with comparison.json, diagnosis.json or metrics.json.
        out: the file; None: `folder`/report.html.
    Returns:
        The file.
    Raises:
        FileNotFoundError: the folder is none, or holds none of the three.
        ValueError: a file in it is broken.
        OSError: the page cannot be written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: give the one that `punctum evaluate` or `train` wrote to")
    for name, (module, function, verb) in KINDS.items():
        if (folder / name).is_file():
            try:
                page = getattr(import_module(module), function)(folder)
                return write_page(folder / NAME if out is None else out, page)
            except _MALFORMED as error:
                if str(folder) in str(error):
                    raise
                reason = told(error)
                raise ValueError(f"{folder / name} is not what `{verb}` writes: {reason}") from error
    ways = ", ".join(f"{name} (`{verb}` writes it)" for name, (_, _, verb) in KINDS.items())
    raise FileNotFoundError(f"{folder} holds nothing to report on; it would need one of {ways}")
