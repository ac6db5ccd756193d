"""`punctum info`: versions, devices, and what there is to choose from."""

from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from punctum import backbones, heads
from punctum.environment import environment
from punctum.ops import kernels

# What `auto` is asked about each operation.
_CALLS: dict[kernels.Op, dict[str, Any]] = {
    "moments": {"beta": 1.0},
    "soft_argmax": {"beta": 1.0},
    "dsnt_terms": {"distance": "euclidean", "regularizer": "js", "sigma": 1.0, "beta": 1.0, "units": "normalized"},
    "sample_coords": {"num_samples": 1, "tau": 1.0, "basis": "triangular", "categorical": "paper", "beta": 1.0},
}


def print_info(console: Console, only_kernels: bool = False) -> None:
    """Print versions, devices, heads and backbones; or which kernels run here."""
    if only_kernels:
        print_kernels(console)
        return
    table = Table(show_header=False)
    for name, value in environment().items():
        table.add_row(name, value)
    table.add_row("heads", ", ".join(heads.available()))
    table.add_row("backbones", ", ".join(backbones.available()))
    console.print(table)


def print_kernels(console: Console) -> None:
    """Print which kernels can run on this machine, why the others can not, and what is taken for what."""
    backends = Table("kernels", "on this machine")
    for name, module in kernels.MODULES.items():
        backends.add_row(name, module.unavailable() or "ready")
    console.print(backends)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    taken = Table("operation", *(f"{device} maps" for device in devices), title="What 'auto' takes")
    for op, options in _CALLS.items():
        maps = [torch.zeros(1, 1, 8, 8, device=device) for device in devices]
        taken.add_row(op, *(kernels.best(op, logits, **options) for logits in maps))
    console.print(taken)
    if len(devices) == 1:
        console.print("No CUDA device: what GPUs would take is not known here.")
    console.print(f"In use: {kernels.chosen()} (PUNCTUM_KERNELS=plain turns all of them off)")
