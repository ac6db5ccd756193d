"""`punctum info`: versions, devices, and what there is to choose from."""

from rich.console import Console
from rich.table import Table

from punctum import backbones, heads
from punctum.environment import environment


def print_info(console: Console) -> None:
    """Print versions, devices, heads and backbones."""
    table = Table(show_header=False)
    for name, value in environment().items():
        table.add_row(name, value)
    table.add_row("heads", ", ".join(heads.available()))
    table.add_row("backbones", ", ".join(backbones.available()))
    console.print(table)
