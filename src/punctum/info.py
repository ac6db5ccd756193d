"""What is installed here, and what it can compute on."""

import os
import platform
from importlib import metadata

import torch
from rich.console import Console
from rich.table import Table

from punctum import __version__, backbones, heads

LIBRARIES = ("torch", "numpy", "lightning", "torchmetrics", "jsonargparse", "safetensors", "opencv-python-headless")


def print_info(console: Console) -> None:
    """Print versions, devices, heads and backbones."""
    table = Table(show_header=False)
    table.add_row("punctum", __version__)
    table.add_row("python", f"{platform.python_version()} on {platform.platform()}")
    for name in LIBRARIES:
        table.add_row(name, _version(name))
    table.add_row("devices", "\n".join(devices()))
    table.add_row("heads", ", ".join(heads.available()))
    table.add_row("backbones", ", ".join(backbones.available()))
    console.print(table)


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
