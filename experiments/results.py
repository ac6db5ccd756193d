"""What every experiment writes: intervals over seeds, where and how it was run, JSON and Markdown."""

import importlib.metadata
import json
import math
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from punctum.files import write_text

LEVEL = 0.95


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and half the width of its 95 % interval by Student's t; None for fewer than two values.

    Example:
        >>> mean, half_width = interval([1.0, 2.0, 3.0])
        >>> mean, round(half_width, 3)
        (2.0, 2.484)
    """
    from scipy import stats

    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None
    quantile = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1))
    return mean, quantile * statistics.stdev(values) / math.sqrt(len(values))


def summary(values: Sequence[float]) -> dict[str, Any]:
    """The same for a JSON file, with what it was computed from."""
    mean, half_width = interval(values)
    return {"mean": mean, "half_width": half_width, "values": list(values)}


def shown(values: Sequence[float], digits: int = 2) -> str:
    """The same for a table: 2.00 ± 2.48.

    Example:
        >>> shown([1.0, 2.0, 3.0]), shown([])
        ('2.00 ± 2.48', '-')
    """
    if not values:
        return "-"
    mean, half_width = interval(values)
    return f"{mean:.{digits}f}" if half_width is None else f"{mean:.{digits}f} ± {half_width:.{digits}f}"


def environment(device: str = "cpu") -> dict[str, Any]:
    """Date, command, device and versions: what it takes to understand a number later.

    Args:
        device: "cpu" or "cuda", that the numbers were computed on.
    """
    import torch

    import punctum

    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "lightning")}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "command": shlex.join(["python", *sys.argv]),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "punctum": punctum.__version__, **versions},
    }


def cpu_name() -> str:
    """The processor's model where the system tells it, else its architecture."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def write_result(path: str | Path, result: Mapping[str, Any]) -> Path:
    """Write plain values as JSON, whole or not at all; NaN becomes null.

    Raises:
        TypeError: a value is no plain JSON.
    """
    return write_text(path, json.dumps(_plain(result), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_result(path: str | Path) -> dict[str, Any] | None:
    """What `write_result` wrote, or None where there is nothing yet: the cell is to be run."""
    path = Path(path)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Example:
        >>> print(markdown(["head", "px"], [["dsnt", "1.2"]]))
        | head | px |
        |---|---|
        | dsnt | 1.2 |
    """
    lines = [header, *rows]
    body = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([body[0], "|" + "---|" * len(header), *body[1:]])
