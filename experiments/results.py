"""Results as files: means with intervals, and where they come from."""

import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy import stats

import punctum
from punctum.files import write_text


def write_result(path: Path, values: Mapping[str, Any]) -> Path:
    """Write a result as JSON, whole or not at all."""
    return write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def interval(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean over seeds and the half-width of its 95 % interval (Student's t); None where a value is missing."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None, None
    if len(known) < 2:
        return known[0], None
    spread = float(stats.t.ppf(0.975, len(known) - 1)) * statistics.stdev(known) / math.sqrt(len(known))
    return statistics.mean(known), spread


def difference(first: Sequence[float | None], second: Sequence[float | None]) -> dict[str, Any] | None:
    """Mean difference of two lists over the same seeds, with its 95 % interval (Welch: seeds share nothing)."""
    if len(first) < 2 or len(second) < 2 or None in (*first, *second):
        return None
    test = stats.ttest_ind(
        [float(v) for v in first if v is not None], [float(v) for v in second if v is not None], equal_var=False
    )
    low, high = test.confidence_interval(0.95)
    return {"mean": float(low + high) / 2, "half_width": float(high - low) / 2}


def environment() -> dict[str, Any]:
    """Date, command, device and versions."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    versions = {"punctum": punctum.__version__, "torch": torch.__version__, "python": platform.python_version()}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python", *sys.argv]),
        "device": device,
        "versions": versions,
    }
