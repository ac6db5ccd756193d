"""What is installed here, and what it can compute on."""

import os
import platform
from importlib import metadata

import torch

from punctum import __version__

LIBRARIES = ("torch", "numpy", "lightning", "torchmetrics", "jsonargparse", "safetensors", "opencv-python-headless")


def environment() -> dict[str, str]:
    """Versions and devices: what a result may depend on."""
    return {
        "punctum": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        **{name: _version(name) for name in LIBRARIES},
        "devices": "\n".join(devices()),
    }


def devices() -> list[str]:
    """One line per device that PyTorch can use."""
    found = [f"cpu: {os.cpu_count()} cores, {torch.get_num_threads()} threads"]
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        found.append(f"cuda:{i}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        found.append("mps: Apple GPU")
    return found


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
